"""The models that visitors may choose: what they are, whose, and what they need."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MB = 1_000_000
NOTHING = "none"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that may be asked for.

    Parameters
    ----------
    source
        As `Sam.from_pretrained` takes it: embedded name, folder, or Hub repository.
    revision
        Commit, tag or branch of a repository; None for its newest.
    title, about
        What the page calls it, and what it is for.
    licence
        Of the weights; "" where only the Hub knows.
    nbytes
        Of the file of weights, about; 0 where only the Hub knows.
    parameters
        Millions; 0 where nobody has counted.
    """

    source: str
    revision: str | None = None
    title: str = ""
    about: str = ""
    licence: str = ""
    nbytes: int = 0
    parameters: float = 0.0

    @property
    def name(self) -> str:
        """What it is called in requests, in files and on the page: of a folder the last part alone."""
        return self.source if self.is_remote else Path(self.source).name or self.source

    @property
    def is_remote(self) -> bool:
        """Whether it is a repository of the Hub."""
        return _REPOSITORY.fullmatch(self.source) is not None and not Path(self.source).exists()


# What the Hub cannot be asked for without a network. Licences are those on the cards of the repositories; parameters
# were counted on networks built to these configs, and a file of weights has four bytes for each, which agrees with what
# is known of the files (375 MB of sam-vit-base, 38.9 MB of SlimSAM-uniform-77). Where the Hub answers, its sizes are
# shown.
CATALOGUE = (
    Offer(
        "Zigeng/SlimSAM-uniform-77",
        title="SlimSAM 77",
        about="SAM with three quarters pruned away: the quickest of them, for photographs",
        licence="apache-2.0",
        nbytes=39 * MB,
        parameters=9.7,
    ),
    Offer(
        "Zigeng/SlimSAM-uniform-50",
        title="SlimSAM 50",
        about="SAM with half of it pruned away, for photographs",
        licence="apache-2.0",
        nbytes=112 * MB,
        parameters=28.0,
    ),
    Offer(
        "facebook/sam-vit-base",
        title="SAM, ViT-B",
        about="Segment Anything for photographs",
        licence="apache-2.0",
        nbytes=375 * MB,
        parameters=93.7,
    ),
    Offer(
        "wanglab/medsam-vit-base",
        title="MedSAM",
        about="SAM taught on CT, MR, ultrasound and other medical images; made for boxes",
        licence="apache-2.0",
        nbytes=375 * MB,
        parameters=93.7,
    ),
    Offer(
        "facebook/sam-vit-large",
        title="SAM, ViT-L",
        about="Segment Anything for photographs, more exact and slower",
        licence="apache-2.0",
        nbytes=1249 * MB,
        parameters=312.3,
    ),
    Offer(
        "facebook/sam-vit-huge",
        title="SAM, ViT-H",
        about="the largest Segment Anything, for those who can wait",
        licence="apache-2.0",
        nbytes=2564 * MB,
        parameters=641.1,
    ),
)

EMBEDDED = {
    "cell": Offer(
        "cell",
        title="cell",
        about="for cells and nuclei under a microscope; comes with sam-core, and is quick on a CPU",
        licence="apache-2.0",
        nbytes=9_700_000,
        parameters=4.8,
    )
}


def base(source: str, revision: str | None = None) -> Offer:
    """Describe the model that a server starts with.

    Examples
    --------
    >>> base("cell").licence, base("./runs/mine").name
    ('apache-2.0', 'mine')
    """
    known = {each.source: each for each in (*EMBEDDED.values(), *CATALOGUE)}.get(source)
    if known is None or revision is not None:
        return _plain(source, revision)
    return known


def offers(chosen: Iterable[str] | None) -> tuple[Offer, ...]:
    """Return what is offered beside the model that a server starts with.

    Parameters
    ----------
    chosen
        Names: repositories, "owner/name" or "owner/name@commit", and folders; "none" for no other model. None for what
        is embedded, and all of the catalogue.

    Raises
    ------
    ValueError
        A name is neither.

    Examples
    --------
    >>> [each.name for each in offers(["facebook/sam-vit-base@" + 40 * "0"])], offers(["none"])
    (['facebook/sam-vit-base'], ())
    """
    if chosen is None:
        return (*EMBEDDED.values(), *CATALOGUE)
    names = [name for name in chosen if name != NOTHING]
    return tuple(dict.fromkeys(_offer(name) for name in names))


def _offer(name: str) -> Offer:
    if name and Path(name).is_dir():
        return _plain(name, None)
    source, _, revision = name.partition("@")
    known = next((each for each in (*EMBEDDED.values(), *CATALOGUE) if each.source == source), None)
    if known is not None and not revision:
        return known
    if known is None and _REPOSITORY.fullmatch(source) is None:
        msg = (
            f"got model {name!r} to offer, expected a Hub repository such as facebook/sam-vit-base@COMMIT, a folder, "
            f"or {NOTHING!r}; check the spelling"
        )
        raise ValueError(msg)
    return _plain(source, revision)


def _plain(source: str, revision: str | None) -> Offer:
    known = {each.source: each for each in CATALOGUE}.get(source)
    if known is None:
        return Offer(source, revision or None, title=Path(source).name or source)
    return Offer(source, revision or None, known.title, known.about, known.licence, known.nbytes, known.parameters)
