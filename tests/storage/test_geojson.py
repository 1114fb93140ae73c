"""Outlines: what is drawn from them is what they were made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from skimage.measure import points_in_poly

from sam_core import samples
from sam_core.storage import geojson, save_geojson
from sam_core.storage.outline import polygons

planes = hnp.arrays(
    np.int32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8),
    elements={"min_value": 0, "max_value": 3},
)


def _inside(ring: list[list[int]], shape: tuple[int, int]) -> np.ndarray:
    """Say which pixels have their centre in a ring."""
    y, x = np.indices(shape)
    centres = np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1)
    return np.asarray(points_in_poly(centres, np.array(ring, float))).reshape(shape)


def _drawn(collection: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    for feature in collection["features"]:
        geometry, about = feature["geometry"], feature["properties"]
        plane = labels if labels.ndim == 2 else labels[about["plane"]]
        parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        for outer, *holes in parts:
            inside = _inside(outer, plane.shape)
            for hole in holes:
                gap = _inside(hole, plane.shape)
                assert not (gap & ~inside).any()
                inside &= ~gap
            assert not plane[inside].any()
            plane[inside] = about["label"]
    return labels


def _saved(path: Path, labels: np.ndarray, **options: Any) -> dict[str, Any]:
    save_geojson(path, labels, **options)
    return json.loads(path.read_text())


def _area(ring: list[tuple[int, int]]) -> float:
    x, y = np.array(ring, float).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


@settings(max_examples=200, deadline=None)
@given(labels=planes)
def test_what_is_drawn_is_what_was_there(tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray) -> None:
    saved = _saved(tmp_path_factory.mktemp("outlines") / "a.geojson", labels)
    assert np.array_equal(_drawn(saved, labels.shape), labels)


@settings(max_examples=200, deadline=None)
@given(labels=planes)
def test_rings_are_simple_and_turn_the_right_way(labels: np.ndarray) -> None:
    mask = labels > 0
    total = 0.0
    for outer, *holes in polygons(mask):
        assert _area(outer) > 0
        assert all(_area(hole) < 0 for hole in holes)
        total += sum(map(_area, [outer, *holes]))
        for ring in (outer, *holes):
            assert len(set(ring)) == len(ring) >= 4
            steps = np.diff(np.array([*ring, ring[0]]), axis=0)
            assert ((steps == 0).sum(axis=1) == 1).all()
            assert (steps[:-1] * steps[1:] == 0).all()
    assert total == mask.sum()


SHAPES = {
    "hole": (["###", "#.#", "###"], [2]),
    "corner": (["#.", ".#"], [1, 1]),
    "pinched hole": (["####", "#.##", "##.#", "####"], [3]),
    "hole at the corner of outside": (["###", "#.#", "##."], [2]),
    "island in a hole": (["#####", "#...#", "#.#.#", "#...#", "#####"], [2, 1]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_holes_and_parts(name: str) -> None:
    rows, rings = SHAPES[name]
    mask = np.array([[letter == "#" for letter in row] for row in rows])
    assert sorted(map(len, polygons(mask)), reverse=True) == sorted(rings, reverse=True)


def test_a_real_plane_and_a_stack(tmp_path: Path) -> None:
    for labels in (samples.cells((80, 90)).labels, samples.z_stack((4, 40, 50)).labels):
        assert np.array_equal(_drawn(_saved(tmp_path / "a.geojson", labels), labels.shape), labels)


def test_qupath_finds_what_it_looks_for(tmp_path: Path) -> None:
    labels = np.array([[0, 7, 0], [5, 0, 5]])
    saved = _saved(tmp_path / "a.geojson", labels, classification="cell")
    assert saved["type"] == "FeatureCollection"
    five, seven = saved["features"]
    assert five["geometry"]["type"] == "MultiPolygon"
    assert seven["geometry"]["type"] == "Polygon"
    assert seven["properties"] == {
        "objectType": "annotation",
        "name": "7",
        "label": 7,
        "classification": {"name": "cell"},
    }
    for ring in seven["geometry"]["coordinates"]:
        assert ring[0] == ring[-1]


@pytest.mark.parametrize(("axes", "along"), [(None, "z"), ("ZYX", "z"), ("TYX", "t")])
def test_planes_are_told(tmp_path: Path, axes: str | None, along: str) -> None:
    labels = np.zeros((3, 4, 5), int)
    labels[2, 1, 1] = 9
    (feature,) = _saved(tmp_path / "a.geojson", labels, axes=axes)["features"]
    assert feature["properties"]["plane"] == 2
    assert feature["geometry"]["plane"] == {"c": -1, "z": 0, "t": 0} | {along: 2}


def test_no_objects_are_no_features(tmp_path: Path) -> None:
    assert _saved(tmp_path / "a.geojson", np.zeros((4, 5), int))["features"] == []


def test_an_interruption_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.geojson").write_text("old")

    def interrupt(_: np.ndarray) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(geojson, "polygons", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_geojson(tmp_path / "a.geojson", np.ones((4, 5), int))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.geojson", "old")]
