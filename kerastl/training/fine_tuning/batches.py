"""Rows for a whole model: what it trains on, and what it says of others."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.examples import TRAIN, Examples
from kerastl.decision import Predictions
from kerastl.errors import DataError
from kerastl.inputs import Batch, Input, floats
from kerastl.model import Predictor
from kerastl.training.fine_tuning.mixing import mixer
from kerastl.training.fit import row_weights, smoothed


def training_data(source: Input, examples: Examples, batch_size: int, settings: dict[str, float | str | int], mix: str,
                  seed: int, first: int = 0) -> Any:
    """(values, targets, weights) batches of the training rows without end, shuffled by the seed and the epoch, from the
    epoch `first`. settings: of the fitted head, whose label smoothing and class weights hold here too. mix: none, or
    how images and their targets are mixed."""
    assert examples.split is not None
    rows = examples.split.rows(TRAIN)
    loss_on = (smoothed(examples, rows, float(settings["label_smoothing"])),
               row_weights(examples, rows, str(settings["class_weights"])))
    data = dataset(source, examples, rows, batch_size, loss_on, seed, first)
    return (data if mix == "none" else data.map(mixer(mix, seed + first))).prefetch(2)


def dataset(source: Input, examples: Examples, rows: NDArray[np.intp], batch_size: int,
            loss_on: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None, seed: int = 0, first: int = 0
            ) -> Any:
    """(values, targets, weights) batches of these rows without end.

    loss_on: targets and weights of the rows to train on, which are shuffled by the seed and the epoch, from the epoch
    `first`. Without, the rows are in order, with their own targets and weights of 1.
    """
    targets, weights = loss_on or (examples.one_hot(rows), np.ones(len(rows), np.float32))

    def batches() -> Iterator[tuple[Any, Any, Any]]:
        for epoch in itertools.count(first):
            order = np.arange(len(rows))
            if loss_on:
                order = source.shuffled(examples.take(rows).items, batch_size, np.random.default_rng((seed, epoch)))
            for batch in values_of(source, examples, rows[order], batch_size, in_order=True):
                places = order[batch.places]
                yield batch.values, targets[places], weights[places]

    signature = (source.spec, tf.TensorSpec([None, len(examples.classes)], tf.float32),
                 tf.TensorSpec([None], tf.float32))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).map(
        lambda values, y, weight: (floats(values), y, weight)).prefetch(2)


def values_of(source: Input, examples: Examples, rows: NDArray[np.intp], batch_size: int, *, in_order: bool = False
              ) -> Iterator[Batch]:
    """Batches of these rows. Raises DataError for one that could be decoded when features were made."""
    items = examples.take(rows).items
    refused: dict[int, str] = {}
    yield from source.batches(items, batch_size, refused, in_order=in_order)
    for place, reason in refused.items():
        raise DataError(f"{items[place]} could be read before and cannot now: {reason}",
                        "images that stay while a model trains", "bring it back and run again: epochs done are kept")


def predictions_on(model: Any, source: Input, examples: Examples, rows: NDArray[np.intp], batch_size: int
                   ) -> Predictions:
    """What a whole model says of these rows."""
    logits, answer = np.zeros((len(rows), len(examples.classes)), np.float32), Predictor(model)
    for batch in values_of(source, examples, rows, batch_size):
        logits[batch.places] = answer(batch)
    return Predictions(rows, logits)
