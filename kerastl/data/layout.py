"""What the first look at a Parquet or Excel table tells. It holds only texts and numbers, so that a process can pass it
to another one, which then reads the records without looking again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from kerastl.data.delimited import Place, Record

Opener = Callable[[], BinaryIO]
Batch = list[tuple[Place, Record | str]]  # neighbouring records, each with its place, or why it is broken


@dataclass(frozen=True)
class Layout:
    """names: of the columns. images: the columns that contain images, whose values are {"bytes": ..., "path": ...}.
    classes: for each column of class numbers the names. sheet: of a workbook, with its header in line `header`; 0: in
    none of its sheets is anything."""

    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    classes: dict[str, list[str]] = field(default_factory=dict)
    sheet: str = ""
    header: int = 0


LayoutOf = Callable[[Path, Opener], Layout]
# Of these columns; None: of all. A record may have others, too, and is broken by no other.
BatchesOf = Callable[[Path, Opener, Layout, Sequence[str] | None], Iterator[Batch]]
