"""Predictions for all tasks of a project, pushed one by one.

Label Studio itself is the memory of what was done: a task with a prediction of this `model_version` is not predicted
again. So a run can be killed at any point and called again, from anywhere: what was predicted and not yet stored, a few
tasks at most, is predicted once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, TypeAlias

from sam_label_studio.ahead import in_order
from sam_label_studio.client import PASSING, ApiError, Json, LabelStudio, UnreachableError

State: TypeAlias = Literal["made", "skipped", "failed"]
Predict: TypeAlias = Callable[[Json], Mapping[str, Any]]
TRIES = 4
DOUBTFUL = "Doubtful first"
PREDICTED = "it is predicted"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one task.

    Parameters
    ----------
    task
        Its number.
    state
        "made": it has a new prediction; "skipped": it needed none; "failed": none could be made.
    why
        Why it was skipped or failed.
    objects
        Regions of the prediction.
    score
        How sure the prediction is, 0 to 1.
    """

    task: int
    state: State
    why: str = ""
    objects: int = 0
    score: float | None = None

    @property
    def is_predicted(self) -> bool:
        """Whether the task has a prediction of the wanted version."""
        return self.state == "made" or self.why == PREDICTED


@dataclass(frozen=True, slots=True)
class Rules:
    """Which tasks get a prediction.

    Parameters
    ----------
    version
        The `model_version` of the predictions; a task that has one of it is done.
    annotated
        Whether tasks that people have annotated get one too.
    empty
        Whether a prediction without any region is worth keeping: it says that nothing was found.
    """

    version: str
    annotated: bool = False
    empty: bool = True

    def pass_over(self, task: Mapping[str, Any]) -> str:
        """Say why a task as it is listed needs no prediction; "" where it may need one."""
        if not self.annotated and (task.get("is_labeled") or task.get("total_annotations")):
            return "it is annotated"
        return PREDICTED if self.version in _versions(task.get("predictions_model_versions")) else ""

    def pass_over_whole(self, task: Mapping[str, Any]) -> str:
        """Say the same of a task with its predictions in full, which is certain."""
        listed = [each.get("model_version") for each in task.get("predictions") or ()]
        return self.pass_over({**task, "predictions_model_versions": listed})


def prelabel(
    studio: LabelStudio, tasks: Sequence[Mapping[str, Any]], predict: Predict, rules: Rules
) -> Iterator[Outcome]:
    """Predict tasks and store the predictions; what became of each task comes as soon as it is known.

    Parameters
    ----------
    studio
        Where the tasks are.
    tasks
        Which: as `LabelStudio.tasks` lists them; what they show is looked up again where it matters.
    predict
        Makes a prediction of a whole task; may raise anything, and the task has failed then. It is called from a few
        threads at once, so that one image is fetched, and another's masks are written down, while a third one is
        looked at. Label Studio is asked from the caller's thread alone.
    rules
        Which of the tasks get one.

    Yields
    ------
    Outcome
        One for each task, in their order.

    Raises
    ------
    AccessError
        Label Studio does not take the key any more.
    UnreachableError
        It cannot be reached any more. Called again, it goes on where it stopped.
    """
    for found in in_order(_job(studio, task, predict, rules) for task in tasks):
        yield found if isinstance(found, Outcome) else _stored(studio, found)


def doubtful_first(studio: LabelStudio, project: int) -> int:
    """Make a tab in the project that shows tasks without annotations, the least sure prediction first.

    Who presses "Label Tasks As Displayed" there is given the tasks in this order, each time anew. Label Studio goes by
    the score of the predictions that the project shows, so a version must have been chosen with `LabelStudio.show`.
    """
    unlabelled = {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number", "value": 0}
    shown = {
        "title": DOUBTFUL,
        "type": "list",
        "target": "tasks",
        "ordering": ["tasks:predictions_score"],
        "filters": {"conjunction": "and", "items": [unlabelled]},
    }
    if not studio.views(project):  # a project that nobody has looked at: its usual tab is made when it is missing
        studio.put_view(project, {"title": "Default", "type": "list", "target": "tasks"})
    return studio.put_view(project, shown)


def _job(studio: LabelStudio, task: Mapping[str, Any], predict: Predict, rules: Rules) -> Callable[[], Outcome | Json]:
    """Return what makes the prediction of a task, or at once says what became of it."""
    number = task["id"]
    if why := rules.pass_over(task):
        return partial(Outcome, number, "skipped", why)
    # The list may be hours old when a task's turn comes.
    try:
        whole = studio.task(number)
    except ApiError as error:
        return partial(_gone, number) if error.status == HTTPStatus.NOT_FOUND else partial(_failed, number, error)
    if why := rules.pass_over_whole(whole):
        return partial(Outcome, number, "skipped", why)
    return partial(_predicted, whole, predict, rules)


def _predicted(task: Json, predict: Predict, rules: Rules) -> Outcome | Json:
    """Return a prediction as it is to be stored; this alone is done in other threads."""
    number = task["id"]
    try:
        answer = predict(task)
    except Exception as error:  # whatever is wrong with one image, the other tasks go on
        return Outcome(number, "failed", f"{type(error).__name__}: {error}")
    result, score = list(answer["result"]), answer.get("score")
    if not result and not rules.empty:
        return Outcome(number, "skipped", "it has nothing to start from")
    return {"task": number, "result": result, "score": score, "model_version": rules.version}


def _stored(studio: LabelStudio, prediction: Json) -> Outcome:
    number, result = prediction["task"], prediction["result"]
    try:
        _store(studio, prediction)
    except ApiError as error:
        return _gone(number) if _is_gone(studio, number) else _failed(number, error)
    return Outcome(number, "made", objects=len(result), score=prediction["score"])


def _failed(number: int, error: ApiError) -> Outcome:
    return Outcome(number, "failed", str(error))


def _gone(number: int) -> Outcome:
    return Outcome(number, "skipped", "it was removed meanwhile")


def _is_gone(studio: LabelStudio, number: int) -> bool:
    try:
        studio.task(number)
    except ApiError as error:
        return error.status == HTTPStatus.NOT_FOUND
    return False


def _store(studio: LabelStudio, prediction: Json) -> None:
    """Store a prediction exactly once, also where answers get lost on the way."""
    number, version = prediction["task"], prediction["model_version"]
    for attempt in range(TRIES):
        try:
            studio.add_prediction(prediction)
        except (UnreachableError, ApiError) as error:
            if isinstance(error, ApiError) and error.status not in PASSING:
                raise
            # It may be stored all the same: the task tells.
            if not _numbers(studio, number, version):
                if attempt == TRIES - 1:
                    raise
                studio.pause(attempt)
                continue
        break
    if attempt:
        for late in _numbers(studio, number, version)[1:]:
            studio.remove_prediction(late)


def _numbers(studio: LabelStudio, task: int, version: str) -> list[int]:
    """Return the numbers of a task's predictions of a version, the first stored first."""
    return sorted(each["id"] for each in studio.predictions(task) if each.get("model_version") == version)


def _versions(listed: object) -> list[str]:
    """Read the versions that a list of tasks gives as one text; one that was cut off is not among them."""
    if isinstance(listed, str):
        return [each.strip() for each in listed.split(",")]
    return [str(each) for each in listed] if isinstance(listed, list) else []
