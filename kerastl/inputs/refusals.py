"""Why a file is refused before it is decoded, in the graph: by its first bytes, and by the work it would cause.

TensorFlow's decoders need this guard. They crash on animated WebP, decode a palette BMP to indices instead of colours,
ignore the colour masks of a BMP, and set no limit to the work that a small file can cause.
"""

import tensorflow as tf

from kerastl.inputs import gif
from kerastl.inputs.byte_reads import all_bytes, big, byte, first_bytes, has, little, part

MAX_PIXELS = 100_000_000
MAX_SIDE = 1_000_000  # the PNG decoder's own limit
MAX_SCANS = 2_000_000_000  # pixels times scans of a JPEG: each scan of a progressive one visits every pixel
MOST_CHUNKS = 64  # of a WebP, before its image
UNKNOWN, JPEG, PNG, GIF, BMP, WEBP = range(6)
MASKS = bytes([0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0])  # of red, green and blue, as every program writes them

_FFMPEG = "extract its frames, for example with ffmpeg -i IN OUT%04d.png"
_HEIC = "HEIC is not supported: convert it, for example with heif-convert IN.heic OUT.jpg"
_AVIF = "AVIF is not supported: convert it, for example with avifdec IN.avif OUT.png"
_JXL = "JPEG XL is not supported: convert it, for example with djxl IN.jxl OUT.png"
_JP2 = "JPEG 2000 is not supported: convert it, for example with opj_decompress -i IN.jp2 -o OUT.png"
_RAW = "a camera's RAW file is not supported: develop it, for example with darktable-cli IN OUT.jpg"
_TIFF = "TIFF (or a camera's RAW file) is not supported: convert it, for example with magick IN.tif OUT.png"
_VIDEO = f"a video (MP4 or MOV) is not an image: {_FFMPEG}"
_PDF = "PDF is not an image: render its pages, for example with pdftoppm -png IN.pdf OUT"
_POSTSCRIPT = "PostScript is not supported: render it, for example with gs -sDEVICE=png16m -o OUT.png IN.eps"
_BASE64 = "base64 text instead of the bytes of an image: decode it first; TF Serving's REST API decodes {b64: TEXT}"
_MAGICK = "is not supported: convert it, for example with magick IN OUT.png"

STARTS: tuple[tuple[int, bytes, str], ...] = (  # at this place, these bytes: the reason. The first match counts.
    (8, b"CR\x02", _RAW), (0, b"FUJIFILMCCD-RAW", _RAW), (0, b"IIU\x00", _RAW), (0, b"IIRO", _RAW), (0, b"IIRS", _RAW),
    (0, b"FOVb", _RAW), (0, b"\x00MRM", _RAW), (4, b"ftypcrx ", _RAW),
    (0, b"II*\x00", _TIFF), (0, b"MM\x00*", _TIFF), (0, b"II+\x00", _TIFF), (0, b"MM\x00+", _TIFF),
    *((4, b"ftyp" + brand, _AVIF) for brand in (b"avif", b"avis")),
    *((4, b"ftyp" + brand, _HEIC) for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1",
                                                b"msf1")),
    (4, b"ftyp", _VIDEO), (4, b"moov", _VIDEO), (4, b"mdat", _VIDEO), (4, b"wide", _VIDEO),
    (0, b"\xff\x0a", _JXL), (4, b"JXL \r\n\x87\n", _JXL), (4, b"jP  \r\n\x87\n", _JP2), (0, b"\xff\x4f\xff\x51", _JP2),
    (0, b"\x1aE\xdf\xa3", f"a video (Matroska or WebM) is not an image: {_FFMPEG}"),
    (8, b"AVI LIST", f"a video (AVI) is not an image: {_FFMPEG}"),
    (0, b"\x00\x00\x01\xba", f"a video (MPEG) is not an image: {_FFMPEG}"),
    (0, b"\x00\x00\x01\xb3", f"a video (MPEG) is not an image: {_FFMPEG}"),
    (0, b"%PDF", _PDF), (0, b"%!PS", _POSTSCRIPT), (0, b"\xc5\xd0\xd3\xc6", _POSTSCRIPT),
    (0, b"8BPS", f"Photoshop's PSD {_MAGICK}"), (0, b"\x00\x00\x01\x00", f"ICO {_MAGICK}"),
    (0, b"II\xbc\x01", f"JPEG XR {_MAGICK}"), (0, b"v/1\x01", f"OpenEXR {_MAGICK}"), (0, b"DDS ", f"DDS {_MAGICK}"),
    (0, b"qoif", f"QOI {_MAGICK}"), (128, b"DICM", f"DICOM {_MAGICK}"),
    *((0, b"P%d\n" % number, f"Netpbm {_MAGICK}") for number in range(1, 8)),
    (0, b"PK\x03\x04", "a ZIP archive is not an image: unpack it first"),
    (0, b"\x1f\x8b", "a gzip archive is not an image: unpack it first"),
    (0, b"version https://git-lfs", "a Git LFS pointer instead of the image: run git lfs pull"),
    (0, b"\x00\x05\x16\x07", "metadata of macOS (AppleDouble), not an image: delete it"),
    *((0, start, _BASE64) for start in (b"/9j/", b"_9j_", b"iVBORw0KGgo", b"R0lGOD", b"UklGR", b"data:image/")),
    (0, bytes(64), "only zeros where the image should begin: the file is damaged, copy it again"),
)
TEXTS = (  # what the beginning matches in lower case: the reason
    (r"[\s\x{FEFF}]*<(\?xml|svg|!doctype svg).*", "SVG is not supported: save it as PNG"),
    (r"[\s\x{FEFF}]*<(!doctype html|html|head|body).*",
     "a web page (HTML) instead of an image: download the image itself"),
    (r"(https?|ftp|s3|gs|file)://.*", "a URL instead of the bytes of an image: download it first"),
    (r"qk[a-z0-9+/]{24,}={0,2}\s*", _BASE64),
)


def refusal(data: tf.Tensor) -> tf.Tensor:
    """Why a file is refused. data: scalar string -> scalar string, "" if it is not refused."""
    kind = kind_of(data)
    return tf.cond(kind == UNKNOWN, lambda: _unknown(data), lambda: _known(data, kind))


def kind_of(data: tf.Tensor) -> tf.Tensor:
    """The format, by the first bytes; UNKNOWN for an unsupported one."""
    webp = tf.equal(tf.strings.substr(data, 0, 4), b"RIFF") & tf.equal(part(data, 8, 4), b"WEBP")
    starts = [
        (tf.strings.substr(data, 0, 3), b"\xff\xd8\xff"),
        (tf.strings.substr(data, 0, 8), b"\x89PNG\r\n\x1a\n"),
        (tf.strings.substr(data, 0, 4), b"GIF8"),
        (tf.strings.substr(data, 0, 2), b"BM"),
    ]
    tests = tf.stack([tf.equal(start, magic) for start, magic in starts] + [webp])
    return tf.where(tf.reduce_any(tests), tf.cast(tf.argmax(tests), tf.int32) + 1, UNKNOWN)


def webp_alpha(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Whether TensorFlow has to decode a WebP with transparency, and whether that is shown. A lossless image says so
    itself, whatever the header of an extended file announces; of a lossy one, transparency in an ALPH chunk is shown
    only if the header announces it. data: scalar string -> scalar bool each."""

    def extended() -> list[tf.Tensor]:
        raw = all_bytes(data)
        announced = tf.not_equal(byte(raw, 20) & 0x10, 0)

        def goes_on(place: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
            return (place > 0) & (place < tf.shape(raw)[0]) & ~has(raw, place, b"VP8L") & ~has(raw, place, b"VP8 ")

        place, alpha = tf.while_loop(
            goes_on, lambda p, alpha: [p + 8 + (little(raw, p + 4, 4) + 1) // 2 * 2, alpha | has(raw, p, b"ALPH")],
            [tf.constant(12), announced], maximum_iterations=MOST_CHUNKS)
        lossless, of_lossless = has(raw, place, b"VP8L"), byte(raw, place + 12) & 0x10 != 0
        return [tf.where(lossless, of_lossless, alpha), tf.where(lossless, of_lossless, announced)]

    head = first_bytes(data, 32)
    plain = has(head, 12, b"VP8L") & (head[24] & 0x10 != 0)
    alpha, shown = tf.cond(has(head, 12, b"VP8X"), extended, lambda: [plain, plain])
    return alpha, shown


def bmp_has_alpha(data: tf.Tensor) -> tf.Tensor:
    """Whether a BMP announces transparency: by a mask for it. data: scalar string -> scalar bool."""
    head = first_bytes(data, 72)
    masks = (little(head, 14, 4) >= 56) & (little(head, 30, 4) == 3) & (little(head, 28, 2) == 32)
    return masks & has(head, 66, b"\x00\x00\x00\xff")


def _first(tests: list[tuple[tf.Tensor, str]], reason: tf.Tensor) -> tf.Tensor:
    """The reason of the first test that holds; `reason` if none does."""
    for refused, why in reversed(tests):
        reason = tf.where(refused, why, reason)
    return reason


def _unknown(data: tf.Tensor) -> tf.Tensor:
    """The reason for a file that is none of the supported formats, if possible by its name."""
    beginning = tf.strings.lower(tf.strings.substr(data, 0, 256))
    places, starts, reasons = zip(*STARTS, strict=True)
    head = tf.strings.substr(data, 0, 160)
    ends = tf.minimum(places, tf.strings.length(head))
    matches = tf.equal(tf.strings.substr(tf.fill([len(starts)], head), ends, [len(start) for start in starts]), starts)
    by_start = tf.where(tf.reduce_any(matches), tf.gather(reasons, tf.argmax(matches)),
                        "not an image in a supported format (JPEG, PNG, GIF, BMP, WebP)")
    brands = tf.strings.substr(tf.fill([8], head), tf.minimum(range(16, 48, 4), tf.strings.length(head)), [4] * 8)
    return _first([
        (tf.equal(tf.strings.length(data), 0), "the file is empty"),
        (tf.equal(part(data, 4, 8), b"ftypmif1") & tf.reduce_any(tf.equal(brands, b"avif")), _AVIF),
        *((tf.strings.regex_full_match(beginning, f"(?s){pattern}"), why) for pattern, why in TEXTS),
    ], by_start)


def _known(data: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
    """The reason for a file of a supported format."""
    head = first_bytes(data, 72)
    height, width = _shape(data, kind, head)
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    bits, compression = little(head, 28, 2), little(head, 30, 4)
    masked = (compression == 3) & (bits == 32) & has(head, 54, MASKS)
    bmp = kind == BMP
    return _first([
        (bmp & (little(head, 14, 4) < 40), "BMP of OS/2 is not supported: save it as PNG"),
        (bmp & (bits <= 8), "BMP with a palette is not supported: save it as PNG"),
        (bmp & (bits != 24) & (bits != 32), "BMP of 16 bits is not supported: save it as PNG"),
        (bmp & (compression != 0) & ~masked, "BMP with compression or unusual colour masks is not supported: save it "
                                             "as PNG"),
        ((kind == WEBP) & has(head, 12, b"VP8X") & (head[20] & 2 != 0),
         "animated WebP is not supported: save one frame of it"),
        (bmp & ((little(head, 10, 4) < 54) | (little(head, 10, 4) > tf.strings.length(data))),
         "the header is damaged: it does not say where the pixels begin"),
        ((height <= 0) | (width <= 0), "the header is damaged: it contains no size"),
        (pixels > MAX_PIXELS, "more than 100 megapixels: resize it"),
        ((height > MAX_SIDE) | (width > MAX_SIDE), "more than 1,000,000 pixels along a side: resize it"),
        (tf.cond(kind == JPEG, lambda: _too_many_scans(data, pixels), lambda: False),
         "a progressive JPEG with too many scans for its size: save it again"),
    ], tf.constant(""))


def _shape(data: tf.Tensor, kind: tf.Tensor, head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width according to the header; 0 if it has none. Of a GIF, of its canvas with the first frame."""
    lossy = (little(head, 28, 2) & 0x3FFF, little(head, 26, 2) & 0x3FFF)
    bits = little(head, 21, 4)  # VP8L: 14 bits of width - 1, 14 of height - 1, then the alpha bit
    lossless = ((tf.bitwise.right_shift(bits, 14) & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    extended = (little(head, 27, 3) + 1, little(head, 24, 3) + 1)
    vp8x, vp8l = has(head, 12, b"VP8X"), has(head, 12, b"VP8L")
    webp = [tf.where(vp8x, extended[i], tf.where(vp8l, lossless[i], lossy[i])) for i in (0, 1)]

    def of_gif() -> tf.Tensor:
        found = gif.layout(data)
        return tf.stack([found.height, found.width])

    size = tf.switch_case(
        kind,
        {
            UNKNOWN: lambda: tf.zeros([2], tf.int32),
            JPEG: lambda: tf.io.extract_jpeg_shape(data)[:2],
            PNG: lambda: tf.stack([big(head, 20, 4), big(head, 16, 4)]),
            GIF: of_gif,
            BMP: lambda: tf.stack([tf.abs(little(head, 22, 4)), little(head, 18, 4)]),
            WEBP: lambda: tf.stack(webp),
        },
    )
    return size[0], size[1]


def _too_many_scans(data: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Whether the scans of a JPEG visit more pixels than `MAX_SCANS`.

    First all places are counted that look like the start of a scan, also those in thumbnails and attached videos. Only
    where these are too many is the file walked from marker to marker.
    """
    raw = all_bytes(data)
    after_ff = tf.equal(raw[:-1], 0xFF)
    most = tf.cast(MAX_SCANS // tf.maximum(pixels, 1), tf.int32)

    def walk() -> tf.Tensor:
        entropy = (raw[1:] == 0) | (raw[1:] == 0xFF) | ((raw[1:] >= 0xD0) & (raw[1:] <= 0xD7))  # markers inside a scan
        markers = tf.cast(tf.where(after_ff & ~entropy)[:, 0], tf.int32)

        def goes_on(place: tf.Tensor, scans: tf.Tensor) -> tf.Tensor:
            return (place >= 0) & (byte(raw, place + 1) != 0xD9) & (scans <= most)

        def step(place: tf.Tensor, scans: tf.Tensor) -> list[tf.Tensor]:
            after = place + 2 + tf.where(place > 0, big(raw, place + 2, 2), 0)  # the first marker has no content
            following = tf.searchsorted(markers, [after])[0]
            following = tf.where(following < tf.size(markers),
                                 tf.gather(tf.concat([markers, [-1]], 0), following), -1)
            return [following, scans + tf.cast(byte(raw, place + 1) == 0xDA, tf.int32)]

        _, scans = tf.while_loop(goes_on, step, [tf.constant(0), tf.constant(0)], maximum_iterations=20_000)
        return scans > most

    starts = tf.reduce_sum(tf.cast(after_ff & tf.equal(raw[1:], 0xDA), tf.int32))
    return tf.cond(starts > most, walk, lambda: False)
