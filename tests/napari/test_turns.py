"""Whose turn it is, with a clock that the tests wind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sam_core import Prompt
from sam_napari._source import Plane, Source
from sam_napari._turns import AHEAD, BEHIND, QUIET, Client, Job, Request, Turns
from sam_napari._view import Patch, patch_at

SOURCE = Source.of([np.zeros((8, 8), np.uint8)])
PATCHES = [patch_at(Plane((0, 1), (z, 0, 0)), (8, 8), 1, (0, 0)) for z in range(9)]
PROMPT = Prompt.of([(1, 1)])


class Someone:
    def __init__(self, name: str = "") -> None:
        self.name = name
        self.posted: list[Callable[[], None]] = []

    def post(self, call: Callable[[], None]) -> None:
        self.posted.append(call)


def _request(turns: Turns, who: Someone, *, click: bool = False, patch: Patch = PATCHES[0]) -> Request:
    client = turns.client(who)
    return Request(client, SOURCE, patch, PROMPT, 1, lambda _: None, None if click else client.glances)


def _job(turns: Turns, who: Someone) -> Job:
    made = Job(turns.client(who), iter(()), lambda _: None, lambda _: None)
    turns.jobs.append(made)
    return made


def test_clicks_in_order_then_the_latest_look_of_each() -> None:
    turns, a, b = Turns(), Someone("a"), Someone("b")
    looks = [_request(turns, who) for who in (a, b, a, a)]
    clicks = [_request(turns, who, click=True) for who in (b, a, b)]
    for look in looks:
        turns.look(look, 0)
    for click in clicks:
        turns.ask(click, 0)
    assert [turns.request() for _ in range(6)] == [*clicks, looks[3], looks[1], None]


def test_who_looks_all_the_time_does_not_keep_others_from_looking() -> None:
    turns, restless, patient = Turns(), Someone("restless"), Someone("patient")
    turns.look(_request(turns, restless), 0)
    turns.look(mine := _request(turns, patient), 0)
    served = []
    while mine not in served:
        request = turns.request()
        assert request is not None
        served.append(request)
        turns.look(_request(turns, restless), 0)
    assert len(served) <= 2


@pytest.mark.parametrize("step", [0.001, 0.03, 0.3])
def test_hovering_and_long_work_share_the_time(step: float) -> None:
    turns, who = Turns(), Someone()
    _job(turns, who)
    spent = {"look": 0.0, "work": 0.0}
    waited = [0.0]
    while sum(spent.values()) < 30:
        turns.look(_request(turns, who), 0)
        if turns.request() is not None:
            turns.answered(0.03, 0)
            spent["look"] += 0.03
            waited.append(0.0)
        else:
            turns.worked(step)
            spent["work"] += step
            waited[-1] += step
    assert spent["look"] == pytest.approx(spent["work"], rel=0.1)
    assert max(waited) <= step + 0.03 + AHEAD


def test_long_work_alone_lays_up_no_more_than_a_second() -> None:
    turns, who = Turns(), Someone()
    _job(turns, who)
    turns.worked(1000.0)
    answers = 0
    turns.look(_request(turns, who), 0)
    while turns.request() is not None:
        turns.answered(0.1, 0)
        turns.look(_request(turns, who), 0)
        answers += 1
    assert answers <= (BEHIND + AHEAD) / 0.1 + 1


def test_hovering_before_there_was_long_work_does_not_count() -> None:
    turns, who = Turns(), Someone()
    turns.answered(100.0, 0)
    _job(turns, who)
    turns.look(_request(turns, who), 0)
    assert turns.request() is not None


def test_jobs_take_turns() -> None:
    turns = Turns()
    jobs = [_job(turns, Someone(name)) for name in "abc"]
    assert [turns.job() for _ in range(6)] == jobs * 2


def test_idle_work_waits_until_it_is_quiet_and_clients_take_turns() -> None:
    turns, a, b = Turns(), Someone("a"), Someone("b")
    for who, patches in ((a, PATCHES[:3]), (b, PATCHES[5:7])):
        turns.want(turns.client(who), [(SOURCE, patch) for patch in patches])
    assert turns.patience(0) == 0
    turns.answered(0.01, 10.0)
    assert turns.idle(10.0) is None
    assert turns.patience(10.0) == pytest.approx(QUIET)
    found = [turns.idle(10.0 + QUIET) for _ in range(6)]
    assert [each and each[1][1] for each in found] == [*(PATCHES[i] for i in (0, 5, 1, 6, 2)), None]
    assert turns.patience(99.0) is None


def test_what_is_wanted_is_replaced() -> None:
    turns, who = Turns(), Someone()
    client = turns.client(who)
    turns.want(client, [(SOURCE, patch) for patch in PATCHES[:3]])
    turns.idle(0)
    turns.want(client, [(SOURCE, PATCHES[4])])
    assert turns.idle(0) == (client, (SOURCE, PATCHES[4]))
    assert turns.idle(0) is None
    assert turns.wanted == {(SOURCE.version, PATCHES[4])}


def test_who_is_forgotten_waits_for_nothing_and_hears_nothing() -> None:
    turns, who, other = Turns(), Someone(), Someone("other")
    job = _job(turns, who)
    turns.ask(_request(turns, who, click=True), 0)
    turns.ask(kept := _request(turns, other, click=True), 0)
    turns.look(look := _request(turns, who), 0)
    client = turns.client(who)
    turns.want(client, [(SOURCE, PATCHES[0])])
    heard: list[str] = []
    client.post(lambda: heard.append("posted before"))
    turns.forget(who)
    client.post(lambda: heard.append("posted after"))
    for call in who.posted:
        call()
    assert heard == []
    assert turns.request() is kept
    assert (turns.request(), turns.idle(99), turns.wanted, turns.stopped()) == (None, None, set(), job)
    assert not look.wanted()
    assert turns.client(who) is not client
    turns.forget("nobody")  # type: ignore[arg-type]


def test_who_looks_away_has_not_looked() -> None:
    turns, who = Turns(), Someone()
    turns.look(before := _request(turns, who), 0)
    turns.look_away(turns.client(who))
    assert turns.request() is None
    assert not before.wanted()
    assert _request(turns, who).wanted()
    assert _request(turns, who, click=True).wanted()


def test_a_cancelled_job_is_to_be_closed() -> None:
    turns = Turns()
    jobs = [_job(turns, Someone(name)) for name in "ab"]
    assert turns.stopped() is None
    jobs[1].cancel()
    assert turns.stopped() is jobs[1]


def test_messages_go_to_who_takes_them_and_to_warnings_else() -> None:
    class Told(Someone):
        def tell(self, message: str) -> None:
            heard.append(message)

    heard: list[str] = []
    told, plain = Told(), Someone()
    for who in (told, plain):
        Client(who).tell("the disk is full")
    told.posted[0]()
    with pytest.warns(RuntimeWarning, match="disk is full"):
        plain.posted[0]()
    assert heard == ["the disk is full"]


def test_who_cannot_be_reached_is_no_matter(caplog: pytest.LogCaptureFixture) -> None:
    class Gone(Someone):
        def post(self, call: Any) -> None:
            msg = "the window was deleted"
            raise RuntimeError(msg)

    Client(Gone()).post(lambda: None)
    assert "could not be delivered" in caplog.text
