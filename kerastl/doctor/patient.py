"""The examined model, the rows to examine it on, and the features and logits that it computes for them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.errors import DataError
from kerastl.inputs import Input, floats
from kerastl.model import parts_of
from kerastl.tasks import Task

ROWS, BATCH = 200, 32


@dataclass(frozen=True)
class Patient:
    """A model to examine: backbone and head in one. examples: up to 200 rows, or why there are none. fingerprint: of
    the backbone's own tokenizer, where that is known. trained: whether the head is."""

    model: Any
    input: Input
    examples: Examples | str
    task: Task
    trained: bool
    fingerprint: str | None = None


@dataclass(frozen=True)
class Rows:
    """values: of the first rows, at most 32, as the network takes them; features, logits and targets of all rows.
    targets: as `Examples.targets`. truth: [rows, classes] of 0 and 1. raw: what the head takes of the raw inputs, if
    anything."""

    values: NDArray[Any]
    features: NDArray[np.float32]
    raw: NDArray[Any] | None
    logits: NDArray[np.float32]
    targets: NDArray[np.int64]
    truth: NDArray[np.float32]
    classes: tuple[str, ...]


def sample(examples: Examples) -> Examples:
    """At most 200 rows, drawn at random, the same ones each time."""
    rows = np.random.default_rng(0).permutation(len(examples))[:ROWS]
    return examples.take(rows.tolist())


def rows_of(patient: Patient, examples: Examples) -> Rows:
    """What the model's parts compute for the rows that can be decoded. Raises DataError when there are none."""
    parts = parts_of(patient.model)
    refused: dict[int, str] = {}
    n, length = len(examples), getattr(patient.input, "max_length", 0)
    features = np.zeros((n, *_row_shape(parts.backbone, length)), np.float32)
    more = length + getattr(patient.input, "beyond", 0)  # tokens that the head takes
    raw = None if parts.raw_branch is None else np.zeros((n, *_row_shape(parts.raw_branch, more)), np.int32)
    for batch in patient.input.batches(examples.items, BATCH, refused):
        rows = batch.merged(np.asarray(parts.backbone(floats(batch.values), training=False), np.float32))
        features[batch.places, :rows.shape[1]] = rows  # a batch of short texts has fewer token states
        if raw is not None:
            raw_rows = np.asarray(parts.raw_branch(floats(batch.values), training=False))
            raw[batch.places, :raw_rows.shape[1]] = raw_rows
    readable = [row for row in range(n) if row not in refused]
    if not readable:
        modality = examples.modality
        raise DataError(f"none of the {modality.items} in {examples.source} could be decoded "
                        f"({next(iter(refused.values()))})", modality.readable, "see what is wrong: kerastl check")
    kept = examples.take(readable)
    first = kept.take(range(min(BATCH, len(readable)))).items
    values = next(patient.input.single().batches(first, BATCH, {}, in_order=True)).values
    features, raw = features[readable], None if raw is None else raw[readable]
    logits = parts.head(features if raw is None else [features, raw], training=False)
    return Rows(values, features, raw, np.asarray(logits, np.float32), kept.targets, kept.one_hot(), kept.classes)


def noise(source: Input) -> NDArray[Any]:
    """Random values that a network takes, for the checks that need no data: [32, ...]."""
    generator = np.random.default_rng(0)
    tokenizer = getattr(source, "tokenizer", None)
    if tokenizer is None:
        shape = [BATCH, *source.spec.shape[1:]]
        return generator.integers(0, 256, shape).astype(np.uint8)
    length = min(16, int(getattr(source, "max_length", 16)))
    ids = generator.integers(0, tokenizer.size - 1, (BATCH, length))
    return (ids + (ids >= tokenizer.pad)).astype(np.int32)  # any token but padding


def _row_shape(part: Any, length: int) -> tuple[int, ...]:
    """The shape of one row that a part of the model computes, for texts of the greatest length."""
    return tuple(length if size is None else size for size in part.output_shape[1:])
