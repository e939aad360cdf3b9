"""Tensors of a torch file (since torch 1.6) where they lie in it, without torch, and without running what it names.

The file is a zip: data.pkl, a pickle of the tensors, and data/KEY, each storage's numbers as they are. The unpickler is
the one of the older format.
"""

from io import SEEK_END
from math import prod
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from kerastl.backbones._stored import TYPES, Stored
from kerastl.backbones._torch_file import TensorsOnly
from kerastl.errors import WeightsError

PICKLE = 100_000_000  # bytes of data.pkl at most: a tensor takes some 200


def tensors(path: Path) -> list[Stored]:
    """The tensors of a torch file, in its order; no number is read. Raises WeightsError for anything but tensors."""
    try:
        with path.open("rb") as file, ZipFile(file) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            top = next((name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")), None)
            if top is None:
                raise ValueError("it has no data.pkl")
            if f"{top}byteorder" in entries and archive.open(f"{top}byteorder").read(6) != b"little":
                raise ValueError("its numbers are not little-endian")
            if entries[f"{top}data.pkl"].file_size > PICKLE:
                raise ValueError("its data.pkl is too large to hold tensors only")
            with archive.open(f"{top}data.pkl") as opened:
                content = TensorsOnly(opened)  # type: ignore[arg-type]
                found = content.load()
            starts = {key: _start(file, entries.get(f"{top}data/{key}"), kind, count)
                      for key, (kind, count) in content.storages.items()}
            return [_stored(path, str(name), one, *content.storages[one.storage], starts[one.storage])
                    for name, one in found.items()]
    except Exception as error:  # a damaged zip or pickle comes as any of a dozen kinds
        raise WeightsError(f"{path} is not read: {error}", "a whole torch file (since torch 1.6) of tensors only",
                           "fetch it again from where it is published, as safetensors if they have it") from error


def _start(file: BinaryIO, entry: ZipInfo | None, kind: str, count: int) -> int:
    """Where a storage's numbers begin in the file."""
    if entry is None or type(count) is not int:
        raise ValueError("it names a storage that is not in it")
    if entry.compress_type != ZIP_STORED or entry.flag_bits & 1:
        raise ValueError(f"its entry {entry.filename} is compressed or encrypted")
    if entry.file_size < count * TYPES[kind].itemsize:
        raise ValueError(f"its entry {entry.filename} is of {entry.file_size:,} bytes, too few for {count:,} of {kind}")
    file.seek(entry.header_offset)
    header = file.read(30)  # of the entry itself: its last two numbers need not be those in the zip's directory
    if header[:4] != b"PK\3\4":
        raise ValueError(f"its entry {entry.filename} is not where the zip's directory says")
    start = entry.header_offset + 30 + sum(int.from_bytes(header[i:i + 2], "little") for i in (26, 28))
    if start + entry.file_size > file.seek(0, SEEK_END):
        raise ValueError(f"its entry {entry.filename} reaches outside the file")
    return start


def _stored(path: Path, name: str, one: Any, kind: str, count: int, start: int) -> Stored:
    if not all(type(number) is int and number >= 0 for number in (one.offset, *one.shape, *one.strides)):
        raise ValueError(f"the shape or the place of the tensor {name} is no list of whole numbers")
    whole = [prod(one.shape[i + 1:]) for i in range(len(one.shape))]
    if any(n > 1 and step != steady for n, step, steady in zip(one.shape, one.strides, whole, strict=True)):
        raise ValueError(f"the numbers of the tensor {name} do not lie one after another")
    if one.offset + prod(one.shape) > count:
        raise ValueError(f"the tensor {name} reaches outside its storage")
    return Stored(path, name, kind, tuple(one.shape), start + one.offset * TYPES[kind].itemsize)
