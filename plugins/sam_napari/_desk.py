"""One image, what is made of it, and the model: all that the panel shows, without a widget.

A desk belongs to one viewer. It watches what is on screen and has that encoded first, turns places of the mouse into
places on planes, and hands both to the controller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from sam_core import EmbeddingCache, Masks, SamError
from sam_napari._background import in_background
from sam_napari._controller import Controller, State
from sam_napari._engine import Engine, EngineStats, engine_for, release
from sam_napari._export import export
from sam_napari._journal import Entry, Journal
from sam_napari._layers import Ghost, LabelsCanvas, Preview, bare, is_own, new_target
from sam_napari._notify import sentence
from sam_napari._picture import Picture, Wires
from sam_napari._record import Record, record_of
from sam_napari._replay import replay
from sam_napari._settings import Settings
from sam_napari._source import Plane, Source
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


@dataclass(frozen=True, slots=True)
class Shown:
    """What is under the pointer.

    Parameters
    ----------
    score
        How good it may be.
    chosen, of
        Which candidate it is, of how many; `of` is 0 for an object that is there already.
    """

    score: float
    chosen: int
    of: int


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
        self.record: Record | None = None
        """What is known of the image from before; None while it is looked up."""
        self.model = settings.weights
        self.engine = self._engine()
        self.shown: Shown | None = None
        """What is under the pointer."""
        self.min_iou = 0.5
        """How much an object overlaps itself on the next plane, at least."""
        self.step = 1
        """Pixels of the image along each side of a pixel that the model sees."""
        self.pointed: Callable[[], None] = lambda: None
        """Called when `shown` changes, with each move of the mouse."""
        self.busy = False
        """While everything is reviewed, or objects are followed: one of both at a time."""
        self.hint = ""
        """What can be done at the moment, where that is not what it mostly is."""
        self._told, self._advance = "", True
        self.preview: Preview | None = None
        """Shows what was found and is not painted yet."""
        self._ghost: Ghost | None = None
        self._unprepared: list[Ghost | Preview] = []
        self._roles: tuple[str, ...] = ()
        self._channel = 0
        self._made: Layer | None = None
        self._pinned = False  # while an object is pointed out, nothing else is shown
        self._removing = False  # while napari removes the image
        self.plane: Plane | None = None
        """Which is on screen."""
        self._journalled = False
        self._listeners: list[Callable[[], None]] = []
        self._runs: list[Run] = []
        self._wires, self._names = Wires(), Wires()
        self.look_soon = later(self.look)
        self._watch()

    def begin(self) -> None:
        """Take the image that is selected, or else the uppermost one; make room on the disk."""
        keep, folder = int(self.settings.gigabytes * 2**30), self.settings.cache_folder
        in_background(lambda: EmbeddingCache(folder).prune(keep_bytes=keep), lambda _: None, self.post, "room")
        images = self.images
        active = self.viewer.layers.selection.active
        if images and self.picture is None:
            self.use_image(active if active in images else images[-1])

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
        return [layer for layer in self.viewer.layers if type(layer).__name__ == "Image"]

    @property
    def targets(self) -> list[Layer]:
        """Layers that can be painted."""
        return [layer for layer in self.viewer.layers if type(layer).__name__ == "Labels" and not is_own(layer)]

    # -- what is chosen ----------------------------------------------------------------------------------------------

    def use_image(self, layer: Layer | None) -> None:
        """Work on another image, with a target of its own."""
        self._clear()
        if layer is not None:
            self.picture = self._trying(lambda: Picture(self.viewer, layer, self._renewed))
        if self.picture is not None:
            self._haunt()
            self._look_up()
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
            target = self._made = new_target(self.viewer, picture.layer, picture.roles)
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
        """Have what is on screen encoded, what is next to it afterwards, and so on."""
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
        planes = (plane, *source.neighbours(plane)) if self.settings.ahead else (plane,)
        parts = [patches_in_view(each, source.shape(each), self.step, region) for each in planes]
        self.engine.prepare(self, source, [patch for part in parts for patch in part])

    def idle(self) -> bool:
        """Do a small piece of what can wait; whether there is more. Called when nothing else is to be done."""
        if self.controller is None or self.canvas is None:
            return False
        if self.record is not None and not self._journalled:
            self._journalled = True
            self.controller.retarget(self.canvas, self._journal(self.canvas))
        if self._unprepared:
            self._unprepared.pop(0).prepare()
            return True
        return self.controller.tidy()

    def resume(self, entry: Entry) -> None:
        """Paint what a journal says on a new target, in the background, and go on from there."""
        picture = self.picture
        if picture is None:
            return
        layer = new_target(self.viewer, picture.layer, picture.roles)
        data = layer.data

        def painted(came: object) -> None:
            layer.refresh()
            if isinstance(came, Exception):
                self.tell(sentence(came))
            elif picture is self.picture and layer in self.viewer.layers:
                self.use_target(layer)

        in_background(lambda: replay(entry.path, out=data), painted, self.post, "replay")

    def export(self, path: Path, then: Callable[[], None] | None = None) -> None:
        """Write the objects in the format that the ending of a path names, in the background.

        Parameters
        ----------
        path
            Where to.
        then
            Called when that went well; without it the user is told.
        """
        canvas, picture = self.canvas, self.picture
        if canvas is None or picture is None:
            return
        data, meta, _ = canvas.layer.as_layer_data_tuple()
        data = data.copy() if isinstance(data, np.ndarray) else data  # one may go on painting
        levels = picture.layer.data
        image = levels[0] if picture.layer.multiscale else levels

        def written(came: object) -> None:
            if isinstance(came, Exception):
                self.tell(sentence(came))
            elif then is not None:
                then()
            else:
                self.tell(f"{path} is written.")

        in_background(lambda: export(path, data, meta, image), written, self.post, "export")

    # -- what the controller shows (as `_controller.Ghost`) ----------------------------------------------------------

    def show(self, plane: Plane, masks: Masks, score: float, chosen: int, of: int) -> None:
        """Draw what is under the pointer."""
        if self._ghost is not None and not self._pinned:
            self._ghost.show(plane, masks, score, chosen, of)
            self.shown = Shown(score, chosen, of)
            self.pointed()

    def point_out(self, object_: tuple[Plane, Masks, float] | None) -> None:
        """Draw an object that is asked about, with its score, in the place of what is under the pointer."""
        self._pinned = object_ is not None
        if self._ghost is not None and object_ is not None:
            self._ghost.show(*object_)
        elif self._ghost is not None:
            self._ghost.hide()

    def hide(self) -> None:
        """Draw nothing."""
        if self._ghost is not None and not self._pinned:
            self._ghost.hide()
        self.shown = None
        self.pointed()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Follow the viewer."""
        viewer, dims = self.viewer, self.viewer.dims.events
        camera = getattr(viewer, "scene", viewer).camera.events  # before napari 0.9 it belonged to the viewer
        for emitter in (dims.point, dims.order, dims.ndisplay, camera.zoom, camera.center):
            self._wires.connect(emitter, lambda _=None: self.look_soon())
        self._wires.connect(viewer.layers.events.removed, self._removed)
        for emitter in (viewer.layers.events.inserted, viewer.layers.selection.events.active):
            self._wires.connect(emitter, lambda _=None: self.changed())

    def _removed(self, event: Any) -> None:
        """Let go of a layer that was removed."""
        gone = event.value
        if self.picture is not None and gone is self.picture.layer:
            self._removing = True
            self._clear()
            self._removing = False
            self._tell_later(f"“{gone.name}” was removed. Choose another image; the objects stay as they are.")
        elif self.canvas is not None and gone is self.canvas.layer:
            self._leave_target()
            self._tell_later(
                f"“{gone.name}” was removed. Choose other objects or a new layer, or resume from the journal."
            )
            self._look_up()
        self.changed()

    def _clear(self) -> None:
        """Let go of image and target."""
        self._leave_target()
        self._banish()
        if self.picture is not None:
            self.picture.close()
        self.engine.forget(self)
        self.picture = self.record = self.plane = self.shown = None
        self._pinned = False
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
        self.canvas, journal = canvas, self._journal(canvas)
        self._journalled = journal is not None or not self.settings.keep
        made = Controller(self.engine, canvas, self, journal, self.tell, post=self.post, changed=self.changed)
        made.target.advance, made.source = self._advance, self.picture.source
        self.controller, self._told = made, ""
        for emitter in (canvas.layer.events.name, canvas.layer.events.mode, self.picture.layer.events.name):
            self._names.connect(emitter, lambda _=None: self.changed())

    def _haunt(self) -> None:
        """Make the layers that show what is not painted; napari takes long to add and remove them, so they stay."""
        picture = self.picture
        assert picture is not None
        self._banish()
        self._roles, self._channel = picture.roles, picture.channel
        self._ghost = Ghost(self.viewer, picture.layer, picture.roles)
        self.preview = Preview(self.viewer, picture.layer, picture.roles)
        self._unprepared = [self._ghost, self.preview]

    def _banish(self) -> None:
        gone = [each for each in (self._ghost, self.preview) if each is not None]
        self._ghost = self.preview = None
        self._unprepared = []
        for each in gone:
            # While napari removes a layer, to remove another one lets software OpenGL draw what is freed.
            if self._removing:
                self.post(each.close)
            else:
                each.close()

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
            if (self._roles, self._channel) == (picture.roles, picture.channel):
                self.controller.source = picture.source
            else:
                self._read_otherwise(self.canvas)
        self.changed()
        self.look_soon()

    def _read_otherwise(self, canvas: LabelsCanvas) -> None:
        """Go on after axes or channel changed: with another target where this one is empty and ours or does not fit."""
        layer, picture = canvas.layer, self.picture
        assert picture is not None
        empty = layer is self._made and self._roles != picture.roles and canvas.next_label() == 1
        self._leave_target()
        self._haunt()
        if empty:
            self.viewer.layers.remove(layer)
        self.use_target(None if empty or not self._fits(layer) else layer)

    def _engine(self) -> Engine:
        settings = self.settings
        cache = Path(settings.folder) if settings.folder else None
        return engine_for(self.model, device=settings.device, cache=cache, keep_bytes=settings.megabytes << 20)

    def _look_up(self) -> None:
        """Find out what was done with the image before; of an image that is not in memory, in the background."""
        picture = self.picture
        if picture is None:
            return
        layer, folder = picture.layer, self.settings.journal_folder
        pixels = layer.data[0] if layer.multiscale else layer.data

        def found(came: Record | Exception) -> None:
            if isinstance(came, Record) and picture is self.picture:
                self.record = came
                self.changed()

        if isinstance(pixels, np.ndarray):
            found(record_of(pixels, layer.ndim, folder))
        else:
            in_background(lambda: record_of(pixels, layer.ndim, folder), found, self.post, "record")

    def _journal(self, canvas: LabelsCanvas) -> Journal | None:
        if self.record is None or self.picture is None or not self.settings.keep:
            return None
        layer, picture = canvas.layer, self.picture
        opened = {
            "image": picture.layer.name,
            "path": str(getattr(picture.layer.source, "path", None) or ""),
            "target": layer.name,
            "shape": canvas.array_shape,
            "dtype": str(canvas.dtype),
            "axes": list(picture.source.roles),
            "scale": [float(size) for size in layer.scale],
            "units": [str(unit) for unit in layer.units],
            "channel": picture.channel,
            "as_displayed": picture.as_displayed,
            "model": self.model,
        }
        return Journal(self.settings.journal_folder, self.record.key, opened, self._tell_later)

    def _tell_later(self, text: str) -> None:
        """Say something from another thread, or unless all layers go because the window is closed."""
        self.post(lambda: self.tell(text))

    def _trying(self, make: Callable[[], T]) -> T | None:
        """Do something that may not be possible, and say so then."""
        try:
            return make()
        except Exception as error:  # whatever it is, it is told and not thrown
            self.tell(sentence(error))
            return None
