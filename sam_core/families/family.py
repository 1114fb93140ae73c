"""What `Sam` asks of a network, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sam_core.prompt import Prompt
from sam_core.types import Shape


@dataclass(frozen=True, eq=False, slots=True)
class Answers:
    """Low-resolution answers to prompts, in the frame that the prompts were given in.

    Parameters
    ----------
    prompt
        (n,) int: which prompt each answers.
    values
        (n, h, w) float32 logits.
    boxes
        (n, 4) float64 half-open regions of the frame that the logits cover; they may reach outside the picture.
    scores
        (n,) float32 predicted IoUs.
    """

    prompt: NDArray[np.intp]
    values: NDArray[np.float32]
    boxes: NDArray[np.float64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Proposal:
    """Where an object probably is, in the frame of one picture.

    Parameters
    ----------
    point
        y, x of its middle.
    box
        Half-open y0, x0, y1, x1.
    score
        In [0, 1].
    """

    point: tuple[float, float]
    box: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True, slots=True)
class View:
    """One magnification at which a picture was encoded.

    Parameters
    ----------
    levels
        Which of the picture's features belong to it.
    shrink
        Pixels of the picture to a pixel of the view; less than 1 where it is enlarged.
    reach
        Largest extent in pixels of the picture that an object may have to be answered from here.
    """

    levels: slice
    shrink: float
    reach: float


class Family(Protocol):
    """A network and how to feed it one picture: a plane, a tile of it, or a coarse overview."""

    proposes: bool  # whether the network has an idea of its own of where objects are
    is_local: bool  # whether a part of a plane costs less than all of it, and is seen as it is seen inside the whole
    doubt: float  # score below which the answer to a lone click may be poor because the view was too close

    @property
    def network(self) -> nn.Module:
        """On its device, in its dtype."""
        ...

    def prepare(self, rgb8: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Adjust the contrast of a whole plane (H, W, 3), before it is cut into tiles."""
        ...

    def views(self, shape: Shape, plane: Shape) -> Sequence[View]:
        """Return the views of a picture of this shape, a part of a plane of that shape; finest first."""
        ...

    def encode(self, rgb8: NDArray[np.uint8], views: Sequence[View]) -> list[Tensor]:
        """Encode a picture (H, W, 3) for its views: features (C, h, w), those of all views one after another."""
        ...

    def decode(
        self,
        levels: Sequence[Tensor],
        shape: tuple[int, int],
        prompts: Sequence[Prompt],
        candidates: Literal[1, 3],
        min_score: float | None,
    ) -> Iterator[Answers]:
        """Answer prompts, given in pixels of a view of this shape, some at a time; drop scores below `min_score`."""
        ...

    def decode_views(
        self,
        pictures: Sequence[tuple[Sequence[Tensor], Shape]],
        prompts: Sequence[Prompt],
        candidates: Literal[1, 3],
    ) -> Sequence[Answers]:
        """Answer one prompt in several views, given in pixels of each; only asked where `doubt` is more than 0."""
        ...

    def propose(self, levels: Sequence[Tensor], shape: tuple[int, int]) -> list[Proposal]:
        """Say where objects are in a view of this shape; only asked where `proposes` is true."""
        ...
