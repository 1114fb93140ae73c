"""Predictions for whole projects, pushed to an API that fails in every way."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_label_studio.client import ApiError, UnreachableError
from sam_label_studio.errors import AccessError
from sam_label_studio.prelabel import DOUBTFUL, Outcome, Rules, doubtful_first, prelabel
from tests.label_studio.studio import Fault, Killed, Studio

RULES = Rules("cell 1")
REGION = {"id": "r", "type": "brushlabels", "value": {}}


def _predict(task: Mapping[str, Any]) -> dict[str, Any]:
    return {"result": [REGION], "score": 1 / task["id"], "model_version": "ignored"}


def _run(studio: Studio, rules: Rules = RULES, predict: Any = _predict) -> list[Outcome]:
    with studio.client() as client:
        return list(prelabel(client, list(client.tasks(1)), predict, rules))


def _states(outcomes: list[Outcome]) -> list[str]:
    return [outcome.state for outcome in outcomes]


def test_every_task_gets_one_prediction_of_this_version() -> None:
    studio = Studio(5)
    assert _states(_run(studio)) == ["made"] * 5
    assert set(map(tuple, studio.versions().values())) == {("cell 1",)}


def test_a_second_run_makes_nothing_and_asks_for_no_task() -> None:
    studio = Studio(250)
    _run(studio)
    studio.asked.clear()
    assert _states(_run(studio)) == ["skipped"] * 250
    assert studio.asked == ["GET /api/tasks/"] * 3


def test_another_version_is_another_prediction() -> None:
    studio = Studio(2)
    _run(studio)
    _run(studio, Rules("cell 2"))
    assert studio.versions() == {1: ["cell 1", "cell 2"], 2: ["cell 1", "cell 2"]}


def test_a_version_that_the_list_cuts_off_is_still_seen() -> None:
    studio = Studio(1)
    long = Rules("x" * 600)
    _run(studio, long)
    assert _states(_run(studio, long)) == ["skipped"]
    assert len(studio.tasks[1]["predictions"]) == 1


def test_annotated_tasks_are_finished_unless_told_otherwise() -> None:
    studio = Studio(2)
    studio.tasks[1]["annotations"].append({"id": 99})
    assert [(o.state, o.why) for o in _run(studio)] == [("skipped", "it is annotated"), ("made", "")]
    assert _states(_run(studio, Rules("cell 1", annotated=True))) == ["made", "skipped"]


def test_a_task_that_fails_is_named_and_the_others_go_on() -> None:
    studio = Studio(3)

    def predict(task: Mapping[str, Any]) -> dict[str, Any]:
        if task["id"] == 2:
            msg = "got 0 bytes"
            raise OSError(msg)
        return _predict(task)

    outcomes = _run(studio, predict=predict)
    assert _states(outcomes) == ["made", "failed", "made"]
    assert outcomes[1].why == "OSError: got 0 bytes"
    assert _states(_run(studio)) == ["skipped", "made", "skipped"]


@pytest.mark.parametrize(("empty", "state", "count"), [(True, "made", 1), (False, "skipped", 0)])
def test_nothing_found_is_an_answer_where_it_means_something(empty: bool, state: str, count: int) -> None:
    studio = Studio(1)
    outcomes = _run(studio, Rules("v", empty=empty), lambda _: {"result": [], "score": 0.0})
    assert _states(outcomes) == [state]
    assert len(studio.tasks[1]["predictions"]) == count


def test_a_task_that_is_removed_or_annotated_meanwhile_is_skipped() -> None:
    studio = Studio(3)
    with studio.client() as client:
        tasks = list(client.tasks(1))
        del studio.tasks[1]
        studio.tasks[2]["annotations"].append({"id": 99})
        outcomes = list(prelabel(client, tasks, _predict, RULES))
    assert [o.why for o in outcomes] == ["it was removed meanwhile", "it is annotated", ""]


def test_a_task_that_is_removed_while_it_is_predicted_is_skipped() -> None:
    studio = Studio(1)

    def predict(task: Mapping[str, Any]) -> dict[str, Any]:
        del studio.tasks[task["id"]]
        return _predict(task)

    assert [o.why for o in _run(studio, predict=predict)] == ["it was removed meanwhile"]


def test_a_key_that_is_not_taken_stops_the_run() -> None:
    studio = Studio(2)
    with studio.client() as client:
        tasks = list(client.tasks(1))
        studio.key = "another"
        with pytest.raises(AccessError, match="check LABEL_STUDIO_API_KEY"):
            list(prelabel(client, tasks, _predict, RULES))


def test_a_server_that_stays_away_stops_the_run_with_what_to_do() -> None:
    studio = Studio(2)
    with studio.client() as client:
        tasks = list(client.tasks(1))
        studio.faults = iter(["lost before"] * 99)
        with pytest.raises(UnreachableError, match="check that Label Studio runs there"):
            list(prelabel(client, tasks, _predict, RULES))


FAULTS = ("", "", "", "killed before", "killed after", "lost before", "lost after", "503 before", "503 after")


@settings(max_examples=200, deadline=None)
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=60), tasks=st.integers(1, 6))
def test_whatever_happens_nothing_is_lost_or_doubled(faults: list[Fault], tasks: int) -> None:
    studio = Studio(tasks, faults=faults)
    for _ in range(len(faults) + 1):
        with suppress(Killed, UnreachableError, ApiError):
            _run(studio)
    studio.faults = iter(())
    _run(studio)
    assert studio.versions() == {number: ["cell 1"] for number in studio.tasks}


@pytest.mark.parametrize("after", range(14))
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_killed_at_any_request_is_resumed(after: int, moment: str) -> None:
    studio = Studio(4, faults=[*[""] * after, f"killed {moment}"])  # type: ignore[list-item]
    with suppress(Killed):
        _run(studio)
    studio.faults = iter(())
    _run(studio)
    assert studio.versions() == {number: ["cell 1"] for number in studio.tasks}


def test_the_tab_of_doubtful_tasks_is_made_once() -> None:
    studio = Studio(1)
    with studio.client() as client:
        first, again = doubtful_first(client, 1), doubtful_first(client, 1)
    assert first == again
    assert [view["data"]["title"] for view in studio.views] == ["Default", DOUBTFUL]
    assert studio.views[1]["data"]["ordering"] == ["tasks:predictions_score"]
