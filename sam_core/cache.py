"""Encoded planes kept on disk, found again by what was encoded."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from sam_core.atomic import explained, remove, temporary
from sam_core.embedding import Embedding
from sam_core.tiling import Tiling

if TYPE_CHECKING:
    from sam_core.types import Segmenter

FORMAT = 2  # of an entry; part of its name, so that a new format never reads an old entry
FEATURES, OVERVIEW = "features", "overview"  # the array in an entry, and where that of its overview lies
RECENT = 4  # embeddings of a stack that stay in memory
ABANDONED = 3600.0  # seconds after which what a writer left unfinished may be removed
_ENTRY = re.compile(r"[0-9a-f]{40}")
_UNFINISHED = re.compile(r"\.[0-9a-f]{40}\.[0-9a-f]{12}\.part")


def default_folder() -> Path:
    """Say where embeddings are kept: `SAM_CORE_CACHE`, or else the folder that the system has for caches."""
    if chosen := os.environ.get("SAM_CORE_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "sam-core"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "sam-core" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sam-core"


class EmbeddingCache:
    """Encodes each plane once, also over several runs and processes.

    An entry is named by a hash of the pixels, the tiling and the fingerprint of the model, so it can be missing but
    never wrong. It is written beside its place and moved there when it is whole. Features are kept, and returned, as
    float16. Where the disk is full or may not be written to, planes are encoded all the same, with one warning.

    Parameters
    ----------
    root
        Folder to keep entries in, created when first needed. None: the variable `SAM_CORE_CACHE`, or else the
        system's folder for caches; looked up at each call.

    Examples
    --------
    >>> import tempfile
    >>> cache = EmbeddingCache(Path(tempfile.mkdtemp()) / "cache")
    >>> len(cache), cache.nbytes, cache.prune(keep_bytes=0)
    (0, 0, 0)
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self._root = None if root is None else Path(root)
        self._warned = False

    @property
    def root(self) -> Path:
        """Folder of the entries."""
        return default_folder() if self._root is None else self._root

    def encode(self, model: Segmenter, image: NDArray[Any], *, tiling: Tiling | None = None) -> Embedding:
        """Return the embedding of a plane: the one kept, or else a new one, which is then kept.

        Parameters
        ----------
        model
            What encodes.
        image
            (H, W) or (H, W, C), any dtype the model takes.
        tiling
            How to cut the plane; None: it is one tile.
        """
        image = np.asarray(image)
        if image.dtype.kind not in "biuf":  # the model says best what is wrong with it
            return model.encode(image, tiling=tiling)
        entry = self._entry(model.fingerprint, image, tiling)
        found = self._read(entry)
        if found is None:
            found = model.encode(image, tiling=tiling).halved()
            try:
                self._write(entry, found)
            except OSError as error:
                self._warn(error)
        return found

    def get(self, fingerprint: str, image: NDArray[Any], *, tiling: Tiling | None = None) -> Embedding | None:
        """Return the embedding of a plane that is kept, or None.

        Parameters
        ----------
        fingerprint
            Of the model that is to have made it.
        image, tiling
            As in `encode`.
        """
        return self._read(self._entry(fingerprint, image, tiling))

    def put(self, embedding: Embedding, image: NDArray[Any], *, tiling: Tiling | None = None) -> None:
        """Keep an embedding in float16, for whoever keeps one later than it was made; `encode` does so at once.

        Parameters
        ----------
        embedding
            What a model made of the plane.
        image, tiling
            What it was given.

        Raises
        ------
        OSError
            The folder cannot be written to, or the disk is full; nothing is left of the entry then.
        ValueError
            The embedding is of a part of the plane, and would be taken for the whole.
        """
        if embedding.part is not None:
            msg = f"got an embedding of the part {embedding.part}, expected one of a whole plane; use `encode` instead"
            raise ValueError(msg)
        entry = self._entry(embedding.model, image, tiling)
        if not entry.is_dir():
            self._write(entry, embedding.halved())

    def stack(
        self, model: Segmenter, planes: Sequence[NDArray[Any]], *, tiling: Tiling | None = None
    ) -> Sequence[Embedding]:
        """Return the embeddings of many planes, each encoded when it is asked for; only a few stay in memory."""
        return _Stack(self, model, planes, tiling, range(len(planes)), OrderedDict())

    def prune(self, *, keep_bytes: int) -> int:
        """Remove entries, least recently used first, until at most `keep_bytes` are left; return the bytes freed.

        Raises
        ------
        ValueError
            `keep_bytes` is negative.
        """
        if keep_bytes < 0:
            msg = f"got keep_bytes={keep_bytes}, expected at least 0; 0 removes everything"
            raise ValueError(msg)
        self._remove_unfinished()
        before = left = self.nbytes
        for entry in sorted(self._entries(), key=_last_used):
            if left <= keep_bytes:
                break
            size = _size(entry)
            _discard(entry)
            left -= size - _size(entry)
        return before - left

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(_size(entry) for entry in self._entries())

    def __len__(self) -> int:
        """Return how many planes are kept."""
        return len(self._entries())

    def _entries(self) -> list[Path]:
        """List the entries, and nothing else that may lie in the folder."""
        return [path for path in _listed(self.root) if _ENTRY.fullmatch(path.name)]

    def _remove_unfinished(self) -> None:
        for path in _listed(self.root):
            if _UNFINISHED.fullmatch(path.name) and time.time() - _last_used(path) > ABANDONED:
                remove(path)

    def _read(self, entry: Path) -> Embedding | None:
        """Read an entry; one that cannot be read is removed and counts as none."""
        if not entry.is_dir():
            return None
        try:
            embedding = _load(entry)
        except Exception:  # whatever is broken in it, encoding again mends it
            _discard(entry)
            return None
        with suppress(OSError):  # a folder that can only be read
            os.utime(entry)
        return embedding

    def _entry(self, fingerprint: str, image: NDArray[Any], tiling: Tiling | None) -> Path:
        return self.root / key_of(fingerprint, np.asarray(image), tiling)

    def _write(self, entry: Path, embedding: Embedding) -> None:
        beside = temporary(entry)
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            _save(beside, embedding)
            _move(beside, entry)
        except OSError as error:
            raise explained(error, entry) from error
        finally:
            remove(beside)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(f"embeddings are not kept: {error}", RuntimeWarning, stacklevel=3)


def key_of(fingerprint: str, image: NDArray[Any], tiling: Tiling | None) -> str:
    """Name an entry by all that decides what is in it.

    Examples
    --------
    >>> plane = np.zeros((4, 6), np.uint8)
    >>> key_of("cell", plane, None) == key_of("cell", plane.reshape(6, 4), None)
    False
    """
    tiles = None if tiling is None else [*tiling.tile, *tiling.halo]
    about = [FORMAT, fingerprint, image.dtype.str, image.shape, tiles]
    digest = blake2b(json.dumps(about).encode(), digest_size=20)
    digest.update(np.ascontiguousarray(image).data.cast("B") if image.size else b"")
    return digest.hexdigest()


class _Stack(Sequence[Embedding]):
    """Embeddings of planes, made when asked for. Slices share the memory of the whole."""

    def __init__(
        self,
        cache: EmbeddingCache,
        model: Segmenter,
        planes: Sequence[NDArray[Any]],
        tiling: Tiling | None,
        indices: range,
        recent: OrderedDict[int, Embedding],
    ) -> None:
        self._cache = cache
        self._model = model
        self._planes = planes
        self._tiling = tiling
        self._indices = indices
        self._recent = recent

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Embedding: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Embedding]: ...
    def __getitem__(self, index: int | slice) -> Embedding | Sequence[Embedding]:
        chosen = self._indices[index]
        if isinstance(chosen, range):
            return _Stack(self._cache, self._model, self._planes, self._tiling, chosen, self._recent)
        if chosen not in self._recent:
            embedding = self._cache.encode(self._model, self._planes[chosen], tiling=self._tiling)
            self._recent[chosen] = embedding
            while len(self._recent) > RECENT:
                self._recent.popitem(last=False)
            return embedding
        self._recent.move_to_end(chosen)
        return self._recent[chosen]


def _save(place: Path, embedding: Embedding) -> None:
    """Write an array with a chunk for each tile, in which its levels lie one behind the other.

    An array costs zarr as much time as some megabytes in it, so it is not one for each level. Features look like noise:
    zstd takes 8 % off them and several times as long to write, so nothing is compressed. A checksum tells a damaged
    chunk, and the fill value a missing one. The overview is another such array.
    """
    import zarr
    from zarr.codecs import Crc32cCodec

    values = sum(math.prod(level.shape[1:]) for level in embedding.features)
    array = zarr.create_array(
        place / FEATURES,
        shape=(len(embedding.windows), values),
        chunks=(1, values),
        dtype=np.float16,
        compressors=[Crc32cCodec()],
        fill_value=float("nan"),
        attributes=_about(embedding),
        config={"write_empty_chunks": True},  # else each chunk is compared with the fill value: half of the time
    )
    for tile in range(len(embedding.windows)):
        array[tile] = np.concatenate([level[tile].ravel() for level in embedding.features])
    if embedding.overview is not None:
        _save(place / OVERVIEW, embedding.overview)


def _about(embedding: Embedding) -> dict[str, Any]:
    tiling = embedding.tiling
    return {
        "shapes": [list(level.shape[1:]) for level in embedding.features],
        "image_shape": list(embedding.image_shape),
        "tiling": None if tiling is None else [list(tiling.tile), list(tiling.halo)],
        "model": embedding.model,
        "overview": embedding.overview is not None,
    }


def _load(place: Path) -> Embedding:
    import zarr

    array = zarr.open_array(place / FEATURES, mode="r")
    about: dict[str, Any] = dict(array.attrs)
    tiles = np.asarray(array[...])
    if np.isnan(tiles).any():
        msg = "got features with tiles missing, expected all of them"
        raise ValueError(msg)
    ends = np.cumsum([math.prod(shape) for shape in about["shapes"]])
    levels = zip(np.split(tiles, ends[:-1], axis=1), about["shapes"], strict=True)
    features = tuple(values.reshape(len(tiles), *shape) for values, shape in levels)
    tiling = None if about["tiling"] is None else Tiling(*map(tuple, about["tiling"]))
    height, width = about["image_shape"]
    overview = _load(place / OVERVIEW) if about["overview"] else None
    return Embedding(features, (height, width), tiling, about["model"], overview)


def _move(beside: Path, entry: Path) -> None:
    """Move a whole entry to its place; where another writer was quicker, its entry is as good."""
    try:
        beside.rename(entry)
    except OSError:
        if not entry.is_dir():
            raise


def _discard(entry: Path) -> None:
    """Take an entry out of sight in one step, so that nobody finds half of it, then remove it."""
    aside = temporary(entry)
    with suppress(OSError):
        entry.rename(aside)
        remove(aside)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed meanwhile
        return 0.0


def _size(entry: Path) -> int:
    total = 0
    for folder, _, names in os.walk(entry):
        for name in names:
            with suppress(OSError):
                total += os.path.getsize(os.path.join(folder, name))
    return total
