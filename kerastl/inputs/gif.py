"""The first frame of a GIF, in the graph.

TensorFlow decodes all frames before it returns the first, makes transparent pixels black, and sizes the result by the
largest frame. So the first frame is cut out of the file as a GIF of its own, in which the transparent colour is white,
and the decoded frame is put in its place on a white canvas. Later frames are never decoded, and cost nothing.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from kerastl.inputs.byte_reads import all_bytes, byte, little, part

RUN = 1024  # blocks of one size that are skipped at a time
MOST_STEPS = 5_000  # in which the first frame must be found; a file of a million tiny blocks is refused
BYTES = [bytes([value]) for value in range(256)]


class Layout(NamedTuple):
    """Where the first frame is. place: of its descriptor in the file; height and width: of the canvas, 0 if there is no
    frame; transparent: the number of the transparent colour, or -1; steps: taken to find it."""

    raw: tf.Tensor
    place: tf.Tensor
    transparent: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor
    steps: tf.Tensor


def layout(data: tf.Tensor) -> Layout:
    """Find the first frame. data: scalar string. The canvas is the file's own, enlarged where the frame exceeds it."""
    raw = tf.concat([all_bytes(data), tf.zeros([1], tf.uint8)], 0)

    def goes_on(place: tf.Tensor, transparent: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        return (byte(raw, place) == 0x21) & (steps < MOST_STEPS)  # an extension

    def step(place: tf.Tensor, transparent: tf.Tensor, steps: tf.Tensor) -> list[tf.Tensor]:
        control = (byte(raw, place + 1) == 0xF9) & (byte(raw, place + 2) >= 4)
        index = tf.where(byte(raw, place + 3) & 1 == 1, byte(raw, place + 6), -1)
        after, steps = _after_blocks(raw, place + 2, steps)
        return [after, tf.where(control, index, transparent), steps + 1]

    place, transparent, steps = tf.while_loop(
        goes_on, step, [tf.constant(13) + _table_size(raw, 10), tf.constant(-1), tf.constant(0)])
    left, top, width, height = (little(raw, place + 1 + 2 * i, 2) for i in range(4))
    has_frame = (byte(raw, place) == 0x2C) & (width > 0) & (height > 0)
    return Layout(raw, place, transparent, tf.where(has_frame, tf.maximum(little(raw, 8, 2), top + height), 0),
                  tf.where(has_frame, tf.maximum(little(raw, 6, 2), left + width), 0), steps)


def first_frame(data: tf.Tensor) -> tf.Tensor:
    """The first frame on a white canvas: scalar string -> [height, width, 3] uint8. For a file that `layout` finds a
    frame in."""
    found = layout(data)
    raw, place = found.raw, found.place
    packed, local = byte(raw, place + 9), _table_size(raw, place + 9)
    pixels_start = place + 10 + local
    end, _ = _after_blocks(raw, pixels_start + 1, found.steps)
    size = tf.where(local > 0, local, _table_size(raw, 10))
    table = part(data, tf.where(local > 0, place + 10, 13), size)
    white, bits = _with_white(table, size, found.transparent)
    still = tf.strings.join([
        b"GIF89a", part(data, place + 5, 4), bytes(3), b"\x2c", bytes(4), part(data, place + 5, 4),
        tf.gather(BYTES, (packed & 0x40) + 0x80 + bits), white,
        part(data, pixels_start, end - pixels_start), b"\x3b"])
    with tf.control_dependencies([
            tf.debugging.Assert((end < tf.shape(raw)[0]) & (size > 0), ["Invalid GIF data: it ends early"])]):
        still = tf.identity(still)
    frame = tf.io.decode_image(still, channels=3, expand_animations=False)
    left, top, width, height = (little(raw, place + 1 + 2 * i, 2) for i in range(4))
    margins = [[top, found.height - top - height], [left, found.width - left - width], [0, 0]]
    return tf.cond(tf.reduce_any(tf.stack(margins) > 0), lambda: tf.pad(frame, margins, constant_values=255),
                   lambda: frame)


def _table_size(raw: tf.Tensor, flags: Any) -> tf.Tensor:
    """The bytes of a colour table, by the flags before it; 0 if there is none."""
    packed = byte(raw, flags)
    return tf.where(packed & 0x80 != 0, 3 * tf.bitwise.left_shift(2, packed & 7), 0)


def _with_white(table: tf.Tensor, size: tf.Tensor, transparent: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The table with white as the transparent colour, and the bits by which its size is stored. A transparent colour
    beyond the end makes the table as large as can be."""
    entries = size // 3
    beyond = transparent >= entries
    table = tf.where(beyond, tf.strings.substr(table + bytes(768), 0, 768), table)
    entries = tf.where(beyond, 256, entries)
    place = 3 * tf.maximum(transparent, 0)
    white = tf.strings.substr(table, 0, tf.minimum(place, 3 * entries)) + b"\xff\xff\xff" + part(table, place + 3, 768)
    bits = tf.reduce_sum(tf.cast(entries > [2, 4, 8, 16, 32, 64, 128], tf.int32))
    return tf.where(transparent >= 0, white, table), bits


def _after_blocks(raw: tf.Tensor, place: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The place after a chain of blocks, each beginning with its length, the last of length 0; beyond the end of the
    file if the chain does not end in it. Encoders write long runs of full blocks, which are skipped together. steps:
    taken so far; returned with those taken here."""
    end = tf.shape(raw)[0] - 1  # of the file; the last byte is ours

    def goes_on(place: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        return (place < end) & (byte(raw, place) > 0) & (steps < MOST_STEPS)

    def step(place: tf.Tensor, steps: tf.Tensor) -> list[tf.Tensor]:
        stride = byte(raw, place) + 1
        lengths = tf.cast(raw[place:tf.minimum(end, place + RUN * stride):stride], tf.int32)
        run = tf.reduce_sum(tf.math.cumprod(tf.cast(tf.equal(lengths, stride - 1), tf.int32)))
        return [place + run * stride, steps + 1]

    place, steps = tf.while_loop(goes_on, step, [tf.convert_to_tensor(place), steps])
    return tf.where((place < end) & (byte(raw, place) == 0), place + 1, end + 1), steps
