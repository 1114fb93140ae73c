"""Run the benchmarks and print one table.

`python -m tests.bench [cell] [vit] [process] [label-studio] [napari] [decoder] [space]`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tests.bench.measure import Row


def _cell() -> Iterator[Row]:
    from tests.bench.cell_speed import rows

    return rows()


def _vit() -> Iterator[Row]:
    from tests.bench.vit_speed import rows

    return rows()


def _process() -> Iterator[Row]:
    from tests.bench.process import rows

    return rows()


def _label_studio() -> Iterator[Row]:
    from tests.bench.label_studio_speed import rows

    return rows()


def _napari() -> Iterator[Row]:
    from tests.bench import napari_speed, napari_user, napari_window

    yield from napari_speed.rows()
    yield from napari_window.rows()
    yield from napari_user.rows()


def _decoder() -> Iterator[Row]:
    from tests.bench.decoder_speed import rows

    return rows()


def _space() -> Iterator[Row]:
    from tests.bench import space_page, space_people

    yield from space_page.rows()
    yield from space_people.rows()


SUITES: dict[str, Callable[[], Iterator[Row]]] = {
    "cell": _cell,
    "vit": _vit,
    "process": _process,
    "label-studio": _label_studio,
    "napari": _napari,
    "decoder": _decoder,
    "space": _space,
}


def main(arguments: list[str]) -> None:
    """Measure the suites that are named, or all."""
    as_json = "--json" in arguments
    names = [a for a in arguments if not a.startswith("-")] or list(SUITES)
    found = [row for name in names for row in SUITES[name]()]
    if as_json:
        print(json.dumps([{"what": r.what, "value": r.value, "bar": r.bar, "reached": r.reached} for r in found]))  # noqa: T201
        return
    table = Table("what", "measured", "must reach", "", "behind it", title="sam-core benchmarks")
    for row in found:
        sign = "≥" if row.at_least else "≤"
        verdict = "[green]reached[/]" if row.reached else "[red]missed[/]"
        table.add_row(row.what, f"{row.value:.3g} {row.unit}", f"{sign} {row.bar:g} {row.unit}", verdict, row.note)
    Console(width=150).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
