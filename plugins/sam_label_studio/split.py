"""Which tasks are kept for testing."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def splits(tasks: Iterable[int], test: float) -> dict[int, str]:
    """Say of each task whether it is to "train" or to "test" on.

    The number of a task alone settles it, so that a later choice among more of them never tests on what was trained
    on. Where that would leave one of the two without a task, it is given the one that is nearest to it.

    Parameters
    ----------
    tasks
        Numbers of tasks.
    test
        Which part of them is to test on, about; 0 to 1.

    Examples
    --------
    >>> splits([1, 2, 3, 4, 5, 6], 0.2)
    {1: 'train', 2: 'train', 3: 'test', 4: 'train', 5: 'train', 6: 'train'}
    """
    drawn = {task: _draw(task) for task in tasks}
    chosen = {task: "test" if number < test else "train" for task, number in drawn.items()}
    if len(drawn) > 1 and 0 < test < 1:
        chosen[min(drawn, key=drawn.__getitem__)] = "test"
        chosen[max(drawn, key=drawn.__getitem__)] = "train"
    return chosen


def _draw(task: int) -> float:
    """Return a number from 0 to 1 that always is the same for a task, and has nothing to do with its place."""
    return int.from_bytes(blake2b(str(task).encode(), digest_size=4).digest()) / 2**32
