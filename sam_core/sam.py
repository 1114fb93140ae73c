"""`Sam`: the Segmenter we ship. numpy outside, torch inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sam_core.embedding import Embedding
from sam_core.errors import CheckpointError, EmbeddingError
from sam_core.families.cell import CellFamily
from sam_core.families.climb import FAR_BETTER, Climb
from sam_core.families.family import Family
from sam_core.families.load import dtype_of, load_family, save_family
from sam_core.families.place import Place, places_of_overview, places_of_tile
from sam_core.hub import add_card, upload
from sam_core.image import to_rgb8
from sam_core.masks import Masks
from sam_core.modeling.portable import PortableDecoder
from sam_core.overlap import nms
from sam_core.prompt import Prompt
from sam_core.remote_code import make_loadable
from sam_core.segment_all import SegmentAllOptions
from sam_core.tiling import Tiling, owner, windows
from sam_core.types import Box, Region, Shape

SAME_OBJECT = 0.6  # box IoU from which two proposals are taken for the same object

Found = tuple[tuple[float, float], tuple[float, float, float, float], float]


class Sam:
    """A Segment Anything model: encodes a plane once and answers any number of prompts about it.

    Make one with `Sam.from_pretrained`.

    Parameters
    ----------
    family
        The network and how to feed it.
    fingerprint
        Tells this model from all others; part of every embedding it makes.
    segment_all_options
        What suits this checkpoint when everything is to be segmented.

    Examples
    --------
    >>> from sam_core import Prompt, Sam, samples, segment
    >>> sam = Sam.from_pretrained("cell")
    >>> picture = samples.cells(seed=1)
    >>> embedding = sam.encode(picture.image)
    >>> masks = segment(sam, embedding, Prompt.of([(64, 64)]))
    """

    def __init__(self, family: Family, fingerprint: str, segment_all_options: SegmentAllOptions) -> None:
        self._family = family
        self.fingerprint = fingerprint
        self.segment_all_options = segment_all_options

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path = "cell",
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: Literal["auto", "float32", "bfloat16", "mixed"] = "auto",
    ) -> Sam:
        """Load a model.

        Parameters
        ----------
        source
            Name of an embedded model ("cell"), a folder, a Hub repository id, or a checkpoint file.
        revision
            Branch, tag or commit of a Hub repository.
        device
            "cpu", "cuda", "mps", ..., or "auto" for the best there is.
        dtype
            What the network computes in; "auto" takes bfloat16 where the device is fast at it. "mixed" encodes in that,
            and answers in float32, as `portable_decoder` does elsewhere.

        Raises
        ------
        CheckpointError
            Nothing usable was found at `source`; the message says what was looked for.
        """
        family, fingerprint, options = load_family(source, revision=revision, device=device, dtype=dtype)
        return cls(family, fingerprint, options)

    def save_pretrained(self, folder: str | Path, *, transformers: bool = False) -> None:
        """Write `config.json` and `model.safetensors` into a folder that `from_pretrained` reads.

        Parameters
        ----------
        folder
            Made where it is absent.
        transformers
            Also write what plain transformers needs to load it where sam-core is not installed: a "cell" then loads
            with `trust_remote_code=True`, since code goes with it.
        """
        save_family(self._family, Path(folder), self.segment_all_options)
        if transformers:
            make_loadable(Path(folder))

    def push_to_hub(
        self,
        repository: str,
        *,
        card: str | Path,
        private: bool | None = None,
        revision: str | None = None,
        message: str = "Upload model",
        token: str | None = None,
    ) -> str:
        """Upload the model into a repository of the Hugging Face Hub, which is made where it is absent.

        It loads with `Sam.from_pretrained(repository)` and with plain transformers. What is there already and is the
        same is not uploaded again.

        Parameters
        ----------
        repository
            Such as "me/my-cells".
        card
            Path of the model card: a Markdown file whose front matter names at least the licence.
        private
            Whether a repository that is made is private; None leaves it to the settings of its owner.
        revision
            Branch to upload to; None is "main".
        message
            What the history says of it.
        token
            Of an account that may write there; None takes the one of `hf auth login`.

        Returns
        -------
        str
            The commit, to be given to `from_pretrained` as `revision`.

        Raises
        ------
        CheckpointError
            There is no card, or the Hub did not take the model; the message says why.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, transformers=True)
            add_card(Path(folder), Path(card))
            return upload(Path(folder), repository, private=private, revision=revision, message=message, token=token)

    @property
    def device(self) -> str:
        """Where the network computes."""
        return str(next(self._family.network.parameters()).device)

    @property
    def dtype(self) -> str:
        """What the network computes in, such as "bfloat16"; "mixed" where it answers in another than it encodes in."""
        return dtype_of(self._family.network)

    # -- encode ------------------------------------------------------------------------------------------------------

    def encode(self, image: NDArray[np.generic], *, tiling: Tiling | None = None) -> Embedding:
        """Encode a plane once.

        Parameters
        ----------
        image
            (H, W) or (H, W, C), whatever `to_rgb8` takes.
        tiling
            How to cut a large plane; None encodes it whole. A tiled embedding also holds an overview of the plane.

        Raises
        ------
        ImageError
            The image cannot be read as a plane.
        """
        *_, embedding = self.encode_by_tile(image, tiling=tiling)
        assert embedding is not None
        return embedding

    @torch.inference_mode()
    def encode_by_tile(self, image: NDArray[np.generic], *, tiling: Tiling | None = None) -> Iterator[Embedding | None]:
        """Encode a plane in steps, for whoever has something else to do between them.

        Parameters
        ----------
        image, tiling
            As `encode` takes them.

        Yields
        ------
        Embedding or None
            None between two tiles; at last what `encode` returns.

        Raises
        ------
        ImageError
            The image cannot be read as a plane.

        Examples
        --------
        >>> from sam_core import Tiling, samples
        >>> sam, tiling = Sam.from_pretrained("cell"), Tiling((128, 128), (32, 32))
        >>> [made is None for made in sam.encode_by_tile(samples.cells((128, 256)).image, tiling=tiling)]
        [True, False]
        """
        rgb8 = self._family.prepare(to_rgb8(image))
        shape = (rgb8.shape[0], rgb8.shape[1])
        tiles = windows(tiling, shape)
        if len(tiles) == 1:
            levels = self._encode_tile(rgb8, tiles[0], shape)
            yield Embedding(tuple(level[None] for level in levels), shape, None, self.fingerprint)
            return
        features: list[NDArray[np.floating]] = []
        for i, tile in enumerate(tiles):
            if i:
                yield None
            levels = self._encode_tile(rgb8, tile, shape)
            features = features or [np.empty((len(tiles), *level.shape), level.dtype) for level in levels]
            for kept, level in zip(features, levels, strict=True):
                kept[i] = level
        yield Embedding(tuple(features), shape, tiling, self.fingerprint, self._overview(rgb8, tiles[0]))

    @torch.inference_mode()
    def encode_part(self, image: NDArray[np.generic], part: Box) -> Embedding | None:
        """Encode a part of a plane, for an answer that is not to wait until the whole is encoded.

        It is asked in the frame of the plane. The contrast is that of the whole plane, so well inside the part the
        answers are those of the whole but for a few pixels. Nearer to its border than the halo of a tile they are
        worse, and what is larger than the part is cut off.

        Parameters
        ----------
        image
            The whole plane, as `encode` takes it.
        part
            Half-open y0, x0, y1, x1 inside the plane. At multiples of 16 and more, the network sees it as it does in
            the whole.

        Returns
        -------
        Embedding or None
            None for a model of the SAM family, to which a part is as much work as the whole.

        Raises
        ------
        ImageError
            The image cannot be read as a plane.
        ValueError
            The part is empty or reaches outside the plane.

        Examples
        --------
        >>> from sam_core import samples
        >>> sam = Sam.from_pretrained("cell")
        >>> sam.encode_part(samples.cells((512, 768)).image, (0, 256, 256, 512)).windows
        ((0, 256, 256, 512),)
        """
        if not self._family.is_local:
            return None
        rgb8 = self._family.prepare(to_rgb8(image))
        height, width = rgb8.shape[:2]
        y0, x0, y1, x1 = part
        if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
            msg = f"got part {part} of a plane of {height} x {width}, expected y0 < y1 and x0 < x1 inside it"
            raise ValueError(msg)
        features = tuple(level[None] for level in self._encode_tile(rgb8, part, (height, width)))
        return Embedding(features, (height, width), None, self.fingerprint, part=part)

    def _encode_tile(self, rgb8: NDArray[np.uint8], tile: Box, plane: Shape) -> list[NDArray[np.floating]]:
        """Encode a tile of a picture: its levels, each (C, h, w)."""
        kind = torch.float32 if self.dtype == "float32" else torch.float16
        y0, x0, y1, x1 = tile
        levels = self._family.encode(rgb8[y0:y1, x0:x1], self._family.views((y1 - y0, x1 - x0), plane))
        return [level.to(kind).cpu().numpy() for level in levels]

    def _overview(self, rgb8: NDArray[np.uint8], tile: Box) -> Embedding:
        """Encode the whole plane once more, shrunk to the size of a tile."""
        y0, x0, y1, x1 = tile
        height, width = rgb8.shape[:2]
        factor = max(height / (y1 - y0), width / (x1 - x0))
        size = (max(1, round(height / factor)), max(1, round(width / factor)))
        small = np.array(Image.fromarray(rgb8).resize(size[::-1], Image.Resampling.BOX))
        levels = self._encode_tile(small, (0, 0, *size), (height, width))
        return Embedding(tuple(level[None] for level in levels), size, None, self.fingerprint)

    # -- decode ------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def decode(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        *,
        candidates: Literal[1, 3] = 1,
        min_score: float | None = None,
        min_stability: float | None = None,
    ) -> Masks:
        """Answer prompts about an encoded plane.

        Parameters
        ----------
        embedding
            What this model's `encode` returned.
        prompts
            One per object.
        candidates
            1 for one mask a prompt; 3 for three, for a prompt that may mean a part, an object or a group.
        min_score, min_stability
            Leave out answers below these before they are drawn at full resolution.

        Returns
        -------
        Masks
            In the order of the prompts; `prompt` says which mask answers which.

        Raises
        ------
        PromptError
            A prompt lies outside the plane or its previous mask is of another shape.
        EmbeddingError
            Another model made the embedding.
        """
        if embedding.model != self.fingerprint:
            msg = (
                f"got an embedding made by model {embedding.model!r}, expected one of {self.fingerprint!r}; "
                "encode the image again with this model"
            )
            raise EmbeddingError(msg)
        for prompt in prompts:
            prompt.check(embedding.image_shape)
        answers = Climb(self._family, embedding, candidates, min_score).answers(prompts)
        kept = [
            (i, logits, score)
            for i, found in enumerate(answers)
            for logits, score in found
            if (min_score is None or score >= min_score)
            and (min_stability is None or logits.stability() >= min_stability)
        ]
        # Copies, so that one answer does not hold in memory all those that were drawn with it.
        kept = [(i, replace(logits, values=logits.values.copy()), score) for i, logits, score in kept]
        index, logits, scores = (list(column) for column in zip(*kept, strict=True)) if kept else ([], [], [])
        return Masks.from_logits(embedding.image_shape, logits, scores, index)

    def portable_decoder(self) -> PortableDecoder:
        """Return the part of the model that answers a prompt, to be exported to a runtime other than torch.

        It is a copy in float32 on the CPU, best made of a model that was loaded so. See `PortableDecoder` for what it
        takes and for the rules by which `decode` uses it.

        Raises
        ------
        CheckpointError
            The model is not a "cell": its decoder works on other features.

        Examples
        --------
        >>> Sam.from_pretrained("cell", dtype="float32").portable_decoder().inputs["points"]
        ('n', 2)
        """
        if not isinstance(self._family, CellFamily):
            msg = (
                f"got the model {self.fingerprint!r}, expected one of model_type 'cell', whose decoder is small enough "
                "to run elsewhere; ask this one with Sam.decode"
            )
            raise CheckpointError(msg)
        return PortableDecoder(self._family.network, {**self._family.rules, "far_better": FAR_BETTER})

    # -- propose -----------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def propose(self, embedding: Embedding) -> list[Prompt] | None:
        """Say where the objects probably are: a prompt for each, most certain first.

        It is a click, which is answered better than the rough box of a proposal; objects too large to be seen at full
        resolution also have the box, which tells how coarsely to look.

        A model without a proposal head (the SAM family) returns None.
        """
        if not self._family.proposes:
            return None
        tiles = range(len(embedding.windows))
        pyramids = [list(places_of_tile(embedding, tile, self._family)) for tile in tiles]
        found: list[Found] = []
        for pyramid in pyramids:
            found += self._propose(embedding, pyramid, 0.0)
        found += self._propose(embedding, list(places_of_overview(embedding, self._family)), pyramids[0][-1].reach)
        keep = nms(np.array([f[1] for f in found]).reshape(-1, 4), np.array([f[2] for f in found]), SAME_OBJECT)
        closest = next(place.reach for place in pyramids[0] if place.view.shrink >= 1)
        chosen = [found[i] for i in keep]
        prompts = (Prompt.of([point], box=box if _extent(box) > closest else None) for point, box, _ in chosen)
        return [replace(prompt, proposed=True) for prompt in prompts]

    def _propose(self, embedding: Embedding, pyramid: Sequence[Place], finer: float) -> list[Found]:
        """Collect what each view proposes of the sizes that it is for; `finer` is the reach of the view before."""
        found: list[Found] = []
        for i, place in enumerate(pyramid):
            for proposal in self._family.propose(place.levels(), place.frame.shape):
                ((y, x),) = place.frame.points_out(np.array([proposal.point]))
                point, box = (float(y), float(x)), place.frame.box_out(proposal.box)
                size = _extent(box)
                mine = place.tile < 0 or owner(embedding.tiling, point, embedding.image_shape) == place.tile
                if mine and finer / 2 <= size and (size <= place.reach or i == len(pyramid) - 1):
                    found.append((point, box, proposal.score))
            finer = place.reach
        return found


def _extent(box: Region) -> float:
    return max(box[2] - box[0], box[3] - box[1])
