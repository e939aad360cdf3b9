"""Reading single bytes and numbers of a file in the graph. A place outside the file reads as 0, never as an error."""

from typing import Any

import numpy as np
import tensorflow as tf


def part(data: tf.Tensor, start: Any, length: Any) -> tf.Tensor:
    """A substring, shorter or empty where the string ends. data: scalar string -> scalar string."""
    total = tf.strings.length(data)
    return tf.strings.substr(data, tf.clip_by_value(start, 0, total), length)


def first_bytes(data: tf.Tensor, length: int) -> tf.Tensor:
    """The first bytes as [length] int32, padded with zeros."""
    head = tf.cast(all_bytes(tf.strings.substr(data, 0, length)), tf.int32)
    return tf.ensure_shape(tf.pad(head, [[0, length - tf.shape(head)[0]]]), [length])


def all_bytes(data: tf.Tensor) -> tf.Tensor:
    """scalar string -> [bytes] uint8."""
    return tf.io.decode_raw(data, tf.uint8)


def byte(raw: tf.Tensor, place: Any) -> tf.Tensor:
    """The bytes at some places, int32. raw: as `all_bytes` gives it, of at least one byte."""
    end = tf.shape(raw)[0]
    inside = (place >= 0) & (place < end)
    return tf.where(inside, tf.cast(tf.gather(raw, tf.clip_by_value(place, 0, end - 1)), tf.int32), 0)


def little(raw: tf.Tensor, place: Any, count: int) -> tf.Tensor:
    """A number of `count` bytes, the least significant first. Four bytes may make it negative."""
    return _number(raw, place, [2 ** (8 * i) for i in range(count)])


def big(raw: tf.Tensor, place: Any, count: int) -> tf.Tensor:
    """A number of `count` bytes, the most significant first. Four bytes may make it negative."""
    return _number(raw, place, [2 ** (8 * (count - 1 - i)) for i in range(count)])


def _number(raw: tf.Tensor, place: Any, weights: list[int]) -> tf.Tensor:
    places = tf.expand_dims(tf.convert_to_tensor(place), -1) + np.arange(len(weights), dtype=np.int32)
    return tf.reduce_sum(byte(raw, places) * weights, -1)


def has(raw: tf.Tensor, place: Any, text: bytes) -> tf.Tensor:
    """Whether the file has these bytes at this place."""
    return tf.reduce_all(tf.equal(byte(raw, place + np.arange(len(text), dtype=np.int32)), list(text)))
