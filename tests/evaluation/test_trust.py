"""Edges, calibration, clicks that must not hurt, quarters of sizes and comparisons: against cases made by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sam_core import Masks, Prompt
from sam_core.evaluation import EvaluateOptions, ImageResult, compare, evaluate_items, summarise
from sam_core.evaluation.asking import kept
from sam_core.evaluation.baseline import otsu_watershed
from sam_core.evaluation.calibration import calibration_error, chosen_best, rank_correlation
from sam_core.evaluation.compare import interval
from sam_core.evaluation.metrics import boundary_iou, iou_of_crops
from sam_core.evaluation.report import by_acquisition, by_size, sections
from tests.evaluation.test_evaluation import draw, item
from tests.fake import FakeSegmenter


def result(clicks: list[list[float]], *, name: str = "a", set: str = "made up", **more: object) -> ImageResult:
    """Make up what came of one image, with an IoU after each click of each object."""
    iou = np.array(clicks, float)
    many = np.full(len(iou), 0.5)
    made = ImageResult(
        name, set, "", "", sizes=np.arange(1, 1 + len(iou)), clicks=iou, box=many, click_edges=iou, box_edges=many,
        click_scores=iou, box_scores=many, candidates=iou[:, :1].repeat(3, 1), candidate_scores=iou[:, :1].repeat(3, 1),
        kept=np.ones((len(iou), 2, 2), int), matched=many, seconds={"all": 1.0},
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


# -- edges ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "shift", "width", "expected"),
    [
        (10, 0, 2, 1.0),
        (10, 10, 2, 0.0),
        (10, 1, 1, 18 / 54),  # rims of 36 pixels: they share two rows of 9
        (10, 1, 5, 90 / 110),  # a width that fills the object: the IoU
    ],
)
def test_boundary_iou_by_hand(side: int, shift: int, width: int, expected: float) -> None:
    square = np.ones((side, side), bool)
    assert boundary_iou(square, (0, 0), square, (0, shift), width=width) == pytest.approx(expected)


def test_an_edge_off_by_a_pixel_is_told_of_large_objects_too() -> None:
    square = np.ones((200, 200), bool)
    assert iou_of_crops(square, (0, 0), square, (1, 1)) > 0.98
    assert boundary_iou(square, (0, 0), square, (1, 1)) < 0.4


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_boundary_iou_is_that_of_cheng_et_al(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (ndimage.gaussian_filter(rng.random((2, 40, 40)), (0, 3, 3)) > 0.5)[:]
    inner = [ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width) for mask in (first, second)]
    rims = first & ~inner[0], second & ~inner[1]
    expected = (rims[0] & rims[1]).sum() / max(1, (rims[0] | rims[1]).sum())
    assert boundary_iou(first, (0, 0), second, (0, 0), width=width) == pytest.approx(expected)


# -- predicted quality ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicted", "true", "error", "rank"),
    [
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9], 0.0, 1.0),
        ([0.9, 0.5, 0.1], [0.1, 0.5, 0.9], 1.6 / 3, -1.0),
        ([0.95, 0.91], [1.0, 0.86], 0.0, 1.0),  # wrong one by one, right on average
        ([1.0, 1.0], [0.5, 0.7], 0.4, None),
        ([], [], None, None),
    ],
)
def test_calibration_by_hand(
    predicted: list[float], true: list[float], error: float | None, rank: float | None
) -> None:
    ours = calibration_error(np.array(predicted), np.array(true)), rank_correlation(np.array(predicted), np.array(true))
    assert ours == pytest.approx([np.nan if v is None else v for v in (error, rank)], nan_ok=True)


def test_the_best_of_three_is_counted_where_it_is_chosen() -> None:
    true = np.array([[0.1, 0.7, 0.3], [0.1, 0.7, 0.7], [0.9, 0.1, 0.1]])
    scores = np.array([[0.2, 0.9, 0.3], [0.2, 0.3, 0.9], [0.2, 0.3, 0.9]])
    assert chosen_best(scores, true).tolist() == [1, 1, 0]


# -- clicks --------------------------------------------------------------------------------------------------------


def test_a_click_that_makes_it_worse_is_named() -> None:
    (row,) = summarise([result([[0.5, 0.6, 0.5, 0.7], [0.5, 0.7, 0.7, 0.7]])])
    assert row["drops"] == [[2, -0.05]]
    assert row["2 clicks"] == pytest.approx(0.65)
    (better,) = summarise([result([[0.5, 0.6, 0.6, 0.7]])])
    assert "drops" not in better


def test_clicks_that_are_followed_are_counted() -> None:
    answer = Masks.from_labels(draw((4, 4, 10, 10)))
    prompt = Prompt.of([(5, 5), (1, 1), (9, 9), (0, 29)], [True, True, False, False])
    assert kept(prompt, answer).tolist() == [[2, 1], [2, 1]]
    assert kept(prompt, Masks.empty((20, 30))).tolist() == [[2, 0], [2, 2]]


def test_a_model_that_joins_what_touches_follows_its_corrections() -> None:
    (measured,) = evaluate_items(FakeSegmenter(), [item(draw((2, 2, 8, 8), (2, 8, 8, 20)))], EvaluateOptions(clicks=2))
    # Two rounds: a positive click in both, a negative one in the second.
    assert measured.kept.tolist() == [[[2, 2], [1, 1]]] * 2


# -- rows ----------------------------------------------------------------------------------------------------------


def test_objects_are_told_by_quarters_of_their_size() -> None:
    ious = [[v] for v in (0.1, 0.2, 0.3, 0.4)]
    rows = by_size([result(ious, name="a"), result(ious, name="b")])
    assert [row["objects"] for row in rows] == [2, 2, 2, 2]
    assert [row["1 click"] for row in rows] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert "mSA" not in rows[0]


def test_rows_by_acquisition_and_their_sections_can_be_written() -> None:
    results = [result([[0.5]], group="a/1"), result([[0.7]], group="a/2", accuracy={"automatic": (0.25, 0.5)})]
    rows = by_acquisition(results)
    assert [(row["acquisition"], row["1 click"], row["mSA"]) for row in rows] == [
        ("a/1", 0.5, None),
        ("a/2", 0.7, 0.25),
    ]
    assert json.loads(json.dumps(rows)) == rows
    tables = dict(sections(rows))
    assert [row["automatic"] for row in tables["mSA / AP50 of the answers as a segmentation"]] == ["", "0.250 / 0.500"]
    assert all(len({tuple(row) for row in table}) == 1 for table in tables.values())


# -- two models ----------------------------------------------------------------------------------------------------


def test_a_model_is_no_better_than_itself() -> None:
    results = [result([[0.3], [0.5]], name=n) for n in "abcd"]
    for row in compare(results, results):
        assert (row["difference"], row["low"], row["high"], row["sure"]) == (0, 0, 0, False)


def test_a_difference_is_sure_where_all_images_agree_and_unsure_where_they_do_not() -> None:
    old = [result([[0.5]], name=str(i)) for i in range(12)]
    shifts = {"agree": [0.1] * 12, "disagree": [0.4, -0.4] * 6}
    told = {}
    for name, shift in shifts.items():
        new = [result([[0.5 + by]], name=str(i)) for i, by in enumerate(shift)]
        told[name] = next(row for row in compare(old, new) if row["measure"] == "1 click")
    assert told["agree"]["difference"] == pytest.approx(0.1)
    assert [told[name]["sure"] for name in shifts] == [True, False]
    assert told["disagree"]["low"] < 0 < told["disagree"]["high"]


def test_sets_are_compared_one_by_one_and_too_few_images_have_no_interval() -> None:
    old = [result([[0.5]], set=name) for name in ("one", "other")]
    rows = [row for row in compare(old, old) if row["measure"] == "1 click"]
    assert [(row["set"], row["low"], row["sure"]) for row in rows] == [
        (n, None, False) for n in ("one", "other", "all")
    ]
    with pytest.raises(ValueError, match="different images"):
        compare(old, old[:1])


def test_the_interval_is_as_wide_as_statistics_say() -> None:
    rng = np.random.default_rng(1)
    sums = np.stack([rng.normal(0.5, 0.1, 400), rng.normal(0.6, 0.1, 400)], axis=1)
    low, high = interval(np.stack([sums, np.ones_like(sums)], axis=-1))
    error = np.diff(sums).std() / np.sqrt(400)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)
    assert low < 0.1 < high


# -- the baseline --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
def test_the_baseline_finds_discs_on_either_ground(dark: bool) -> None:
    rows, columns = np.ogrid[:90, :120]
    discs = sum(((rows - y) ** 2 + (columns - x) ** 2 < 12**2) for y, x in ((20, 20), (20, 41), (60, 80)))
    image = np.where(discs, 30, 200) if dark else np.where(discs, 200, 30)
    assert otsu_watershed(image.astype(np.uint8)).max() == 3
    assert otsu_watershed(np.full((9, 9), 7, np.uint8)).max() == 0
