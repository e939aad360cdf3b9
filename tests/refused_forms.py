"""Data that are refused, and what the message has to name: see `data_forms`."""

import io
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet
from image_forms import Picture
from PIL import Image

from kerastl.data.options import READ_AS_USUAL, ReadOptions

GOOD = "text,label\na good film,positive\na dull film,negative\n"


@dataclass(frozen=True)
class Refused:
    """about: in plain words. write: puts the data into a folder, and returns where. cause: what the message names."""

    about: str
    write: Callable[[Path], Path]
    cause: str
    item: str = "text"
    options: ReadOptions = READ_AS_USUAL


def _file(name: str, content: bytes | str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)
        return folder / name

    return write


def _folders(files: Mapping[str, bytes]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        for name, content in files.items():
            (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "data" / name).write_bytes(content)
        return folder / "data"

    return write


def _zip(files: Mapping[str, str]) -> bytes:
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def _parquet() -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": ["x", "y"]}), out)
    return out.getvalue()


def _photos(*names: str) -> Callable[[Path], Path]:
    return _folders({name: Picture(i).data for i, name in enumerate(names)})


HTML = "<!DOCTYPE html><html><body>Please log in</body></html>"
OLD_EXCEL = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1000\n"
ONE_OBJECT = json.dumps({"rows": [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], "version": 1}, indent=1)
BINARY = "text,toxic,insult\na,0,1\nb,1,0\nc,0,0\n"

REFUSED = (
    Refused("A web page that was saved as a table", _file("reviews.csv", HTML), "is an HTML page, not a table"),
    Refused("A pointer of Git LFS instead of the file", _file("reviews.parquet", LFS), "a pointer of Git LFS"),
    Refused("An Excel workbook in the old format", _file("reviews.xls", OLD_EXCEL), "an Excel file in the old format"),
    Refused("A PDF document", _file("reviews.pdf", b"%PDF-1.7\n"), "is a PDF document"),
    Refused("A database", _file("reviews.db", b"SQLite format 3\0" + bytes(100)), "is an SQLite database"),
    Refused("An archive of several tables", _file("reviews.zip", _zip({"a.csv": GOOD, "b.csv": GOOD})),
            "contains 2 files: a.csv, b.csv"),
    Refused("A file that is not compressed as its name says", _file("reviews.csv.gz", GOOD),
            "is not compressed by gzip"),
    Refused("A truncated Parquet file", _file("reviews.parquet", _parquet()[:-20]), "reviews.parquet: .*arquet"),
    Refused("A JSON file that is one object", _file("reviews.json", ONE_OBJECT),
            "is one JSON object, with the keys rows"),
    Refused("Broken JSON", _file("reviews.json", '[\n{"text": "a", "label": "x"},\n{"text": "b" "label": "y"}\n]'),
            "is broken JSON: line 3, column 14"),
    Refused("A table without a header", _file("reviews.csv", "a good film,positive\nwhat a dull film,negative\n"
            "and another one,positive\n"), "the first line of .* looks like a row, not a header"),
    Refused("A table with one column", _file("reviews.csv", "text\na\nb\n"), "has one column"),
    Refused("A file that ends in the header", _file("reviews.csv", "text,label\n"), "no usable texts in"),
    Refused("Columns of 0 and 1, none of which is named like a label", _file("reviews.csv", BINARY),
            "toxic, insult of .* each contain 0 and 1"),
    Refused("A name in the column of the split that is not a split", _file("reviews.csv", GOOD.replace(
            "label\n", "label,split\n").replace("tive\n", "tive,elsewhere\n")), "split 'elsewhere' in column 'split'"),
    Refused("A column that does not exist", _file("reviews.csv", GOOD), "'sentiment', but .* has no such column",
            options=ReadOptions(label_column="sentiment")),
    Refused("Folders named like splits beside other folders", _photos("train/cat/1.png", "test/cat/2.png", "dog/3.png"),
            "contains test and train, which are named like splits, beside dog", "image"),
    Refused("Class folders that are all named like splits", _photos("train/1.png", "test/2.png"),
            "test and train .* are named like splits and contain no class folders", "image"),
    Refused("One class folder that contains split folders", _photos("cat/train/1.png", "cat/test/2.png", "dog/3.png"),
            "contains folders named like splits", "image"),
    Refused("Texts for a recipe of images", _folders({"a/1.txt": b"one", "b/2.txt": b"two"}),
            "contains texts, not images", "image"),
    Refused("A single class", _photos("cat/1.png", "cat/2.png"), "too few classes", "image"),
    Refused("A table of addresses", _file("photos.csv", "path,label\nhttps://example.org/1.png,cat\n"
            "https://example.org/2.png,dog\n"), "it is an address", "image"),
)


def _image(kind: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (8, 8), 90).save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


def _box(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + brand + b"mif1" + bytes(40)


# Files that the decoder refuses: their rows are skipped, with this reason
REFUSED_IMAGES: dict[str, bytes] = {
    "HEIC, also when called .jpg": _box(b"heic"), "AVIF": _box(b"avif"), "JPEG XL": b"\xff\x0a" + bytes(40),
    "TIFF": _image("TIFF"), "a RAW file": b"IIRO\x08\0\0\0" + bytes(40), "SVG": b"<svg xmlns='x'></svg>",
    "PDF": b"%PDF-1.7\n", "a video": _box(b"isom"), "a web page": HTML.encode(),
    "a pointer of Git LFS": LFS.encode(), "BMP with a palette": _image("BMP", "P"), "zeros": bytes(200),
    "a truncated JPEG": Picture(0, ".jpg").data[:400], "a truncated PNG": Picture(0).data[:60], "an empty file": b"",
}
