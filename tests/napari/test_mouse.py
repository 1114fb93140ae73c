"""The mouse and the keys over a real window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLineEdit, QWidget

from sam_napari._keys import KEYS, Keys, key_of
from sam_napari._mouse import Mouse
from tests.napari.hand import ALT, CONTROL, NONE, SHIFT, Window


class Ear:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.on = self.boxes = True

    def listens(self) -> bool:
        return self.on

    def draws_boxes(self) -> bool:
        return self.boxes

    def hover(self, position: tuple[float, ...]) -> None:
        self.heard.append(("hover", *np.round(position).astype(int)))

    def click(self, position: tuple[float, ...], sign: int) -> None:
        self.heard.append(("click", sign, *np.round(position).astype(int)))

    def stretch(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.heard.append(("stretch",))

    def box(self, start: tuple[float, ...], end: tuple[float, ...] | None) -> None:
        self.heard.append(("box", *np.round(start).astype(int), *np.round(end or ()).astype(int)))

    def cycle(self, step: int) -> None:
        self.heard.append(("cycle", step))


@pytest.fixture
def window(make_napari_viewer: Any) -> Window:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.zeros((100, 100)))
    return Window(viewer)


@pytest.fixture
def ear(window: Window) -> Any:
    ear = Ear()
    mouse = Mouse(window.viewer, ear)
    yield ear
    mouse.close()
    assert mouse._press not in window.viewer.mouse_drag_callbacks


@pytest.mark.parametrize(("modifier", "sign"), [(NONE, 0), (SHIFT, -1), (CONTROL, 1)])
def test_clicks(window: Window, ear: Ear, modifier: Any, sign: int) -> None:
    window.click(20, 30, modifier)
    assert [each for each in ear.heard if each[0] != "hover"] == [("click", sign, 20, 30)]


def test_right_button_and_alt_are_napari_s(window: Window, ear: Ear) -> None:
    window.click(20, 30, button=Qt.MouseButton.RightButton)
    window.drag((20, 20), (60, 60), ALT)
    assert all(each[0] == "hover" for each in ear.heard)


def test_a_drag_draws_a_box_and_does_not_move_the_picture(window: Window, ear: Ear) -> None:
    before = window.viewer.scene.camera.center
    window.drag((20, 30), (60, 80))
    names = [each[0] for each in ear.heard if each[0] != "hover"]
    assert "stretch" in names
    assert ear.heard[-1] == ("box", 20, 30, 60, 80)
    assert window.viewer.scene.camera.center == before


def test_a_drag_moves_the_picture_where_it_draws_no_box(window: Window, ear: Ear) -> None:
    before, ear.boxes = window.viewer.scene.camera.center, False
    window.drag((20, 30), (60, 80))
    assert window.viewer.scene.camera.center != before
    assert all(each[0] == "hover" for each in ear.heard)


def test_nothing_is_heard_that_is_not_meant_for_us(window: Window, ear: Ear) -> None:
    ear.on = False
    window.click(20, 30)
    window.drag((20, 30), (60, 80))
    window.wheel(1, SHIFT)
    assert ear.heard == []


def test_shift_and_wheel_cycle_and_the_wheel_alone_zooms(window: Window, ear: Ear) -> None:
    before = window.viewer.scene.camera.zoom
    window.wheel(1, SHIFT)
    window.wheel(-1, SHIFT)
    assert [each for each in ear.heard if each[0] == "cycle"] == [("cycle", 1), ("cycle", -1)]
    assert window.viewer.scene.camera.zoom == before
    window.wheel(1, NONE)
    assert window.viewer.scene.camera.zoom != before


class Typist:
    """A panel with a text field, and a record of what keys did."""

    def __init__(self, window: Window) -> None:
        self.panel = QWidget()
        self.field = QLineEdit(self.panel)
        window.viewer.window.add_dock_widget(self.panel, name="panel")
        self.review, self.done = False, []
        self.keys = Keys(self.panel, window.canvas, self.means, self.done.append, lambda a: self.done.append(f"-{a}"))

    def means(self, action: str) -> bool:
        return self.review == (key_of(action).when == "triage")


@pytest.fixture
def typist(window: Window) -> Any:
    typist = Typist(window)
    QApplication.processEvents()
    window.canvas.setFocus()
    yield typist
    typist.keys.close()


@pytest.mark.parametrize(
    ("key", "review", "done"),
    [
        (Qt.Key.Key_Escape, False, ["release"]),
        (Qt.Key.Key_Delete, False, ["erase"]),
        (Qt.Key.Key_Backspace, False, ["erase"]),
        (Qt.Key.Key_Period, False, ["larger"]),
        (Qt.Key.Key_Comma, False, ["smaller"]),
        (Qt.Key.Key_Space, False, ["move", "-move"]),
        (Qt.Key.Key_Space, True, ["keep"]),
        (Qt.Key.Key_X, True, ["drop"]),
        (Qt.Key.Key_X, False, []),
        (Qt.Key.Key_Return, True, ["commit"]),
        (Qt.Key.Key_M, False, []),
    ],
)
def test_keys_do_what_the_table_says(window: Window, typist: Typist, key: Any, review: bool, done: list[str]) -> None:
    typist.review = review
    QTest.keyClick(window.canvas, key)
    assert typist.done == done


def test_letters_that_are_written_are_no_keys(window: Window, typist: Typist) -> None:
    typist.review = True
    typist.field.setFocus()
    QTest.keyClicks(typist.field, "x n")
    assert (typist.field.text(), typist.done) == ("x n", [])


def test_keys_are_distinct_at_any_moment() -> None:
    for when in (("always", "hold"), ("triage",)):
        keys = [each for key in KEYS if key.when in when for each in key.keys]
        assert len(keys) == len(set(keys))


def test_the_page_of_keys_is_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "napari.md").read_text(encoding="utf-8")
    when = {"always": "", "hold": " (held down)", "triage": " (review)"}
    rows = [
        f"| {', '.join(each for each in key.keys if not each.startswith('Num+'))}{when[key.when]} | {key.what} |"
        for key in KEYS
    ]
    assert page.split("<!-- keys -->\n")[1].split("<!-- /keys -->")[0].splitlines() == rows
