"""What is noticed about a source: findings with a severity, examples and how to fix them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kerastl.data.examples import Examples, enough
from kerastl.data.labels import amounts, similar
from kerastl.data.split import split
from kerastl.data.summary import AMOUNTS
from kerastl.data.summary import WARNING as LOUD
from kerastl.display import excerpt_of
from kerastl.errors import DataError
from kerastl.fields import Section

ERROR, WARNING, INFO = "error", "warning", "info"
SMALL = 10  # rows; smaller classes are skipped by default in training
IMBALANCED = 10  # from this ratio on, training weights the classes
EXAMPLES = 20  # that a finding lists
_EXCERPT = 300  # characters of a text


@dataclass(frozen=True)
class Finding(Section):
    """One kind of thing that was noticed.

    severity: error (training fails), warning (figures may mislead) or info. kind: a short name. title: a sentence.
    count: of rows, classes or groups of rows. examples: the first of them. fix: what can be done. items: for the page
    with thumbnails, the file or text of each example, None where it has none; not part of the document.
    """

    severity: str
    kind: str
    title: str
    count: int
    examples: tuple[str, ...] = ()
    fix: str = ""
    items: tuple[Any, ...] = field(default=(), compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl check --json` prints it."""
        return {name: value for name, value in super().to_dict().items() if name != "items"}


def finding(severity: str, kind: str, title: str, examples: Sequence[str], fix: str = "", *,
            count: int | None = None, items: Sequence[Any] = ()) -> list[Finding]:
    """A finding in a list, which is empty if there is nothing to report. count: default, of the examples."""
    count = len(examples) if count is None else count
    if not count:
        return []
    return [Finding(severity, kind, title, count, tuple(examples[:EXAMPLES]), fix, tuple(items[:EXAMPLES]))]


def of_classes(examples: Examples) -> list[Finding]:
    """What is noticed about the classes."""
    summary, counts = examples.summary, examples.counts() if examples.classes != ("",) else {}
    small = [f"{name}: {n}" for name, n in counts.items() if n < SMALL]
    alike = [f"{' = '.join(f'{name!r} ({counts.get(name, 0):,})' for name in names)}" for names in summary.look_alikes]
    none = [f"{name!r}: {n:,} rows" for name, n in summary.no_label_like.items()]
    pairs = [f"{a!r} ({counts[a]:,}) and {b!r} ({counts[b]:,})" for a, b in similar(tuple(counts))]
    found = [
        *finding(WARNING, "look-alike classes", "classes that look alike", alike, "give them one name if they are one"),
        *finding(WARNING, "no label", "labels that often mean that there is none", none,
                 "skip such rows with `no_label`"),
        *finding(INFO, "similar classes", "classes with similar names", pairs, "correct spelling mistakes"),
        *finding(INFO, "small classes", f"classes with fewer than {SMALL} rows, skipped by default", small,
                 "add examples, or decrease `min_per_class`")]
    if amounts(tuple(counts)):
        found += finding(WARNING, "amounts", "labels that are numbers with decimals, as amounts are", tuple(counts),
                         AMOUNTS)
    if counts and (ratio := max(counts.values()) / max(1, min(counts.values()))) >= IMBALANCED:
        found += finding(INFO, "imbalance", f"the largest class has {ratio:.0f} times as many rows as the smallest; "
                         "training will weight the classes", (), count=1)
    return found + _trainable(examples)


def _trainable(examples: Examples) -> list[Finding]:
    """Why training would fail on these rows."""
    try:
        split(enough(replace(examples, min_per_class=SMALL)))
    except DataError as error:
        return finding(ERROR, "not trainable", error.got, (), error.hint, count=1)
    return []


def of_losses(examples: Examples) -> list[Finding]:
    """What was skipped, the most important first."""
    listed = [f"{item.origin}: {item.reason}" for item in examples.skipped]
    losses = tuple(str(loss) for loss in examples.summary.losses if not loss.requested)
    found = [Finding(WARNING, "lost rows", warning, 1, losses,
                     "correct these rows; `strict` makes this an error in training")
             for warning in examples.summary.warnings]
    return found + finding(INFO, "skipped", "rows, files or classes that are skipped", listed, "see the reasons",
                           count=max(examples.summary.lost, len(listed)))


def of_notes(examples: Examples) -> list[Finding]:
    """What reading the source warned of."""
    loud = [note.removeprefix(LOUD) for note in examples.notes if note.startswith(LOUD)]
    return [Finding(WARNING, "layout", note, 1, fix="see how the data are laid out") for note in loud]


def of_rows(examples: Examples, groups: Iterable[Sequence[int]], suffix: Callable[[int], str], severity: str, kind: str,
            title: str, fix: str) -> list[Finding]:
    """A finding about rows that belong together. suffix: what is added to the name of a row."""
    listed = list(groups)
    names = [" = ".join(f"{examples.origins[row]}{suffix(row)}" for row in rows) for rows in listed]
    return finding(severity, kind, title, names, fix, items=[excerpt(examples, rows[0]) for rows in listed[:EXAMPLES]])


def of_near_duplicates(examples: Examples, groups: Sequence[Sequence[int]]) -> list[Finding]:
    """Groups of near-duplicates: those with different labels, those that the source's own split tears apart, and the
    others."""

    def labelled(row: int) -> str:
        return f" ({examples.label_of(row)})"

    def placed(row: int) -> str:
        return f" ({examples.source_split[row] or 'no part'})"

    conflicts = [rows for rows in groups if len({examples.label_of(row) for row in rows}) > 1]
    torn = [rows for rows in groups if len({examples.source_split[row] for row in rows}) > 1]
    fix = "none needed with `near_duplicates=group`, the default: they stay on one side of the split"
    return [*of_rows(examples, conflicts, labelled, WARNING, "near-duplicate conflicts",
                     "near-duplicates with different labels", "check the labels: they may be errors"),
            *of_rows(examples, torn, placed, WARNING, "near-duplicate leakage",
                     "near-duplicates shared between parts of the source's own split",
                     "none needed with `near_duplicates=group`, the default: all but those of the most held-out part "
                     "are skipped"),
            *of_rows(examples, groups, lambda row: "", INFO, "near-duplicates", "groups of near-duplicates", fix)]


def of_texts(examples: Examples, unknown: Sequence[int], backbone: str) -> list[Finding]:
    """Texts that a model will hardly tell apart: without a letter or a digit, or `unknown` to the backbone."""
    if examples.modality.in_files:
        return []
    known = set(range(len(examples))).difference(unknown)
    odd = [row for row, item in enumerate(examples.items) if row in known
           and not any(mark.isalnum() for part in ([item] if isinstance(item, str) else item) for mark in part)]
    return [*_texts(examples, unknown, "unknown texts", f"texts of which {backbone} knows no token",
                    "check how these texts were made, or choose a backbone for their language"),
            *_texts(examples, odd, "no words", "texts without a letter or a digit", "check how these texts were made")]


def _texts(examples: Examples, rows: Sequence[int], kind: str, title: str, fix: str) -> list[Finding]:
    names = [f"{examples.origins[row]}: {ascii(excerpt(examples, row))}" for row in rows[:EXAMPLES]]
    return finding(WARNING, kind, title, names, fix, count=len(rows),
                   items=[excerpt(examples, row) for row in rows[:EXAMPLES]])


def excerpt(examples: Examples, row: int) -> str:
    """The path of an image, or the beginning of a text."""
    item = examples.items[row]
    text = item if isinstance(item, str) else " ⟷ ".join(item)
    return text if examples.modality.in_files else excerpt_of(text, _EXCERPT)
