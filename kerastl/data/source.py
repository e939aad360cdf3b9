"""The bytes of a table, decompressed, and which kind of table they are: by their first bytes, then by the name."""

import bz2
import errno
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from kerastl.data.encoding import BLOCK
from kerastl.data.spool import copied
from kerastl.errors import DataError
from kerastl.files import open_file, size_of

KINDS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".psv": "csv", ".json": "json", ".jsonl": "json",
         ".ndjson": "json", ".parquet": "parquet", ".xlsx": "excel", ".xlsm": "excel"}
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz", ".zip": "zip"}
TABLES = (*KINDS, *COMPRESSED)
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"PK\x03\x04": "zip"}
_NO_TABLES = {  # by their first bytes: what a file is instead of a table, and what to do
    b"\xd0\xcf\x11\xe0": ("an Excel file in the old format, or one with a password", "save it as .xlsx or .csv, without"
                          " a password"),
    b"<!doctype html": ("an HTML page", "download the file itself, not the page about it"),
    b"<html": ("an HTML page", "download the file itself, not the page about it"),
    b"version https://git-lfs": ("a pointer of Git LFS", "run `git lfs pull` in its repository"),
    b"sqlite format 3": ("an SQLite database", "export the table as .csv"),
    b"%pdf": ("a PDF document", "export the table as .csv"),
    b"arrow1": ("an Arrow (Feather) file", "save it as .parquet"),
    b"orc": ("an ORC file", "save it as .parquet"),
}
_JSON = re.compile(rb'(\[\s*)?\{\s*"[^"]*"\s*:')  # how objects begin, with one name each
_BOMB = 200  # times its compressed size, beyond which a file of over 1 GB is not decompressed
_LARGE = 1 << 30


@dataclass(frozen=True)
class Source:
    """The bytes of a table. Each call of `opener` starts at the first byte; the files can seek."""

    path: Path  # as the user specified it
    kind: str  # a value of KINDS
    opener: Callable[[], BinaryIO]
    compression: str = ""
    notes: tuple[str, ...] = ()


def opened(path: Path, folder: Path | None) -> Source:
    """The source at a path. A compressed one is first decompressed, into an unnamed file in `folder`.

    Raises DataError if the file is damaged or known not to be a table.
    """
    with open_file(path) as file:
        head = file.read(512)
    name, notes = path, list[str]()
    by_name, by_magic = COMPRESSED.get(path.suffix.lower(), ""), _magic(head)
    if by_name and by_name != by_magic:
        raise DataError(f"{path} is not compressed by {by_name}, as its name says", f"a valid {path.suffix} file",
                        "rename the file, or write it again")
    opener: Callable[[], BinaryIO] = lambda: open_file(path)  # noqa: E731
    compression = "" if by_magic == "zip" and _is_workbook(path) else by_magic
    if compression:
        with _decompressing(path, compression):
            name, blocks = _decompressed(path, compression)
            opener = copied(_limited(blocks, path), folder)
        if by_name != compression or compression == "zip":
            notes.append(f"compressed by {compression}, contains {name.name}")
        with opener() as file:
            head = file.read(512)
        if _magic(head) not in ("", "zip"):
            raise DataError(f"{path} is compressed twice, by {compression} and inside by {_magic(head)}",
                            "a table that is compressed once", "decompress it, and read what is in it")
    kind = _kind(path, name, head, workbook=by_magic == "zip" and not compression)
    if KINDS.get(name.suffix.lower(), kind) != kind:
        notes.append(f"the file is in the format {kind}, although its name ends in {name.suffix}")
    return Source(path, kind, opener, compression, tuple(notes))


def _magic(head: bytes) -> str:
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")


def _start(head: bytes) -> bytes:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()


def no_table(path: Path, head: bytes) -> DataError | None:
    """The error for a file that is known not to be a table, by its first bytes."""
    start = _start(head)
    for magic, (what, remedy) in _NO_TABLES.items():
        if start.startswith(magic):
            return DataError(f"{path} is {what}, not a table", "a table", remedy)
    return None


def _kind(path: Path, name: Path, head: bytes, workbook: bool) -> str:
    if error := no_table(path, head):
        raise error
    if workbook or head.startswith(b"PAR1"):
        return "excel" if workbook else "parquet"
    if KINDS.get(name.suffix.lower()) in ("csv", "tsv") and _JSON.match(_start(head)):
        return "json"
    if name.suffix.lower() not in KINDS:
        raise DataError(f"{path} contains {name.name}, which is not in a supported format",
                        f"a table ({', '.join(KINDS)}), compressed", "name the file inside after its format")
    return KINDS[name.suffix.lower()]


def _is_workbook(path: Path) -> bool:
    with _decompressing(path, "zip"), open_file(path) as file, zipfile.ZipFile(file) as archive:
        if "xl/workbook.xml" not in archive.namelist():
            return False
        _check_size(path, sum(info.file_size for info in archive.infolist()))
    return True


@contextmanager
def _decompressing(path: Path, compression: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError
            ) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # of a place outside the file
            raise  # the system's own, such as a full disk
        raise DataError(f"{path} cannot be decompressed by {compression}: {error}", "a whole file without a password",
                        "compress it again, or decompress it yourself") from error


def _decompressed(path: Path, compression: str) -> tuple[Path, Iterator[bytes]]:
    """The name of what is inside, and its blocks."""
    if compression == "zip":
        name = _only_table(path)
        return Path(name), _zip_blocks(path, name)
    return path.with_suffix("") if path.suffix.lower() in COMPRESSED else path, _blocks(path, compression)


def _blocks(path: Path, compression: str) -> Iterator[bytes]:
    with open_file(path) as file, _stream(file, compression) as stream:
        while block := stream.read(BLOCK):
            yield block


def _stream(file: BinaryIO, compression: str) -> Any:
    if compression == "zstd":
        import pyarrow

        return pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")
    if compression == "gzip":
        return gzip.GzipFile(fileobj=file)
    return bz2.BZ2File(file) if compression == "bzip2" else lzma.LZMAFile(file)


def _zip_blocks(path: Path, name: str) -> Iterator[bytes]:
    with open_file(path) as file, zipfile.ZipFile(file) as archive, archive.open(name) as member:
        while block := member.read(BLOCK):
            yield block


def _only_table(path: Path) -> str:
    with open_file(path) as file, zipfile.ZipFile(file) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
    names = [name for name in names if "__MACOSX" not in name and not Path(name).name.startswith(".")]
    tables = [name for name in names if Path(name).suffix.lower() in KINDS] or names
    if len(tables) != 1:
        raise DataError(f"{path} contains {len(tables)} files: {', '.join(tables[:5])}{' ...' * (len(tables) > 5)}",
                        "an archive of one table", "unpack it, and name the table or the folder to read")
    return tables[0]


def _limited(blocks: Iterator[bytes], path: Path) -> Iterator[bytes]:
    size = 0
    for block in blocks:
        size += len(block)
        _check_size(path, size)
        yield block


def _check_size(path: Path, size: int) -> None:
    """Raises DataError if so many bytes cannot be meant by a file of its size."""
    limit = max(_LARGE, _BOMB * size_of(path))
    if size > limit:
        raise DataError(f"{path} is over {_BOMB} times as large when decompressed, over {limit >> 20:,} MB",
                        "a table", "decompress it yourself if this is intended")
