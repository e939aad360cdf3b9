"""Inspect a dataset: corrupt files, duplicates, train/test leakage, imbalance and likely label errors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.shell.terminal import table

if TYPE_CHECKING:
    from kerastl.audit.check import CheckResult

MOST = 20  # findings of each sort that are shown
IMBALANCED = 10  # from this ratio on, training weights the classes


@dataclass(frozen=True)
class Config:
    """Inspect a dataset: corrupt files, duplicates, train/test leakage, imbalance and likely label errors."""

    source: Positional[str]  # labelled data, as for training
    backbone: str | None = None  # used to find likely label errors; none skips that (default: the bundled one)
    weights: str | None = None  # bundled, imagenet, preset, none (random), a weights file, or a folder for texts
    text_column: str | None = None  # column of the texts (default: detected)
    label_column: str | None = None  # column of the labels (default: detected)
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def run(config: Config) -> "CheckResult":
    """Inspect the source."""
    from kerastl.audit.check import check

    return check(config.source, backbone=config.backbone, weights=config.weights, text_column=config.text_column,
                 label_column=config.label_column, data_dir=config.data_dir, cache_dir=config.cache_dir)


def show(result: "CheckResult") -> str:
    """The first findings of each sort."""
    from kerastl.modality import modality_named

    noun = modality_named(result.modality).nouns
    lines = [f"{result.source}: {result.rows} {noun}, {len(result.counts)} classes", *result.notes, "",
             table([("class", noun), *((name, str(n)) for name, n in result.counts.items())]), ""]
    if result.imbalance >= IMBALANCED:
        lines.append(f"imbalance: the largest class has {result.imbalance:.0f} times as many rows as the smallest; "
                     "training will weight the classes")
    if result.small_classes:
        lines.append(f"classes with fewer than 10 rows, skipped by default: {', '.join(result.small_classes)}")
    lines += _findings("skipped", [f"{item.origin}: {item.reason}" for item in result.skipped])
    lines += _findings("duplicates with different labels", [" = ".join(names) for names in result.conflicts])
    lines += _findings("duplicates or groups shared between train and test",
                       [" = ".join(names) for names in result.leaks])
    lines += _findings("duplicates", [" = ".join(names) for names in result.duplicates])
    lines += _findings("possible label errors", [
        f"{error.origin}: labelled {error.label}, predicted {error.predicted} ({error.probability:.2f})"
        for error in result.label_errors], result.label_errors_reason)
    return "\n".join(lines)


def _findings(title: str, findings: list[str], reason: str = "") -> list[str]:
    more = [f"  and {len(findings) - MOST} more"] * (len(findings) > MOST)
    return [f"{title}: {reason or len(findings)}", *(f"  {line}" for line in findings[:MOST]), *more]
