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
from functools import cache, partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from kerastl.data.near_duplicates.contents import Rows, first_equal
from kerastl.data.near_duplicates.hamming import BYTES, DISTANCE, blocks, following, similar_hashes, spread
from kerastl.data.near_duplicates.pixels import (
    BLOCK,
    CELLS,
    CROPS,
    PLAIN,
    SIDE,
    ImagesFile,
    cell_means,
    contrast_of,
    cropped,
    largest_difference,
    most_similar,
    pixel_similarity,
    similarity_within,
)
from kerastl.inputs.batches import decode_file
from kerastl.inputs.quick import resized

FINE = 64  # pixels of what is hashed
THRESHOLD = 0.4  # of the similarity
LOOSE = 0.25
SAME_HASH = 500  # images with the same hash that an image is compared with, and as many of each similar hash
SIMILAR_HASH = 4000  # hashes with the same half that a hash is compared with
# How many comparisons of pixels the search may make: so many, and so many more for each image. About 10 us each.
ANYWAY, BUDGET = 2_000_000, 50
MET = 5000  # pairs that the search may meet, for each image; most are connected by others before
GREY = np.array([0.299, 0.587, 0.114], np.float32)
_LOWEST = sorted(((i, j) for i in range(16) for j in range(16) if i + j), key=lambda at: (sum(at), at))[:64]
# The 64 lowest frequencies without the mean, dealt to the bytes by turns: bits of high frequencies are mostly 0, and a
# byte of these alone would be the same for most images.
LOW = tuple(zip(*(at for byte in range(BYTES) for at in _LOWEST[byte::BYTES]), strict=True))


@dataclass
class ImageContents:
    """Decoded images. digests: of the exact pixels, [n, 16] uint8; all zero for an image that cannot be decoded.
    hashes: [n, kinds] uint64, of the image, of its crops and perhaps of its mirror image. contrast: [n]; images with
    one below PLAIN have no hash. pixels: [n, 3, SIDE, SIDE] uint8, and cells: of `cell_means`, in files without a name.
    compared: how many comparisons of pixels were made."""

    digests: NDArray[np.uint8]
    hashes: NDArray[np.uint64]
    contrast: NDArray[np.float32]
    pixels: ImagesFile
    cells: ImagesFile
    threshold: float = THRESHOLD
    loose: float = LOOSE
    notes: list[str] = field(default_factory=list)
    compared: int = 0

    def equal(self) -> NDArray[np.intp]:
        """See `Contents`. An image that cannot be decoded equals no other."""
        own = np.arange(len(self.digests))
        decoded = np.flatnonzero(self.digests.any(axis=1))
        own[decoded] = decoded[first_equal(self.digests[decoded])]
        return own

    def candidates(self) -> Iterator[tuple[Rows, Rows]]:
        """See `Contents`: pairs of an image and a variant whose hashes differ in at most DISTANCE bits, each pair of
        images once."""
        n, met, passed = max(len(self.hashes), 1000), 0, 0
        rows = np.flatnonzero((self.contrast >= PLAIN) & (self.equal() == np.arange(len(self.hashes))))
        self.compared = 0
        for left, right, missed in similar_images(self.hashes[rows]):
            if met > MET * n or self.compared > ANYWAY + BUDGET * n:
                self.notes.append("so many images look alike that not all were compared: the search ended after "
                                  f"{met:,} pairs of similar hashes and {self.compared:,} comparisons of pixels")
                break
            met, passed = met + len(left), passed + missed
            yield np.minimum(rows[left], rows[right]), np.maximum(rows[left], rows[right])
        if passed:
            self.notes.append(f"{passed:,} pairs of images with similar perceptual hashes were not compared, because "
                              f"more than {SAME_HASH} images share a hash, or more than {SIMILAR_HASH:,} hashes are "
                              "alike; equal pixels were found all the same")

    def similarity(self, left: Rows, right: Rows, at_least: float = 0.0, enough: float = 1.0) -> NDArray[np.float64]:
        """See `Contents`: that of the most similar variant of either image with the other image."""
        parts = [self._similarity(left[start:start + BLOCK], right[start:start + BLOCK], at_least, enough)
                 for start in range(0, len(left), BLOCK)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def every_pair(self, members: Rows, at_least: float) -> NDArray[np.float64]:
        """See `Contents`: exact. Most pairs are rejected by the cells that differ most in brightness."""
        from scipy.spatial.distance import cdist

        count, result = len(members), list[NDArray[np.float64]]()
        cells = self.cells.take(members).astype(np.float32).reshape(count, len(CROPS), 3, CELLS, CELLS)
        brightness, contrast = cells.mean(axis=2), self.contrast[members]
        for start in range(0, count, BLOCK):
            rows, later = slice(start, start + BLOCK), slice(start + 1, None)
            bounds = []
            for i, j, turn in _variants(self.hashes.shape[1]):
                a, b = _turned(brightness[rows, i], turn), brightness[later, j]
                worst = cdist(a.reshape(len(a), -1), b.reshape(len(b), -1), "chebyshev")
                bounds.append(similarity_within(worst, contrast[rows, None], contrast[None, later],
                                                (CROPS[i], CROPS[j])))
            most = np.max(bounds, axis=0)
            upper = np.triu(np.ones(most.shape, bool))
            left, right = np.nonzero(upper & (most >= at_least))
            most[left, right] = self.similarity(members[rows][left], members[later][right], at_least)
            result.append(most[upper])
        return np.concatenate(result)

    def alike(self, members: Rows, least: float) -> bool:
        """See `Contents`. The largest difference of cells is a norm, so two images differ at most by the sum of what
        each differs from the mean image."""
        blocks_of = np.split(members, range(BLOCK, len(members), BLOCK))
        sums = [self.pixels.take(rows).sum(axis=0, dtype=np.float64) for rows in blocks_of]
        mean = (np.sum(sums, axis=0) / len(members)).astype(np.float32)[None]
        excess = np.concatenate([largest_difference(self.pixels.take(rows).astype(np.float32), mean)
                                 - (1 - least) * self.contrast[rows] / 2 for rows in blocks_of])
        return bool(np.partition(excess, -2)[-2:].sum() < -1e-3)

    def _similarity(self, left: Rows, right: Rows, at_least: float, enough: float) -> NDArray[np.float64]:
        variants = _variants(self.hashes.shape[1])
        of_left, of_right = self.contrast[left], self.contrast[right]
        a, b = (self.cells.take(rows).astype(np.float32).reshape(-1, len(CROPS), 3, CELLS, CELLS)
                for rows in (left, right))
        most = np.array([most_similar(_turned(a[:, i], turn), b[:, j], (of_left, of_right), (CROPS[i], CROPS[j]))
                         for i, j, turn in variants])
        best = np.where(most < at_least, most, 0.0).max(axis=0).astype(np.float64)
        within = np.flatnonzero((most >= at_least).any(axis=0))
        of_within = [self.pixels.take(rows[within]) for rows in (left, right)]
        contrast = (of_left[within] + of_right[within]) / 2
        for (i, j, turn), bound in zip(variants, most[:, within], strict=True):
            known = best[within]
            chosen = np.flatnonzero((bound >= at_least) & (bound > known) & (known < enough))
            if len(chosen):
                self.compared += len(chosen)
                of_a, of_b = (pixels[chosen].astype(np.float32) for pixels in of_within)
                value = pixel_similarity(cropped(of_a, CROPS[i]) if i else _turned(of_a, turn),
                                         cropped(of_b, CROPS[j]) if j else of_b, None if i or j else contrast[chosen])
                best[within[chosen]] = np.maximum(known[chosen], value)
        return best


@cache
def _variants(kinds: int) -> list[tuple[int, int, bool]]:
    """How a pair is compared when an image has so many kinds of hashes: the crops of its images (places in CROPS), and
    whether the first is mirrored."""
    crops = range(1, len(CROPS))
    mirrored = [(0, 0, True)] if kinds > len(CROPS) else []
    return [(0, 0, False), *((i, 0, False) for i in crops), *((0, j, False) for j in crops), *mirrored]


def _turned(images: NDArray[np.float32], mirrored: bool) -> NDArray[np.float32]:
    return images[..., ::-1] if mirrored else images


def similar_images(hashes: NDArray[np.uint64]) -> Iterator[tuple[Rows, Rows, int]]:
    """Blocks of pairs of images of which one's hash and any of the other's differ in at most DISTANCE bits, each pair
    once, and the number of pairs that were passed over. hashes: [n, kinds], the first of the images themselves."""
    n, kinds = hashes.shape
    own = np.unique(hashes[:, 0])
    values = np.concatenate([own, np.setdiff1d(hashes[:, 1:], own)])  # those of images first
    by_value = np.argsort(values)
    value = by_value[np.searchsorted(values, hashes.T.ravel(), sorter=by_value)]  # of each hash, kind by kind
    order = np.argsort(value, kind="stable")  # of each value, the images come before the variants
    starts = np.searchsorted(value[order], np.arange(len(values) + 1))
    images = np.bincount(value[:n], minlength=len(values))
    for left, right, passed in following(value[order].astype(np.uint64), order < n, SAME_HASH):
        yield *_first_met(hashes, order[left], order[right]), passed
    for a, b, passed in similar_hashes(values, len(own), SIMILAR_HASH):
        yield np.zeros(0, np.intp), np.zeros(0, np.intp), passed
        every = np.diff(starts)
        for a_from, a_size, b_size in ((starts[a], images[a], every[b]), (starts[a] + images[a], every[a] - images[a],
                                                                          images[b])):
            compared = np.minimum(b_size, SAME_HASH)
            pairs = a_size * compared
            for part in blocks(pairs):
                which, number = spread(np.arange(len(pairs))[part], pairs[part])
                place, step = number // compared[which], number % compared[which]
                # Of more than SAME_HASH, those at the same place in their order, and the ones after it.
                step = (place * b_size[which] // a_size[which] + step) % b_size[which]
                passed = int((a_size[part] * (b_size[part] - compared[part])).sum())
                yield *_first_met(hashes, order[a_from[which] + place], order[starts[b][which] + step]), passed


def _first_met(hashes: NDArray[np.uint64], left: Rows, right: Rows) -> tuple[Rows, Rows]:
    """The pairs of images that pairs of hashes (numbered kind by kind) stand for, without those that meet by earlier
    kinds too, and are found there."""
    n, kinds = hashes.shape
    (kind_a, a), (kind_b, b) = divmod(left, n), divmod(right, n)
    apart = a != b
    a, b, kind_a, kind_b = a[apart], b[apart], kind_a[apart], kind_b[apart]
    swapped = a > b
    a, b, kind_a, kind_b = (np.where(swapped, y, x) for x, y in ((a, b), (b, a), (kind_a, kind_b), (kind_b, kind_a)))
    number = np.where(kind_a > 0, 2 * kind_a - 1, 2 * kind_b)  # 0 for images, 1 and 2 for the first variant
    new = np.ones(len(a), bool)
    for earlier in range(2 * kinds - 2):
        of_a, of_b = ((earlier + 1) // 2, 0) if earlier % 2 else (0, earlier // 2)
        met = np.bitwise_count(hashes[a, of_a] ^ hashes[b, of_b]) <= DISTANCE
        new &= ~(met & (earlier < number))
    return a[new], b[new]


def read_contents(paths: Sequence[str], *, mirrored: bool = False, folder: Path | None = None) -> ImageContents:
    """Decode images and keep what is needed to compare them: 4 KB each in files, and less than 100 bytes in memory.

    mirrored: whether an image's mirror image is a near-duplicate of it. folder: of the files; default: that of
    temporary files.
    """
    n = len(paths)
    contents = ImageContents(np.zeros((n, 16), np.uint8), np.zeros((n, len(CROPS) + mirrored), np.uint64),
                             np.zeros(n, np.float32), ImagesFile((3, SIDE, SIDE), folder),
                             ImagesFile((3 * len(CROPS), CELLS, CELLS), folder))
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(total=n, desc="near-duplicates", unit=" images",
                                                          delay=2) as bar:
        for start in range(0, n, BLOCK):
            block = list(pool.map(partial(_examined, files=n), paths[start:start + BLOCK]))
            known = [place for place, result in enumerate(block) if result is not None]
            shrunk = np.zeros((len(block), 3, SIDE, SIDE), np.uint8)
            if known:
                rows = start + np.array(known)
                fine = np.array([result[1] for result in block if result is not None], np.float32).transpose(0, 3, 1, 2)
                contents.digests[rows] = [np.frombuffer(result[0], np.uint8) for result in block if result is not None]
                shrunk[known] = np.rint(cropped(fine, 0.0))
                contents.contrast[rows] = contrast_of(shrunk[known].astype(np.float32))
                contents.hashes[rows] = _hashes(fine, mirrored)
            contents.pixels.append(shrunk)
            contents.cells.append(cell_means(shrunk))
            bar.update(len(block))
    return contents


def _examined(path: str, files: int) -> tuple[bytes, NDArray[np.uint8]] | None:
    """The digest of an image's exact pixels, and the image at FINE x FINE; None for one that cannot be decoded."""
    pixels = decode_file(path, 0, accept_truncated=True, files=files)
    if isinstance(pixels, str):
        return None
    digest = hashlib.blake2b(np.array(pixels.shape, np.int64).tobytes(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    with tf.device("CPU:0"):
        return digest.digest(), resized(tf.constant(pixels), FINE)


def _hashes(fine: NDArray[np.float32], mirrored: bool) -> NDArray[np.uint64]:
    """[n, 3, FINE, FINE] -> the hashes of each image and of its variants, [n, kinds]."""
    grey = np.einsum("nchw,c->nhw", fine, GREY)[:, None]
    kinds = [_hash(cropped(grey, crop)[:, 0]) for crop in CROPS]
    return np.stack([*kinds, *([_hash(cropped(grey[:, :, :, ::-1], 0.0)[:, 0])] if mirrored else [])], axis=1)


def _hash(grey: NDArray[np.float32]) -> NDArray[np.uint64]:
    """[n, SIDE, SIDE] -> [n]: whether each of 64 coefficients of the cosine transform is clearly positive."""
    from scipy.fft import dctn

    low = dctn(grey, axes=(1, 2), norm="ortho")[:, LOW[0], LOW[1]]
    bits = low > 0.4 * np.abs(low).mean(axis=1, keepdims=True)
    return np.ascontiguousarray(np.packbits(bits, axis=1, bitorder="little")).view(np.uint64).ravel()
