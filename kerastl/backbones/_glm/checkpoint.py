"""A published checkpoint of the family: checked as a whole first, then read one tensor at a time."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kerastl.backbones import _stored, _torch_archive
from kerastl.backbones._glm.names import PREFIXES, UNUSED, Part, parts
from kerastl.backbones._glm.sizes import Sizes
from kerastl.backbones._stored import TYPES, Stored
from kerastl.backbones._weight_files import PICKLES, first_file, shards
from kerastl.errors import WeightsError
from kerastl.files import open_file

FLOATS = ("F16", "BF16", "F32")
BLOCK = 16 * 2**20  # bytes that are hashed at once


@dataclass(frozen=True)
class Checkpoint:
    """A folder that contains all tensors in the right shapes. No value has been read yet.

    files: the weights files, in order. places: our name -> the tensor that contains it, and which of its rows.
    """

    folder: Path
    files: tuple[Path, ...]
    places: Mapping[str, tuple[Stored, Part]]

    @property
    def number_bytes(self) -> int:
        """Bytes of a value in the widest type of the checkpoint."""
        return max(TYPES[stored.kind].itemsize for stored, _ in self.places.values())

    def tensors(self, names: Iterable[str]) -> Iterator[tuple[str, NDArray[Any]]]:
        """The named weights as stored ([out, in]; float16, bfloat16 or float32), in the order of the files.

        One file is open and one tensor in memory at a time, besides what the caller holds: delete an array before
        asking for the next. Raises WeightsError if a file has become shorter or is gone.
        """
        def place(name: str) -> tuple[int, int, int]:
            stored, part = self.places[name]
            return self.files.index(stored.path), stored.offset, part.start

        for path, ours in groupby(sorted(set(names), key=place), lambda name: self.places[name][0].path):
            try:
                file = open_file(path)
            except OSError as error:
                raise WeightsError(f"{path} cannot be read: {error}", "the file as it was when it was opened",
                                   "download it again") from error
            with file:
                for name in ours:
                    stored, part = self.places[name]
                    yield name, stored.rows(file, part.start, part.stop)

    def fingerprint(self) -> str:
        """A hash of config.json and every weights file, 32 hexadecimal digits; takes about 1.5 s per gigabyte."""
        digest = hashlib.blake2b(digest_size=16)
        for path in (self.folder / "config.json", *self.files):
            digest.update(path.stat().st_size.to_bytes(8, "little"))  # separates the files
            with open_file(path) as file:
                while block := file.read(BLOCK):
                    digest.update(block)
        return digest.hexdigest()


def open_checkpoint(folder: Path, sizes: Sizes, layout: str, *, pickles: bool = False) -> Checkpoint:
    """A folder's checkpoint, from the headers of its files. sizes, layout: from `read_sizes`.

    pickles: read pytorch_model.bin if there are no safetensors, with an unpickler that admits tensors only. Raises
    WeightsError that names the problem: no weights, a pickle without `pickles`, a file that is damaged or missing,
    every tensor that is missing, unexpected, duplicated, of another shape, or not a float.
    """
    first = first_file(folder)
    pickled = first.name in PICKLES
    if pickled and not pickles:
        raise WeightsError(
            f"{folder} has its weights only as a pickle ({first.name}), and a pickle can contain code",
            "safetensors, or permission to read a pickle",
            "convert the weights, or set `pickles`: pickles are read with an unpickler that admits tensors only and "
            "runs no code")
    if pickled:
        print(f"{first.name.removesuffix('.index.json')} is a pickle, read with an unpickler that admits tensors only")
    files = shards(first)
    read = _torch_archive.tensors if pickled else _stored.safetensors
    return Checkpoint(folder, tuple(files), _places([tensor for path in files for tensor in read(path)],
                                                    parts(sizes, layout), layout, folder))


def _places(tensors: list[Stored], expected: dict[str, Part], layout: str,
            folder: Path) -> dict[str, tuple[Stored, Part]]:
    """Our names and the tensors that contain them. Raises WeightsError that lists everything that does not fit."""
    prefix, usable = PREFIXES[layout], dict[str, Stored]()
    shapes = {part.tensor: part.shape for part in expected.values()}
    duplicates, unexpected, unsuitable = [], [], []
    for tensor in tensors:
        bare = tensor.name.removeprefix(prefix)
        if bare not in shapes:
            if not re.fullmatch(UNUSED[layout], bare):
                unexpected.append(tensor.name)
            continue
        if bare in usable:
            duplicates.append(tensor.name)
        elif tensor.kind not in FLOATS:
            unsuitable.append(f"{tensor.name} of type {tensor.kind}, not one of {', '.join(FLOATS)}")
        elif tensor.shape != shapes[bare]:
            unsuitable.append(f"{tensor.name} of the shape {list(tensor.shape)}, not {list(shapes[bare])}")
        usable[bare] = tensor
    faults = [f"{problem} {'; '.join(names[:3])}{f'; and {len(names) - 3} more' if len(names) > 3 else ''}"
              for problem, names in (("no tensor", [name for name in shapes if name not in usable]),
                                     ("an unexpected tensor", sorted(unexpected)),
                                     ("two tensors named", sorted(duplicates)), ("the tensor", unsuitable)) if names]
    if faults:
        raise WeightsError(f"{folder} has {', and '.join(faults)}",
                           f"the {len(shapes)} tensors of the network in config.json, each once, as plain floats",
                           "check that config.json and the weights belong to the same model and are not quantized")
    return {name: (usable[part.tensor], part) for name, part in expected.items()}
