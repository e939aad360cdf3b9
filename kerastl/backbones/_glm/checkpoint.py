"""A published checkpoint of the family, tensor by tensor: checked as a whole first, then read one tensor at a time."""

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

FLOATS = ("F16", "BF16", "F32")
BLOCK = 16 * 2**20  # bytes that are hashed at once


@dataclass(frozen=True)
class Checkpoint:
    """A folder whose tensors are all there, each of its right shape. No number has been read.

    files: of weights, in their order. places: our name -> the tensor that has it, and which of its rows.
    """

    folder: Path
    files: tuple[Path, ...]
    places: Mapping[str, tuple[Stored, Part]]

    @property
    def shard_bytes(self) -> int:
        """The size of its largest file."""
        return max(path.stat().st_size for path in self.files)

    @property
    def number_bytes(self) -> int:
        """Of a number, in the widest type there is."""
        return max(TYPES[stored.kind].itemsize for stored, _ in self.places.values())

    def tensors(self, names: Iterable[str]) -> Iterator[tuple[str, NDArray[Any]]]:
        """The weights of these names as they are stored ([out, in]; float16, bfloat16 or float32), in the files' order.

        One file is open and one tensor in memory at a time, besides what the caller keeps: `del` an array before asking
        for the next. Raises WeightsError when a file has got shorter or is gone.
        """
        def place(name: str) -> tuple[int, int, int]:
            stored, part = self.places[name]
            return self.files.index(stored.path), stored.offset, part.start

        for path, ours in groupby(sorted(set(names), key=place), lambda name: self.places[name][0].path):
            try:
                file = path.open("rb")
            except OSError as error:
                raise WeightsError(f"{path} cannot be read: {error}", "the file as it was when opened",
                                   "fetch it again") from error
            with file:
                for name in ours:
                    stored, part = self.places[name]
                    yield name, stored.rows(file, part.start, part.stop)

    def fingerprint(self) -> str:
        """32 hex digits over what is in config.json and in every file of weights; about 1.5 s a gigabyte."""
        whole = hashlib.blake2b(digest_size=16)
        for path in (self.folder / "config.json", *self.files):
            whole.update(path.stat().st_size.to_bytes(8, "little"))  # where one file ends and the next begins
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    whole.update(block)
        return whole.hexdigest()


def open_checkpoint(folder: Path, sizes: Sizes, layout: str, *, pickles: bool = False) -> Checkpoint:
    """A folder's checkpoint, from the headers of its files. sizes, layout: as `read_sizes` gives them.

    pickles: read pytorch_model.bin where there are no safetensors, with an unpickler that admits tensors only. Raises
    WeightsError, naming what is wrong: no weights, a pickle without leave, a file that is damaged or missing, every
    tensor that is missing, unexpected, twice there, of another shape, or no float.
    """
    first = first_file(folder)
    pickled = first.name in PICKLES
    if pickled and not pickles:
        raise WeightsError(
            f"{folder} has its weights as a pickle only ({first.name}), and a pickle can hold code to be run",
            "safetensors, or leave to read a pickle",
            "convert it, or allow pickles (--pickles): they are read with an unpickler that admits tensors only and "
            "runs nothing")
    if pickled:
        print(f"{first.name.removesuffix('.index.json')} is a pickle: read with an unpickler that admits tensors only")
    files = shards(first)
    read = _torch_archive.tensors if pickled else _stored.safetensors
    return Checkpoint(folder, tuple(files), _places([one for path in files for one in read(path)],
                                                    parts(sizes, layout), layout, folder))


def _places(found: list[Stored], wanted: dict[str, Part], layout: str,
            folder: Path) -> dict[str, tuple[Stored, Part]]:
    """Our names to their places. Raises WeightsError with all that does not fit."""
    prefix, there = PREFIXES[layout], dict[str, Stored]()
    shapes = {part.tensor: part.shape for part in wanted.values()}
    twice, unexpected, odd = [], [], []
    for one in found:
        bare = one.name.removeprefix(prefix)
        if bare not in shapes:
            if not re.fullmatch(UNUSED[layout], bare):
                unexpected.append(one.name)
            continue
        if bare in there:
            twice.append(one.name)
        elif one.kind not in FLOATS:
            odd.append(f"{one.name} of type {one.kind}, not one of {', '.join(FLOATS)}")
        elif one.shape != shapes[bare]:
            odd.append(f"{one.name} of the shape {list(one.shape)}, not {list(shapes[bare])}")
        there[bare] = one
    faults = [f"{what} {'; '.join(names[:3])}{f'; and {len(names) - 3} more' if len(names) > 3 else ''}"
              for what, names in (("no tensor", [name for name in shapes if name not in there]),
                                  ("an unexpected tensor", sorted(unexpected)), ("twice the tensor", sorted(twice)),
                                  ("the tensor", odd)) if names]
    if faults:
        raise WeightsError(f"{folder} has {', and '.join(faults)}",
                           f"the {len(shapes)} tensors of config.json's network, each once, as plain floats",
                           "check that config.json and the weights are of one model, which is not quantised")
    return {name: (there[part.tensor], part) for name, part in wanted.items()}
