"""Tensors where they lie in a file: a header says where, and no number is read before it is asked for."""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from kerastl.errors import WeightsError

TYPES: dict[str, np.dtype[Any]] = {  # by the names that safetensors gives them
    "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16), "F32": np.dtype("<f4"), "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
}
HEADER = 100_000_000  # bytes at most, as the safetensors library has it


@dataclass(frozen=True)
class Stored:
    """One tensor of a file: little-endian numbers, the last dimension fastest, without gaps.

    kind: one of `TYPES`, or another name, of a type that is not read here. offset: of its first byte in the file.
    """

    path: Path
    name: str
    kind: str
    shape: tuple[int, ...]
    offset: int

    def rows(self, file: BinaryIO, start: int, stop: int) -> NDArray[Any]:
        """Some of its rows, in its own type, from its open file. Raises WeightsError when the file ends before."""
        dtype, shape = TYPES[self.kind], (stop - start, *self.shape[1:])
        row = prod(self.shape[1:])
        file.seek(self.offset + start * row * dtype.itemsize)
        raw = np.fromfile(file, np.uint8, prod(shape) * dtype.itemsize)
        if len(raw) != prod(shape) * dtype.itemsize:
            raise WeightsError(f"{self.path} ends within the tensor {self.name}", "the file as it was when opened",
                               "fetch it again")
        return raw.view(dtype).reshape(shape)


def safetensors(path: Path) -> list[Stored]:
    """The tensors of a safetensors file, from its header. Raises WeightsError when it is not a whole one.

    Source: https://huggingface.co/docs/safetensors, "Format". Its library keeps a file mapped while it is open and does
    not tell where a tensor is, so that pickles would need a second way to read numbers.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if not 0 < length <= min(HEADER, size - 8):
                raise ValueError(f"its header would be {length:,} bytes, and the file is {size:,}")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return [_stored(path, name, about, 8 + length, size) for name, about in header.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged or missing: {error}", "a whole safetensors file",
                           "fetch it again") from error


def _stored(path: Path, name: str, about: dict[str, Any], first: int, size: int) -> Stored:
    kind, shape, (start, stop) = about["dtype"], tuple(about["shape"]), about["data_offsets"]
    if not all(type(one) is int and one >= 0 for one in (*shape, start, stop)):
        raise ValueError(f"the shape or the place of the tensor {name} is no list of whole numbers")
    if start > stop or first + stop > size:
        raise ValueError(f"the tensor {name} ends at byte {first + stop:,}, and the file has {size:,}")
    if kind in TYPES and prod(shape) * TYPES[kind].itemsize != stop - start:
        raise ValueError(f"the tensor {name} has the shape {list(shape)} of {kind}, but {stop - start:,} bytes")
    return Stored(path, name, str(kind), shape, first + start)
