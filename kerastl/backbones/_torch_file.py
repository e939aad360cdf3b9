"""Reads the tensors of a legacy torch file (before torch 1.6) without torch, and without running what it names.

The file is four pickles, a list of storage keys, then the storages as raw little-endian numbers. The unpickler admits
an ordered dictionary, tensors and two storage types; anything else in the file is an error.
"""

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import WeightsError

MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True)
class _Tensor:
    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, storage: NDArray[Any]) -> NDArray[Any]:
        """The tensor's numbers in its storage; ValueError when they lie outside it."""
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.strides, *(n - 1 for n in self.shape))) < 0 or last >= len(storage):
            raise ValueError("a tensor reaches outside its storage")
        steps = [step * storage.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(storage[self.offset:], self.shape, steps).copy()


def _tensor(storage: str, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


class _TensorsOnly(pickle.Unpickler):
    admitted = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch", "FloatStorage"): np.dtype("<f4"),
        ("torch", "LongStorage"): np.dtype("<i8"),
    }

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.types: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.admitted:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not a tensor")
        return self.admitted[module, name]

    def persistent_load(self, pid: Any) -> str:
        _, dtype, key, _, _, _ = pid
        self.types[key] = dtype
        return str(key)


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of the file by name. Raises WeightsError when the file is anything but tensors."""
    try:
        with path.open("rb") as file:
            if _TensorsOnly(file).load() != MAGIC:
                raise pickle.UnpicklingError("not a legacy torch file")
            _TensorsOnly(file).load()  # protocol version
            _TensorsOnly(file).load()  # the writer's sizes of types
            content = _TensorsOnly(file)
            tensors = content.load()
            keys = _TensorsOnly(file).load()
            numbers = {}
            for key in keys:
                count = int(np.fromfile(file, "<i8", 1)[0])
                numbers[key] = np.fromfile(file, content.types[key], count)
            return {name: one.of(numbers[one.storage]) for name, one in tensors.items()}
    except (pickle.UnpicklingError, AttributeError, EOFError, KeyError, IndexError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: {error}", "a torch file of tensors only",
                           "use the file from its package") from error
