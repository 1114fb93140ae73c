"""What a page may ask for, without HTTP: each request is a function of the visitor and of what was sent."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sam_core import Masks, Prompt, Sam, Segmenter
from sam_space import edits
from sam_space.actions import ACTIONS
from sam_space.catalogue import Offer, base
from sam_space.engine import Engine, Stopped
from sam_space.examples import EXAMPLES
from sam_space.export import KINDS, Result, Taken, taken
from sam_space.frame import sent
from sam_space.gate import Gate
from sam_space.given import Sent, place_on, plane_of
from sam_space.limits import Limits
from sam_space.models import Load, Models
from sam_space.picture import Picture, read_upload
from sam_space.rates import Rate
from sam_space.refusal import Refusal
from sam_space.runtime import Preparing
from sam_space.script import script
from sam_space.shown import looked_at, object_on, png, prompt_of, score_of
from sam_space.visitors import Visitor, Visitors
from sam_space.work import Click, Object, Work

Tell: TypeAlias = Callable[[dict[str, Any]], None]
Stop: TypeAlias = Callable[[], bool]


class Desk:
    """Answers pages.

    Parameters
    ----------
    model
        The model that all visitors share.
    limits
        How much is done for whom.
    source
        Name of the model, as `Sam.from_pretrained` takes it.
    revision
        Of a Hub repository.
    offered
        Other models that visitors may choose.
    load
        Makes one of these.
    runtime
        With which browsers answer the pointer themselves.
    """

    def __init__(
        self,
        model: Segmenter,
        limits: Limits | None = None,
        *,
        source: str = "cell",
        revision: str | None = None,
        offered: Sequence[Offer] = (),
        load: Load = Sam.from_pretrained,
        runtime: Preparing | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.runtime = runtime or Preparing()
        self.engine = Engine(model, self.limits)
        self.visitors = Visitors(self.limits)
        about = base(source, revision)
        self.models = Models(
            self.engine,
            about,
            offered,
            self.limits,
            load=load,
            in_use=lambda name: self.visitors.using(name) > 0,
        )
        self.source = about.name
        self._exporting = Gate(self.limits.exports, self.limits.waiting)
        self.examples: dict[str, Picture] = {}
        # Made once: every page asks for them before anybody can do anything.
        self._pages: dict[tuple[str, int], bytes] = {}
        self._thumbnails: dict[str, bytes] = {}
        bounds = self.limits
        self._visits = Rate(bounds.visits_per_minute / 60, bounds.visits_per_minute)
        self.api_rate = Rate(1.0, burst=bounds.opens_per_minute)
        self._opens = Rate(bounds.opens_per_minute / 60, bounds.opens_per_minute / 2)
        self._actions = Rate(bounds.actions_per_second, 5 * bounds.actions_per_second)
        self._previews = Rate(bounds.previews_per_second, 2 * bounds.previews_per_second)
        self._features = Rate(bounds.features_per_minute / 60, bounds.features_per_minute / 2)

    def prepare(self) -> None:
        """Make the examples, and encode the one that is open first; the model is warm then."""
        for example in EXAMPLES:
            picture = self.examples[example.name] = example.picture()
            self._pages[picture.key, 0] = png(looked_at(picture, 0))
            small = looked_at(picture, len(picture.planes) // 2)
            small.thumbnail((192, 144))
            self._thumbnails[example.name] = png(small)
        self.engine.pin(next(iter(self.examples.values())))

    def prepare_all(self) -> None:
        """Encode all examples."""
        for picture in self.examples.values():
            self.engine.pin(picture)

    # -- coming and going --------------------------------------------------------------------------------------------

    def welcome(self, address: str) -> dict[str, Any]:
        """Greet a page: its key, and all that it has to know."""
        self._visits.spend(address, "visits")
        visitor = self.visitors.welcome()
        return {
            "visitor": visitor.key,
            "model": self.source,
            "models": len(self.models),
            "where": self.where,
            "first": self._first(visitor),
            **self.previewer(),
            "examples": [{"name": each.name, "title": each.title} for each in EXAMPLES],
            "exports": list(KINDS),
            "limits": {"bytes": self.limits.file_bytes, "planes": self.limits.planes},
        }

    def _first(self, visitor: Visitor) -> dict[str, Any] | None:
        """Open the first example, and return all that a page asks of it then; None before there are examples."""
        picture = self.examples.get(EXAMPLES[0].name)
        page = None if picture is None else self._pages.get((picture.key, 0))
        if picture is None or page is None or not self.engine.ready(picture, 0):
            return None
        self.visitors.bring(visitor, picture)
        return {
            "opened": self._opened(visitor, picture),
            "encoded": {"encode_ms": 0.0, "waited_ms": 0.0, "where": self.where},
            "png": base64.b64encode(page).decode(),
        }

    def previewer(self) -> dict[str, Any]:
        """Say who answers a moving pointer, "server", "browser" or "later", and what a browser has to load for that."""
        made = self.runtime.runtime
        return {"previewer": self.runtime.previewer, "decoder": None if made is None else made.about}

    def later(self, visitor: Visitor, given: Sent) -> dict[str, Any]:
        """Say again who answers a moving pointer: a page that was told "later" asks."""
        self._actions.spend(visitor.key, "requests")
        return self.previewer()

    @property
    def where(self) -> str:
        """Where the model computes."""
        return where_of(self.engine)

    # -- models ------------------------------------------------------------------------------------------------------

    def engine_of(self, visitor: Visitor) -> Engine:
        """Return what answers a visitor.

        Raises
        ------
        Refusal
            The model that was chosen had to make room: from now on the server's own answers.
        """
        engine = self.models.engine(visitor.model)
        if engine is None:
            msg = f"{visitor.model} had to make room for another model; {self.source} answers from now on"
            visitor.model = ""
            raise Refusal(msg, HTTPStatus.OK)
        self.visitors.asks(visitor)
        return engine

    def list_models(self, visitor: Visitor, given: Sent) -> dict[str, Any]:
        """Tell of the models that may be chosen; the Hub is asked about those that are not here, in the background."""
        self._actions.spend(visitor.key, "requests")
        self.models.survey()
        return {"model": visitor.model or self.source, "models": self.models.describe(), "hub": self.models.hub}

    def choose_model(self, visitor: Visitor, given: Sent, tell: Tell, stop: Stop) -> dict[str, Any]:
        """Let another model answer a visitor, once it is loaded; till then, and where that fails, it is as before."""
        self._actions.spend(visitor.key, "requests")
        entry = self.models.load(str(given.get("name")), visitor.key, tell, stop)
        engine = entry.engine
        if engine is None:
            msg = f"{entry.offer.name} had to make room for another model at once; try again"
            raise Refusal(msg, HTTPStatus.OK)
        with visitor.lock:
            visitor.model = "" if entry is self.models.base else entry.offer.name
            visitor.turn += 1
            self.visitors.asks(visitor)
        return {"model": entry.offer.name, "where": where_of(engine)}

    def upload(self, visitor: Visitor, path: Path, name: str) -> dict[str, Any]:
        """Open what was uploaded to `path`."""
        picture = read_upload(path, name, self.limits)
        self.visitors.bring(visitor, picture)
        return self._opened(visitor, picture)

    def may_open(self, visitor: Visitor) -> None:
        """Refuse who opens too often, before anything is received."""
        self._opens.spend(visitor.key, "pictures")

    def example(self, visitor: Visitor, given: Sent) -> dict[str, Any]:
        """Open an example."""
        self.may_open(visitor)
        picture = self.examples.get(str(given.get("name")))
        if picture is None:
            msg = f"got an unknown example, expected one of {', '.join(each.name for each in EXAMPLES)}"
            raise Refusal(msg, HTTPStatus.NOT_FOUND)
        self.visitors.bring(visitor, picture)
        return self._opened(visitor, picture)

    def _opened(self, visitor: Visitor, picture: Picture) -> dict[str, Any]:
        (height, width), (own_height, own_width) = picture.shape, picture.own_shape
        about = {
            "name": picture.name,
            "width": width,
            "height": height,
            "own_width": own_width,
            "own_height": own_height,
            "planes": len(picture.planes),
            "axes": picture.axes,
            "shrunk": picture.shrunk,
            "encoded": self.engine.ready(picture, 0),
        }
        return {"picture": about} | self.view(visitor, 0)

    def shown(self, visitor: Visitor, plane: Any) -> bytes:
        """Return a plane as it is looked at, a PNG."""
        picture = self.visitors.picture(visitor)
        index = plane_of(picture, plane)
        return self._pages.get((picture.key, index)) or png(looked_at(picture, index))

    def thumbnail(self, name: str) -> bytes:
        """Return an example, small, a PNG."""
        found = self._thumbnails.get(name)
        if found is None:
            msg = "got an unknown example"
            raise Refusal(msg, HTTPStatus.NOT_FOUND)
        return found

    # -- asking the model --------------------------------------------------------------------------------------------

    def encode(self, visitor: Visitor, given: Sent, tell: Tell, stop: Stop) -> dict[str, Any]:
        """Encode a plane, telling how many are before it."""
        picture = self.visitors.picture(visitor)
        plane = plane_of(picture, given.get("plane"))
        self._actions.spend(visitor.key, "requests")
        engine = self.engine_of(visitor)
        tell({"queue": engine.encoding.length})
        start = time.perf_counter()
        _, ms = engine.embed(picture, plane, stop)
        waited = 1000 * (time.perf_counter() - start) - ms
        return {"encode_ms": round(ms, 1), "waited_ms": round(max(waited, 0), 1), "where": where_of(engine)}

    def preview(self, visitor: Visitor, given: Sent) -> dict[str, Any]:
        """Answer what a click here would take; an older request that still waits gives up.

        Where the answer is doubtful it says so, and gives it when asked with `sure`: a pointer on its way need not
        wait for that.
        """
        self._previews.spend(visitor.key, "previews")
        visitor.turn += 1
        mine = visitor.turn
        picture = self.visitors.picture(visitor)
        plane = plane_of(picture, given.get("plane"))
        y, x = place_on(picture, given)
        at = Click(y, x, bool(given.get("positive", True)))
        prompt = edits.asked(visitor.history.now, plane, at, fresh=given.get("fresh") is True)

        def given_up() -> bool:
            return visitor.turn != mine

        engine = self.engine_of(visitor)
        embedding, _ = engine.embed(picture, plane, given_up)
        start = time.perf_counter()
        masks = None
        doubt = prompt.is_lone_click and given.get("sure") is not True
        if doubt:
            masks = engine.glance(embedding, prompt, given_up)
        if masks is None and not doubt:
            masks = engine.ask(embedding, prompt, 1, given_up, urgent=False)
        ms = round(1000 * (time.perf_counter() - start), 1)
        if masks is None or not len(masks):
            return {"mask": None, "doubt": masks is None, "ms": ms, "where": where_of(engine)}
        return {"mask": sent(masks), "score": score_of(masks), "ms": ms, "where": where_of(engine)}

    def features(self, visitor: Visitor, given: Sent) -> bytes:
        """Return a plane encoded, for a browser to answer the pointer itself: see `packed` of the engine.

        What cannot be had is no error: the page goes on to ask the server.
        """
        self._features.spend(visitor.key, "requests")
        picture = self.visitors.picture(visitor)
        plane = plane_of(picture, given.get("plane"))
        made = self.runtime.runtime
        if made is None:
            msg = "previews are answered here, not in the browser"
            raise Refusal(msg, HTTPStatus.OK)
        embedding, _ = self.engine.embed(picture, plane, lambda: visitor.picture_key != picture.key)
        if embedding.model != made.meta["model"]:
            msg = "previews of this model are answered here, not in the browser"
            raise Refusal(msg, HTTPStatus.OK)
        if embedding.tiling is not None or embedding.nbytes > 2 * self.limits.features_bytes:  # they are sent in halves
            msg = "this picture is too large to be answered in the browser"
            raise Refusal(msg, HTTPStatus.OK)
        return self.engine.features(picture, plane, lambda: visitor.picture_key != picture.key)

    def act(self, visitor: Visitor, given: Sent) -> dict[str, Any]:
        """Change the work: see `ACTIONS`."""
        self._actions.spend(visitor.key, "requests")
        picture = self.visitors.picture(visitor)
        plane = plane_of(picture, given.get("plane"))
        name = given.get("action")
        change = ACTIONS.get(name) if isinstance(name, str) else None
        if change is None:
            msg = f"got an unknown action, expected one of {', '.join(ACTIONS)}"
            raise Refusal(msg)
        visitor.turn += 1  # whatever was hovered over before is of no interest any more
        start = time.perf_counter()
        with visitor.lock:
            change(self, visitor, picture, plane, given)
            ms = round(1000 * (time.perf_counter() - start), 1)
            where = where_of(self.models.engine(visitor.model) or self.engine)
            return self.view(visitor, plane) | {"ms": ms, "where": where}

    def ask(self, visitor: Visitor, picture: Picture, plane: int) -> edits.Ask:
        """Return what answers prompts about a plane."""

        def asked(prompt: Prompt, candidates: Literal[1, 3]) -> Masks:
            engine = self.engine_of(visitor)
            embedding, _ = engine.embed(picture, plane)
            return engine.ask(embedding, prompt, candidates)

        return asked

    def everything(self, visitor: Visitor, given: Sent, tell: Tell, stop: Stop) -> dict[str, Any]:
        """Find everything on a plane, telling how far it is."""
        picture, plane, halt = self._long(visitor, given, stop)
        start = time.perf_counter()
        engine, by = self.engine_of(visitor), visitor.model
        tell({"queue": engine.encoding.length})
        embedding, encode_ms = engine.embed(picture, plane, halt)
        found = engine.everything(embedding, lambda done, total: tell({"done": done, "total": total}), halt)
        with visitor.lock:
            if halt():
                raise Stopped
            visitor.history = visitor.history.then(
                edits.everything(visitor.history.now, plane, found, self.limits, by), self.limits.steps
            )
            ms = round(1000 * (time.perf_counter() - start), 1)
            return self.view(visitor, plane) | {"found": len(found), "ms": ms, "encode_ms": round(encode_ms, 1)}

    def follow(self, visitor: Visitor, given: Sent, tell: Tell, stop: Stop) -> dict[str, Any]:
        """Follow the active object through the planes."""
        picture, plane, halt = self._long(visitor, given, stop)
        active = visitor.history.now.active
        if len(picture.planes) < 2 or active is None:
            msg = "choose an object of a stack or a time-lapse first: it is then followed through the planes"
            raise Refusal(msg, HTTPStatus.OK)
        start = time.perf_counter()
        found: list[tuple[int, Masks]] = []
        engine, by = self.engine_of(visitor), visitor.model
        seeds = edits.seeds(visitor.history.now, active)
        for at, masks in engine.follow(picture, {at: seed.mask for at, seed in seeds.items()}, halt):
            found.append((at, masks))
            tell({"done": len(found), "total": len(picture.planes) - 1, "plane": at})
        with visitor.lock:
            if halt():
                raise Stopped
            work = edits.followed(visitor.history.now, active, seeds, found, by)
            visitor.history = visitor.history.then(work, self.limits.steps)
            ms = round(1000 * (time.perf_counter() - start), 1)
            return self.view(visitor, plane) | {"found": len(found), "ms": ms}

    def _long(self, visitor: Visitor, given: Sent, stop: Stop) -> tuple[Picture, int, Stop]:
        """Begin long work: an earlier one of the same visitor stops, and this one is refused when its time is over."""
        self._actions.spend(visitor.key, "requests")
        picture = self.visitors.picture(visitor)
        visitor.run += 1
        mine, seconds = visitor.run, self.limits.everything_seconds
        end = time.monotonic() + seconds

        def halt() -> bool:
            if time.monotonic() > end:
                msg = f"it took longer than {seconds:g} seconds, so nothing was changed; cut out the part you need"
                raise Refusal(msg, HTTPStatus.OK)
            return stop() or visitor.run != mine

        return picture, plane_of(picture, given.get("plane")), halt

    # -- looking and taking ------------------------------------------------------------------------------------------

    def view(self, visitor: Visitor, plane: int, *, anew: bool = False) -> dict[str, Any]:
        """Return the work as a page shows it; drawings that the page has are named by their keys alone."""
        with visitor.lock:
            history, picture = visitor.history, self.visitors.held(visitor)
            if anew:
                visitor.sent.clear()
            here = [each for each in history.now.objects if plane in each.drawn]
            new = {d.key: sent(d.mask) for d in (e.drawn[plane] for e in here) if d.key not in visitor.sent}
            visitor.sent.update(new)
            return {
                "objects": [object_on(each, plane, picture) for each in history.now.objects],
                "model": visitor.model or self.source,
                "active": history.now.active,
                "drawn": new,
                "can_undo": bool(history.before),
                "can_redo": bool(history.after),
            } | prompt_of(history.now.current(plane))

    def look(self, visitor: Visitor, given: Sent) -> dict[str, Any]:
        """Return the work as it is on a plane."""
        picture = self.visitors.picture(visitor)
        return self.view(visitor, plane_of(picture, given.get("plane")), anew=given.get("anew") is True)

    def take(self, visitor: Visitor, given: Sent) -> Taken:
        """Make a file: of the objects named in `numbers`, or of all."""
        self._actions.spend(visitor.key, "requests")
        result = self._result(visitor, given)
        with self._exporting.through():
            return taken(str(given.get("kind")), result)

    def python(self, visitor: Visitor, given: Sent) -> dict[str, Any]:
        """Return the lines of Python that make the same."""
        self._actions.spend(visitor.key, "requests")
        result = self._result(visitor, given)
        used = {by for each in result.objects for drawn in each.drawn.values() for by in drawn.models}
        return {"python": script(result, {by: self.models.find(by).call for by in {"", *used}})}

    def _result(self, visitor: Visitor, given: Sent) -> Result:
        picture = self.visitors.picture(visitor)
        objects: Sequence[Object] = visitor.history.now.objects
        wanted = given.get("numbers")
        if isinstance(wanted, list):
            objects = [each for each in objects if each.number in wanted]
        return Result(picture, plane_of(picture, given.get("plane")), tuple(objects), {"": self.source})

    def change(self, visitor: Visitor, work: Work) -> None:
        """Take a step that can be undone."""
        visitor.history = visitor.history.then(work, self.limits.steps)


def where_of(engine: Engine) -> str:
    """Say where an engine computes."""
    return str(getattr(engine.model, "device", "cpu"))
