"""What `sam_core` offers is what it says it offers."""

import sam_core


def test_every_public_name_is_there() -> None:
    assert all(getattr(sam_core, name) is not None for name in sam_core.__all__)


def test_public_names_are_sorted_without_regard_to_case_and_complete() -> None:
    assert sam_core.__all__ == sorted(sam_core.__all__, key=str.casefold)
    for name in sam_core.__all__:
        getattr(sam_core, name)  # what is imported lazily is there after it was asked for
    own = {name for name, value in vars(sam_core).items() if _is_ours(value) and not name.startswith("_")}
    assert own == set(sam_core.__all__)


def _is_ours(value: object) -> bool:
    return getattr(value, "__module__", "").startswith("sam_core")
