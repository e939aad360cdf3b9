"""The tensors of a torch file (torch 1.6 or later) by their position, without torch and without running any code in it.

The file is a zip archive: data.pkl is a pickle of the tensors, and each data/KEY holds the values of one storage. The
unpickler is the one for the older format.
"""

from io import SEEK_END
from math import prod
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from kerastl.backbones._stored import TYPES, Stored
from kerastl.backbones._torch_file import TensorsOnly
from kerastl.errors import WeightsError
from kerastl.files import open_file

PICKLE = 100_000_000  # most bytes of data.pkl; a tensor takes about 200


def tensors(path: Path) -> list[Stored]:
    """The tensors of a torch file, in its order; no value is read. Raises WeightsError for anything but tensors."""
    try:
        with open_file(path) as file, ZipFile(file) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            top = next((name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")), None)
            if top is None:
                raise ValueError("it has no data.pkl")
            if f"{top}byteorder" in entries and archive.open(f"{top}byteorder").read(6) != b"little":
                raise ValueError("its values are not little-endian")
            if entries[f"{top}data.pkl"].file_size > PICKLE:
                raise ValueError("its data.pkl is too large to contain tensors only")
            with archive.open(f"{top}data.pkl") as opened:
                content = TensorsOnly(opened)  # type: ignore[arg-type]
                tensors_by_name = content.load()
            starts = {key: _start(file, entries.get(f"{top}data/{key}"), kind, count)
                      for key, (kind, count) in content.storages.items()}
            return [_stored(path, str(name), tensor, *content.storages[tensor.storage], starts[tensor.storage])
                    for name, tensor in tensors_by_name.items()]
    except Exception as error:  # a damaged zip or pickle raises any of a dozen types
        raise WeightsError(f"{path} cannot be read: {error}", "a complete torch file (torch 1.6 or later) of tensors "
                           "only", "download it again, as safetensors if the publisher offers them") from error


def _start(file: BinaryIO, entry: ZipInfo | None, kind: str, count: int) -> int:
    """Where a storage's values begin in the file."""
    if entry is None or type(count) is not int:
        raise ValueError("it refers to a storage that it does not contain")
    if entry.compress_type != ZIP_STORED or entry.flag_bits & 1:
        raise ValueError(f"its entry {entry.filename} is compressed or encrypted")
    if entry.file_size < count * TYPES[kind].itemsize:
        raise ValueError(f"its entry {entry.filename} has {entry.file_size:,} bytes, too few for {count:,} of {kind}")
    file.seek(entry.header_offset)
    header = file.read(30)  # of the entry itself: its last two numbers may differ from those in the zip's directory
    if header[:4] != b"PK\3\4":
        raise ValueError(f"its entry {entry.filename} is not where the zip's directory says it is")
    start = entry.header_offset + 30 + sum(int.from_bytes(header[i:i + 2], "little") for i in (26, 28))
    if start + entry.file_size > file.seek(0, SEEK_END):
        raise ValueError(f"its entry {entry.filename} extends beyond the end of the file")
    return start


def _stored(path: Path, name: str, tensor: Any, kind: str, count: int, start: int) -> Stored:
    if not all(type(number) is int and number >= 0 for number in (tensor.offset, *tensor.shape, *tensor.strides)):
        raise ValueError(f"the shape or the position of the tensor {name} is not a list of whole numbers")
    contiguous = [prod(tensor.shape[i + 1:]) for i in range(len(tensor.shape))]
    if any(n > 1 and stride != wanted for n, stride, wanted in zip(tensor.shape, tensor.strides, contiguous,
                                                                   strict=True)):
        raise ValueError(f"the tensor {name} is not contiguous")
    if tensor.offset + prod(tensor.shape) > count:
        raise ValueError(f"the tensor {name} extends beyond its storage")
    return Stored(path, name, kind, tuple(tensor.shape), start + tensor.offset * TYPES[kind].itemsize)
