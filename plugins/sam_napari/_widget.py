"""The panel "Segment Anything": its parts put together, and connected to one window."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QFrame, QMainWindow, QScrollArea, QVBoxLayout, QWidget

from sam_napari._desk import Desk
from sam_napari._hand import Hand
from sam_napari._keys import Keys
from sam_napari._mailbox import Mailbox
from sam_napari._mouse import Mouse
from sam_napari._notify import notify
from sam_napari._panel_everything import EverythingPanel
from sam_napari._panel_folder import FolderPanel
from sam_napari._panel_follow import FollowPanel
from sam_napari._panel_layers import AxesPanel, LayersPanel
from sam_napari._panel_model import ModelPanel
from sam_napari._panel_object import ObjectPanel
from sam_napari._panel_save import SavePanel
from sam_napari._pursuit import Pursuit
from sam_napari._review import Review
from sam_napari._screen import Frame, Watch, canvas_of
from sam_napari._settings import Settings, on_change, read_settings
from sam_napari._tour import Tour
from sam_napari._ui import Section

if TYPE_CHECKING:
    import napari.viewer
    from qtpy.QtGui import QShowEvent

    from sam_napari._engine import EngineStats

SOON = 50  # milliseconds after which a view that was moved is looked at
IDLE = 30  # milliseconds between pieces of what can wait
BEAT = 500  # milliseconds between looks at how the model is doing
WIDTH = 330  # pixels


class Panel(Protocol):
    """A part of the widget."""

    def refresh(self) -> None:
        """Show where things stand."""


class SegmentAnything(QWidget):
    """Point at a cell, see it; click, have it.

    Parameters
    ----------
    viewer
        Whose images are segmented.
    settings
        What the user prefers; by default as napari's preferences say.
    """

    def __init__(self, viewer: napari.viewer.Viewer, settings: Settings | None = None) -> None:
        super().__init__()
        self._mailbox = Mailbox(self)
        self._alive = True
        self._stats: EngineStats | None = None
        settings = settings or read_settings()
        self.desk = Desk(viewer, settings, post=self._mailbox.post, warn=notify, later=self._later)
        self.review, self.pursuit, self.tour = Review(self.desk), Pursuit(self.desk), Tour(self.desk)
        self.object = ObjectPanel(self.desk)
        self.everything = EverythingPanel(self.review)
        self.follow = FollowPanel(self.pursuit)
        self.layers, self.axes = LayersPanel(self.desk), AxesPanel(self.desk)
        self.save, self.model, self.folder = SavePanel(self.desk), ModelPanel(self.desk), FolderPanel(self.tour)
        self.panels: tuple[Panel, ...] = (
            self.layers, self.object, self.everything, self.follow, self.axes, self.save, self.folder, self.model,
        )  # fmt: skip
        self._lay_out()
        self._ends: list[Callable[[], None]] = []
        self._window: QMainWindow | None = None
        self._refresh_soon = self._later(self.refresh, 0)
        self._idle = self._later(self._do_idle, IDLE)
        self._rest = ExitStack()
        self._rest.callback(self.desk.close)
        self._rest.callback(on_change(self.desk.use_settings))
        self.destroyed.connect(self._rest.close)  # with a window that was never shown, nobody calls `shut`
        self.desk.listen(self._refresh_soon)
        self.desk.listen(self._idle)
        self.desk.stage.changed = self.object.point
        self._beat = QTimer(self)
        self._beat.timeout.connect(lambda: self._mailbox.call(self._look_at_model))
        self._beat.start(BEAT)
        self.desk.begin()
        self.refresh()

    def refresh(self) -> None:
        """Show where everything stands."""
        for panel in self.panels if self._alive else ():
            panel.refresh()
        self.stack.setVisible(bool(self.pursuit.axis))

    def open_folder(self, folder: Path) -> None:
        """Go through a folder of images."""
        self.tour.open(folder)

    def shut(self) -> None:
        """Let go of viewer, layers, model and window; nothing works afterwards."""
        if not self._alive:
            return
        self._alive = False
        self._beat.stop()
        self._detach()
        self._mailbox.close()
        self._rest.close()
        self.deleteLater()  # or what Qt holds of it would hold all the rest

    # -- inside ------------------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.stack = Section("Through the stack", self.follow)
        sections = [
            self.layers,
            Section("Object", self.object),
            Section("Everything", self.everything),
            self.stack,
            Section("Axes, channel and contrast", self.axes, opened=False),
            Section("Folder of images", self.folder, opened=False),
            Section("Save and resume", self.save, opened=False),
            Section("Model", self.model, opened=False),
        ]
        inside = QWidget()
        inside.setMinimumWidth(1)  # what does not fit is squeezed, not cut off
        column = QVBoxLayout(inside)
        for section in sections:
            column.addWidget(section)
        column.addStretch()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inside)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.setMinimumWidth(WIDTH)

    def _later(self, act: Callable[[], None], milliseconds: int = SOON) -> Callable[[], None]:
        """Make of a function one that is called a little later, once however often it is asked for until then."""
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.timeout.connect(lambda: self._mailbox.call(act))

        def soon() -> None:
            if self._alive and not timer.isActive():
                timer.start()

        return soon

    def _do_idle(self) -> None:
        if self._alive:
            more = [self.review.settle(), self.pursuit.settle(), self.desk.idle()]
            if any(more):
                self._idle()

    def _look_at_model(self) -> None:
        """Show the numbers of the model when they have changed."""
        stats = self.desk.stats
        if stats != self._stats:
            self._stats = stats
            self.refresh()

    # -- the window --------------------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent | None) -> None:
        """Listen to the window that the panel has been docked to."""
        super().showEvent(event)
        window = self.window()
        if self._alive and isinstance(window, QMainWindow) and window is not self._window:
            self._detach()
            self._attach(window)

    def event(self, event: QEvent | None) -> bool:
        """Let go of everything when the panel is taken out of its dock: that is how napari closes it."""
        if event is not None and event.type() == QEvent.Type.ParentChange and self._window and not self.parent():
            self.shut()
        return super().event(event)

    def _attach(self, window: QMainWindow) -> None:
        canvas = canvas_of(self)
        if canvas is None:
            return
        self._window = window
        frame = Frame(canvas)
        self.hand = hand = Hand(self.desk, self.review, frame, self.isVisible)
        mouse = Mouse(self.desk.viewer, hand)
        keys = Keys(self, canvas, hand.means, hand.press, hand.release)
        watch = Watch(canvas, hand.leave, hand.listens, self.shut)
        self._ends = [mouse.close, keys.close, watch.close, frame.close]

    def _detach(self) -> None:
        for end in self._ends:
            end()
        self._ends, self._window = [], None
