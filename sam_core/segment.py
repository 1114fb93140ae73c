"""One prompt, one mask."""

from __future__ import annotations

from typing import Literal

from sam_core.correction import corrected
from sam_core.embedding import Embedding
from sam_core.masks import Masks
from sam_core.prompt import Prompt
from sam_core.types import Segmenter


def segment(model: Segmenter, embedding: Embedding, prompt: Prompt, *, candidates: Literal[1, 3] = 1) -> Masks:
    """Answer one prompt with the one mask that is most probably meant.

    A lone click is ambiguous, so the best of three candidates is taken; any other prompt is asked for one mask. Clicks
    are kept: see `sam_core.correction`.

    Parameters
    ----------
    model
        The model that made the embedding.
    embedding
        An encoded plane.
    prompt
        What is wanted.
    candidates
        1 for the one mask; 3 for all candidates, for somebody to choose from.

    Returns
    -------
    Masks
        One mask, or none where the model sees nothing; of three candidates those that show something.

    Raises
    ------
    PromptError
        The prompt does not fit the plane.
    EmbeddingError
        Another model made the embedding.

    Examples
    --------
    >>> from sam_core import Prompt, Sam, samples, segment
    >>> sam = Sam.from_pretrained("cell")
    >>> picture = samples.cells(seed=1)
    >>> len(segment(sam, sam.encode(picture.image), Prompt.of([(64, 64)]))) <= 1
    True
    """
    masks = model.decode(embedding, [prompt], candidates=3 if prompt.is_lone_click else candidates)
    masks = corrected([prompt], masks.best() if candidates == 1 else masks)
    return masks[masks.areas > 0]
