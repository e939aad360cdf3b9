"""Rows through a graph a few at a time, so that the memory of a request does not grow with its rows."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

ROWS = 32  # at a time


def in_chunks(run: Callable[[tf.Tensor], tf.Tensor], rows: tf.Tensor) -> tf.Tensor:
    """`run` on at most 32 rows at a time: [n, ...] -> [n, ...] float32. No rows give no rows, without running: some
    kernels refuse an empty batch. For more than 32 rows, the results of all chunks must have the same shape but for
    their rows."""
    n = tf.shape(rows)[0]
    shapes: list[tf.TensorShape] = []

    def step(start: tf.Tensor, results: tf.TensorArray) -> list[Any]:
        result = run(rows[start:start + ROWS])
        shapes.append(result.shape)
        return [start + ROWS, results.write(start // ROWS, result)]

    results = tf.TensorArray(tf.float32, size=(n + ROWS - 1) // ROWS, infer_shape=False)
    _, results = tf.while_loop(lambda start, results: start < n, step, [tf.constant(0), results],
                               parallel_iterations=1)
    shape = shapes[0].as_list()[1:]
    empty = [0, *(size or 0 for size in shape)]
    return tf.ensure_shape(tf.cond(n > 0, lambda: results.concat(), lambda: tf.zeros(empty)), [None, *shape])


def checked_shape(sent: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    """The input of a signature; fails where its shape does not fit: "Shape of tensor NAME_must_be_a_list_of_inputs
    [1,1] is not compatible with expected shape [?]". TensorFlow itself does not check: some kernels then end the
    process. An assertion of our own is optimised away, because the declared shape already satisfies it."""
    name = f"{spec.name}_must_be_a_list_of_inputs"
    return tf.ensure_shape(tf.raw_ops.PlaceholderWithDefault(input=sent, shape=tf.TensorShape(None), name=name),
                           spec.shape)
