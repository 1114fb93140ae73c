"""Everything at once, and the review of what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QGridLayout, QProgressBar, QWidget

from sam_napari._batch import Limits
from sam_napari._ui import Amount, button, column, row, text_line

if TYPE_CHECKING:
    from sam_napari._review import Review

LARGEST = 26  # of the slider for areas, a half power of two each: 8192 pixels and more


class EverythingPanel(QWidget):
    """Buttons for a run over the picture, sliders that filter, and keys for the review."""

    def __init__(self, review: Review) -> None:
        super().__init__()
        self._review = review
        self._start = row(
            [
                button("On screen", lambda: review.start("screen"), "Segment everything you can see"),
                button("This plane", lambda: review.start("plane"), "Segment everything on this plane"),
                button("Whole stack", lambda: review.start("stack"), "Segment all planes, one object over its planes"),
            ]
        )
        self.stop = button("Stop", review.stop, "Stop looking; what was found stays for the review")
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        self._busy = row([self.bar, self.stop])
        self._filters = self._made_filters()
        self.doubt = text_line()
        self._decide = self._made_decisions()
        column(self, [self._start, self._busy, self._filters, self.doubt, self._decide])

    def _made_filters(self) -> QWidget:
        self.score = Amount("Score from", 100, lambda i: i / 100, "{:.2f}".format)
        self.stability = Amount("Stable from", 100, lambda i: i / 100, "{:.2f}".format)
        self.smallest = Amount("Area from", LARGEST, lambda i: 2.0 ** (i / 2) if i else 0.0, "{:.0f} px".format)
        self.largest = Amount("Area to", LARGEST, _upper, _pixels, LARGEST)
        for amount in (self.score, self.stability, self.smallest, self.largest):
            amount.on_change(self._limit)
        return column(None, [self.score, self.stability, self.smallest, self.largest], gap=2)

    def _made_decisions(self) -> QWidget:
        review, grid = self._review, QGridLayout()
        buttons = (
            button("Keep", review.keep, key="keep"),
            button("Drop", review.drop, key="drop"),
            button("Next", review.skip, key="skip"),
            button("Back", review.back, key="back"),
            button("Paint all", review.commit, key="commit"),
            button("Discard", review.discard, "Throw away what was found; nothing is painted"),
        )
        for i, each in enumerate(buttons):
            grid.addWidget(each, i // 2, i % 2)
        grid.setContentsMargins(0, 0, 0, 0)
        into = QWidget()
        into.setLayout(grid)
        return into

    def refresh(self) -> None:
        """Show where the run and the review stand."""
        review = self._review
        self._start.setVisible(not review.is_open)
        self._start.setEnabled(review.desk.is_ready)
        self._busy.setVisible(review.is_running)
        self.bar.setRange(0, review.parts)
        self.bar.setValue(review.done)
        self.bar.setFormat(f"{len(review.batch.visible)} objects")
        for part in (self._filters, self.doubt, self._decide):
            part.setVisible(review.is_open)
        if review.is_open:
            self.doubt.setText(review.sentence)
            self._show_limits(review.batch.limits)

    def _show_limits(self, limits: Limits) -> None:
        """Keep the sliders where the batch is: the model brings limits of its own."""
        self.score.put(round(limits.min_score * 100))
        self.stability.put(round(limits.min_stability * 100))
        if limits.max_area == float("inf"):
            self.largest.put(LARGEST)

    def _limit(self) -> None:
        areas = self.smallest.value, self.largest.value
        self._review.limit(Limits(self.score.value, self.stability.value, *areas))


def _upper(at: int) -> float:
    return float("inf") if at == LARGEST else 2.0 ** (at / 2)


def _pixels(area: float) -> str:
    return "any" if area == float("inf") else f"{area:.0f} px"
