"""`Sam`: the Segmenter we ship. numpy outside, torch inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
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
from sam_core.families.family import Answers, Family
from sam_core.families.load import dtype_of, load_family, save_family
from sam_core.families.place import Place, places_for, places_of_home, places_of_overview, places_of_tile
from sam_core.hub import add_card, upload
from sam_core.image import to_rgb8
from sam_core.logits import Logits
from sam_core.masks import Masks
from sam_core.modeling.portable import PortableDecoder
from sam_core.overlap import nms
from sam_core.prompt import Prompt
from sam_core.remote_code import make_loadable
from sam_core.segment_all import SegmentAllOptions
from sam_core.tiling import Tiling, owner, windows
from sam_core.types import Box, Region, Shape

FAR_BETTER = 0.3  # score by which a coarser answer has to be better than a doubtful one
SAME_OBJECT = 0.6  # box IoU from which two proposals are taken for the same object

Answer = tuple[Logits, float]
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
        answers = self._answer(embedding, prompts, candidates, min_score)
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

    def _answer(
        self, embedding: Embedding, prompts: Sequence[Prompt], candidates: Literal[1, 3], min_score: float | None
    ) -> list[list[Answer]]:
        """Ask for each prompt the finest place that holds it."""
        places = {i: places_for(embedding, prompt, self._family) for i, prompt in enumerate(prompts)}
        found = self._climb(embedding, prompts, places, candidates, min_score)
        # An object clicked near its end may run out of the tile of the click and yet fit into another one: the
        # overview tells. Else a click on one side of a seam would get a coarser answer than one on the other.
        homes: dict[int, list[Place]] = {}
        for i, (place, answers) in found.items():
            if place.tile < 0 <= places[i][0].tile and answers:
                region = _union(prompts[i].extent, _best(answers).positive_region() or prompts[i].extent)
                homes[i] = places_of_home(embedding, region, self._family)
        homes = {i: way for i, way in homes.items() if way and way[0].tile != places[i][0].tile}
        for i, (place, answers) in self._climb(embedding, prompts, homes, candidates, min_score).items():
            if answers and not _is_cut(_best(answers)):
                found[i] = place, answers
        return [found[i][1] for i in range(len(prompts))]

    def _climb(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        places: Mapping[int, Sequence[Place]],
        candidates: Literal[1, 3],
        min_score: float | None,
    ) -> dict[int, tuple[Place, list[Answer]]]:
        """Ask each prompt at the first of its places, and at the next ones while the answer is cut off or doubtful."""
        found: dict[int, tuple[Place, list[Answer]]] = {}
        # Of three candidates the best is taken, but for the clicks of a grid: there all that score well enough are.
        passing = None if self._family.proposes else min_score
        pending = dict(places)
        while pending:
            climbing: dict[int, Sequence[Place]] = {}
            for indices in _together(pending):
                place = pending[indices[0]][0]
                # A poor answer may be poor because it is cut off, so it is left out only where there is no way up; and
                # where answers mend others, all are needed.
                least = min_score if all(len(pending[i]) == 1 and i not in found for i in indices) else None
                asked = self._ask(embedding, place, [prompts[i] for i in indices], candidates, least)
                for i, answers in zip(indices, asked, strict=True):
                    # Among many prompts whose poor answers are left out, another one has the large object.
                    doubt = self._family.doubt if prompts[i].is_lone_click and min_score is None else 0.0
                    found[i] = _mended(found[i], answers, place, doubt) if i in found else (place, answers)
                    above = pending[i][1:]
                    if len(above) > 1 and _is_doubtful(found[i][1], doubt):
                        found[i] = self._from_above(embedding, prompts[i], above, candidates, found[i])
                    elif above and _lacks(found[i][1], passing, doubt):
                        climbing[i] = above
            pending = climbing
        return found

    def _from_above(
        self,
        embedding: Embedding,
        prompt: Prompt,
        places: Sequence[Place],
        candidates: Literal[1, 3],
        found: tuple[Place, list[Answer]],
    ) -> tuple[Place, list[Answer]]:
        """Ask a doubtful prompt at all coarser places at once, as if one after the other.

        The next one alone is seldom surer, and together they cost less.
        """
        pictures = [(place.levels(), place.frame.shape) for place in places]
        placed = [place.frame.prompt_into(prompt) for place in places]
        for place, part in zip(places, self._family.decode_views(pictures, placed, candidates), strict=True):
            found = _mended(found, _answers_of(part, place, embedding.image_shape), place, self._family.doubt)
            if not _lacks(found[1], None, self._family.doubt):
                break
        return found

    def _ask(
        self,
        embedding: Embedding,
        place: Place,
        prompts: Sequence[Prompt],
        candidates: Literal[1, 3],
        min_score: float | None,
    ) -> list[list[Answer]]:
        found: list[list[Answer]] = [[] for _ in prompts]
        placed = [place.frame.prompt_into(prompt) for prompt in prompts]
        for part in self._family.decode(place.levels(), place.frame.shape, placed, candidates, min_score):
            for i, values, box, score in zip(part.prompt, part.values, part.boxes, part.scores, strict=True):
                found[i].append((place.logits_out(values, tuple(box), embedding.image_shape), float(score)))
        return found

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
        return [Prompt.of([point], box=box if _extent(box) > closest else None) for point, box, _ in chosen]

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


def _together(pending: Mapping[int, Sequence[Place]]) -> Iterable[list[int]]:
    """Group prompts that are to be asked at the same place."""
    groups: dict[tuple[int, int], list[int]] = {}
    for i, places in pending.items():
        groups.setdefault(places[0].key, []).append(i)
    return groups.values()


def _answers_of(part: Answers, place: Place, plane: Shape) -> list[Answer]:
    """Place the answers to one prompt on the plane."""
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


def _mended(
    finer: tuple[Place, list[Answer]], answers: list[Answer], place: Place, doubt: float
) -> tuple[Place, list[Answer]]:
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
