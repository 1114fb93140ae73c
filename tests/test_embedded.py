"""The embedded model end to end, on images whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from sam_core import Embedding, Masks, Prompt, Sam, Tiling, propagate, samples, segment, segment_all, stitch
from sam_core.families import load
from sam_core.families.cell import CellFamily
from sam_core.families.family import Answers
from sam_core.overlap import mask_iou
from sam_core.samples import Sample


@cache
def sam() -> Sam:
    return Sam.from_pretrained("cell")


@cache
def plane() -> Sample:
    return samples.cells((420, 600), count=60, diameter=34, seed=2)


@cache
def whole() -> Embedding:
    return sam().encode(plane().image)


@cache
def tiled() -> Embedding:
    return sam().encode(plane().image, tiling=Tiling(tile=(200, 200), halo=(64, 64)))


def everything(embedding: Embedding) -> Masks:
    return Masks.merge(list(segment_all(sam(), embedding)))


def middle(labels: np.ndarray, index: int) -> tuple[float, float]:
    depth = ndimage.distance_transform_edt(np.pad(labels == index, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return float(y), float(x)


def truth() -> Masks:
    return Masks.from_labels(plane().labels)


@pytest.mark.parametrize("embedding", [whole, tiled], ids=["whole", "tiled"])
class TestPlane:
    def test_a_click_finds_its_cell(self, embedding: object) -> None:
        encoded = embedding()  # type: ignore[operator]
        found = [
            segment(sam(), encoded, Prompt.of([middle(plane().labels, i)]))
            for i in range(1, int(plane().labels.max()), 4)
        ]
        ious = [mask_iou(m, truth()).max() if len(m) else 0 for m in found]
        assert np.mean(ious) > 0.7

    def test_a_box_finds_its_cell(self, embedding: object) -> None:
        boxes = truth().boxes
        answers = sam().decode(embedding(), [Prompt.of(box=box) for box in boxes])  # type: ignore[operator]
        assert np.mean(mask_iou(answers, truth()).max(axis=1)) > 0.8

    def test_everything_is_found_once(self, embedding: object) -> None:
        found = everything(embedding())  # type: ignore[operator]
        iou = mask_iou(found, truth())
        assert (iou.max(axis=0) > 0.5).mean() > 0.85
        assert len(found) < 1.2 * len(truth())


def test_answers_agree_across_a_seam() -> None:
    """Cells on the borders of tiles are answered as in the whole plane."""
    on_seam = [i for i, (y0, x0, y1, x1) in enumerate(truth().boxes) if y0 < 200 < y1 or x0 < 200 < x1 or x0 < 400 < x1]
    assert len(on_seam) >= 5
    prompts = [Prompt.of(box=truth().boxes[i]) for i in on_seam]
    iou = mask_iou(sam().decode(whole(), prompts), sam().decode(tiled(), prompts))
    assert np.diag(iou).mean() > 0.9


def test_an_object_larger_than_a_tile_is_whole() -> None:
    y, x = np.mgrid[:700, :700]
    disc = (y - 350) ** 2 + (x - 350) ** 2 < 260**2
    image = np.where(disc, 180, 30).astype(np.uint8)
    embedding = sam().encode(image, tiling=Tiling(tile=(128, 128), halo=(32, 32)))
    truth_of_disc = Masks.from_labels(disc.astype(np.int32))
    for prompt in (Prompt.of(box=(88, 88, 612, 612)), Prompt.of([(350, 350)])):
        masks = segment(sam(), embedding, prompt)
        assert len(masks) == 1
        assert mask_iou(masks, truth_of_disc)[0, 0] > 0.8


class TestStack:
    @staticmethod
    @cache
    def sample() -> Sample:
        return samples.z_stack((12, 128, 128), count=10, diameter=36, seed=5)

    @classmethod
    @cache
    def planes(cls) -> list[Embedding]:
        return [sam().encode(plane) for plane in cls.sample().image]

    def test_a_cell_is_followed_up_and_down_until_it_ends(self) -> None:
        labels = self.sample().labels
        extents = [np.flatnonzero((labels == i).any(axis=(1, 2))) for i in range(1, labels.max() + 1)]
        index = int(np.argmax([len(e) for e in extents])) + 1
        planes = extents[index - 1]
        start = int(planes[len(planes) // 2])
        seed = segment(sam(), self.planes()[start], Prompt.of([middle(labels[start], index)]))
        found = dict(propagate(sam(), self.planes(), {start: seed}))
        assert set(planes) - set(found) - {start} <= {planes[0], planes[-1]}
        assert len(set(found) - set(planes)) <= 2
        ious = [
            mask_iou(found[z], Masks.from_labels((labels[z] == index).astype(np.int32))).max()
            for z in set(found) & set(planes)
        ]
        assert np.mean(ious) > 0.7

    def test_everything_plane_by_plane_is_stitched(self) -> None:
        joined = stitch([everything(embedding).to_labels() for embedding in self.planes()], min_iou=0.3)
        labels = self.sample().labels
        assert joined.shape == labels.shape
        large = [i for i in range(1, labels.max() + 1) if (labels == i).sum() > 1500]
        for index in large:
            inside = joined[labels == index]
            names, counts = np.unique(inside[inside > 0], return_counts=True)
            assert counts.max() / len(inside) > 0.4, names


def test_a_part_answers_well_inside_as_the_whole_does() -> None:
    image = plane().image
    for y in (160, 260):
        for prompt in (Prompt.of([(y, 300)]), Prompt.of(box=(y - 20, 280, y + 20, 320))):
            part = sam().encode_part(image, (0, 64, 420, 576))
            assert part is not None
            here, there = segment(sam(), part, prompt), segment(sam(), whole(), prompt)
            assert mask_iou(here, there)[0, 0] > 0.98
            np.testing.assert_allclose(here.scores, there.scores, atol=0.01)


def test_bf16_and_fp32_agree() -> None:
    exact = Sam.from_pretrained("cell", dtype="float32")
    prompts = [Prompt.of(box=box) for box in truth().boxes[:12]]
    fast = sam().decode(whole(), prompts)
    slow = exact.decode(exact.encode(plane().image), prompts)
    assert np.diag(mask_iou(fast, slow)).mean() > 0.95
    np.testing.assert_allclose(fast.scores, slow.scores, atol=0.05)


def test_mixed_encodes_as_the_fastest_and_answers_as_the_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    choose = load.choose_dtype
    monkeypatch.setattr(load, "choose_dtype", lambda name, on: choose("bfloat16" if name == "auto" else name, on))
    mixed, fast, exact = (Sam.from_pretrained("cell", device="cpu", dtype=d) for d in ("mixed", "bfloat16", "float32"))
    assert [each.dtype for each in (mixed, fast, exact)] == ["mixed", "bfloat16", "float32"]
    assert len({each.fingerprint for each in (mixed, fast, exact)}) == 3
    image, prompts = plane().image[:200, :200], [Prompt.of(box=(20, 30, 70, 90)), Prompt.of([(100, 110)])]
    embedding, quick = mixed.encode(image), fast.encode(image)
    for level, same in zip(embedding.features, quick.features, strict=True):
        assert level.dtype == np.float16
        np.testing.assert_array_equal(level, same)
    found = mixed.decode(embedding, prompts)
    expected = exact.decode(replace(embedding, model=exact.fingerprint), prompts)
    np.testing.assert_array_equal(found.dense(), expected.dense())
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_mixed_is_float32_where_nothing_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "FAST_BFLOAT16", ())
    assert Sam.from_pretrained("cell", device="cpu", dtype="mixed").dtype == "float32"


def test_a_doubtful_click_is_answered_as_if_it_were_asked_place_by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = sam().encode(np.tile(plane().image, (2, 2))[:700, :700])
    ground = np.argwhere(np.tile(plane().labels, (2, 2))[:700, :700] == 0)
    clicks = [Prompt.of([point]) for point in np.random.default_rng(0).permutation(ground)[:8]]
    together: list[int] = []
    decode_views = CellFamily.decode_views

    def counted(self: CellFamily, pictures: Any, *rest: Any) -> list[Answers]:
        together.append(len(pictures))
        return decode_views(self, pictures, *rest)

    monkeypatch.setattr(CellFamily, "decode_views", counted)
    at_once = [segment(sam(), embedding, click) for click in clicks]
    assert together.count(2) >= 4
    monkeypatch.setattr("sam_core.families.climb._is_doubtful", lambda *_: False)
    for found, click in zip(at_once, clicks, strict=True):
        expected = segment(sam(), embedding, click)
        assert found.boxes.tolist() == expected.boxes.tolist()
        assert found.scores == pytest.approx(expected.scores, abs=0.02)
