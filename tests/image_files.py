"""Bytes of images of every kind, good and bad, what Pillow makes of them, and tables and TFDS data sets of them."""

import csv
import io
import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels = NDArray[np.uint8]
SIDE = 32  # of the images made here: decoded to this size, they are not resized


def scene(height: int = SIDE, width: int = SIDE) -> Pixels:
    """[height, width, 3] uint8: smooth, coloured, and unlike itself turned or mirrored in any way."""
    y, x = np.mgrid[0:1:height * 1j, 0:1:width * 1j]
    mark = 90 * ((x < 0.4) & (y < 0.3))
    return np.stack([40 + 180 * x, 230 - 150 * y, 60 + 100 * x * y + mark], axis=-1).round().astype(np.uint8)


def see_through() -> Pixels:
    """The scene with an alpha from 0 at the left to 255 at the right, [SIDE, SIDE, 4] uint8."""
    alpha = np.broadcast_to(np.linspace(0, 255, SIDE).round(), (SIDE, SIDE))
    return np.dstack([scene(), alpha.astype(np.uint8)])


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The image's file, as Pillow writes it."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def reference(data: bytes) -> Pixels:
    """What a person sees: the first frame, upright, on white, [height, width, 3] uint8."""
    with Image.open(io.BytesIO(data)) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
    if image.mode == "I;16":
        return np.repeat(np.asarray(image)[..., None] / 257, 3, axis=-1).round().astype(np.uint8)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def exif(orientation: int, big_endian: bool = False, entries_before: int = 1) -> bytes:
    """An EXIF block that holds an orientation, after some other entries."""
    order = ">" if big_endian else "<"
    lines = [struct.pack(order + "HHIHH", 0x0080 + i, 3, 1, 3, 0) for i in range(entries_before)]
    lines.append(struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0))
    start = b"MM\x00*" if big_endian else b"II*\x00"
    directory = struct.pack(order + "IH", 8, len(lines)) + b"".join(lines) + bytes(4)
    return b"Exif\x00\x00" + start + directory


def jpeg(image: Image.Image | None = None, **options: Any) -> bytes:
    """A JPEG of the scene, or of another image; without chroma subsampling unless told otherwise."""
    return save(image or Image.fromarray(scene()), "JPEG", **{"quality": 95, "subsampling": 0} | options)


def after_segments(data: bytes, count: int, length: int) -> bytes:
    """The JPEG with comments put before all its other segments."""
    return data[:2] + (b"\xff\xfe" + struct.pack(">H", length + 2) + bytes(length)) * count + data[2:]


def chunk(name: bytes, body: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_by_hand(rows: list[bytes], depth: int, colour: int, extra: bytes = b"") -> bytes:
    """A PNG of a kind that Pillow does not write. rows: unfiltered bytes; extra: chunks before the pixels."""
    head = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\x00" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def grey_png(levels: Pixels, depth: int, hole: int | None = None) -> bytes:
    """A grey PNG of 1, 2 or 4 bits a pixel. levels: [SIDE, SIDE] in [0, 2**depth); hole: the see-through level."""
    bits = np.unpackbits(levels[..., None], axis=2)[..., 8 - depth:].reshape(SIDE, -1)
    extra = b"" if hole is None else chunk(b"tRNS", struct.pack(">H", hole))
    return png_by_hand([np.packbits(row).tobytes() for row in bits], depth, 0, extra)


def deep_png() -> bytes:
    """16 bits a channel, RGB, the low bytes not zero."""
    return png_by_hand([row.tobytes() for row in scene().astype(">u2") * 257], depth=16, colour=2)


def webp_canvas(data: bytes, flags: int) -> bytes:
    """A still WebP of one chunk put into the extended format, with flags of our choice."""
    canvas = bytes([flags, 0, 0, 0]) + 2 * (SIDE - 1).to_bytes(3, "little")
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + canvas + data[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def made() -> dict[str, bytes]:
    """Every kind the decoder reads, by name."""
    rgb, rgba = Image.fromarray(scene()), Image.fromarray(see_through())
    grey, palette = rgb.convert("L"), rgb.quantize(64)
    bits, holes = grey.convert("1"), rgb.quantize(64)
    frames = [Image.fromarray(np.roll(scene(), 9 * i, axis=1)) for i in range(3)]
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return {
        "jpeg rgb": jpeg(), "jpeg grey": jpeg(grey), "jpeg cmyk": jpeg(rgb.convert("CMYK")),
        "jpeg progressive": jpeg(progressive=True), "jpeg subsampled": jpeg(subsampling=2),
        "jpeg restarts": jpeg(restart_marker_rows=1), "jpeg one pixel": jpeg(rgb.crop((0, 0, 1, 1))),
        "png rgb": save(rgb, "PNG"), "png grey": save(grey, "PNG"), "png 1-bit": save(bits, "PNG"),
        "png 4-bit grey": grey_png(np.asarray(grey) >> 4, 4),
        "png palette": save(palette, "PNG"), "png 4-bit palette": save(rgb.quantize(16), "PNG"),
        "png rgba": save(rgba, "PNG"), "png grey alpha": save(rgba.convert("LA"), "PNG"),
        "png palette with a see-through entry": save(holes, "PNG", transparency=holes.getpixel((16, 12))),
        "png 4-bit palette with alphas": save(rgb.quantize(16), "PNG", transparency=bytes(range(0, 256, 16))),
        "png palette with alphas": save(palette, "PNG", transparency=bytes(range(0, 256, 4))),
        "png grey with a see-through level": save(grey, "PNG", transparency=grey.getpixel((16, 12))),
        "png rgb with a see-through colour": save(rgb, "PNG", transparency=rgb.getpixel((16, 12))),
        "png 16-bit grey": save(deep, "PNG"), "png 16-bit rgb": deep_png(),
        "png animated": save(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "gif": save(palette, "GIF"), "gif grey": save(grey, "GIF"),
        "gif animated": save(frames[0].quantize(64), "GIF", save_all=True, append_images=frames[1:]),
        "bmp": save(rgb, "BMP"), "bmp 32-bit": save(rgb.convert("RGBA"), "BMP"),
        "webp lossy": save(rgb, "WEBP", quality=95), "webp lossless": save(rgb, "WEBP", lossless=True),
        "webp lossy alpha": save(rgba, "WEBP", quality=95),
        "webp lossless alpha": save(rgba, "WEBP", lossless=True, exact=True),
        "webp extended": save(rgb, "WEBP", lossless=True, exif=exif(1)),
        "webp extended alpha": save(rgba, "WEBP", lossless=True, exact=True, exif=exif(1)),
    }


def refused() -> dict[str, tuple[bytes, str]]:
    """Every kind the decoder refuses, with words of the reason."""
    rgb, rgba = Image.fromarray(scene()), Image.fromarray(see_through())
    turned = [rgb.rotate(10 * i) for i in range(3)]
    os2 = b"BM" + struct.pack("<IHHI", 26 + 6, 0, 0, 26) + struct.pack("<IHHHH", 12, 1, 1, 1, 24) + bytes(6)
    png = save(rgb, "PNG")
    wide = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    tall_jpeg = jpeg()
    frame = tall_jpeg.index(b"\xff\xc0")
    tall_jpeg = tall_jpeg[:frame + 5] + struct.pack(">HH", 60_000, 60_000) + tall_jpeg[frame + 9:]
    bmp, gif = save(rgb, "BMP"), save(rgb.quantize(64), "GIF")
    extended = save(rgba, "WEBP")
    return {
        "empty": (b"", "empty"),
        "text": (b"no image at all", "not an image"),
        "one byte": (b"\xff", "not an image"),
        "tiff little endian": (save(rgb, "TIFF"), "TIFF"),
        "tiff big endian": (b"MM\x00*" + bytes(60), "TIFF"),
        "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        "svg after a declaration": (b'\xef\xbb\xbf <?xml version="1.0"?>\n<svg/>', "SVG"),
        "bmp palette": (save(rgb.quantize(64), "BMP"), "palette"),
        "bmp 1-bit": (save(rgb.convert("1"), "BMP"), "palette"),
        "bmp of os/2": (os2, "BMP"),
        "webp animated": (save(turned[0], "WEBP", save_all=True, append_images=turned[1:]), "animated WebP"),
        "png over 100 megapixels": (png[:8] + wide + png[33:], "100 megapixels"),
        "jpeg over 100 megapixels": (tall_jpeg, "100 megapixels"),
        "gif over 100 megapixels": (gif[:6] + b"\xff\xff\xff\xff" + gif[10:], "100 megapixels"),
        "bmp over 100 megapixels": (bmp[:18] + struct.pack("<ii", 20_000, -20_000) + bmp[26:], "100 megapixels"),
        "webp over 100 megapixels": (extended[:24] + b"\xff\x3f\x00\xff\x3f\x00" + extended[30:], "100 megapixels"),
        "png without a size": (png[:16] + bytes(8) + png[24:], "no size"),
        "png whose size is negative": (png[:16] + b"\xff" * 8 + png[24:], "no size"),
        "jpeg cut in its header": (jpeg()[:20], "could not be decoded"),
        "jpeg cut in its pixels": (jpeg()[:-200], "could not be decoded"),
        "png cut in its pixels": (png[:-60], "could not be decoded"),
        "gif cut in its pixels": (gif[:-200], "could not be decoded"),
        "bmp cut in its pixels": (bmp[:-200], "could not be decoded"),
        "webp cut in its pixels": (extended[:-60], "could not be decoded"),
        "png cut after its signature": (png[:8], "no size"),
        "png with a wrong checksum of its pixels": (png[:-16] + bytes(4) + png[-12:], "could not be decoded"),
        "png with a chunk that must be known": (png[:33] + chunk(b"ABCD", b"x") + png[33:], "could not be decoded"),
        "png with fewer rows than it says": (png_by_hand([row.tobytes() for row in scene()[:20]], 8, 2),
                                             "could not be decoded"),
        "bmp whose pixels begin in its header": (bmp[:10] + struct.pack("<I", 14) + bmp[14:], "where the pixels begin"),
        "bmp whose pixels begin behind its end": (bmp[:10] + struct.pack("<I", 2**31 + 5) + bmp[14:],
                                                  "where the pixels begin"),
        "gif cut in its palette": (gif[:20], "no size"),
        "gif cut behind its frame's header": (gif[:gif.index(b"\x2c", 13) + 10], "could not be decoded"),
        "png of two million columns": (png[:16] + struct.pack(">II", 2_000_000, 1) + png[24:], "along a side"),
        "base64 for the web": (b"_9j_4AAQSkZJRg", "base64"),
    }


def write_table(path: Path, records: Sequence[dict[str, Any]]) -> str:
    """The records as a table of the kind that the path's ending says; the path again."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(records)), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    return str(path)


def broken_tables() -> dict[str, bytes]:
    """Tables that break off being one after many good rows, and empty files, by kind of table and damage."""
    rows = [{"path": f"pic/{i}.png", "label": "red"} for i in range(2000)]
    lines = "\n".join(map(json.dumps, rows)).encode()
    sheet = b"path,label\n" + b"".join(b"pic/%d.png,red\n" % i for i in range(2000))
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file, compression="zstd")
    return {"csv latin-1": sheet + "pic/a.png,café\n".encode("latin-1"),
            "csv endless cell": sheet + b'pic/a.png,"' + b"x" * 200_000,
            "jsonl latin-1": lines + '\n{"path": "a", "label": "café"}'.encode("latin-1"),
            "jsonl cut": lines[:-10], "jsonl list": lines + b"\n[1, 2]", "parquet cut": file.getvalue()[:-40],
            "parquet torn": file.getvalue()[:200] + bytes(400) + file.getvalue()[600:],
            "csv empty": b"", "jsonl empty": b"", "parquet empty": b""}


def prepare_tfds(data_dir: Path, name: str, splits: dict[str, int], column: str = "label") -> None:
    """A data set as TFDS leaves it when prepared: so many noisy images a split, labelled red and blue by turns."""
    import tensorflow_datasets as tfds

    folder = data_dir / name / "1.0.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict({"image": tfds.features.Image(encoding_format="png"),
                                           column: tfds.features.ClassLabel(names=["red", "blue"])})
    who = tfds.core.dataset_info.DatasetIdentity(name, tfds.core.Version("1.0.0"), str(folder), module_name="made")
    writer = tfds.core.SequentialWriter(tfds.core.DatasetInfo(builder=who, features=features), 100)
    writer.initialize_splits(list(splits))
    random = np.random.default_rng(0)
    writer.add_examples({part: [{"image": random.integers(0, 256, (8, 8, 3)).astype(np.uint8), column: i % 2}
                                for i in range(n)] for part, n in splits.items()})
    writer.close_all()


def with_fill_bytes(data: bytes, count: int) -> bytes:
    """The JPEG with fill bytes before its first segment, which the standard allows."""
    return data[:2] + b"\xff" * count + data[2:]


def lossy_webp_with_hidden_alpha() -> bytes:
    """A lossy WebP with transparency, which the header does not announce."""
    data = bytearray(save(Image.fromarray(see_through()), "WEBP", quality=95))
    data[20] &= ~0x10
    return bytes(data)


def unusual() -> dict[str, bytes]:
    """Images of kinds that are rare, but valid or at least read by other programs, by name."""
    rgb, rgba = Image.fromarray(scene()), Image.fromarray(see_through())
    odd = save(rgb.crop((0, 0, 31, 31)), "BMP")  # rows of 93 bytes and 3 bytes of padding
    return {
        "jpeg with fill bytes, turned": with_fill_bytes(jpeg(Image.fromarray(scene(48, 80)), exif=exif(6)), 1),
        "jpeg cmyk with fill bytes": with_fill_bytes(jpeg(rgb.convert("CMYK")), 3),
        "bmp with bytes behind its pixels": save(rgb, "BMP") + bytes(100),
        "bmp 32-bit with bytes behind its pixels": save(rgba, "BMP") + b"abcd" * 9,
        "bmp without its last padding": odd[:-3],
        "webp lossless alpha that is not announced": webp_canvas(save(rgba, "WEBP", lossless=True, exact=True), 0),
        "webp lossless without the alpha that is announced": webp_canvas(save(rgb, "WEBP", lossless=True), 0x10),
        "webp lossy alpha that is not announced": lossy_webp_with_hidden_alpha(),
        "png with bytes behind its end": save(rgb, "PNG") + b"\0\0\0\x02ABCDxx",
    }


def decoded_alike(data: bytes, size: int, accept_truncated: bool = False) -> Pixels | str:
    """The pixels, or the reason why there are none, from Python's decoder, after a check that the graph, as it is
    exported, gives the same."""
    from kerastl.inputs.images import decoder

    decode = decoder(size, accept_truncated)
    result, by_graph = decode(data), decode.by_graph(data)
    assert type(result) is type(by_graph) and np.array_equal(result, by_graph)
    return result
