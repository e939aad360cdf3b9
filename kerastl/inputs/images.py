"""The one image decoder: bytes to [size, size, 3] uint8, in TensorFlow core ops.

Training, `predict`, the SavedModel and the input of TFLite files all start from this array. The EXIF orientation of
JPEG, PNG and WebP is applied; transparent images are composited on white; grey, CMYK and 16-bit images become 8-bit
RGB; of a GIF, the first frame is used. The image is then resized to a square without keeping the aspect ratio: `area`
along a side that shrinks, bilinear along one that grows. `export/reference_images.py` does the same in NumPy.
"""

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.inputs.byte_reads import first_bytes, little
from kerastl.inputs.gif import first_frame
from kerastl.inputs.op_messages import undecoded
from kerastl.inputs.orientation import HEAD, of_jpeg, of_png, of_webp, upright
from kerastl.inputs.quick import END_OF_JPEG, quick_pixels
from kerastl.inputs.refusals import BMP, GIF, JPEG, PNG, UNKNOWN, WEBP, bmp_has_alpha, kind_of, refusal, webp_alpha

# Part of the cache's key: increase it when the same bytes would give other pixels. When that holds for a few formats
# only, it stays, and `keys.py` gives the files of these formats other keys.
VERSION = "3"
PARALLEL = 4  # images of a batch that are decoded at a time: each takes up to 20 bytes a pixel


def decode(data: tf.Tensor, size: int, accept_truncated: bool = False) -> tf.Tensor:
    """Decode one image in the graph. data: scalar string -> [size, size, 3] uint8.

    accept_truncated: whether a JPEG may end early; the part that is missing is grey. Raises
    tf.errors.InvalidArgumentError for an image that is refused or cannot be decoded.
    """
    reason, pixels = decode_or_refuse(data, size, accept_truncated)
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(reason, ""), [reason])]):
        return tf.identity(pixels)


def decode_or_refuse(data: tf.Tensor, size: int, accept_truncated: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Like `decode`, but returns the reason for refusal, a scalar string that is "" for good images, and the pixels."""
    reason, pixels = original_size(accept_truncated)(data)
    return reason, resize(tf.ensure_shape(pixels, [None, None, 3]), size)


@cache
def original_size(accept_truncated: bool = False) -> Any:
    """A function of the graph that decodes one image: data -> the reason for refusal, and the pixels as they are in the
    file, [height, width, 3] uint8. Cached, because tracing it takes two seconds: graphs of every size share it."""

    def of_file(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        reason = refusal(data)
        return reason, tf.switch_case(
            tf.where(tf.equal(reason, ""), kind_of(data), UNKNOWN),
            {
                UNKNOWN: lambda: tf.zeros([1, 1, 3], tf.uint8),
                JPEG: lambda: upright(_jpeg(data, accept_truncated), of_jpeg(data)),
                PNG: lambda: upright(_on_white(tf.io.decode_png(data, channels=4), _png_opaque(data)), of_png(data)),
                GIF: lambda: first_frame(data),
                BMP: lambda: _bmp(data),
                WEBP: lambda: upright(_webp(data), of_webp(data)),
            },
        )

    return _traced(of_file)


def decode_batch(data: tf.Tensor, size: int, accept_truncated: bool = False) -> tf.Tensor:
    """Decode a batch. data: [batch] string -> [batch, size, size, 3] uint8. One bad image makes the call fail."""
    spec = tf.TensorSpec([size, size, 3], tf.uint8)
    return tf.map_fn(lambda image: decode(image, size, accept_truncated), data, fn_output_signature=spec,
                     parallel_iterations=PARALLEL)


def resize(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """Resize to the square and round. pixels: [height, width, 3] uint8 -> [size, size, 3] uint8."""
    shape = tf.shape(pixels)[:2]
    shrunk = tf.minimum(shape, size)
    smaller = tf.cond(
        tf.reduce_any(shape > size),
        lambda: tf.image.resize(pixels[tf.newaxis], shrunk, "area")[0],
        lambda: tf.cast(pixels, tf.float32),
    )
    square = tf.cond(
        tf.reduce_any(shape < size),
        lambda: tf.image.resize(smaller, [size, size], "bilinear"),
        lambda: smaller,
    )
    return tf.ensure_shape(tf.cast(tf.clip_by_value(tf.round(square), 0.0, 255.0), tf.uint8), [size, size, 3])


def _image(data: tf.Tensor, channels: int) -> tf.Tensor:
    return tf.io.decode_image(data, channels=channels, expand_animations=False)


def _jpeg(data: tf.Tensor, accept_truncated: bool) -> tf.Tensor:
    if accept_truncated:  # the decoder then stops at this mark instead of failing, and leaves the rest grey
        # A file that ends in the mark is decoded as ever: its key in the cache is that of the strict decoder.
        data = tf.cond(tf.equal(tf.strings.substr(data, -2, 2), END_OF_JPEG), lambda: data,
                       lambda: tf.strings.join([data, END_OF_JPEG]))
    # TensorFlow's default, the fast inverse DCT, differs from other decoders by up to 7 levels; this one does not.
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")


def _bmp(data: tf.Tensor) -> tf.Tensor:
    """Some programs announce transparency and then store none, which is alpha 0 everywhere; that is an opaque image.
    Some write more bytes behind the pixels than TensorFlow accepts, which are cut off, or omit the last padding."""
    head = first_bytes(data, 72)
    used = little(head, 18, 4) * (little(head, 28, 2) // 8)  # bytes of a row
    row = (used + 3) // 4 * 4
    end = little(head, 10, 4) + row * tf.abs(little(head, 22, 4))
    data = tf.cond(tf.strings.length(data) == end, lambda: data, lambda: tf.strings.substr(
        tf.strings.join([data, tf.strings.substr(bytes(3), 0, row - used)]), 0, end))

    def with_alpha() -> tf.Tensor:
        pixels = _image(data, 4)
        return tf.cond(tf.reduce_any(pixels[..., 3] > 0), lambda: _on_white(pixels), lambda: pixels[..., :3])

    return tf.cond(bmp_has_alpha(data), with_alpha, lambda: _image(data, 0)[..., :3])


def _webp(data: tf.Tensor) -> tf.Tensor:
    alpha, shown = webp_alpha(data)

    def with_alpha() -> tf.Tensor:
        pixels = _image(data, 4)
        return tf.cond(shown, lambda: _on_white(pixels), lambda: pixels[..., :3])

    return tf.cond(alpha, with_alpha, lambda: _image(data, 3))


def _png_opaque(data: tf.Tensor) -> tf.Tensor:
    """The alpha that TensorFlow fills in for a PNG without alpha: below 8 bits per channel this is not 255."""
    depth = first_bytes(data, 32)[24]
    return tf.cast(tf.pow(2, tf.clip_by_value(depth, 1, 8)) - 1, tf.uint8)


def _on_white(pixels: tf.Tensor, opaque: Any = 255) -> tf.Tensor:
    """Composite on white: [height, width, 4] uint8 -> [height, width, 3] uint8. opaque: the alpha of opaque pixels."""

    def blend() -> tf.Tensor:
        alpha = tf.cast(pixels[..., 3:], tf.uint16)  # the sum below is at most 65,152: half the memory of floats
        total = tf.cast(pixels[..., :3], tf.uint16) * alpha + 255 * (255 - alpha)
        return tf.cast((total + 127) // 255, tf.uint8)

    return tf.cond(tf.reduce_all(pixels[..., 3] == opaque), lambda: pixels[..., :3], blend)


class Decoder:
    """The decoder for Python, callable from threads: bytes -> pixels, or the reason for refusal. Usual files are
    decoded kernel by kernel, which is faster; the graph, traced when it is first needed, decodes the others. With
    a size of 0, the pixels are [height, width, 3] as in the file."""

    def __init__(self, size: int, accept_truncated: bool = False) -> None:
        self.size = size
        self.accept_truncated = accept_truncated
        self._tracing = threading.Lock()
        self._graph: Any = None

    def __call__(self, data: bytes) -> NDArray[np.uint8] | str:
        """The pixels of an image, [size, size, 3] uint8, or the reason why it cannot be used."""
        pixels = self.by_kernels(data)
        return self.by_graph(data) if pixels is None else pixels

    def by_kernels(self, data: bytes) -> NDArray[np.uint8] | None:
        """The pixels of a usual file; None for one that is left to the graph."""
        return quick_pixels(data, self.size, self.accept_truncated, self._orientation)

    @property
    def is_traced(self) -> bool:
        """Whether the graph is ready."""
        return self._graph is not None

    def trace(self) -> None:
        """Make the graph ready, which takes seconds and depends on no file."""
        with self._tracing:
            if self._graph is None:
                self._graph = original_size(self.accept_truncated) if not self.size else _traced(
                    lambda data: decode_or_refuse(data, self.size, self.accept_truncated))

    def by_graph(self, data: bytes) -> NDArray[np.uint8] | str:
        """The same by the graph, as it is exported."""
        self.trace()
        try:
            reason, pixels = self._graph(tf.constant(data))
        except tf.errors.OpError as error:
            return undecoded(error)
        return reason.numpy().decode() or pixels.numpy()

    def _orientation(self, data: bytes) -> int:
        with self._tracing:
            graph = _orientation_graph()
        return int(graph(tf.constant(data[:HEAD])))


@cache
def _orientation_graph() -> Any:
    """A function of the graph: the beginning of a JPEG -> its orientation. Decoders of every size share it."""
    return _traced(of_jpeg)


def _traced(function: Callable[[tf.Tensor], Any]) -> Any:
    return tf.function(function, input_signature=[tf.TensorSpec([], tf.string)], autograph=False
                       ).get_concrete_function()


@cache
def decoder(size: int, accept_truncated: bool = False) -> Decoder:
    """The decoder for a size; cached, because tracing its graph takes a second."""
    return Decoder(size, accept_truncated)
