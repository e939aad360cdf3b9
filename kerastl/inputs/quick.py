"""The same pixels as the graph decoder gives, for the files that most data sets consist of: JPEG and PNG.

A call of the graph takes longer for its branches, its checks of the header and its hops between threads than the
kernels that do the work. Here the header is read in Python, and the same kernels are called one by one. Whatever is
unusual is left to the graph, which is the definition: it also states why a file is refused or cannot be decoded.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.inputs.orientation import MOST_SEGMENTS, upright
from kerastl.inputs.refusals import MAX_PIXELS, MAX_SCANS, MAX_SIDE

END_OF_JPEG = b"\xff\xd9"
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, by Huffman codes
_PASSED = {0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}  # tables, comments, and what programs add
_SCAN, _APP1 = 0xDA, 0xE1
Pixels = NDArray[np.uint8]


def quick_pixels(data: bytes, size: int, accept_truncated: bool, orientation_of: Callable[[bytes], int]
                 ) -> Pixels | None:
    """The pixels of an image, [size, size, 3] uint8, equal to those of `images.decode`; None for one that is left to
    the graph. size: 0 for [height, width, 3] as in the file. orientation_of: of a JPEG with EXIF, as
    `orientation.of_jpeg` finds it."""
    with tf.device("CPU:0"):
        try:
            if data[:3] == b"\xff\xd8\xff":
                return _jpeg(data, size, accept_truncated, orientation_of)
            if data[:8] == b"\x89PNG\r\n\x1a\n":
                return _png(data, size)
        except tf.errors.OpError:  # the graph says why
            return None
    return None


def _jpeg(data: bytes, size: int, accept_truncated: bool, orientation_of: Callable[[bytes], int]) -> Pixels | None:
    header = _jpeg_header(data)
    if header is None:
        return None
    height, width, has_exif = header
    if not _usual(height, width) or data.count(b"\xff\xda") > MAX_SCANS // (height * width):
        return None
    sent = data + END_OF_JPEG if accept_truncated and data[-2:] != END_OF_JPEG else data
    pixels = tf.io.decode_jpeg(sent, channels=3, dct_method="INTEGER_ACCURATE")
    if has_exif and (orientation := orientation_of(data)) != 1:
        pixels = upright(pixels, tf.constant(orientation))
    return resized(pixels, size)


def _jpeg_header(data: bytes) -> tuple[int, int, bool] | None:
    """Height, width, and whether there is EXIF before the first scan; None if anything in the header is unusual."""
    place, shape, has_exif = 2, (0, 0), False
    for _ in range(MOST_SEGMENTS):
        segment = data[place:place + 10]
        if len(segment) < 10 or segment[0] != 0xFF:
            return None
        marker, length = segment[1], int.from_bytes(segment[2:4], "big")
        if marker == _SCAN:
            return (*shape, has_exif) if shape[0] else None
        if marker in _FRAMES and not shape[0]:
            shape = int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[7:9], "big")
        elif marker not in _PASSED:
            return None
        if length < 2:
            return None
        has_exif |= marker == _APP1 and segment[4:] == b"Exif\0\0"
        place += 2 + length
    return None


def _png(data: bytes, size: int) -> Pixels | None:
    if data[12:16] != b"IHDR" or len(data) < 32 or b"eXIf" in data:
        return None
    width, height, depth = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), data[24]
    if not _usual(height, width):
        return None
    pixels = tf.io.decode_png(data, channels=4).numpy()
    opaque = 2 ** min(max(depth, 1), 8) - 1  # see `images._png_opaque`
    rgb = pixels[..., :3] if (pixels[..., 3] == opaque).all() else _on_white(pixels)
    return resized(tf.constant(rgb), size)


def _on_white(pixels: Pixels) -> Pixels:
    """As `images._on_white`; division by 255 is written as shifts, which is exact here. [height, width, 4] uint8 ->
    [height, width, 3] uint8."""
    alpha = pixels[..., 3:].astype(np.uint16)
    total = pixels[..., :3] * alpha
    total += 255 * (255 - alpha) + 127
    total += (total >> 8) + 1  # at most 65,534
    return (total >> 8).astype(np.uint8)


def _usual(height: int, width: int) -> bool:
    """Whether an image is not refused for its size."""
    return 0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE and height * width <= MAX_PIXELS


def resized(pixels: tf.Tensor, size: int) -> Pixels:
    """As `images.resize`. pixels: [height, width, 3] uint8 -> [size, size, 3] uint8; unchanged where `size` is 0."""
    height, width = pixels.shape[:2]
    if not size:
        return np.asarray(pixels.numpy())
    square, images = tf.constant([size, size]), tf.expand_dims(pixels, 0)
    if height > size or width > size:
        shrunk = tf.constant([min(height, size), min(width, size)])
        images = tf.raw_ops.ResizeArea(images=images, size=shrunk)
    elif height == width == size:
        return np.asarray(pixels.numpy())
    if height < size or width < size:
        images = tf.raw_ops.ResizeBilinear(images=tf.cast(images, tf.float32), size=square, half_pixel_centers=True)
    means = images.numpy()[0]
    return np.rint(means, out=means).astype(np.uint8)  # of means of pixels, so none needs to be clipped
