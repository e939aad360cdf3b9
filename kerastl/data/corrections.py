"""Corrections of labels, as a table holds them, and what they changed. `data.relabel` reads and applies them."""

from dataclasses import dataclass

from kerastl.fields import Section

REMOVE = "(remove)"  # as a new label: the row is not used
COLUMNS = ("id", "origin", "given_label", "new_label")  # that a table of corrections needs
AUTHOR = "author"  # an optional column


@dataclass(frozen=True)
class Fix:
    """A row of the table, each cell as text. given: the label that the row has in the data. new: the label that it
    gets, REMOVE, or empty where nothing changes."""

    id: str
    origin: str
    given: str
    new: str
    author: str = ""


@dataclass(frozen=True)
class LabelChange(Section):
    """How many rows got another label. new: `(remove)` where they were removed."""

    given: str
    new: str
    rows: int


@dataclass(frozen=True)
class Relabelling(Section):
    """The corrections of a run. file: as the user named it; sha256: of its content; date: when it was last modified, in
    UTC; authors: in its column `author`. rows: of the table; corrected, removed: of these, those that changed
    something. changes: by pair of labels, the most frequent first."""

    file: str
    sha256: str
    date: str
    authors: tuple[str, ...]
    rows: int
    corrected: int
    removed: int
    changes: tuple[LabelChange, ...]

    @property
    def sentence(self) -> str:
        """What was changed, in words."""
        by = f" by {', '.join(self.authors)}" if self.authors else ""
        removed = f" and {_rows(self.removed, 'row')} removed" if self.removed else ""
        return (f"{_rows(self.corrected, 'label')} corrected{removed}, as listed in {self.file} "
                f" (SHA-256 {self.sha256[:12]}..., last modified on {self.date[:10]}{by})")


@dataclass(frozen=True)
class Corrections:
    """A table of corrections that was read. fixes: its rows, also those that change nothing. relabelling: what they
    changed, once they were applied."""

    file: str
    sha256: str
    date: str
    fixes: tuple[Fix, ...]
    relabelling: Relabelling | None = None


def _rows(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
