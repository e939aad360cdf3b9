"""Contrastive fine-tuning, for few labels: the features of rows of one class are pulled together, then a head is fitted
on the features that result.

The loss is that of supervised contrastive learning (Khosla et al. 2020, https://arxiv.org/abs/2004.11362) over all
pairs of a batch, so that 32 rows give about a thousand examples; SetFit (Tunstall et al. 2022) gains from the same. It
runs on one device, also where there are several: a part of a batch has a fraction of its pairs, and the loss of the
parts would be another one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.backbones import Backbone
from kerastl.data.examples import Examples
from kerastl.inputs import floats
from kerastl.model import blocks, freeze, unfreeze
from kerastl.optimizers import AdamW
from kerastl.training.fine_tuning.schedules import WarmUp

# Chosen on movie snippets that were used for no reported figure: learning rates of 5e-5 and 1e-4, and twice the steps,
# made no difference that 3 seeds could show; all blocks were better than the upper half, and this loss was better than
# SetFit's and than cross-entropy.
BATCH, LEARNING_RATE, WARMUP, TEMPERATURE = 32, 1e-4, 0.1, 0.1
STEPS = ((128, 30), (256, 40), (512, 60))  # up to so many rows, so many steps
MOST_STEPS = 100
ROWS_PER_CLASS = 4  # in a batch, at least


@dataclass(frozen=True)
class Contrast:
    """How one run went: the number of blocks trained, and the loss of each step, in nats."""

    blocks: int
    losses: tuple[float, ...]


def steps_for(rows: int) -> int:
    """The steps for a number of training rows."""
    return next((steps for most, steps in STEPS if rows <= most), MOST_STEPS)


def tune(backbone: Backbone, examples: Examples, rows: NDArray[np.intp], seed: int = 0,
         after_step: Callable[[], None] | None = None) -> Contrast:
    """Fine-tune all blocks of the backbone except the first, the embeddings, in place and on these rows only. The
    examples have one label per row. after_step: called after each step."""
    keras.utils.set_random_seed(seed)
    steps = steps_for(len(rows))
    upper = max(1, len(blocks(backbone)) - 1)
    unfreeze(backbone, upper)
    variables = backbone.model.trainable_variables
    optimizer = AdamW(WarmUp(LEARNING_RATE, round(WARMUP * steps), steps), weight_decay=0.01)
    optimizer.build(variables)
    source = backbone.input.single()
    values = tf.TensorSpec(source.spec.shape, source.spec.dtype)

    @tf.function(input_signature=[values, tf.TensorSpec([None], tf.int32)], autograph=False)
    def step(batch: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = contrastive_loss(backbone.model(floats(batch), training=True), labels)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        optimizer.apply(gradients, variables)
        return loss

    losses = []
    for drawn in draw_batches(examples.targets[rows], steps, BATCH, seed):
        some = examples.take(rows[drawn])
        batch = next(source.batches(some.items, BATCH, {}, in_order=True, ids=some.ids))
        labels = examples.targets[rows][drawn][batch.places]
        losses.append(float(step(tf.constant(batch.values), tf.constant(labels.astype(np.int32)))))
        if after_step:
            after_step()
    freeze(backbone.model)
    return Contrast(upper, tuple(losses))


def contrastive_loss(features: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The mean over rows of minus the log-probability that a row of the same class is the nearest. features: [batch,
    dim], labels: [batch].

    A row without another of its class in the batch does not count.
    """
    unit = tf.math.l2_normalize(tf.cast(features, tf.float32), axis=1)
    itself = tf.eye(tf.shape(unit)[0])
    scores = tf.matmul(unit, unit, transpose_b=True) / TEMPERATURE - 1e9 * itself
    alike = tf.cast(labels[:, None] == labels[None, :], tf.float32) - itself
    counts = tf.reduce_sum(alike, axis=1)
    nearness = tf.reduce_sum(alike * tf.nn.log_softmax(scores), axis=1) / tf.maximum(counts, 1.0)
    return -tf.reduce_sum(nearness) / tf.maximum(tf.reduce_sum(tf.cast(counts > 0, tf.float32)), 1.0)


def draw_batches(targets: NDArray[np.int64], steps: int, size: int, seed: int) -> Sequence[NDArray[np.intp]]:
    """Random batches of places, in which every class comes about equally often, and each class of a batch with at least
    4 rows, so that each row has another of its class."""
    generator = np.random.default_rng(seed)
    decks: dict[int, list[int]] = {c: [] for c in np.unique(targets).tolist()}
    classes: list[int] = []

    def deal(c: int) -> int:
        if not decks[c]:
            decks[c] = generator.permutation(np.flatnonzero(targets == c)).tolist()
        return decks[c].pop()

    batches = []
    for _ in range(steps):
        together = min(len(decks), max(2, size // ROWS_PER_CLASS))
        if len(classes) < together:
            classes = [*classes, *(c for c in generator.permutation(list(decks)).tolist() if c not in classes)]
        here, classes = classes[:together], classes[together:]
        batches.append(np.array([deal(here[i % together]) for i in range(min(size, len(targets)))], dtype=np.intp))
    return batches
