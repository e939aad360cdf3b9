"""The EXIF orientation of an image file, in the graph: in a JPEG's APP1 segment, a PNG's eXIf chunk, a WebP's EXIF
chunk. Pillow honours the same three, Chromium those of JPEG and PNG."""

import tensorflow as tf

from kerastl.inputs.byte_reads import all_bytes, big, byte, has, little, part

HEAD = 131_072  # bytes of a JPEG that are searched for its orientation
BLOCK = 65_536  # bytes of an EXIF block that are searched
MOST_SEGMENTS = 64  # of a JPEG, with the fill bytes between them
MOST_CHUNKS = 32_768  # of a PNG


def of_jpeg(data: tf.Tensor) -> tf.Tensor:
    """The orientation of a JPEG, 1 to 8; 1 if it has none. data: scalar string -> scalar int32."""
    head = tf.strings.substr(data, 0, HEAD)
    raw = all_bytes(head)
    end = tf.shape(raw)[0]

    def is_exif(place: tf.Tensor) -> tf.Tensor:
        return (big(raw, place, 2) == 0xFFE1) & has(raw, place + 4, b"Exif\0\0")

    def goes_on(place: tf.Tensor) -> tf.Tensor:  # up to the scan, or the end of the image
        here = big(raw, place, 2)
        return (place < end) & (here != 0xFFDA) & (here != 0xFFD9) & ~is_exif(place)

    def step(place: tf.Tensor) -> list[tf.Tensor]:  # over a segment, or a fill byte before its marker
        here = big(raw, place, 2)
        is_segment = (here >= 0xFFC0) & (here < 0xFFFF) & ((here < 0xFFD0) | (here > 0xFFD8))
        return [place + tf.where(is_segment, 2 + tf.maximum(2, big(raw, place + 2, 2)), 1)]

    place = tf.while_loop(goes_on, step, [tf.constant(2)], maximum_iterations=MOST_SEGMENTS)[0]
    return tf.cond(is_exif(place), lambda: _of_block(part(head, place + 10, BLOCK)), lambda: 1)


def of_png(data: tf.Tensor) -> tf.Tensor:
    """The orientation of a PNG, 1 to 8; 1 if it has none. data: scalar string -> scalar int32."""
    raw = all_bytes(data)

    def walk() -> tf.Tensor:
        def goes_on(place: tf.Tensor) -> tf.Tensor:
            return ((place > 0) & (place < tf.shape(raw)[0]) & (big(raw, place, 4) >= 0)
                    & ~has(raw, place + 4, b"eXIf") & ~has(raw, place + 4, b"IEND"))

        place = tf.while_loop(goes_on, lambda p: [p + 12 + big(raw, p, 4)], [tf.constant(8)],
                              maximum_iterations=MOST_CHUNKS)[0]
        return tf.cond(has(raw, place + 4, b"eXIf"), lambda: _of_chunk(data, raw, place, big(raw, place, 4)),
                       lambda: 1)

    e, x, i, f = b"eXIf"  # most files do not have these letters anywhere; a walk over all chunks takes longer
    letters = tf.equal(raw[:-3], e) & tf.equal(raw[1:-2], x) & tf.equal(raw[2:-1], i) & tf.equal(raw[3:], f)
    return tf.cond(tf.reduce_any(letters), walk, lambda: 1)


def of_webp(data: tf.Tensor) -> tf.Tensor:
    """The orientation of a WebP, 1 to 8; 1 if its header does not announce an EXIF chunk. data: scalar string -> scalar
    int32."""

    def walk() -> tf.Tensor:
        raw = all_bytes(data)

        def goes_on(place: tf.Tensor) -> tf.Tensor:
            size = little(raw, place + 4, 4)
            return (place > 0) & (place < tf.shape(raw)[0]) & (size >= 0) & ~has(raw, place, b"EXIF")

        place = tf.while_loop(goes_on, lambda p: [p + 8 + (little(raw, p + 4, 4) + 1) // 2 * 2], [tf.constant(12)],
                              maximum_iterations=64)[0]
        return tf.cond(has(raw, place, b"EXIF"), lambda: _of_chunk(data, raw, place, little(raw, place + 4, 4)),
                       lambda: 1)

    head = all_bytes(tf.strings.substr(data, 0, 32))
    return tf.cond(has(head, 12, b"VP8X") & (byte(head, 20) & 8 != 0), walk, lambda: 1)


def upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Undo the orientation: 2 and 4 are mirrored, 3 is upside down, 5 to 8 are turned by 90 degrees."""
    turned = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    # After swapping rows and columns, what remains of an orientation is a flip along one axis, both, or none.
    left_right = tf.reduce_any(orientation == [2, 3, 6, 7])
    up_down = tf.reduce_any(orientation == [3, 4, 7, 8])
    flipped = tf.cond(left_right, lambda: turned[:, ::-1], lambda: turned)
    return tf.cond(up_down, lambda: flipped[::-1], lambda: flipped)


def _of_chunk(data: tf.Tensor, raw: tf.Tensor, place: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Of a chunk with a header of 8 bytes. Some programs begin its content with the JPEG segment's name."""
    name = tf.where(has(raw, place + 8, b"Exif\0\0"), 6, 0)
    return _of_block(part(data, place + 8 + name, tf.clip_by_value(length - name, 0, BLOCK)))


def _of_block(block: tf.Tensor) -> tf.Tensor:
    """Of an EXIF block without its name (JEITA CP-3451, tag 0x0112 of the first IFD)."""
    raw = tf.concat([all_bytes(block), tf.zeros([1], tf.uint8)], 0)
    first_low = byte(raw, 0) == ord("I")

    def number(place: tf.Tensor, count: int) -> tf.Tensor:
        return tf.where(first_low, little(raw, place, count), big(raw, place, count))

    directory = number(tf.constant(4), 4)
    entries = directory + 2 + 12 * tf.range(tf.clip_by_value(number(directory, 2), 0, 512))
    matches = tf.boolean_mask(entries, number(entries, 2) == 0x0112)
    value = number(tf.concat([matches, [0]], 0)[0] + 8, 2)
    return tf.where((tf.size(matches) > 0) & (value >= 1) & (value <= 8), value, 1)
