"""The one image decoder: bytes to [size, size, 3] uint8, in TensorFlow core ops.

Training, `predict`, the SavedModel and the input of TFLite files all start from this array. The EXIF orientation of a
JPEG is applied; PNG and WebP with alpha are composited on white; grey, CMYK and 16-bit images become 8-bit RGB; of a
GIF, the first frame is used. The image is then resized to a square without keeping the aspect ratio: `area` along a
side that shrinks, bilinear along one that grows.
"""

import re
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

MAX_PIXELS = 100_000_000
HEAD = 131_072  # bytes of a JPEG that are searched for its orientation
VERSION = "3"  # part of the cache's key: increase it when the same bytes would give other pixels

_NONE, _JPEG, _PNG, _GIF, _BMP, _WEBP = range(6)


def decode(data: tf.Tensor, size: int) -> tf.Tensor:
    """Decode one image in the graph. data: scalar string -> [size, size, 3] uint8.

    Raises tf.errors.InvalidArgumentError for an image that is refused or cannot be decoded.
    """
    reason, pixels = decode_or_refuse(data, size)
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(reason, ""), [reason])]):
        return tf.identity(pixels)


def decode_or_refuse(data: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Like `decode`, but returns the reason for refusal, a scalar string that is "" for good images, and the pixels."""
    reason = refusal(data)
    pixels = tf.switch_case(
        tf.where(tf.equal(reason, ""), _kind(data), _NONE),
        {
            _NONE: lambda: tf.zeros([1, 1, 3], tf.uint8),
            _JPEG: lambda: _upright(_jpeg(data), _orientation(data)),
            _PNG: lambda: _on_white(tf.io.decode_png(data, channels=4), _png_opaque(data)),
            _GIF: lambda: _image(data, 3),
            _BMP: lambda: _image(data, 0)[..., :3],
            _WEBP: lambda: tf.cond(
                _webp_alpha(data), lambda: _on_white(_image(data, 4)), lambda: _image(data, 3)
            ),
        },
    )
    return reason, resize(tf.ensure_shape(pixels, [None, None, 3]), size)


def decode_batch(data: tf.Tensor, size: int) -> tf.Tensor:
    """Decode a batch. data: [batch] string -> [batch, size, size, 3] uint8. One bad image makes the call fail."""
    spec = tf.TensorSpec([size, size, 3], tf.uint8)
    return tf.map_fn(lambda image: decode(image, size), data, fn_output_signature=spec)


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


def refusal(data: tf.Tensor) -> tf.Tensor:
    """Why a file is refused, decided by its header before decoding. data: scalar string -> scalar string, "" if it is
    not refused. Animated WebP crashes TensorFlow's decoder, and a palette BMP decodes to indices, not colours."""
    kind = _kind(data)
    head = _bytes(data, 64)
    height, width = _shape(data, kind, head)
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    start = tf.strings.substr(data, 0, 4)
    beginning = tf.strings.lower(tf.strings.substr(data, 0, 256))
    tests: list[tuple[tf.Tensor, str]] = [
        (tf.equal(tf.strings.length(data), 0), "the file is empty"),
        (tf.reduce_any(tf.equal(start, [b"II*\x00", b"MM\x00*"])), "TIFF is not supported: save it as PNG or JPEG"),
        (tf.strings.regex_full_match(beginning, r"(?s)[\s\x{FEFF}]*<(\?xml|svg|!doctype svg).*"),
         "SVG is not supported: save it as PNG"),
        (tf.equal(kind, _NONE), "not an image in a supported format (JPEG, PNG, GIF, BMP, WebP)"),
        ((kind == _BMP) & ((_little(head, 14, 4) < 40) | ((_little(head, 28, 2) != 24) & (_little(head, 28, 2) != 32))),
         "BMP with a palette is not supported: save it as PNG"),
        ((kind == _WEBP) & _webp_is(head, b"VP8X") & (head[20] & 2 != 0),
         "animated WebP is not supported: save one frame of it"),
        ((kind != _NONE) & ((height <= 0) | (width <= 0)), "the header is damaged: it contains no size"),
        (pixels > MAX_PIXELS, "more than 100 megapixels: resize it"),
    ]
    reason = tf.constant("")
    for refused, why in reversed(tests):
        reason = tf.where(refused, why, reason)
    return reason


def _kind(data: tf.Tensor) -> tf.Tensor:
    """The format, by the first bytes; _NONE for an unsupported one."""
    webp = tf.equal(tf.strings.substr(data, 0, 4), b"RIFF") & tf.equal(_sub(data, 8, 4), b"WEBP")
    starts = [
        (tf.strings.substr(data, 0, 3), b"\xff\xd8\xff"),
        (tf.strings.substr(data, 0, 8), b"\x89PNG\r\n\x1a\n"),
        (tf.strings.substr(data, 0, 4), b"GIF8"),
        (tf.strings.substr(data, 0, 2), b"BM"),
    ]
    tests = tf.stack([tf.equal(start, magic) for start, magic in starts] + [webp])
    return tf.where(tf.reduce_any(tests), tf.cast(tf.argmax(tests), tf.int32) + 1, _NONE)


def _sub(data: tf.Tensor, start: Any, length: int) -> tf.Tensor:
    """A substring, empty if the string is too short."""
    total = tf.strings.length(data)
    return tf.strings.substr(data, tf.minimum(start, total), length)


def _bytes(data: tf.Tensor, length: int) -> tf.Tensor:
    """The first bytes as [length] int32, padded with zeros."""
    head = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, length), tf.uint8), tf.int32)
    return tf.ensure_shape(tf.pad(head, [[0, length - tf.shape(head)[0]]]), [length])


def _little(head: tf.Tensor, at: Any, count: int) -> tf.Tensor:
    return tf.add_n([head[at + i] * 2 ** (8 * i) for i in range(count)])


def _big(head: tf.Tensor, at: Any, count: int) -> tf.Tensor:
    return tf.add_n([head[at + i] * 2 ** (8 * (count - 1 - i)) for i in range(count)])


def _shape(data: tf.Tensor, kind: tf.Tensor, head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width according to the header; 0 if it has none."""
    lossy = (_little(head, 28, 2) & 0x3FFF, _little(head, 26, 2) & 0x3FFF)
    bits = _little(head, 21, 4)  # VP8L: 14 bits of width - 1, 14 of height - 1, then the alpha bit
    lossless = ((tf.bitwise.right_shift(bits, 14) & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    extended = (_little(head, 27, 3) + 1, _little(head, 24, 3) + 1)
    webp = [
        tf.where(_webp_is(head, b"VP8X"), extended[i], tf.where(_webp_is(head, b"VP8L"), lossless[i], lossy[i]))
        for i in (0, 1)
    ]
    size = tf.switch_case(
        kind,
        {
            _NONE: lambda: tf.zeros([2], tf.int32),
            _JPEG: lambda: tf.io.extract_jpeg_shape(data)[:2],
            _PNG: lambda: tf.stack([_big(head, 20, 4), _big(head, 16, 4)]),
            _GIF: lambda: tf.stack([_little(head, 8, 2), _little(head, 6, 2)]),
            _BMP: lambda: tf.stack([tf.abs(_little(head, 22, 4)), _little(head, 18, 4)]),
            _WEBP: lambda: tf.stack(webp),
        },
    )
    return size[0], size[1]


def _webp_is(head: tf.Tensor, chunk: bytes) -> tf.Tensor:
    return tf.reduce_all(tf.equal(head[12:16], list(chunk)))


def _webp_alpha(data: tf.Tensor) -> tf.Tensor:
    head = _bytes(data, 64)
    extended = _webp_is(head, b"VP8X") & (head[20] & 0x10 != 0)
    return extended | (_webp_is(head, b"VP8L") & (head[24] & 0x10 != 0))


def _image(data: tf.Tensor, channels: int) -> tf.Tensor:
    return tf.io.decode_image(data, channels=channels, expand_animations=False)


def _jpeg(data: tf.Tensor) -> tf.Tensor:
    # TensorFlow's default, the fast inverse DCT, differs from other decoders by up to 7 levels; this one does not.
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")


def _png_opaque(data: tf.Tensor) -> tf.Tensor:
    """The alpha that TensorFlow fills in for a PNG without alpha: below 8 bits per channel this is not 255."""
    depth = _bytes(data, 32)[24]
    return tf.cast(tf.pow(2, tf.clip_by_value(depth, 1, 8)) - 1, tf.uint8)


def _on_white(pixels: tf.Tensor, opaque: Any = 255) -> tf.Tensor:
    """Composite on white: [height, width, 4] uint8 -> [height, width, 3] uint8. opaque: the alpha of opaque pixels."""

    def blend() -> tf.Tensor:
        alpha = tf.cast(pixels[..., 3:], tf.uint16)  # the sum below is at most 65,152: half the memory of floats
        total = tf.cast(pixels[..., :3], tf.uint16) * alpha + 255 * (255 - alpha)
        return tf.cast((total + 127) // 255, tf.uint8)

    return tf.cond(tf.reduce_all(pixels[..., 3] == opaque), lambda: pixels[..., :3], blend)


def _orientation(data: tf.Tensor) -> tf.Tensor:
    """The EXIF orientation of a JPEG, 1 to 8; 1 if it has none (JEITA CP-3451, tag 0x0112 of the first IFD)."""
    raw = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, HEAD), tf.uint8), tf.int32)
    end = tf.shape(raw)[0]
    head = tf.pad(raw, [[0, 32]])

    def at(place: tf.Tensor) -> tf.Tensor:  # a byte, 0 outside
        return tf.gather(head, tf.clip_by_value(place, 0, end))

    def marker(place: tf.Tensor) -> tf.Tensor:
        return at(place) * 256 + at(place + 1)

    def is_exif(place: tf.Tensor) -> tf.Tensor:
        name = at(place + 4 + tf.range(6))
        return (marker(place) == 0xFFE1) & tf.reduce_all(tf.equal(name, list(b"Exif\0\0")))

    def goes_on(place: tf.Tensor) -> tf.Tensor:  # over the segments before the scan
        here = marker(place)
        return (place < end) & (here >= 0xFFC0) & (here < 0xFFFF) & (here != 0xFFDA) & ~is_exif(place)

    place = tf.while_loop(goes_on, lambda p: [p + 2 + tf.maximum(2, marker(p + 2))], [tf.constant(2)],
                          maximum_iterations=64)[0]
    tiff = place + 10
    little = at(tiff) == ord("I")

    def number(where: tf.Tensor, count: int) -> tf.Tensor:
        low = tf.add_n([at(where + i) * 2 ** (8 * i) for i in range(count)])
        high = tf.add_n([at(where + i) * 2 ** (8 * (count - 1 - i)) for i in range(count)])
        return tf.where(little, low, high)

    directory = tiff + number(tiff + 4, 4)
    entries = directory + 2 + 12 * tf.range(tf.clip_by_value(number(directory, 2), 0, 512))
    matches = tf.boolean_mask(entries, number(entries, 2) == 0x0112)
    value = number(tf.concat([matches, [0]], 0)[0] + 8, 2)
    known = is_exif(place) & (tf.size(matches) > 0) & (value >= 1) & (value <= 8)
    return tf.where(known, value, 1)


def _upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Undo the orientation: 2 and 4 are mirrored, 3 is upside down, 5 to 8 are turned by 90 degrees."""
    turned = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    # After swapping rows and columns, what remains of an orientation is a flip along one axis, both, or none.
    left_right = tf.reduce_any(orientation == [2, 3, 6, 7])
    up_down = tf.reduce_any(orientation == [3, 4, 7, 8])
    flipped = tf.cond(left_right, lambda: turned[:, ::-1], lambda: turned)
    return tf.cond(up_down, lambda: flipped[::-1], lambda: flipped)


class Decoder:
    """The graph decoder, callable from Python threads: bytes -> pixels, or the reason for refusal."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._decode = tf.function(
            lambda data: decode_or_refuse(data, size), input_signature=[tf.TensorSpec([], tf.string)], autograph=False
        ).get_concrete_function()

    def __call__(self, data: bytes) -> NDArray[np.uint8] | str:
        """The pixels of an image, [size, size, 3] uint8, or the reason why it cannot be used."""
        try:
            reason, pixels = self._decode(tf.constant(data))
        except tf.errors.OpError as error:
            return f"could not be decoded: {op_reason(error)}"
        return reason.numpy().decode() or pixels.numpy()


def op_reason(error: tf.errors.OpError) -> str:
    """The message of a failed operation, without TensorFlow's description of its place in the graph."""
    lines = (re.sub(r"\{\{.*?\}\}|\[Op:.*", "", line).strip() for line in str(error.message).splitlines())
    messages = (line for line in lines
                if line and not line.startswith(("Graph execution", "Detected at", "<stack", "[[")))
    return next(messages, type(error).__name__)[:160]


@cache
def decoder(size: int) -> Decoder:
    """The decoder for a size; cached, because tracing takes a second."""
    return Decoder(size)
