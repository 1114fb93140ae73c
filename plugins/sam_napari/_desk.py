"""One image, what is made of it, and the model: all that the panel shows, without a widget.

A desk belongs to one viewer. It watches what is on screen and has that encoded first, turns places of the mouse into
places on planes, and hands both to the controller.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from napari.layers import Image, Labels

from sam_core import SamError
from sam_napari._archive import Archive, make_room
from sam_napari._controller import Controller, State
from sam_napari._engine import Engine, EngineStats
from sam_napari._engines import engine_for, release
from sam_napari._layers import LabelsCanvas, bare, is_own, new_target
from sam_napari._notify import sentence
from sam_napari._picture import Picture, Wires
from sam_napari._settings import Settings
from sam_napari._source import Plane, Source
from sam_napari._stage import Stage
from sam_napari._view import patches_in_view, step_for

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

T = TypeVar("T")

World = tuple[float, ...]
HINT = (
    "Click takes the object under the pointer. Shift-click takes a spot away, Ctrl-click adds one, a drag draws a box."
)
ELSEWHERE = "Select the image or its objects in the list of layers, with the tool that moves the picture, to go on."


class Run(Protocol):
    """Something that takes long."""

    def halt(self) -> None:
        """End now, with what there is."""

    def abandon(self) -> None:
        """End now, with nothing: the target is gone."""


class Desk:
    """What is worked on in one viewer.

    Parameters
    ----------
    viewer
        The viewer.
    settings
        What the user prefers.
    post
        Calls a function on the thread of the windows, from any thread.
    warn
        Shows a sentence to the user, wherever they look.
    later
        Makes of a function one that is called some time after it was last asked for.
    """

    def __init__(
        self,
        viewer: Viewer,
        settings: Settings,
        *,
        post: Callable[[Callable[[], None]], None],
        warn: Callable[[str], None],
        later: Callable[[Callable[[], None]], Callable[[], None]],
    ) -> None:
        self.viewer, self.settings, self.post, self._warn = bare(viewer), settings, post, warn
        self.picture: Picture | None = None
        self.canvas: LabelsCanvas | None = None
        self.controller: Controller | None = None
        self.model = settings.weights
        self.engine = self._engine()
        self.stage, self.archive = Stage(self.viewer), Archive(self)
        self.plane: Plane | None = None
        """Which is on screen."""
        self.step = 1
        """Pixels of the image along each side of a pixel that the model sees."""
        self.min_iou = 0.5
        """How much an object overlaps itself on the next plane, at least."""
        self.busy = False
        """While everything is reviewed, or objects are followed: one of both at a time."""
        self.hint = ""
        """What can be done at the moment, where that is not what it mostly is."""
        self._told, self._advance = "", True
        self._reading: tuple[tuple[str, ...], int] = ((), 0)  # roles and channel that target and stage were made for
        self._made: Layer | None = None
        self._listeners: list[Callable[[], None]] = []
        self._runs: list[Run] = []
        self._wires, self._names = Wires(), Wires()
        self.look_soon, self._take_up_soon = later(self.look), later(self._take_up)
        self._watch()

    def begin(self) -> None:
        """Take the image that is selected, or else the uppermost one; make room on the disk."""
        make_room(self.settings, self.post)
        self._take_up()

    def close(self) -> None:
        """Let go of everything; nothing is called back afterwards."""
        self._listeners.clear()
        self._wires.close()
        self._clear()
        self._runs.clear()
        self.engine.forget(self)
        release(self.engine)

    # -- what is asked -----------------------------------------------------------------------------------------------

    def listen(self, callback: Callable[[], None]) -> None:
        """Call back whenever something that is shown may have changed."""
        self._listeners.append(callback)

    def attend(self, run: Run) -> None:
        """Have a long run end when its model or its target goes."""
        self._runs.append(run)

    def changed(self) -> None:
        """Have everything shown anew."""
        for callback in tuple(self._listeners):
            callback()

    @property
    def state(self) -> State:
        """The active object."""
        return State() if self.controller is None else self.controller.state

    @property
    def stats(self) -> EngineStats:
        """How the model is doing."""
        return self.engine.stats

    @property
    def source(self) -> Source | None:
        """The image."""
        return None if self.picture is None else self.picture.source

    @property
    def is_ready(self) -> bool:
        """Whether there is an image and something to paint on."""
        return self.controller is not None

    @property
    def is_pointed_at(self) -> bool:
        """Whether the image or its target is the active layer, shown as a plane, with no tool of napari's in use."""
        if self.controller is None or self.picture is None or self.canvas is None or self.viewer.dims.ndisplay != 2:
            return False
        active = self.viewer.layers.selection.active
        return active in (self.canvas.layer, self.picture.layer) and str(active.mode) == "pan_zoom"

    @property
    def message(self) -> str:
        """One line for the user: what was told last, or else what can be done."""
        if self._told:
            return self._told
        if self.picture is None:
            return "Open an image: with File > Open, from File > Open Sample > Segment Anything, or drop one here."
        if self.canvas is None:
            return "Choose above where the objects are painted."
        if not self.is_pointed_at:
            return ELSEWHERE
        if self.hint:
            return self.hint
        return HINT if self.stats.loaded else "Loading the model …"

    @property
    def images(self) -> list[Layer]:
        """Layers that can be segmented."""
        return [layer for layer in self.viewer.layers if isinstance(layer, Image)]

    @property
    def targets(self) -> list[Layer]:
        """Layers that can be painted."""
        return [layer for layer in self.viewer.layers if isinstance(layer, Labels) and not is_own(layer)]

    # -- what is chosen ----------------------------------------------------------------------------------------------

    def use_image(self, layer: Layer | None) -> None:
        """Work on another image, with a target of its own."""
        self._clear()
        if layer is not None:
            self.picture = self._trying(lambda: Picture(self.viewer, layer, self._renewed))
        if self.picture is not None:
            self._set_up(self.picture)
            self.look()  # so that the image is encoded while napari makes layers, which takes it long
            self.archive.look_up(self.picture)
            self.use_target(self._fitting_target())
        self.changed()
        self.look_soon()

    def read(self, choose: Callable[[Picture], None]) -> None:
        """Have the image read in another way."""
        picture = self.picture
        if picture is not None:
            self._told = ""
            self._trying(lambda: choose(picture))
            self.changed()

    def use_target(self, layer: Layer | None) -> None:
        """Paint on a layer; None makes a new one."""
        picture = self.picture
        if picture is None:
            return
        target = layer
        if target is None:
            target = self._made = self._trying(lambda: new_target(self.viewer, picture.layer, picture.roles))
            if target is None:
                return
        canvas = self._trying(lambda: LabelsCanvas(self.viewer, target, picture.layer, picture.roles, picture.channel))
        if canvas is not None:
            self._paint_on(canvas)
            self.viewer.layers.selection.active = canvas.layer
        self.changed()

    def use_model(self, source: str) -> None:
        """Ask another model from now on."""
        if source == self.model:
            return
        for run in self._runs:
            run.halt()
        before, self.model, self._told = self.engine, source, ""
        self.engine = self._engine()
        if self.controller is not None:
            self.controller.engine = self.engine
        before.forget(self)
        release(before)
        self.changed()
        self.look_soon()

    def use_settings(self, settings: Settings) -> None:
        """Follow other preferences; those of memory and disk hold for models that are chosen from now on."""
        self.settings = settings
        if not settings.hover:
            self.leave()
        self.look_soon()

    def set_advance(self, on: bool) -> None:
        """Let each new object have a new number, or all the selected one."""
        self._advance = on
        if self.controller is not None:
            self.controller.target.advance = on

    def tell(self, text: str) -> None:
        """Say something to the user."""
        self._told = text
        self._warn(text)
        self.changed()

    def tell_later(self, text: str) -> None:
        """Say something from another thread, or unless all layers go because the window is closed."""
        self.post(lambda: self.tell(text))

    # -- what is done ------------------------------------------------------------------------------------------------

    def place(self, position: World, *, clip: bool = False) -> tuple[Plane, tuple[float, float]] | None:
        """Return the plane at a place of the world, and y, x on it; None beside the image, or with `clip` its edge."""
        return None if self.picture is None else self.picture.place(position, clip=clip)

    def hover(self, position: World) -> None:
        """Show what a click would take."""
        place = self.place(position) if self.settings.hover else None
        if self.controller is not None and place is not None:
            self.controller.hover(*place, self.step)
        else:
            self.leave()

    def leave(self) -> None:
        """Show nothing: the pointer is elsewhere."""
        if self.controller is not None:
            self.controller.leave()

    def act(self, action: str, *values: Any) -> None:
        """Have the controller do something: click, exclude, include, box, cycle, erase, release."""
        self._told = ""
        if self.controller is not None:
            getattr(self.controller, action)(*values)
        self.changed()

    def look(self) -> None:
        """Have what is on screen encoded, first at the pointer; the same of the next planes; then what is around it."""
        view = None if self.picture is None else self._trying(self.picture.view)
        plane = None if view is None else view[0]
        if plane != self.plane:
            self.plane = plane
            self.leave()
            self.changed()
        if self.picture is None or view is None:
            return
        source, (plane, region, resolution) = self.picture.source, view
        self.step = step_for(resolution, source.shape(plane))
        pointed = self.place(self.viewer.cursor.position)
        cursor = pointed[1] if pointed is not None and pointed[0] == plane else None
        planes = (plane, *source.neighbours(plane)) if self.settings.ahead else (plane,)
        seen = [patches_in_view(each, source.shape(each), self.step, region, cursor, ring=False) for each in planes]
        around = patches_in_view(plane, source.shape(plane), self.step, region, cursor)
        self.engine.prepare(self, source, tuple(dict.fromkeys([*itertools.chain(*seen), *around])))

    def idle(self) -> bool:
        """Do a small piece of what can wait; whether there is more. Called when nothing else is to be done."""
        if self.controller is None or self.canvas is None:
            return False
        self.archive.begin_late()
        return self.stage.prepare() or self.controller.tidy()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Follow the viewer."""
        viewer, dims = self.viewer, self.viewer.dims.events
        camera = getattr(viewer, "scene", viewer).camera.events  # before napari 0.9 it belonged to the viewer
        for emitter in (dims.point, dims.order, dims.ndisplay, camera.zoom, camera.center):
            self._wires.connect(emitter, lambda _=None: self.look_soon())
        self._wires.connect(viewer.layers.events.inserted, self._inserted)
        self._wires.connect(viewer.layers.events.removed, self._removed)
        for emitter in (viewer.layers.events.inserted, viewer.layers.selection.events.active):
            self._wires.connect(emitter, lambda _=None: self.changed())

    def _inserted(self, event: Any) -> None:
        """Begin with an image that was opened, once napari has shown it."""
        if isinstance(event.value, Image):
            self._take_up_soon()

    def _take_up(self) -> None:
        """Where no image is worked on, begin with the one that is selected, or else the uppermost one."""
        images, active = self.images, self.viewer.layers.selection.active
        if images and self.picture is None:
            self.use_image(active if active in images else images[-1])

    def _removed(self, event: Any) -> None:
        """Let go of a layer that was removed."""
        gone = event.value
        if self.picture is not None and gone is self.picture.layer:
            self._clear(removing=True)
            self.tell_later(f"“{gone.name}” was removed. Choose another image; the objects stay as they are.")
        elif self.canvas is not None and gone is self.canvas.layer:
            self._leave_target()
            self.tell_later(
                f"“{gone.name}” was removed. Choose other objects or a new layer, or resume from the journal."
            )
            self.archive.look_up(self.picture)
        self.changed()

    def _clear(self, *, removing: bool = False) -> None:
        """Let go of image and target; `removing` while napari removes the image."""
        self._leave_target()
        # To remove another layer then lets software OpenGL draw what is freed.
        self.stage.close(self.post if removing else None)
        self.archive.look_up(None)
        if self.picture is not None:
            self.picture.close()
        self.engine.forget(self)
        self.picture = self.plane = None
        self._told = ""

    def _leave_target(self) -> None:
        for run in self._runs:
            run.abandon()
        if self.controller is not None:
            self.controller.close()
        if self.canvas is not None:
            self.canvas.close()
        self.controller = self.canvas = None
        self._names.close()

    def _paint_on(self, canvas: LabelsCanvas) -> None:
        self._leave_target()
        assert self.picture is not None
        self.canvas, journal = canvas, self.archive.journal(canvas)
        made = Controller(self.engine, canvas, self.stage, journal, self.tell, post=self.post, changed=self.changed)
        made.target.advance, made.source = self._advance, self.picture.source
        self.controller, self._told = made, ""
        for emitter in (canvas.layer.events.name, canvas.layer.events.mode, self.picture.layer.events.name):
            self._names.connect(emitter, lambda _=None: self.changed())

    def _set_up(self, picture: Picture) -> None:
        """Make what shows things over the image."""
        self._reading = (picture.roles, picture.channel)
        self.stage.open(picture)

    def _fitting_target(self) -> Layer | None:
        """Return the layer to paint on to begin with: what the user selected, or what was made for the image before."""
        picture = self.picture
        assert picture is not None
        name = f"{picture.layer.name} objects"
        active = self.viewer.layers.selection.active
        wanted = [layer for layer in self.targets if layer is active or layer.name == name]
        wanted.sort(key=lambda layer: layer is not active)
        return next((layer for layer in wanted if self._fits(layer)), None)

    def _fits(self, layer: Layer) -> bool:
        """Whether objects of the image can be painted on a layer."""
        picture = self.picture
        assert picture is not None
        try:
            LabelsCanvas(self.viewer, layer, picture.layer, picture.roles, picture.channel).close()
        except SamError:
            return False
        return True

    def _renewed(self) -> None:
        """Go on with another reading of the image."""
        picture = self.picture
        assert picture is not None
        self._told = ""
        if self.controller is not None and self.canvas is not None:
            if self._reading == (picture.roles, picture.channel):
                self.controller.source = picture.source
            else:
                self._read_otherwise(self.canvas)
        self.changed()
        self.look_soon()

    def _read_otherwise(self, canvas: LabelsCanvas) -> None:
        """Go on after axes or channel changed: with another target where this one is empty and ours or does not fit."""
        layer, picture = canvas.layer, self.picture
        assert picture is not None
        empty = layer is self._made and self._reading[0] != picture.roles and canvas.next_label() == 1
        self._leave_target()
        self._set_up(picture)
        if empty:
            self.viewer.layers.remove(layer)
        self.use_target(None if empty or not self._fits(layer) else layer)

    def _engine(self) -> Engine:
        settings = self.settings
        cache = Path(settings.folder) if settings.folder else None
        return engine_for(self.model, device=settings.device, cache=cache, keep_bytes=settings.megabytes << 20)

    def _trying(self, make: Callable[[], T]) -> T | None:
        """Do something that may not be possible, and say so then."""
        try:
            return make()
        except Exception as error:  # whatever it is, it is told and not thrown
            self.tell(sentence(error))
            return None
