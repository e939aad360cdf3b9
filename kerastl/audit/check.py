"""Inspecting a source before anything is trained on it."""

from collections.abc import Callable, Sequence, Sized
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kerastl import backbones
from kerastl.audit.duplicates import Rows, conflicting_labels, leaks, same_content, with_near_duplicates
from kerastl.audit.findings import (
    ERROR,
    INFO,
    SMALL,
    WARNING,
    Finding,
    excerpt,
    finding,
    of_classes,
    of_losses,
    of_near_duplicates,
    of_notes,
    of_rows,
    of_texts,
)
from kerastl.audit.label_errors import LabelErrors, find_label_errors
from kerastl.backbones import Backbone
from kerastl.data.detection import modality_of
from kerastl.data.examples import Examples, Skipped
from kerastl.data.options import NONE, READ_AS_USUAL, ReadOptions
from kerastl.data.read import read_labelled
from kerastl.data.summary import NOTHING_YET, DataSummary
from kerastl.data.summary import WARNING as LOUD
from kerastl.errors import DataError
from kerastl.features.cache import chosen_dir
from kerastl.inputs.batches import pixel_batches
from kerastl.inputs.unknown_texts import TextCheck

DARK = 20  # of 255: an image whose brightest pixel is darker looks black
BLOCK = 1024  # texts that are tokenized at a time
PLAIN = 3  # of 255: an image whose values differ by less has one colour


@dataclass(frozen=True)
class CheckResult:
    """The result of an inspection. Each tuple in `duplicates`, `conflicts` and `leaks` names rows that belong together.

    rows: all rows of the source that were read. counts: rows of each class, without the skipped ones. conflicts:
    duplicates with different labels. near_duplicates: rows of similar, not equal, content. leaks: duplicates or groups
    that are in both train and test. imbalance: the rows of the largest class over those of the smallest.
    label_errors_reason: why label errors were not searched for; empty if they were. findings: all of this, the most
    severe first. data_summary: what was understood of the source. strict: whether a finding that is an error or a
    warning fails the check. label_error_items: the file or text of each label error, for the page and the table.
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
    label_errors: LabelErrors
    label_errors_reason: str
    findings: tuple[Finding, ...] = field(default=(), repr=False)
    data_summary: DataSummary = NOTHING_YET
    strict: bool = False
    near_duplicates: tuple[tuple[str, ...], ...] = ()
    label_error_items: tuple[str, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        found: dict[str, Sized] = {"skipped": self.skipped, "duplicates": self.duplicates,
                                   "near-duplicates": self.near_duplicates, "conflicts": self.conflicts,
                                   "leaks": self.leaks, "label errors": self.label_errors}
        counts = ", ".join(f"{len(rows)} {name}" for name, rows in found.items())
        return f"CheckResult({self.source}: {self.rows} rows, {len(self.counts)} classes, {counts})"

    @property
    def small_classes(self) -> dict[str, int]:
        """Classes with fewer than 10 rows, which training skips by default."""
        return {name: n for name, n in self.counts.items() if n < SMALL}

    @property
    def reading(self) -> tuple[str, ...]:
        """The notes, without the warnings among them, which are findings."""
        return tuple(note for note in self.notes if not note.startswith(LOUD))

    @property
    def failed(self) -> bool:
        """Whether the check is strict and found an error or a warning."""
        return self.strict and any(finding.severity != INFO for finding in self.findings)

    @property
    def failure(self) -> str:
        """What failed, in a sentence; empty where nothing did."""
        kinds = [finding.kind for finding in self.findings if finding.severity != INFO]
        return f"{self.source}: {', '.join(dict.fromkeys(kinds))}" if self.failed else ""

    def to_dict(self) -> dict[str, Any]:
        """The document that `kerastl check --json` prints."""
        return {
            "source": self.source, "kind": self.modality, "notes": list(self.notes), "rows": self.rows,
            "classes": self.counts, "findings": [finding.to_dict() for finding in self.findings],
            "data_summary": self.data_summary.to_dict(), "left_out": [asdict(item) for item in self.skipped],
            "duplicates": [list(names) for names in self.duplicates],
            "near_duplicates": [list(names) for names in self.near_duplicates],
            "conflicts": [list(names) for names in self.conflicts], "leaks": [list(names) for names in self.leaks],
            "imbalance": self.imbalance, "small_classes": self.small_classes,
            "label_errors": self.label_errors.to_dict(),
            "odd_labels": [{"origin": error.origin, "label": error.label, "looks_like": error.predicted,
                            "probability": error.probability} for error in self.label_errors],
            "odd_labels_word": self.label_errors_reason,
        }


def check(source: str, *, backbone: str | None = None, weights: str | None = None, text_column: str | None = None,
          label_column: str | None = None, options: ReadOptions = READ_AS_USUAL, data_dir: str | None = None,
          cache_dir: str | None = None) -> CheckResult:
    """Inspect a labelled source: corrupt files, lost rows, look-alike classes, (near-)duplicates, train/test leakage,
    imbalance and likely label errors.

    backbone: its features are used to find label errors; `none` skips that; default: the bundled one. weights: of the
    backbone. text_column, label_column, options: of reading the source; default: detected. With `options.strict`, the
    result has failed if it has an error or a warning. Raises DataError where there is no such source.
    """
    cache = chosen_dir(cache_dir)
    options = options.with_columns(text_column=text_column, label_column=label_column)
    columns = {name for name, value in options.columns.items() if value != NONE}
    modality = "text" if "text_column" in columns else "image" if "path_column" in columns else \
        modality_of(source, data_dir=data_dir).name
    read = read_labelled(modality, source, options=replace(options, strict=False), data_dir=data_dir, cache_dir=cache)
    refused, dark, plain = _decoded(read)
    examples = read.without(refused)
    examples, near = with_near_duplicates(examples, cache)
    counts, label = examples.counts(), examples.label_of
    network = _network(examples, backbone, weights)
    errors = _label_errors(examples, cache, network)
    items = _items(examples, errors)
    unknown = _unknown_texts(examples, network)

    def suffixed(groups: list[Rows], suffix: Callable[[int], str]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(f"{examples.origins[row]}{suffix(row)}" for row in rows) for rows in groups)

    def labelled(row: int) -> str:
        return f" ({label(row)})"

    def placed(row: int) -> str:
        return f" ({examples.source_split[row]})"

    same, conflicts, shared = same_content(examples), conflicting_labels(examples), leaks(examples)
    found = [
        *of_losses(examples), *of_notes(examples), *of_classes(examples),
        *of_texts(examples, unknown, network.name if network else ""),
        *_odd_images(read, dark, WARNING, "dark images", "nearly black images, such as 12-bit values in 16-bit files",
                     "scale the values to the whole range of the file's format"),
        *_odd_images(read, plain, INFO, "plain images", "images of one colour", "check whether they are meant"),
        *of_rows(examples, conflicts, labelled, WARNING, "conflicting labels", "duplicates with different labels",
                 "correct the labels, or remove these rows"),
        *of_rows(examples, shared, placed, WARNING, "leakage", "duplicates or groups shared between train and test",
                 "keep them in one part, or name the column of their group in `group_column`"),
        *of_near_duplicates(examples, near),
        *of_rows(examples, same, lambda row: "", INFO, "duplicates", "duplicates",
                 "none needed: exact duplicates are never split"),
        *_label_error_finding(errors, items)]
    severity = (ERROR, WARNING, INFO)
    return CheckResult(
        source=source, modality=modality, notes=examples.notes, rows=len(read), counts=counts, skipped=examples.skipped,
        duplicates=suffixed(same, lambda row: ""), conflicts=suffixed(conflicts, labelled),
        leaks=suffixed(shared, placed), near_duplicates=suffixed(near, labelled),
        imbalance=max(counts.values()) / max(1, min(counts.values())) if counts else 1.0,
        label_errors=errors, label_errors_reason=errors.reason, label_error_items=items,
        findings=tuple(sorted(found, key=lambda finding: severity.index(finding.severity))),
        data_summary=examples.summary, strict=options.strict)


def _decoded(examples: Examples) -> tuple[dict[int, str], list[int], list[int]]:
    """Rows whose files cannot be decoded, with the reason; rows of nearly black images, and of images of one colour.
    All are empty where rows are not files."""
    refused: dict[int, str] = {}
    dark, plain = list[int](), list[int]()
    if not examples.modality.in_files:
        return refused, dark, plain
    with tqdm(total=len(examples), desc="decoding", unit=f" {examples.modality.nouns}") as bar:
        for rows, pixels in pixel_batches(examples.items, 32, 32, refused, bar.update, ids=examples.ids):
            high, low = pixels.max(axis=(1, 2)).astype(int), pixels.min(axis=(1, 2)).astype(int)  # [rows, 3]
            dark += np.array(rows)[high.max(axis=1) < DARK].tolist()
            plain += np.array(rows)[(high - low).max(axis=1) < PLAIN].tolist()
    return refused, [row for row in dark if row not in set(plain)], plain


def _odd_images(examples: Examples, rows: Sequence[int], severity: str, kind: str, title: str, fix: str
                ) -> list[Finding]:
    return finding(severity, kind, title, [examples.origins[row] for row in rows], fix,
                   items=[excerpt(examples, row) for row in rows])


def _items(examples: Examples, errors: LabelErrors) -> tuple[str, ...]:
    """The file of each label error, or the beginning of its text."""
    place = {name: row for row, name in enumerate(zip(examples.ids, examples.origins, strict=True))} if errors else {}
    return tuple(excerpt(examples, place[error.id, error.origin]) for error in errors)


def _label_error_finding(errors: LabelErrors, items: Sequence[str]) -> list[Finding]:
    names = [f"{error.origin}: labelled {error.label}, suggested {error.predicted} ({error.probability:.2f}, "
             f"{error.verdict})" for error in errors]
    fix = "check these rows, the least likely first; `fixes` writes them to a table to edit, for kerastl run --relabel"
    found = finding(WARNING, "label errors", "possible label errors", names, fix, items=items)
    small = [f"{name}: {n}" for name, n in errors.not_searched.items()]
    return found + finding(INFO, "labels not checked", "classes with too few rows to search them for label errors",
                           small, "look at these rows yourself", count=sum(errors.not_searched.values()))


def _network(examples: Examples, backbone: str | None, weights: str | None) -> Backbone | None:
    """The backbone that rows are checked with; None if none was requested, or if none is needed."""
    modality = examples.modality
    if backbone == "none" or (modality.in_files and not examples.task.exclusive):
        return None
    return backbones.load(backbone or modality.bundled_backbone, weights, modality=modality.name)


def _label_errors(examples: Examples, cache: Path, network: Backbone | None) -> LabelErrors:
    """Likely label errors, or the reason why they were not searched for."""
    task = examples.task
    if not task.exclusive:
        return LabelErrors(reason=f"not checked for {task.noun}")
    if network is None:
        return LabelErrors(reason="not requested")
    try:
        return find_label_errors(examples, backbone=network, cache_dir=cache)
    except DataError as error:  # too few rows to train on; everything else is still reported
        return LabelErrors(reason=f"not checked: {error.got}")


def _unknown_texts(examples: Examples, network: Backbone | None) -> list[int]:
    """The rows of texts of which the backbone knows no token; empty for images."""
    if network is None or examples.modality.in_files:
        return []
    why, source = TextCheck(network.input), network.input
    starts = range(0, len(examples), BLOCK)
    return [row for start in starts for row, reason in enumerate(
        why(source.contents([examples.items[i] for i in range(start, min(start + BLOCK, len(examples)))])), start)
        if reason]
