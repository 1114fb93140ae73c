"""Prompts answered by an embedding: at the finest place that holds the object, and coarser while that is not enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal, TypeAlias

from sam_core.embedding import Embedding
from sam_core.families.family import Answers, Family
from sam_core.families.place import Place, places_for, places_of_home
from sam_core.logits import Logits
from sam_core.prompt import Prompt
from sam_core.types import Region, Shape

FAR_BETTER = 0.3  # score by which a coarser answer has to be better than a doubtful one

Answer: TypeAlias = tuple[Logits, float]
"""About the plane, with its score."""
Placed: TypeAlias = tuple[Place, list[Answer]]
"""The answers to one prompt, and where the best of them was given."""


@dataclass(frozen=True, eq=False, slots=True)
class Climb:
    """How prompts about an embedding are asked.

    Parameters
    ----------
    family
        The network and how to feed it.
    embedding
        Of that network.
    candidates
        Masks to a prompt.
    min_score
        Least score of an answer that is wanted; None for all.
    """

    family: Family
    embedding: Embedding
    candidates: Literal[1, 3]
    min_score: float | None

    def answers(self, prompts: Sequence[Prompt]) -> list[list[Answer]]:
        """Ask for each prompt the finest place that holds it."""
        places = {i: places_for(self.embedding, prompt, self.family) for i, prompt in enumerate(prompts)}
        found = self._climb(prompts, places)
        # An object clicked near its end may run out of the tile of the click and yet fit into another one: the
        # overview tells. Else a click on one side of a seam would get a coarser answer than one on the other.
        homes: dict[int, list[Place]] = {}
        for i, (place, answers) in found.items():
            if place.tile < 0 <= places[i][0].tile and answers:
                region = _union(prompts[i].extent, _best(answers).positive_region() or prompts[i].extent)
                homes[i] = places_of_home(self.embedding, region, self.family)
        homes = {i: way for i, way in homes.items() if way and way[0].tile != places[i][0].tile}
        for i, (place, answers) in self._climb(prompts, homes).items():
            if answers and not _is_cut(_best(answers)):
                found[i] = place, answers
        return [found[i][1] for i in range(len(prompts))]

    def _climb(self, prompts: Sequence[Prompt], places: Mapping[int, Sequence[Place]]) -> dict[int, Placed]:
        """Ask each prompt at the first of its places, and at the next ones while the answer is cut off or doubtful."""
        found: dict[int, Placed] = {}
        # Of three candidates the best is taken, but for the clicks of a grid: there all that score well enough are.
        passing = None if self.family.proposes else self.min_score
        pending = dict(places)
        while pending:
            climbing: dict[int, Sequence[Place]] = {}
            for indices in _together(pending):
                place = pending[indices[0]][0]
                # A poor answer may be poor because it is cut off, so it is left out only where there is no way up; and
                # where answers mend others, all are needed.
                is_last = all(len(pending[i]) == 1 and i not in found for i in indices)
                asked = self._ask(place, [prompts[i] for i in indices], self.min_score if is_last else None)
                for i, answers in zip(indices, asked, strict=True):
                    doubt = self._doubt(prompts[i])
                    found[i] = _mended(found[i], answers, place, doubt) if i in found else (place, answers)
                    above = pending[i][1:]
                    if len(above) > 1 and _is_doubtful(found[i][1], doubt):
                        found[i] = self._from_above(prompts[i], above, found[i])
                    elif above and _lacks(found[i][1], passing, doubt):
                        climbing[i] = above
            pending = climbing
        return found

    def _doubt(self, prompt: Prompt) -> float:
        """Return the score below which the answer to a prompt is doubtful.

        Among many prompts whose poor answers are left out, another one has the large object.
        """
        return self.family.doubt if prompt.is_lone_click and self.min_score is None else 0.0

    def _from_above(self, prompt: Prompt, places: Sequence[Place], found: Placed) -> Placed:
        """Ask a doubtful prompt at all coarser places at once, as if one after the other.

        The next one alone is seldom surer, and together they cost less.
        """
        pictures = [(place.levels(), place.frame.shape) for place in places]
        placed = [place.frame.prompt_into(prompt) for place in places]
        for place, part in zip(places, self.family.decode_views(pictures, placed, self.candidates), strict=True):
            found = _mended(found, _answers_of(part, place, self.embedding.image_shape), place, self.family.doubt)
            if not _lacks(found[1], None, self.family.doubt):
                break
        return found

    def _ask(self, place: Place, prompts: Sequence[Prompt], min_score: float | None) -> list[list[Answer]]:
        """Ask at one place."""
        found: list[list[Answer]] = [[] for _ in prompts]
        placed = [place.frame.prompt_into(prompt) for prompt in prompts]
        for part in self.family.decode(place.levels(), place.frame.shape, placed, self.candidates, min_score):
            for i, answer in zip(part.prompt, _answers_of(part, place, self.embedding.image_shape), strict=True):
                found[i].append(answer)
        return found


def _together(pending: Mapping[int, Sequence[Place]]) -> Iterable[list[int]]:
    """Group prompts that are to be asked at the same place."""
    groups: dict[tuple[int, int], list[int]] = {}
    for i, places in pending.items():
        groups.setdefault(places[0].key, []).append(i)
    return groups.values()


def _answers_of(part: Answers, place: Place, plane: Shape) -> list[Answer]:
    """Place what a family answered on the plane."""
    rows = zip(part.values, part.boxes, part.scores, strict=True)
    return [(place.logits_out(values, tuple(box), plane), float(score)) for values, box, score in rows]


def _best(answers: Sequence[Answer]) -> Logits:
    return max(answers, key=itemgetter(1))[0]


def _best_score(answers: Sequence[Answer]) -> float:
    return max(score for _, score in answers)


def _lacks(answers: Sequence[Answer], min_score: float | None, doubt: float) -> bool:
    """Tell whether an answer that is wanted, the best or one that scores well enough, is cut off, or the best poor."""
    wanted = [logits for logits, score in answers if min_score is not None and score >= min_score]
    if not answers:
        return False
    return _best_score(answers) < doubt or any(_is_cut(logits) for logits in (_best(answers), *wanted))


def _is_doubtful(answers: Sequence[Answer], doubt: float) -> bool:
    """Tell whether the best answer is whole, but poor."""
    return bool(answers) and _best_score(answers) < doubt and not _is_cut(_best(answers))


def _mended(finer: Placed, answers: list[Answer], place: Place, doubt: float) -> Placed:
    """Replace the candidates that are cut off by those of a coarser place; all of them where the best one is.

    Where the best one is whole but doubtful, a coarser place answers if it scores far better.
    """
    if _is_cut(_best(finer[1])):
        return place, answers
    if _best_score(finer[1]) < doubt:
        return (place, answers) if answers and _best_score(answers) > _best_score(finer[1]) + FAR_BETTER else finer
    return finer[0], [new if _is_cut(old[0]) else old for old, new in zip(finer[1], answers, strict=True)]


def _union(a: Region, b: Region) -> Region:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _is_cut(logits: Logits) -> bool:
    """Tell whether the mask runs into a border of what was looked at that is not the border of the plane."""
    y0, x0, y1, x1 = logits.box
    inside = (y0 > 0.5, x0 > 0.5, y1 < logits.shape[0] - 0.5, x1 < logits.shape[1] - 0.5)
    values = logits.values
    borders = (values[0], values[:, 0], values[-1], values[:, -1])
    return any(cut and bool((border > 0).any()) for cut, border in zip(inside, borders, strict=True))
