"""`sam-core demo`: real images and a stack, segmented with the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam_core.cli import common
from sam_core.cli.common import Device, Json, Model
from sam_core.cli.job import Format, Job, Report
from sam_core.cli.screen import Screen

IMAGES = ("coins.png", "cell.png", "hubble_deep_field.jpg", "retina.jpg")
COLUMNS = ("file", ">size", ">objects", ">encode ms", ">total ms", "picture")


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("demo"),
    model: Model = "cell",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Segment images that scikit-image brings along, and a made-up stack of planes; needs no network."""
    from sam_core.cli.work import Encoder

    out.mkdir(parents=True, exist_ok=True)
    files = [*shipped_images(), write_stack(out / "z_stack.tif")]
    segmenter = common.load_model(model, device=device)
    job = Job(lambda: Encoder(segmenter), out, (Format.TIFF, Format.COCO, Format.CSV), overlay=True)
    with Screen(as_json) as screen:
        reports = [job.report(file, file.stem, screen) for file in screen.follow(files, "demo")]
        for report in reports if as_json else ():
            screen.result(report.record(), "")
    screen.table(COLUMNS, [_row(report) for report in reports], title="sam-core demo")
    screen.say(f"Labels (.tif), COCO (.json), measures (.csv) and overlays (.png) are in {out.resolve()}")


def shipped_images() -> list[Path]:
    """List the images to show that are part of scikit-image's own package; others it would download."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return [folder / name for name in IMAGES if (folder / name).is_file()]


def write_stack(path: Path) -> Path:
    """Write a synthetic stack of planes, to be read like any other file."""
    import tifffile

    from sam_core import samples

    planes = samples.z_stack(seed=0).image
    tifffile.imwrite(path, planes, photometric="minisblack", metadata={"axes": "ZYX"})
    return path


def _row(report: Report) -> tuple[str, ...]:
    size = " x ".join(map(str, report.size))
    times = (f"{report.encode_ms:.0f}", f"{report.total_ms:.0f}")
    return (report.file.name, size, str(report.objects), *times, str(report.outputs["overlay"]))
