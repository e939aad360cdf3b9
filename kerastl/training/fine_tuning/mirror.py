"""The mirror test: whether mirror images of training images still look like their class to the frozen backbone.

A flip is wrong where a mirror image is something else: letters, digits, arrows. For each of some folds of the training
rows, a linear head is solved on the features of the other rows as they are, and predicts the rows of the fold, as they
are and mirrored. Where mirror images are predicted worse, training on them would teach what is wrong.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.data.examples import TRAIN, Examples, lowest
from kerastl.data.split import split_of
from kerastl.features.cache import Space, SpaceKey
from kerastl.features.compute import Features
from kerastl.features.fill import fill
from kerastl.inputs import check_unchanged, floats
from kerastl.stats import standard_error
from kerastl.training.augmentation import AUTO, FEWEST, Augmentation, MirrorTest, augmentation_named, automatic
from kerastl.training.fitters.solver import solve
from kerastl.training.rows import inner_folds
from kerastl.training.targets import row_weights

MOST = 1_000  # training rows that are tested: more cost time and change nothing
FOLDS, BATCH = 3, 32


def augmentation_for(features: Features, preset: str, class_weights: str) -> Augmentation:
    """The augmentation for the training rows of these features. The choice of `auto` is made on them alone, with the
    backbone as it is now, which must be the one that computed the features. class_weights: as the head was fitted.
    Prints it."""
    if not features.examples.modality.augments:
        return augmentation_named("none", "only images are augmented")
    chosen = automatic(mirror_test(features, class_weights)) if preset == AUTO else augmentation_named(preset)
    print(f"augmentation: {chosen} ({chosen.reason})", flush=True)
    return chosen


def mirror_test(features: Features, class_weights: str = "none") -> MirrorTest | None:
    """The test on at most 1,000 training rows; None where there are fewer than 30, or all are near-duplicates of each
    other. Their features are computed, or come from the cache."""
    examples = features.examples
    rows = split_of(examples).rows(TRAIN)
    # content hashes are in no order: those that come first are a random sample, the same whatever the seed
    rows = np.sort(lowest(examples.ids, rows, MOST))
    clusters = examples.clusters_of(rows)
    if len(rows) < FEWEST or len(set(clusters)) < FOLDS:
        return None
    both = _features(features, rows)  # [n, 2, dim]
    logits = _held_out_logits(examples, rows, both, class_weights, features.parts)  # [2, n, classes]
    task, truth = examples.task, examples.one_hot(rows)
    losses = np.stack([task.log_loss(side.astype(np.float64), truth) for side in logits])
    half = task.half(truth.shape[1])
    correct = np.stack([task.correct(task.predict(task.probabilities(side, half), np.array(half.thresholds)),
                                     examples.targets[rows]) for side in logits]).astype(np.float64)
    accuracy, loss = correct.mean(axis=1).tolist(), losses.mean(axis=1).tolist()
    shares = np.broadcast_to(task.logits_of(truth.mean(axis=0, dtype=np.float64)), truth.shape)
    return MirrorTest(len(rows), accuracy[0], accuracy[1], standard_error(correct[1] - correct[0], clusters),
                      loss[0], loss[1], standard_error(losses[1] - losses[0], clusters),
                      float(task.log_loss(shares, truth).mean()))


def _held_out_logits(examples: Examples, rows: NDArray[np.intp], both: NDArray[np.float32], class_weights: str,
                     parts: Sequence[int]) -> NDArray[np.float32]:
    """The logits of rows, as they are and mirrored, by heads that have not seen the row: [2, n, classes]."""
    y, weight = examples.one_hot(rows), row_weights(examples, rows, class_weights)
    logits = np.zeros((2, *y.shape), np.float32)
    for held_out in inner_folds(examples, rows, FOLDS):
        own = ~held_out
        head = solve(both[own, 0], y[own], weight[own], inner_folds(examples, rows[own], FOLDS), task=examples.task,
                     parts=parts)
        logits[:, held_out] = both[held_out].swapaxes(0, 1) @ head.kernel + head.bias
    return logits


def _features(features: Features, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """The features of images and of their mirror images, averaged over places, by the backbone in float32: [n, 2,
    dim]."""
    backbone, examples = features.backbone, features.examples
    space = Space(features.cache_dir, SpaceKey(
        backbone.name, backbone.weights_hash, f"{backbone.spec.preprocessing}, {backbone.input.version}, mirrored",
        backbone.layer, backbone.pooling, "float32", (2, backbone.dim)))
    keys = features.keys or examples.ids
    model = backbone.model

    @tf.function(input_signature=[tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)], autograph=False)
    def pair(images: Any) -> Any:
        sides = [tf.cast(model(side, training=False), tf.float32) for side in (images, images[:, :, ::-1])]
        return tf.stack([tf.reduce_mean(side, axis=[1, 2]) if side.shape.rank == 4 else side for side in sides], axis=1)

    def computed(some: Examples, refused: dict[int, str], progress: Any
                 ) -> Iterator[tuple[Sequence[int], NDArray[Any]]]:
        for batch in backbone.input.batches(some.items, BATCH, refused, progress, ids=some.ids):
            yield batch.places, np.asarray(pair(floats(tf.constant(batch.values))))

    filled = fill(space, examples, keys, rows.tolist(), computed, description="mirror images")
    check_unchanged(examples.items, filled.refused)
    return space.gather([keys[row] for row in rows.tolist()])
