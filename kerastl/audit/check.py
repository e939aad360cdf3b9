"""Inspecting a source before anything is trained on it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kerastl.audit.duplicates import Rows, conflicting_labels, leaks, same_content
from kerastl.audit.label_errors import LabelError, find_label_errors
from kerastl.data.detection import modality_of
from kerastl.data.examples import Examples, Skipped
from kerastl.data.read import read_labelled
from kerastl.errors import DataError
from kerastl.features.cache import chosen_dir
from kerastl.inputs.batches import pixel_batches

SMALL = 10  # rows; smaller classes are skipped by default in training


@dataclass(frozen=True)
class CheckResult:
    """The result of an inspection. Each tuple in `duplicates`, `conflicts` and `leaks` names rows that belong together.

    rows: all rows of the source. counts: rows of each class, without the skipped ones. conflicts: duplicates with
    different labels. leaks: duplicates or groups that are in both train and test. imbalance: the rows of the largest
    class over those of the smallest. label_errors_reason: why label errors were not searched for; empty if they were.
    """

    source: str
    modality: str
    notes: tuple[str, ...]
    rows: int
    counts: dict[str, int]
    skipped: tuple[Skipped, ...]
    duplicates: tuple[tuple[str, ...], ...]
    conflicts: tuple[tuple[str, ...], ...]
    leaks: tuple[tuple[str, ...], ...]
    imbalance: float
    label_errors: tuple[LabelError, ...]
    label_errors_reason: str

    def __repr__(self) -> str:
        found = {"skipped": self.skipped, "duplicates": self.duplicates, "conflicts": self.conflicts,
                 "leaks": self.leaks, "label errors": self.label_errors}
        counts = ", ".join(f"{len(rows)} {name}" for name, rows in found.items())
        return f"CheckResult({self.source}: {self.rows} rows, {len(self.counts)} classes, {counts})"

    @property
    def small_classes(self) -> dict[str, int]:
        """Classes with fewer than 10 rows, which training skips by default."""
        return {name: n for name, n in self.counts.items() if n < SMALL}

    def to_dict(self) -> dict[str, Any]:
        """The document that `kerastl check --json` prints."""
        return {
            "source": self.source, "kind": self.modality, "notes": list(self.notes), "rows": self.rows,
            "classes": self.counts, "left_out": [asdict(item) for item in self.skipped],
            "duplicates": [list(names) for names in self.duplicates],
            "conflicts": [list(names) for names in self.conflicts], "leaks": [list(names) for names in self.leaks],
            "imbalance": self.imbalance, "small_classes": self.small_classes,
            "odd_labels": [error.to_dict() for error in self.label_errors], "odd_labels_word": self.label_errors_reason,
        }


def check(source: str, *, backbone: str | None = None, weights: str | None = None, text_column: str | None = None,
          label_column: str | None = None, data_dir: str | None = None, cache_dir: str | None = None) -> CheckResult:
    """Inspect a labelled source: corrupt files, duplicates, train/test leakage, imbalance and likely label errors.

    backbone: its features are used to find label errors; `none` skips that; default: the bundled one. weights: of the
    backbone. text_column, label_column: of a table; default: detected. Raises DataError where there is no such source.
    """
    cache = chosen_dir(cache_dir)
    modality = "text" if text_column else modality_of(source, data_dir=data_dir).name
    read = read_labelled(modality, source, text_column=text_column, label_column=label_column, data_dir=data_dir,
                         cache_dir=cache)
    examples = read.without(_corrupt(read))
    counts, label = examples.counts(), examples.label_of
    errors, reason = _label_errors(examples, cache, backbone, weights)
    return CheckResult(
        source=source, modality=modality, notes=read.notes, rows=len(read), counts=counts, skipped=examples.skipped,
        duplicates=_named(examples, same_content(examples), lambda row: ""),
        conflicts=_named(examples, conflicting_labels(examples), lambda row: f" ({label(row)})"),
        leaks=_named(examples, leaks(examples), lambda row: f" ({examples.source_split[row]})"),
        imbalance=max(counts.values()) / max(1, min(counts.values())) if counts else 1.0,
        label_errors=errors, label_errors_reason=reason)


def _corrupt(examples: Examples) -> dict[int, str]:
    """Rows whose files cannot be decoded, with the reason; none where rows are not files."""
    refused: dict[int, str] = {}
    if not examples.modality.in_files:
        return refused
    with tqdm(total=len(examples), desc="decoding", unit=f" {examples.modality.nouns}") as bar:
        for _ in pixel_batches(examples.items, 32, 32, refused, bar.update, ids=examples.ids):
            pass
    return refused


def _named(examples: Examples, groups: list[Rows], suffix: Any) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(f"{examples.origins[row]}{suffix(row)}" for row in rows) for rows in groups)


def _label_errors(examples: Examples, cache: Path, backbone: str | None, weights: str | None
                  ) -> tuple[tuple[LabelError, ...], str]:
    """Likely label errors, or the reason why they were not searched for."""
    task = examples.task
    if backbone == "none":
        return (), "not requested"
    if not task.exclusive:
        return (), f"not checked for {task.noun}"
    try:
        return find_label_errors(examples, backbone=backbone, weights=weights, cache_dir=cache), ""
    except DataError as error:  # too few rows to train on; everything else is still reported
        return (), f"not checked: {error.got}"
