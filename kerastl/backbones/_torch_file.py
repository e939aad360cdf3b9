"""The tensors of a legacy torch file (before torch 1.6), read without torch and without running any code in it.

The file consists of four pickles, a list of storage keys, and the storages as raw little-endian values. The unpickler
admits an ordered dictionary, tensors, and storages of five types; anything else in the file is an error.
"""

import pickle
import pickletools
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones._stored import TYPES
from kerastl.errors import WeightsError
from kerastl.files import open_file

MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True)
class _Tensor:
    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, storage: NDArray[Any]) -> NDArray[Any]:
        """The tensor's values in its storage. Raises ValueError if they lie outside it."""
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.strides, *(n - 1 for n in self.shape))) < 0 or last >= len(storage):
            raise ValueError("a tensor extends beyond its storage")
        steps = [step * storage.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(storage[self.offset:], self.shape, steps).copy()


class TensorsOnly(pickle.Unpickler):
    """Reads a pickle of torch tensors, without their values, and runs no code that the pickle refers to.

    storages: filled by `load`: the key of a storage -> its type, one of `TYPES`, and the number of its values.
    """

    kinds = {"FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64",
             "LongStorage": "I64"}

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._file = file
        self.storages: dict[str, tuple[str, int]] = {}

    def load(self) -> Any:
        """The pickle's object. Raises one of many errors if it is damaged or refers to anything but tensors."""
        first = self._file.tell()
        for opcode, index, place in pickletools.genops(self._file):  # this runs none of them
            if "PUT" in opcode.name and int(index or 0) > (place or 0) - first:  # memory for all below
                raise pickle.UnpicklingError("it numbers more objects than it contains")
        self._file.seek(first)
        return super().load()

    def find_class(self, module: str, name: str) -> Any:
        """The substitute for a name that the pickle imports: a string, a type written in C, or a new function each
        time, since a pickle may set attributes on what it gets."""
        if module == "torch" and name in self.kinds:
            return self.kinds[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *rest: _Tensor(storage, offset, tuple(shape), tuple(strides))
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is not a tensor")

    def persistent_load(self, pid: Any) -> str:
        """The key of a storage, from what torch writes for it."""
        _, kind, key, _, count, *_ = pid
        self.storages[str(key)] = kind, count
        return str(key)


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Every tensor of the file by name. Raises WeightsError if the file contains anything but tensors."""
    try:
        with open_file(path) as file:
            if TensorsOnly(file).load() != MAGIC:
                raise pickle.UnpicklingError("not a legacy torch file")
            TensorsOnly(file).load()  # protocol version
            TensorsOnly(file).load()  # sizes of types on the writer's machine
            content = TensorsOnly(file)
            tensors = content.load()
            keys = TensorsOnly(file).load()
            values = {}
            for key in keys:
                count = int(np.fromfile(file, "<i8", 1)[0])
                dtype = TYPES[content.storages[key][0]]
                if not 0 <= count * dtype.itemsize <= path.stat().st_size - file.tell():
                    raise ValueError("a storage extends beyond the end of the file")
                values[key] = np.fromfile(file, dtype, count)
            return {name: tensor.of(values[tensor.storage]) for name, tensor in tensors.items()}
    except (pickle.UnpicklingError, AttributeError, EOFError, KeyError, IndexError, MemoryError, OverflowError,
            TypeError, ValueError) as error:
        raise WeightsError(f"{path}: {error}", "a torch file of tensors only",
                           "use the file from the original package") from error
