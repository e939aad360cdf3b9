"""Batches for a whole model: what it trains on, and its predictions."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.examples import TRAIN, Examples
from kerastl.data.split import split_of
from kerastl.decision import Predictions
from kerastl.errors import KerastlError
from kerastl.inputs import Batch, Input, check_unchanged, floats
from kerastl.model import Predictor
from kerastl.training.augmentation import Augmentation
from kerastl.training.fine_tuning.augment import augmenter
from kerastl.training.fine_tuning.mixing import mixer
from kerastl.training.targets import row_weights, smoothed_targets

Failures = list[KerastlError]  # errors of the data inside TensorFlow's pipeline, which reports them as its own
Loss = tuple[NDArray[np.float32], NDArray[np.float32]]  # targets [n, classes] and weights [n] of the rows to train on


def training_data(source: Input, examples: Examples, batch_size: int, settings: dict[str, float | str | int],
                  augmentation: Augmentation, mixing: str, seed: int, first: int = 0, failures: Failures | None = None
                  ) -> Any:
    """Endless (values, targets, weights) batches of the training rows, shuffled by the seed and the epoch, starting
    with the epoch `first`. settings: of the fitted head, whose label smoothing and class weights are used here too.
    augmentation: of images, before they are mixed. mixing: none, mixup or cutmix. failures: see `dataset`."""
    rows = split_of(examples).rows(TRAIN)
    loss = (smoothed_targets(examples, rows, float(settings["label_smoothing"])),
            row_weights(examples, rows, str(settings["class_weights"])))
    data = dataset(source, examples, rows, batch_size, loss, seed, first, failures)
    if augmentation.acts:
        augment = augmenter(augmentation, seed)
        data = data.enumerate(first * -(-len(rows) // batch_size)).map(  # in order: see `augmenter`
            lambda number, batch: (augment(batch[0], number), *batch[1:]))
    return (data if mixing == "none" else data.map(mixer(mixing, seed + first))).prefetch(2)


def dataset(source: Input, examples: Examples, rows: NDArray[np.intp], batch_size: int, loss: Loss | None = None,
            seed: int = 0, first: int = 0, failures: Failures | None = None) -> Any:
    """Endless (values, targets, weights) batches of these rows.

    loss: targets and weights of rows to train on, which are shuffled by the seed and the epoch, starting with the epoch
    `first`. Without it, the rows are in order, with their own targets and weights of 1. failures: gets the error of a
    row that can no longer be read, for `as_raised`.
    """
    targets, weights = loss or (examples.one_hot(rows), np.ones(len(rows), np.float32))

    def batches() -> Iterator[tuple[Any, Any, Any]]:
        for epoch in itertools.count(first):
            order = np.arange(len(rows))
            if loss:
                order = source.shuffled(examples.take(rows).items, batch_size, np.random.default_rng((seed, epoch)))
            try:
                for batch in values_of(source, examples, rows[order], batch_size, in_order=True):
                    places = order[batch.places]
                    yield batch.values, targets[places], weights[places]
            except KerastlError as error:
                if failures is not None:
                    failures.append(error)
                raise

    signature = (source.spec, tf.TensorSpec([None, len(examples.classes)], tf.float32),
                 tf.TensorSpec([None], tf.float32))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).map(
        lambda values, y, weight: (floats(values), y, weight)).prefetch(2)


@contextmanager
def as_raised(failures: Failures) -> Iterator[None]:
    """Where the block fails because of an error of the data, that error is raised."""
    try:
        yield
    except Exception as error:  # of TensorFlow's, whose type says nothing
        if failures:
            raise failures[0] from error
        raise


def values_of(source: Input, examples: Examples, rows: NDArray[np.intp], batch_size: int, *, in_order: bool = False
              ) -> Iterator[Batch]:
    """Batches of these rows. Raises DataError for a row that could be decoded when the features were computed."""
    some = examples.take(rows)
    refused: dict[int, str] = {}
    yield from source.batches(some.items, batch_size, refused, in_order=in_order, ids=some.ids)
    check_unchanged(some.items, refused)


def predictions_on(model: Any, source: Input, examples: Examples, rows: NDArray[np.intp], batch_size: int
                   ) -> Predictions:
    """A whole model's predictions for these rows."""
    logits, predict = np.zeros((len(rows), len(examples.classes)), np.float32), Predictor(model)
    for batch in values_of(source, examples, rows, batch_size):
        logits[batch.places] = predict(batch)
    return Predictions(rows, logits)
