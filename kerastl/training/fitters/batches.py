"""Batches of cached features for gradient descent: rows that are few are read once, others batch by batch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.features.compute import Features
from kerastl.heads import ConfiguredHead

IN_MEMORY = 2**26  # bytes; more are read from disk batch by batch, so that memory stays flat

Moments = tuple[NDArray[np.float32], NDArray[np.float32]]  # mean and scale, [dim] each


def batches_of(head: ConfiguredHead, features: Features, rows: NDArray[np.intp], weights: NDArray[np.float32],
               batch_size: int, moments: Moments | None, seed: int | None = None) -> Any:
    """(features, targets, weights) batches without end, reshuffled each time through when seeded. For a head that
    takes the raw input, the first is a pair, of features and raw rows. The batches are the same wherever they are read
    from."""
    mean, scale = moments or (0.0, 1.0)
    if not head.spec.takes_raw and 4 * len(rows) * int(np.prod(features.space.key.shape)) <= IN_MEMORY:
        return _from_memory((features.rows(rows) - mean) / scale, features.examples.training_targets(rows), weights,
                            batch_size, seed)
    examples, raw = features.examples, features.raw if head.spec.takes_raw else None

    def batches() -> Iterator[tuple[Any, Any, Any]]:
        for order in _orders(len(rows), seed):
            for start in range(0, len(order), batch_size):
                batch = order[start:start + batch_size]
                x: Any = (features.rows(rows[batch]) - mean) / scale
                if raw:
                    x = (x, features.raw_rows(rows[batch]))
                yield x, examples.training_targets(rows[batch]), weights[batch]

    spec: Any = tf.TensorSpec([None, *features.shape], tf.float32)
    if raw:
        spec = (spec, tf.TensorSpec([None, *raw.shape], features.raw_rows(rows[:1]).dtype))
    signature = (spec, tf.TensorSpec([None, len(examples.classes)], tf.float32), tf.TensorSpec([None], tf.float32))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(4)


def _orders(n: int, seed: int | None) -> Iterator[NDArray[np.intp]]:
    """The order of the rows in each epoch, without end."""
    generator = np.random.default_rng(seed)
    while True:
        yield generator.permutation(n) if seed is not None else np.arange(n)


def _from_memory(x: NDArray[np.float32], targets: NDArray[np.float32], weights: NDArray[np.float32], batch_size: int,
                 seed: int | None) -> Any:
    """Python is called once an epoch at most, for the order of the rows."""
    arrays = tuple(tf.constant(array, tf.float32) for array in (x, targets, weights))
    if seed is None:  # Keras starts validation rows anew after each epoch, which must be quick
        return tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size).repeat()
    orders = tf.data.Dataset.from_generator(lambda: _orders(len(x), seed), output_signature=tf.TensorSpec(
        [len(x)], tf.int64))
    batches = orders.flat_map(lambda order: tf.data.Dataset.from_tensor_slices(order).batch(batch_size))
    return batches.map(lambda batch: tuple(tf.gather(array, batch) for array in arrays)).prefetch(4)
