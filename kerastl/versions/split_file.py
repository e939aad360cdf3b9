"""split.csv: the content hash of every row, its part of the split, and its name in the source."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.compact import BLOCK, SIZE, Codes, Hashes, Places
from kerastl.data.rows import printable
from kerastl.display import csv_cell
from kerastl.files import open_file

SPLIT_FILE = "split.csv"


class Parts(Mapping[str, str]):
    """The part of each content hash: "train", "validation", "test" or "fold N". 41 bytes a row, where a dictionary
    takes 180."""

    def __init__(self, ids: Hashes, parts: Codes) -> None:
        self._places = Places()
        self._places.add(ids, np.arange(len(ids)))
        self._ids, self._parts = ids, parts

    def of(self, ids: Sequence[str], without: str) -> Codes:
        """The part of each of these contents; `without` for one that there is not."""
        places, names = self._places.find(Hashes.of(ids)), tuple(dict.fromkeys((*self._parts.names, without)))
        codes = np.full(len(places), names.index(without), np.int64)
        codes[places >= 0] = self._parts.codes[places[places >= 0]]
        return Codes(names, codes)

    def known(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Whether there is a part for each of these contents."""
        return self._places.find(Hashes.of(ids)) >= 0

    def __getitem__(self, content: str) -> str:
        try:
            place = int(self._places.find(Hashes.of([content]))[0])
        except ValueError:
            raise KeyError(content) from None
        if place < 0:
            raise KeyError(content)
        return self._parts[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids.take(self._ids.first_of_each()))

    def __len__(self) -> int:
        return len(self._places)


def write_parts(folder: Path, ids: Sequence[str], parts: Sequence[str], origins: Sequence[str]) -> None:
    """Write split.csv, sorted, from the content hash, the part and the name in the source of every row."""
    hashes = Hashes.of(ids)

    def lines() -> Iterator[tuple[str, str, str]]:
        for content, rows in groupby(_in_turn(hashes.order()), key=hashes.__getitem__):
            yield from sorted((content, parts[row], csv_cell(printable(origins[row]))) for row in rows)

    with open_file(folder / SPLIT_FILE, "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("id", "part", "name"))
        out.writerows(lines())


def parts_in(path: Path) -> Parts:
    """The parts in a split.csv. Raises OSError, KeyError, ValueError or csv.Error for a file that is none."""
    raw = bytearray()

    def parts() -> Iterator[str]:
        with open_file(path, "r", newline="") as file:
            for row in csv.DictReader(file):
                raw.extend(bytes.fromhex(row["id"]))
                yield row["part"]

    codes = Codes.of(parts())
    ids = Hashes(np.frombuffer(bytes(raw), np.uint8).reshape(-1, SIZE))
    if len(ids) != len(codes):
        raise ValueError("an id is not a content hash")
    return Parts(ids, codes)


def _in_turn(order: NDArray[np.intp]) -> Iterator[int]:
    for start in range(0, len(order), BLOCK):
        yield from order[start:start + BLOCK].tolist()
