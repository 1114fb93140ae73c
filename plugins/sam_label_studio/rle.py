"""Label Studio's run-length code of a brush: the RGBA bytes of the whole image, packed as thi.ng/rle-pack does.

32 bits   bytes that follow when unpacked: 4 for each pixel
 5 bits   bits of a word - 1: 7
4 x 4 bits   sizes - 1 of the numbers that count words: 2, 3, 7, 15
then blocks: 1 bit (a run?), 2 bits (which size), count - 1, and one word for a run or all words if it is none
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sam_label_studio.errors import CodecError

SIZES = (3, 4, 8, 16)
HEADER = (31, 7, 8)  # bits: count, word size, sizes
LONGEST = 1 << SIZES[-1]  # words of a run
START = 53  # bits before the first block


def encode(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask (H, W) bool: bytes 255 where it is, 0 elsewhere.

    Examples
    --------
    >>> encode(np.array([[False, True]]))
    [0, 0, 0, 8, 57, 27, 252, 96, 17, 255, 128]
    """
    return encode_crop(mask, (0, 0), (mask.shape[0], mask.shape[1]))


def encode_crop(crop: NDArray[np.bool_], offset: tuple[int, int], shape: tuple[int, int]) -> list[int]:
    """Encode a mask of which a crop is given: outside of it nothing is looked at, however large the image is.

    Parameters
    ----------
    crop
        (h, w) bool.
    offset
        Its y, x on the image.
    shape
        Height and width of the image.

    Examples
    --------
    >>> encode_crop(np.array([[True]]), (0, 1), (1, 2)) == encode(np.array([[False, True]]))
    True
    """
    lengths, values, of_long = _pieces(*_runs(crop, offset, shape))
    sizes = np.array(SIZES)
    # What is left of a run that was too long is counted with the largest size, as label-studio-sdk does.
    which = np.where(of_long, len(SIZES) - 1, np.searchsorted(1 << sizes, lengths))
    codes = ((4 + which) << sizes[which] | lengths - 1) << 8 | values
    head = np.array([4 * shape[0] * shape[1], 7, 2 << 12 | 3 << 8 | 7 << 4 | 15], np.int64)
    bits = _bits(np.concatenate([head, codes]), np.concatenate([[32, 5, 16], 11 + sizes[which]]))
    packed = np.packbits(bits)
    # label-studio-sdk fills up to a whole byte, and adds one more where there is nothing to fill up.
    return [*packed.tolist(), 0] if len(bits) % 8 == 0 else list(packed.tolist())


def decode(rle: object, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode to a mask (H, W) bool: where the alpha of a pixel is not 0.

    Parameters
    ----------
    rle
        The bytes, as a list.
    shape
        Height and width of the image.

    Raises
    ------
    CodecError
        This is no such code, or is of an image of another size.

    Examples
    --------
    >>> decode(encode(np.array([[False, True]])), (1, 2)).tolist()
    [[False, True]]
    """
    reader = _Reader(_bytes(rle))
    count, word, sizes = reader.take(32), reader.take(5) + 1, [reader.take(4) + 1 for _ in range(4)]
    if count != 4 * shape[0] * shape[1] or word != 8:
        msg = (
            f"got a brush of {count} words of {word} bits, expected {4 * shape[0] * shape[1]} words of 8 bits: "
            f"4 for each pixel of an image of {shape[0]} x {shape[1]}"
        )
        raise CodecError(msg)
    alpha = np.zeros(shape[0] * shape[1], bool)
    done = 0
    while done < count:
        is_run = reader.take(1)
        length = min(reader.take(sizes[reader.take(2)]) + 1, count - done)
        words = reader.take(8) if is_run else reader.words(length)
        _paint(alpha, done, length, words)
        done += length
    return alpha.reshape(shape)


def _runs(
    crop: NDArray[np.bool_], offset: tuple[int, int], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return of each run of the flattened image its words and its value."""
    steps = np.diff(np.pad(crop, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, stops = ((y + offset[0]) * shape[1] + x + offset[1] for y, x in (np.nonzero(steps == s) for s in (1, -1)))
    # What ends at the end of a row and goes on at the start of the next one is one run.
    breaks = starts[1:] != stops[:-1]
    starts, stops = starts[np.append(True, breaks)[: len(starts)]], stops[np.append(breaks, True)[: len(stops)]]
    edges = np.concatenate([[0], np.stack([starts, stops], axis=1).ravel(), [shape[0] * shape[1]]])
    lengths = 4 * np.diff(edges)
    values = np.arange(len(lengths)) % 2 * 255
    return lengths[lengths > 0], values[lengths > 0]


def _pieces(
    lengths: NDArray[np.int64], values: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Cut runs that are too long to be counted; return also which pieces are of such ones."""
    whole, rest = np.divmod(lengths, LONGEST)
    times = whole + (rest > 0)
    last = np.cumsum(times) - 1
    pieces = np.full(int(times.sum()), LONGEST, np.int64)
    pieces[last[rest > 0]] = rest[rest > 0]
    return pieces, np.repeat(values, times), np.repeat(times > 1, times)


def _bits(codes: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Write numbers one after the other, each in so many bits, highest first."""
    ends = np.cumsum(lengths)
    shifts = np.repeat(ends, lengths) - 1 - np.arange(ends[-1])
    return np.asarray(np.repeat(codes, lengths) >> shifts & 1, np.uint8)


def _bytes(rle: object) -> bytes:
    try:
        return bytes(rle) if isinstance(rle, Sequence) and not isinstance(rle, str) else b""
    except (TypeError, ValueError) as error:
        msg = f"got a brush with something else than bytes 0..255 in it ({error})"
        raise CodecError(msg) from error


class _Reader:
    """Takes numbers off a row of bits."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._bits: NDArray[np.uint8] | None = None
        self._at = 0

    def take(self, count: int) -> int:
        start, stop = self._advance(count)
        last = -(-stop // 8)
        return int.from_bytes(self._data[start // 8 : last]) >> (8 * last - stop) & ((1 << count) - 1)

    def words(self, count: int) -> NDArray[np.uint8]:
        start, stop = self._advance(8 * count)
        if self._bits is None:
            self._bits = np.unpackbits(np.frombuffer(self._data, np.uint8))
        return np.packbits(self._bits[start:stop])

    def _advance(self, count: int) -> tuple[int, int]:
        start, self._at = self._at, self._at + count
        if self._at > 8 * len(self._data):
            msg = f"got a brush of {len(self._data)} bytes that ends too early; it may be cut short"
            raise CodecError(msg)
        return start, self._at


def _paint(alpha: NDArray[np.bool_], start: int, length: int, words: int | NDArray[np.uint8]) -> None:
    """Set the pixels whose alpha, the last of their 4 words, is among `length` words from `start`."""
    first, stop = max(0, -(-(start - 3) // 4)), max(0, -(-(start + length - 3) // 4))
    alpha[first:stop] = words > 0 if isinstance(words, int) else words[4 * first + 3 - start :: 4] > 0
