"""Near-duplicate images: exact pixels, then a perceptual hash with an exact Hamming search, confirmed on pixels.

The hash is Zauner's pHash (2010, http://phash.org) with a threshold that keeps graphics stable: most coefficients of a
symmetric drawing are zero, and their signs are noise. Centre crops of each image are hashed too, so that an image
finds itself with cropped borders. The pixel threshold was chosen on icons and photographs: see docs/results.md.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from kerastl.data.near_duplicates.candidates import sharing_a_band
from kerastl.data.near_duplicates.contents import Rows, first_equal
from kerastl.data.spool import Unnamed
from kerastl.inputs.batches import decode_file
from kerastl.inputs.quick import resized

HAMMING = 4  # bits of 64 in which the hashes of near-duplicates may differ
WIDTHS = (13, 13, 13, 13, 12)  # bits of each band: two hashes that differ in 4 bits agree in one of 5 bands
SIDE, FINE = 32, 64  # pixels of what is compared, and of what is hashed
CELL = 4  # pixels: the side of the squares whose differences are compared
THRESHOLD = 0.4  # of the similarity below
LOOSE = 0.25
PLAIN = 2.0  # of 255: the standard deviation of an image below which its hash is noise
CROPS = (0.0, 0.025, 0.05)  # cut off at each border
BLOCK = 256  # images decoded at a time
SAME_HASH = 500  # images with the same hash that an image is compared with
SIMILAR_HASH = 20_000  # hashes with the same band that a hash is compared with
BUDGET = 200  # comparisons of pixels, for each image
GREY = np.array([0.299, 0.587, 0.114])
_LOWEST = sorted(((i, j) for i in range(16) for j in range(16) if i + j), key=lambda at: (sum(at), at))[:64]
# The 64 lowest frequencies without the mean, dealt to the bands by turns: bits of high frequencies are mostly 0, and a
# band of these alone would be the same for most images.
LOW = tuple(zip(*(at for band in range(len(WIDTHS)) for at in _LOWEST[band::len(WIDTHS)]), strict=True))


@dataclass
class ImageContents:
    """Decoded images. digests: of the exact pixels, [n, 16] uint8; all zero for an image that cannot be decoded.
    hashes: [n, probes] uint64, of the image and of its variants. hashed: [n], whether the hash says anything. pixels:
    [n, SIDE, SIDE, 3] uint8 in a file without a name."""

    digests: NDArray[np.uint8]
    hashes: NDArray[np.uint64]
    hashed: NDArray[np.bool_]
    pixels: "PixelFile"
    threshold: float = THRESHOLD
    loose: float = LOOSE
    notes: list[str] = field(default_factory=list)

    def equal(self) -> NDArray[np.intp]:
        """See `Contents`. An image that cannot be decoded equals no other."""
        own = np.arange(len(self.digests))
        decoded = np.flatnonzero(self.digests.any(axis=1))
        own[decoded] = decoded[first_equal(self.digests[decoded])]
        return own

    def candidates(self) -> Iterator[tuple[Rows, Rows]]:
        """See `Contents`: pairs of an image and a variant whose hashes differ in at most HAMMING bits."""
        n, probes = self.hashes.shape
        rows = np.flatnonzero(self.hashed & (self.equal() == np.arange(n)))
        hashes = self.hashes[rows].T.ravel()  # the images, then each kind of variant
        left_budget, crowded = BUDGET * max(n, 1000), 0
        for left, right, distance in sharing_a_band(_bands(hashes), SIMILAR_HASH):
            bits = np.bitwise_count(hashes[left] ^ hashes[right])
            near = (bits <= HAMMING) & ((left < len(rows)) | (right < len(rows)))
            if distance > SAME_HASH:
                crowded += int((near & (bits == 0)).sum())
                near &= bits > 0
            a, b = rows[left[near] % max(1, len(rows))], rows[right[near] % max(1, len(rows))]
            a, b = a[a != b], b[a != b]
            if len(a) > left_budget:
                self.notes.append("so many images look alike that not all were compared: the search ended after "
                                  f"{BUDGET * max(n, 1000):,} pairs")
                return
            left_budget -= len(a)
            yield np.minimum(a, b), np.maximum(a, b)
        if crowded:
            self.notes.append(f"{crowded:,} pairs of images with the same perceptual hash were not compared, because "
                              f"more than {SAME_HASH} images share it; equal pixels were found all the same")

    def similarity(self, left: Rows, right: Rows) -> NDArray[np.float64]:
        """See `Contents`: that of the most similar variant of either image with the other image."""
        best = np.zeros(len(left))
        for start in range(0, len(left), BLOCK):
            a, b = (self.pixels.take(rows[start:start + BLOCK]).astype(np.float32) for rows in (left, right))
            block = [pixel_similarity(a, b)]
            for crop in CROPS[1:]:
                block += [pixel_similarity(_cropped(a, crop), b), pixel_similarity(a, _cropped(b, crop))]
            if self.hashes.shape[1] > len(CROPS):
                block.append(pixel_similarity(a[:, :, ::-1], b))
            best[start:start + BLOCK] = np.max(block, axis=0)
        return best

    estimate = similarity


def pixel_similarity(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """1 less the root of the mean squared difference in the most different square of 4 x 4 pixels, in units of the
    images' contrast (their standard deviation); at least 0. a, b: [n, 32, 32, 3] -> [n]."""
    cells = SIDE // CELL
    squared = ((a - b) ** 2).mean(axis=3).reshape(-1, cells, CELL, cells, CELL).mean(axis=(2, 4))
    contrast = (a.std(axis=(1, 2, 3)) + b.std(axis=(1, 2, 3))) / 2
    worst = np.sqrt(squared.max(axis=(1, 2))) / np.maximum(contrast, PLAIN)
    return np.asarray(np.clip(1 - worst, 0, 1), np.float64)


def read_contents(paths: Sequence[str], *, mirrored: bool = False, folder: Path | None = None) -> ImageContents:
    """Decode images and keep what is needed to compare them: 3 KB each in a file, and less than 100 bytes in memory.

    mirrored: whether an image's mirror image is a near-duplicate of it. folder: of the file; default: that of temporary
    files.
    """
    probes = len(CROPS) + mirrored
    contents = ImageContents(np.zeros((len(paths), 16), np.uint8), np.zeros((len(paths), probes), np.uint64),
                             np.zeros(len(paths), bool), PixelFile(folder))
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(total=len(paths), desc="near-duplicates", unit=" images",
                                                          delay=2) as bar:
        for start in range(0, len(paths), BLOCK):
            block = list(pool.map(_examined, paths[start:start + BLOCK]))
            known = [place for place, result in enumerate(block) if result is not None]
            fine = np.array([result[1] for result in block if result is not None], np.float32)
            shrunk = np.zeros((len(block), SIDE, SIDE, 3), np.uint8)
            if known:
                rows = start + np.array(known)
                contents.digests[rows] = [np.frombuffer(result[0], np.uint8) for result in block if result is not None]
                shrunk[known] = np.rint(_cropped(fine, 0.0))
                contents.hashed[rows] = shrunk[known].std(axis=(1, 2, 3)) >= PLAIN
                contents.hashes[rows] = _hashes(fine, mirrored)
            contents.pixels.append(shrunk)
            bar.update(len(block))
    return contents


def _examined(path: str) -> tuple[bytes, NDArray[np.uint8]] | None:
    """The digest of an image's exact pixels, and the image at FINE x FINE; None for one that cannot be decoded."""
    pixels = decode_file(path, 0, accept_truncated=True)
    if isinstance(pixels, str):
        return None
    digest = hashlib.blake2b(np.array(pixels.shape, np.int64).tobytes(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    with tf.device("CPU:0"):
        return digest.digest(), resized(tf.constant(pixels), FINE)


def _hashes(fine: NDArray[np.float32], mirrored: bool) -> NDArray[np.uint64]:
    """[n, FINE, FINE, 3] -> the hashes of each image and of its variants, [n, probes]."""
    grey = fine @ GREY.astype(np.float32)
    kinds = [_hash(_cropped(grey[..., None], crop)[..., 0]) for crop in CROPS]
    return np.stack([*kinds, *([_hash(_cropped(grey[:, :, ::-1, None], 0.0)[..., 0])] if mirrored else [])], axis=1)


def _hash(grey: NDArray[np.float32]) -> NDArray[np.uint64]:
    """[n, SIDE, SIDE] -> [n]: whether each of 64 coefficients of the cosine transform is clearly positive."""
    from scipy.fft import dctn

    low = dctn(grey, axes=(1, 2), norm="ortho")[:, LOW[0], LOW[1]]
    bits = low > 0.4 * np.abs(low).mean(axis=1, keepdims=True)
    return np.ascontiguousarray(np.packbits(bits, axis=1, bitorder="little")).view(np.uint64).ravel()


def _bands(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    shifts = np.cumsum((0, *WIDTHS[:-1]))
    return np.stack([(hashes >> np.uint64(shift)) & np.uint64(2**width - 1)
                     for shift, width in zip(shifts, WIDTHS, strict=True)], axis=1)


def _cropped(images: NDArray[np.float32], crop: float) -> NDArray[np.float32]:
    """Images without a share of each border, at SIDE x SIDE. [n, side, side, channels] -> [n, SIDE, SIDE, channels]."""
    weights = _area(images.shape[1], crop)
    return np.einsum("yi,nijc,xj->nyxc", weights, images, weights, optimize=True)


@cache
def _area(side: int, crop: float) -> NDArray[np.float32]:
    """The weights of pixels in area averages of what a crop leaves, [SIDE, side]."""
    edges = side * (crop + (1 - 2 * crop) * np.arange(SIDE + 1) / SIDE)
    covered = np.clip(edges[:, None] - np.arange(side)[None], 0, 1)  # how much of each pixel is before each edge
    weights = np.diff(covered, axis=0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


class PixelFile:
    """Rows of [SIDE, SIDE, 3] uint8 in a file without a name."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file, self._size = Unnamed(folder), 0

    def append(self, pixels: NDArray[np.uint8]) -> None:
        """Append [n, SIDE, SIDE, 3]."""
        self._file.write(bytearray(np.ascontiguousarray(pixels).tobytes()), self._size)
        self._size += pixels.nbytes

    def take(self, rows: Rows) -> NDArray[np.uint8]:
        """Read rows: [len(rows), SIDE, SIDE, 3]."""
        one = SIDE * SIDE * 3
        data = b"".join(self._file.read(one, int(row) * one) for row in rows)
        return np.frombuffer(data, np.uint8).reshape(-1, SIDE, SIDE, 3)
