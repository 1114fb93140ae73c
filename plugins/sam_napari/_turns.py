"""Whose turn it is: clicks, then what hovers, then long work, then what may be wanted later. Pure: no thread, no clock.

Nobody waits for ever: while something long runs, hovering gets as much time as it, in turns; and widgets take turns.
"""

from __future__ import annotations

import logging
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from sam_core import Prompt
from sam_napari._source import Source
from sam_napari._view import Patch

LOG = logging.getLogger(__name__)

QUIET = 0.3  # seconds without a click or a movement after which idle work begins: it cannot be interrupted
AHEAD = 0.05  # seconds that hovering may be ahead of long work that waits
BEHIND = 1.0  # seconds that it may make up for, at most

Wanted: TypeAlias = tuple[Source, Patch]
Key: TypeAlias = tuple[int, Patch]
"""Version of the source, and the patch."""


class Who(Protocol):
    """Who asks: a widget, or a test. Hashable; may also have `tell(message)` for what concerns it as a whole."""

    def post(self, call: Callable[[], None]) -> None:
        """Have `call` called in the thread that answers are wanted in."""
        ...

    def __hash__(self) -> int:
        """Tell it from others."""
        ...


class Client:
    """One who asks, as long as it is there.

    Parameters
    ----------
    who
        Whom to post answers to.
    """

    def __init__(self, who: Who) -> None:
        self.who = who
        self.gone = False
        self.glances = 0  # how often it looked away: what was looked at before is of no interest any more
        self.wanted: tuple[Wanted, ...] = ()
        self.todo: deque[Wanted] = deque()

    def post(self, call: Callable[[], object], wanted: Callable[[], bool] = lambda: True) -> None:
        """Have something called over there, unless by then it is gone or nobody wants it any more."""

        def deliver() -> None:
            if not self.gone and wanted():
                call()

        try:
            self.who.post(deliver)
        except Exception:  # whatever is wrong over there, others are still to be served
            LOG.exception("an answer could not be delivered")

    def tell(self, message: str) -> None:
        """Tell the user something that is no answer."""
        tell = getattr(self.who, "tell", None)
        self.post(lambda: tell(message) if tell else warnings.warn(message, RuntimeWarning, stacklevel=2))


@dataclass(frozen=True, eq=False, slots=True)
class Request:
    """A prompt that waits for its answer.

    Parameters
    ----------
    client
        Who asks.
    source, patch
        What is asked about.
    prompt
        In pixels of the plane.
    candidates
        How many answers are wanted.
    done
        Takes the answer, or what went wrong.
    glance
        Of a hover: how often the client had looked away before. None for a click.
    """

    client: Client
    source: Source
    patch: Patch
    prompt: Prompt
    candidates: Literal[1, 3]
    done: Callable[[Any], None]
    glance: int | None

    def wanted(self) -> bool:
        """Tell whether the client still wants to know."""
        return not self.client.gone and self.glance in (None, self.client.glances)


class Job:
    """Long work: a generator that is advanced step by step between other requests, and closed where it ran.

    Parameters
    ----------
    client
        Whose it is.
    parts
        What yields partial results; None between them lets others take their turn.
    on_part
        Takes each part, unless the job has been cancelled by then.
    on_end
        Called once, with what went wrong or None; also after `cancel`.
    """

    def __init__(
        self,
        client: Client,
        parts: Iterator[Any],
        on_part: Callable[[Any], None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        self.client = client
        self.parts = parts
        self.on_part = on_part
        self.on_end = on_end
        self.cancelled = False
        self.ended = False

    def cancel(self) -> None:
        """Stop it before its next step; no part is delivered from now on."""
        self.cancelled = True

    @property
    def stopped(self) -> bool:
        """Whether it is not to go on."""
        return self.cancelled or self.client.gone


class Turns:
    """What waits, in order.

    Examples
    --------
    >>> turns = Turns()
    >>> turns.waiting, turns.patience(now=0.0)
    (0, None)
    """

    def __init__(self) -> None:
        self.clients: dict[Who, Client] = {}
        self._asks: deque[Request] = deque()
        self._looks: dict[Client, Request] = {}  # a newer look takes the place of the older one in the order, too
        self.jobs: deque[Job] = deque()
        self._dreamers: deque[Client] = deque()  # with something that may be wanted later
        self._busy = float("-inf")  # when somebody last clicked or moved
        self._lead = 0.0  # seconds that answers have taken more than long work, since both wanted to go on

    # -- what is wanted ----------------------------------------------------------------------------------------------

    def client(self, who: Who) -> Client:
        """Return the client of this name, a new one where there is none."""
        return self.clients.setdefault(who, Client(who))

    def ask(self, request: Request, now: float) -> None:
        """Add a click."""
        self._asks.append(request)
        self._busy = now

    def look(self, request: Request, now: float) -> None:
        """Add a hover, in the place of an earlier one of the same client that waits."""
        self._looks[request.client] = request
        self._busy = now

    def look_away(self, client: Client) -> None:
        """Forget what a client looked at."""
        client.glances += 1
        self._looks.pop(client, None)

    def want(self, client: Client, wanted: Sequence[Wanted]) -> None:
        """Note what a client may want later, in the place of what it wanted before."""
        client.wanted, client.todo = tuple(wanted), deque(wanted)
        if client.todo and client not in self._dreamers:
            self._dreamers.append(client)

    def forget(self, who: Who) -> None:
        """Drop all that a client waits for; its jobs stop."""
        client = self.clients.pop(who, None)
        if client is None:
            return
        client.gone = True
        self._asks = deque(request for request in self._asks if request.client is not client)
        self._looks.pop(client, None)
        self.want(client, ())
        self._dreamers = deque(each for each in self._dreamers if each is not client)

    # -- whose turn it is --------------------------------------------------------------------------------------------

    def request(self) -> Request | None:
        """Take the next click, or else the next hover if it has not had more time than long work that waits."""
        if self._asks:
            return self._asks.popleft()
        if self._looks and not (self.jobs and self._lead >= AHEAD):
            return self._looks.pop(next(iter(self._looks)))
        return None

    def job(self) -> Job | None:
        """Return the job whose turn it is; jobs take turns."""
        self.jobs.rotate(-1)
        return self.jobs[-1] if self.jobs else None

    def stopped(self) -> Job | None:
        """Return a job that is to be closed."""
        return next((job for job in self.jobs if job.stopped), None)

    def idle(self, now: float) -> tuple[Client, Wanted] | None:
        """Take what may be wanted later, if nobody has clicked or moved for a while; clients take turns."""
        while self._dreamers and self.patience(now) == 0:
            client = self._dreamers.popleft()
            if client.todo:
                self._dreamers.append(client)
                return client, client.todo.popleft()
        return None

    def patience(self, now: float) -> float | None:
        """Return the seconds after which there may be idle work to do; None where there is none."""
        todo = any(client.todo for client in self._dreamers)
        return max(0.0, self._busy + QUIET - now) if todo else None

    # -- what was done -----------------------------------------------------------------------------------------------

    def answered(self, seconds: float, now: float) -> None:
        """Note that a request took so long."""
        self._lead = self._lead + seconds if self.jobs else 0.0
        self._busy = now

    def worked(self, seconds: float) -> None:
        """Note that long work took so long since others had their turn."""
        self._lead = max(self._lead - seconds, -BEHIND)

    # -- what there is -----------------------------------------------------------------------------------------------

    def replaced(self, request: Request) -> bool:
        """Tell whether the same client has looked elsewhere since."""
        return request.glance is not None and request.client in self._looks

    @property
    def wanted(self) -> set[Key]:
        """What clients may want later, encoded already or not."""
        return {(source.version, patch) for client in self.clients.values() for source, patch in client.wanted}

    @property
    def waiting(self) -> int:
        """How much waits."""
        todo = sum(len(client.todo) for client in self._dreamers)
        return len(self._asks) + len(self._looks) + len(self.jobs) + todo
