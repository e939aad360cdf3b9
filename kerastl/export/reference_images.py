"""Classifies an image with a TFLite file, using LiteRT, NumPy and Pillow only: no TensorFlow, no kerastl.

python classify_image.py MODEL.tflite labels.txt IMAGE

`pixels` turns the bytes of an image into what the file takes, within one grey level of the graph of the SavedModel at
every pixel. It raises ValueError for an image that the SavedModel refuses, and for one that it could not reproduce.
"""

import io
import re
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Pixels = Any  # numpy arrays, uint8
MAX_PIXELS, MAX_SIDE, MAX_SCANS = 100_000_000, 1_000_000, 2_000_000_000
NOT_SUPPORTED = "not an image in a supported format (JPEG, PNG, GIF, BMP, WebP)"
OTHERS = (  # formats that are refused by name: at this place, these bytes
    (4, b"ftypavif", "AVIF"), (4, b"ftypavis", "AVIF"), (4, b"ftyphe", "HEIC"), (4, b"ftypmif1", "HEIC or AVIF"),
    (4, b"ftyp", "a video (MP4 or MOV)"), (0, b"\xff\x0a", "JPEG XL"), (4, b"JXL ", "JPEG XL"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"II*\0", "TIFF"), (0, b"MM\0*", "TIFF"), (0, b"%PDF", "PDF"), (0, b"<svg", "SVG"), (0, b"<?xml", "SVG"),
)


def classify(model: str, labels: str, image: str) -> tuple[str, float]:
    """The label of an image file and its probability; of a model with thresholds, the labels that reach theirs, joined
    by `|`, and the highest probability among them."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=model).get_signature_runner("serving_default")
    size = int(runner.get_input_details()["images"]["shape"][1])
    outputs = runner(images=pixels(Path(image).read_bytes(), size)[np.newaxis])
    probabilities = outputs["probabilities"][0]
    # Only "\n" ends a label: str.splitlines would also split at characters that a label may contain, such as U+2028.
    names = Path(labels).read_bytes().decode().split("\n")
    chosen = np.flatnonzero(outputs["predicted"][0] > 0) if "predicted" in outputs else [probabilities.argmax()]
    best = max((float(probabilities[place]) for place in chosen), default=float(probabilities.max()))
    return "|".join(names[place] for place in chosen), best


def pixels(data: bytes, size: int) -> Pixels:
    """The bytes of an image file as [size, size, 3] uint8. Raises ValueError where they cannot be used."""
    return resize(decode(data), size)


def decode(data: bytes) -> Pixels:
    """The bytes of an image file as [height, width, 3] uint8: RGB, upright, on white. Raises ValueError."""
    kinds = {b"\xff\xd8\xff": _jpeg, b"\x89PNG\r\n\x1a\n": _png, b"GIF8": _gif, b"BM": _bmp, b"RIFF": _webp}
    read = next((read for start, read in kinds.items() if data.startswith(start)), None)
    if read is None:
        name = next((name for place, start, name in OTHERS if data[place:place + len(start)] == start), "")
        raise ValueError(f"{name} is not supported: convert it to JPEG or PNG" if name else NOT_SUPPORTED)
    try:
        return read(data)
    except ValueError:
        raise
    except (OSError, SyntaxError, EOFError, IndexError, MemoryError, zlib.error, Image.DecompressionBombError) as error:
        raise ValueError(f"could not be decoded: {error}") from error


def resize(image: Pixels, size: int) -> Pixels:
    """[height, width, 3] uint8 -> [size, size, 3] uint8, ignoring the aspect ratio: the mean over areas along a side
    that shrinks, bilinear along one that grows. (Pillow's BOX filter is no mean over areas: it takes or leaves whole
    pixels.)"""
    height, width = (np.float32(n) / np.float32(min(n, size)) for n in image.shape[:2])  # of an area
    sums = _sums(_sums(image.swapaxes(0, 1), size, width).swapaxes(0, 1), size, height)
    smaller = sums.astype(np.float32) * np.float32(1 / (height * width))
    square = _grown(smaller, size) if min(image.shape[:2]) < size else smaller
    return square.round().clip(0, 255).astype(np.uint8)


def _sums(image: Any, size: int, step: Any) -> Any:
    """The sums over areas of `step` pixels along the first axis, where it is longer than `size`; added up in the order
    and the precision of TensorFlow's."""
    n = len(image)
    if n <= size:
        return image
    edges = np.arange(size + 1, dtype=np.float32) * step
    start, end = edges[:-1], edges[1:]
    first, last = np.floor(start).astype(int), np.ceil(end).astype(int)
    sums = np.zeros((size, *image.shape[1:]), np.float32)
    for place in range(int((last - first).max())):
        rows = (first + place).astype(np.float32)
        shares = np.minimum(rows + 1, end) - np.maximum(rows, start)  # of each row, what lies in the area
        shares[first + place >= last] = 0
        sums += image[np.minimum(first + place, n - 1)] * shares[:, None, None]
    return sums


def _grown(image: Any, size: int) -> Any:
    """Bilinear interpolation to the square, in the order and the precision of TensorFlow's: in an image that grows by a
    whole factor, many values lie halfway between two levels, and another order rounds them to the other one."""
    def steps(n: int) -> tuple[Any, Any, Any]:
        places = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * (np.float32(n) / np.float32(size))
        places -= np.float32(0.5)
        low = np.floor(places)
        return low.clip(0).astype(int), np.ceil(places).clip(0, n - 1).astype(int), (places - low)[:, None]

    (top, bottom, down), (left, right, across) = steps(image.shape[0]), steps(image.shape[1])
    rows = image[:, left] + (image[:, right] - image[:, left]) * across
    return rows[top] + (rows[bottom] - rows[top]) * down[..., None]


def _open(data: bytes, kind: str, scans: int = 1) -> Image.Image:
    """The image, loaded. scans: of a JPEG. Raises ValueError where it is too large."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow's own, lower limit
        image = Image.open(io.BytesIO(data), formats=[kind])
        _check_size(*image.size)
        if scans * image.width * image.height > MAX_SCANS:
            raise ValueError("a progressive JPEG with too many scans for its size: save it again")
        image.load()
    return image


def _check_size(width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        raise ValueError("the header is damaged: it contains no size")
    if width * height > MAX_PIXELS:
        raise ValueError("more than 100 megapixels: resize it")
    if max(width, height) > MAX_SIDE:
        raise ValueError("more than 1,000,000 pixels along a side: resize it")


def _on_white(rgba: Pixels, opaque: int = 255) -> Pixels:
    """[height, width, 4] -> [height, width, 3] uint8. opaque: the alpha of an opaque pixel."""
    alpha = rgba[..., 3:].astype(np.uint16)
    if (alpha == opaque).all():
        return rgba[..., :3]
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


# EXIF


def _upright(image: Pixels, exif: bytes) -> Pixels:
    """The image turned as an EXIF block asks, which begins with its byte order."""
    order: Any = "little" if exif[:1] == b"I" else "big"

    def number(place: int, count: int) -> int:  # outside the block there are zeros
        return int.from_bytes(exif[place:place + count].ljust(count, b"\0"), order)

    first = number(4, 4)
    entries = [first + 2 + 12 * i for i in range(min(number(first, 2), 512))]
    orientation = next((number(entry + 8, 2) for entry in entries if number(entry, 2) == 0x0112), 1)
    if not 1 <= orientation <= 8:
        return image
    turned = image.transpose(1, 0, 2) if orientation >= 5 else image
    flipped = turned[:, ::-1] if orientation in (2, 3, 6, 7) else turned
    return flipped[::-1] if orientation in (3, 4, 7, 8) else flipped


def _without_name(exif: bytes) -> bytes:
    return exif[6:] if exif.startswith(b"Exif\0\0") else exif


# JPEG


def _jpeg(data: bytes) -> Pixels:
    segments = list(_jpeg_segments(data))
    adobe = any(marker == 0xEE and len(body) >= 12 and body.startswith(b"Adobe") for _, marker, _, body in segments)
    exif = next((data[place + 10:min(place + 65_546, 131_072)] for step, marker, place, body in segments
                 if step <= 64 and marker == 0xE1 and body.startswith(b"Exif\0\0") and place < 131_062), b"")
    image = _open(data, "JPEG", _scans(data))
    if image.mode == "CMYK":
        inks = 255 - np.asarray(image).astype(np.uint16)  # Pillow takes every file for one of Adobe's, and inverts it
        if not adobe:
            inks = 255 - inks
        return _upright((inks[..., :3] * inks[..., 3:] // 255).astype(np.uint8), exif)
    if image.mode not in ("L", "RGB"):
        raise ValueError(f"a JPEG of mode {image.mode} is not supported: save it as RGB")
    return _upright(np.asarray(image.convert("RGB")), exif)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Number, marker, place and content of the segments before the first scan. Fill bytes before one count as well."""
    step, place, marker = 0, 2, re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
    while (match := marker.search(data, place)) and match.group() not in (b"\xff\xd9", b"\xff\xda"):
        step, place = step + match.start() - place, match.start()
        length = max(2, int.from_bytes(data[place + 2:place + 4], "big"))
        yield step, data[place + 1], place, data[place + 4:place + 2 + length]
        step, place = step + 1, place + 2 + length


def _scans(data: bytes) -> int:
    """The scans of a JPEG. Raises ValueError where the file ends before its end marker, as the graph does."""
    scans, place = 0, 2
    for match in re.finditer(rb"\xff[^\x00\xff\xd0-\xd7]", data):
        if match.start() < place:
            continue  # inside a segment
        marker = match.group()[1]
        if marker == 0xD9:
            return scans
        scans += marker == 0xDA
        place = match.start() + 2 + int.from_bytes(data[match.end():match.end() + 2], "big")
    raise ValueError("the JPEG file is incomplete")


# PNG


def _png(data: bytes) -> Pixels:
    chunks = dict(reversed(list(_png_chunks(data))))  # of several with one name, the first
    if b"IEND" not in chunks or len(chunks.get(b"IHDR", b"")) < 13:
        raise ValueError("the PNG file is incomplete")
    depth, colour = chunks[b"IHDR"][8], chunks[b"IHDR"][9]
    image = _open(data, "PNG")
    _check_png_length(data, image)
    see_through = chunks.get(b"tRNS", b"")
    if colour == 3:
        return _upright(_palette_png(np.asarray(image), chunks.get(b"PLTE", b""), see_through, depth),
                        _without_name(chunks.get(b"eXIf", b"")))
    array = np.asarray(image)
    if colour == 0:
        rgb = np.repeat((array >> 8 if depth == 16 else array * np.uint8(255) if depth == 1 else array)
                        .astype(np.uint8)[..., None], 3, axis=2)
        step = 1 if depth >= 8 else 255 // (2**depth - 1)
        hole = (int.from_bytes(see_through[:2], "big") & (2**depth - 1)) * step if len(see_through) == 2 else None
        alpha = np.where((array if depth == 16 else rgb[..., 0]) == hole, 0, 255) if hole is not None else None
    elif colour == 2:
        rgb, alpha = array, None
        if len(see_through) == 6:
            if depth == 16:
                raise ValueError("a 16-bit PNG with a transparent colour is not supported: save it with 8 bits")
            alpha = np.where((rgb == list(see_through[1::2])).all(axis=2), 0, 255)
    else:
        array = np.asarray(image.convert("RGBA"))
        rgb, alpha = array[..., :3], array[..., 3]
    if alpha is not None:
        rgb = _on_white(np.dstack([rgb, alpha.astype(np.uint8)]), 2 ** min(depth, 8) - 1)
    return _upright(rgb, _without_name(chunks.get(b"eXIf", b"")))


def _check_png_length(data: bytes, image: Image.Image) -> None:
    """Raise ValueError where a PNG has fewer pixels than its header says. Pillow leaves the others black."""
    bits = data[24] * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[data[25]]  # of a pixel
    steps = ((8, 0, 8, 0), (8, 0, 8, 4), (8, 4, 4, 0), (4, 0, 4, 2), (4, 2, 2, 0), (2, 0, 2, 1), (2, 1, 1, 0))
    parts = [(-(-(image.height - top) // down), -(-(image.width - left) // right))
             for down, top, right, left in (steps if data[28] else [(1, 0, 1, 0)])]
    size = sum(height * (1 + (width * bits + 7) // 8) for height, width in parts if height > 0 and width > 0)
    packed = b"".join(body for name, body in _png_chunks(data) if name == b"IDAT")
    if len(zlib.decompressobj().decompress(packed, size)) < size:
        raise ValueError("the PNG file is incomplete")


def _palette_png(numbers: Pixels, palette: bytes, see_through: bytes, depth: int) -> Pixels:
    colours = np.frombuffer(palette[:len(palette) // 3 * 3], np.uint8).reshape(-1, 3)[:2**depth]
    if not len(colours) or numbers.max() >= len(colours):
        raise ValueError("the PNG file has pixels beyond the end of its palette")
    if not 0 < len(see_through) <= len(colours):
        return colours[numbers]
    alphas = np.frombuffer(see_through.ljust(len(colours), b"\xff"), np.uint8)
    return _on_white(np.dstack([colours[numbers], alphas[numbers]]), 2**depth - 1)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place + 8 <= len(data):
        length = int.from_bytes(data[place:place + 4], "big")
        name, end = data[place + 4:place + 8], place + 8 + length
        # Pillow looks neither at the checksums of pixels nor at chunks that it does not know and must.
        checksum = int.from_bytes(data[end:end + 4], "big")
        if (name in (b"IDAT", b"IEND") and zlib.crc32(data[place + 4:end]) != checksum) or (
                name[:1].isupper() and name not in (b"IHDR", b"PLTE", b"IDAT", b"IEND")):
            raise ValueError("the PNG file is damaged")
        yield name, data[place + 8:end]
        if name == b"IEND":
            return
        place += 12 + length


# GIF: the first frame, as a GIF of its own whose transparent colour is white, on a white canvas of the file's size


def _gif(data: bytes) -> Pixels:
    def number(place: int) -> int:
        return int.from_bytes(data[place:place + 2], "little")

    def after_blocks(place: int) -> int:
        while data[place]:
            place += data[place] + 1
        return place + 1

    def table_size(flags: int) -> int:
        return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0

    place, transparent = 13 + table_size(data[10]), -1
    while data[place] == 0x21:  # an extension
        if data[place + 1] == 0xF9 and data[place + 2] >= 4:
            transparent = data[place + 6] if data[place + 3] & 1 else -1
        place = after_blocks(place + 2)
    if data[place] != 0x2C:
        raise ValueError("the GIF file contains no image")
    left, top, width, height = (number(place + 1 + 2 * i) for i in range(4))
    _check_size(width, height)
    canvas_width, canvas_height = max(number(6), left + width), max(number(8), top + height)
    _check_size(canvas_width, canvas_height)
    local = table_size(data[place + 9])
    size = local or table_size(data[10])
    table = bytearray(data[place + 10:place + 10 + local] if local else data[13:13 + size])
    start = place + 10 + local
    end = after_blocks(start + 1)
    if not size or len(table) < size:
        raise ValueError("the GIF file has no colours")
    if transparent >= 0:
        table = table.ljust(768, b"\0") if 3 * transparent >= size else table
        table[3 * transparent:3 * transparent + 3] = b"\xff\xff\xff"
    entries = len(table) // 3
    area = data[place + 5:place + 9]
    still = (b"GIF89a" + area + bytes(3) + b"\x2c" + bytes(4) + area
             + bytes([data[place + 9] & 0x40 | 0x80 | (entries.bit_length() - 2)]) + table + data[start:end] + b"\x3b")
    frame = _open(still, "GIF")
    numbers = np.asarray(frame)
    if frame.mode not in ("P", "L") or numbers.max() >= entries:
        raise ValueError("the GIF file has pixels beyond the end of its palette")
    image = np.full((canvas_height, canvas_width, 3), 255, np.uint8)
    image[top:top + height, left:left + width] = np.frombuffer(table, np.uint8).reshape(-1, 3)[numbers]
    return image


# BMP and WebP


def _bmp(data: bytes) -> Pixels:
    head = data[:72].ljust(72, b"\0")
    header, bits, compression = (int.from_bytes(head[i:j], "little") for i, j in ((14, 18), (28, 30), (30, 34)))
    if not 54 <= int.from_bytes(head[10:14], "little") <= len(data):
        raise ValueError("the header is damaged: it does not say where the pixels begin")
    masked = compression == 3 and bits == 32 and head[54:66] == bytes([0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0])
    if header < 40 or bits not in (24, 32) or (compression and not masked):
        raise ValueError("BMP with a palette, 16 bits, compression or unusual colour masks is not supported: save it "
                         "as PNG")
    image = _open(data, "BMP")
    if masked and header >= 56 and head[66:70] == b"\0\0\0\xff":
        array = np.asarray(image.convert("RGBA"))
        return _on_white(array) if array[..., 3].any() else array[..., :3]  # some programs store no transparency
    return np.asarray(image.convert("RGB"))


def _webp(data: bytes) -> Pixels:
    head = data[:32].ljust(32, b"\0")
    extended = head[12:16] == b"VP8X"
    if head[8:12] != b"WEBP":
        raise ValueError(NOT_SUPPORTED)
    if extended and head[20] & 2:
        raise ValueError("animated WebP is not supported: save one frame of it")
    chunks = dict(reversed(list(_webp_chunks(data))))  # of several with one name, the first
    lossless = chunks.get(b"VP8L", b"")  # says itself whether it is transparent, whatever the header announces
    see_through = lossless[4] & 0x10 if len(lossless) > 4 else extended and head[20] & 0x10
    image = _open(data, "WEBP")
    rgb = _on_white(np.asarray(image.convert("RGBA"))) if see_through else np.asarray(image.convert("RGB"))
    exif = chunks.get(b"EXIF", b"") if extended and head[20] & 8 else b""
    return _upright(rgb, _without_name(exif))


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(data):
        length = int.from_bytes(data[place + 4:place + 8], "little")
        yield data[place:place + 4], data[place + 8:place + 8 + length]
        place += 8 + (length + 1) // 2 * 2


if __name__ == "__main__":
    try:
        label, probability = classify(*sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{label} {probability:.3f}")
