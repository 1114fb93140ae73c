"""Small parts that the panels are put together from; colours are left to napari's theme."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from sam_napari._keys import key_of
from sam_napari._notify import told

GAP = 6


class Section(QWidget):
    """A heading that opens and closes what is below it."""

    def __init__(self, title: str, content: QWidget, *, opened: bool = True) -> None:
        super().__init__()
        self._title, self.content = title, content
        self.heading = QPushButton()
        self.heading.setFlat(True)
        self.heading.setCheckable(True)
        self.heading.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.heading.setStyleSheet("text-align: left; font-weight: bold; background: transparent; padding: 3px 0px")
        self.heading.toggled.connect(self._show)
        column(self, [self.heading, content], gap=2)
        self.heading.setChecked(opened)
        self._show(opened)

    def _show(self, opened: bool) -> None:
        self.heading.setText(f"{'▾' if opened else '▸'}  {self._title}")
        self.content.setVisible(opened)


class Amount(QWidget):
    """A slider with its name to the left and its value to the right.

    Parameters
    ----------
    name
        What it sets.
    value_of
        The value at each of the `steps` + 1 positions, counted from 0.
    write
        A value as text.
    """

    def __init__(
        self, name: str, steps: int, value_of: Callable[[int], float], write: Callable[[float], str], at: int = 0
    ) -> None:
        super().__init__()
        self._value_of, self._write = value_of, write
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, steps)
        self.slider.setAccessibleName(name)
        self.slider.setValue(at)
        self._number = QLabel(write(value_of(at)))
        self._number.setMinimumWidth(52)
        self._number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        title = QLabel(name)
        title.setMinimumWidth(88)
        row([title, self.slider, self._number], self)
        self.slider.valueChanged.connect(self._changed)

    @property
    def value(self) -> float:
        """What it is set to."""
        return self._value_of(self.slider.value())

    def put(self, at: int) -> None:
        """Move it without telling anybody."""
        with quietly(self.slider):
            self.slider.setValue(at)
        self._changed(self.slider.value())

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back whenever it is moved."""
        attempt = told(callback)
        self.slider.valueChanged.connect(lambda _: attempt())

    def _changed(self, at: int) -> None:
        self._number.setText(self._write(self._value_of(at)))


def button(
    text: str, act: Callable[[], object], tip: str = "", *, key: str | None = None, checkable: bool = False
) -> QPushButton:
    """Make a button that leaves the focus on the picture when it is clicked, with its key written on it."""
    made = QPushButton(f"{text}  [{key_of(key).text}]" if key else text)
    made.setToolTip(tip or (key_of(key).what if key else ""))
    made.setAccessibleName(text)
    made.setCheckable(checkable)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    attempt = told(act)
    made.clicked.connect(lambda *_: attempt())
    return made


def check(text: str, act: Callable[[bool], object], tip: str = "", *, on: bool = False) -> QCheckBox:
    """Make a box to tick."""
    made = QCheckBox(text)
    made.setChecked(on)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    made.toggled.connect(told(act))
    return made


def text_line(text: str = "") -> QLabel:
    """Make a line of text that wraps, and that can be copied."""
    made = QLabel(text)
    made.setWordWrap(True)
    made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return made


def row(parts: Iterable[QWidget], into: QWidget | None = None) -> QWidget:
    """Lay widgets out beside one another."""
    return _laid(QHBoxLayout(), parts, into, GAP)


def column(into: QWidget | None, parts: Iterable[QWidget], gap: int = GAP) -> QWidget:
    """Lay widgets out below one another."""
    return _laid(QVBoxLayout(), parts, into, gap)


def _laid(layout: QLayout, parts: Iterable[QWidget], into: QWidget | None, gap: int) -> QWidget:
    into = into if into is not None else QWidget()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(gap)
    for part in parts:
        layout.addWidget(part)
    into.setLayout(layout)
    return into


def picker(name: str, choose: Callable[[int], object], tip: str = "") -> QComboBox:
    """Make a list to choose from; `choose` is called with a number, only when the user chooses."""
    made = QComboBox()
    made.setAccessibleName(name)
    made.setToolTip(tip)
    made.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    made.setMinimumContentsLength(8)
    made.activated.connect(told(choose))
    return made


def fill(box: QComboBox, names: Iterable[str], chosen: int) -> None:
    """Put names into a box without telling anybody; -1 chooses none."""
    names = list(names)
    with quietly(box):
        if names != [box.itemText(i) for i in range(box.count())]:
            box.clear()
            box.addItems(names)
        box.setCurrentIndex(chosen)


@contextmanager
def quietly(widget: QWidget) -> Iterator[None]:
    """Change a widget without its signals."""
    blocker = QSignalBlocker(widget)
    try:
        yield
    finally:
        blocker.unblock()
