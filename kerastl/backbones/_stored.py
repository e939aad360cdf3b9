"""Tensors by their position in a file, read from the header; values are read only on request."""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from kerastl.errors import WeightsError
from kerastl.files import open_file

TYPES: dict[str, np.dtype[Any]] = {  # by the names that safetensors gives them
    "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16), "F32": np.dtype("<f4"), "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
}
HEADER = 100_000_000  # bytes at most, as the safetensors library has it


@dataclass(frozen=True)
class Stored:
    """One tensor of a file: little-endian values in row-major order, without gaps.

    kind: one of `TYPES`, or the name of a type that is not supported here. offset: of its first byte in the file.
    """

    path: Path
    name: str
    kind: str
    shape: tuple[int, ...]
    offset: int

    def rows(self, file: BinaryIO, start: int, stop: int) -> NDArray[Any]:
        """Rows start to stop in the tensor's type, from the open file. Raises WeightsError if the file is too short."""
        dtype, shape = TYPES[self.kind], (stop - start, *self.shape[1:])
        row = prod(self.shape[1:])
        file.seek(self.offset + start * row * dtype.itemsize)
        raw = np.fromfile(file, np.uint8, prod(shape) * dtype.itemsize)
        if len(raw) != prod(shape) * dtype.itemsize:
            raise WeightsError(f"{self.path} ends within the tensor {self.name}",
                               "the file as it was when it was opened", "download it again")
        return raw.view(dtype).reshape(shape)


def safetensors(path: Path) -> list[Stored]:
    """The tensors of a safetensors file, from its header. Raises WeightsError if the file is damaged or incomplete.

    Source: https://huggingface.co/docs/safetensors, "Format". The safetensors library keeps a file mapped while it is
    open, so its pages count as resident memory, and it does not tell the position of a tensor, which pickles need too.
    """
    try:
        with open_file(path) as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if not 0 < length <= min(HEADER, size - 8):
                raise ValueError(f"its header claims {length:,} bytes, but the file has {size:,}")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return [_stored(path, name, about, 8 + length, size) for name, about in header.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged or missing: {error}", "a complete safetensors file",
                           "download it again") from error


def _stored(path: Path, name: str, about: dict[str, Any], first: int, size: int) -> Stored:
    kind, shape, (start, stop) = about["dtype"], tuple(about["shape"]), about["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
        raise ValueError(f"the shape or the position of the tensor {name} is not a list of whole numbers")
    if start > stop or first + stop > size:
        raise ValueError(f"the tensor {name} ends at byte {first + stop:,}, but the file has {size:,}")
    if kind in TYPES and prod(shape) * TYPES[kind].itemsize != stop - start:
        raise ValueError(f"the tensor {name} has the shape {list(shape)} of {kind}, but {stop - start:,} bytes")
    return Stored(path, name, str(kind), shape, first + start)
