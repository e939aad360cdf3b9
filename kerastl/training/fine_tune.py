"""Unfreezing: the last blocks of the backbone train with the head, at a low rate, from the fitted model on.

It is kept only if the validation loss improves. A killed run goes on from its last epoch.
"""

import itertools
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.backbones import Backbone
from kerastl.data.batches import pixel_batches
from kerastl.data.examples import TRAIN, VALIDATION, Examples
from kerastl.errors import DataError
from kerastl.features.engine import in_policy
from kerastl.model import Answers, freeze, unfreeze
from kerastl.runtime import Runtime
from kerastl.training.fit import Fitted, row_weights, smoothed
from kerastl.training.linear import log_loss

EPOCHS = 8
RATE = 3e-5
BEST, LATEST, LOSSES = "best.npz", "latest.weights.h5", "epochs.json"


@dataclass(frozen=True)
class Tuned:
    """How unfreezing went. Losses are on the validation rows, in nats."""

    kept: bool
    blocks: int
    layers: tuple[str, ...]
    loss_before: float
    loss_after: float
    history: tuple[dict[str, float], ...]
    seconds: float


def fine_tune(backbone: Backbone, model: Any, fitted: Fitted, examples: Examples, blocks: int, *, runtime: Runtime,
              cache_dir: Path, epochs: int | None = None, batch_size: int = 32) -> tuple[Fitted, Tuned]:
    """Train the last `blocks` blocks of the backbone and the head, in place.

    model: spliced from `backbone` and `fitted.head`. BatchNorm stays in inference mode. Returns what was fitted, with
    the answers of the model that was kept, and how it went.
    Raises OptionError when the backbone has fewer blocks.
    """
    start = time.perf_counter()
    assert examples.split is not None and fitted.validation is not None, "unfreezing needs a hold-out"
    layers = unfreeze(backbone, blocks)
    fitted.head.trainable = True
    rows = examples.split.rows(VALIDATION)

    def validated() -> tuple[Answers, float]:  # in float32, as the export computes, whatever trains
        answers = _answers(model, examples, rows, batch_size)
        return answers, log_loss(answers.logits, examples.one_hot(rows), examples.multi_label)

    _, before = validated()
    original = model.get_weights()
    epochs = epochs or EPOCHS
    state = cache_dir / "fine_tune" / _name(backbone, examples, blocks, epochs, batch_size, runtime, original)
    keep = _train(model, examples, epochs, batch_size, runtime, state, before, fitted.settings)
    assert keep.folder is not None, "at least one epoch is trained"
    validation, after = fitted.validation, min(epoch["val_loss"] for epoch in keep.record)
    if after < before:
        with np.load(keep.folder / BEST) as stored:
            model.set_weights([stored[name] for name in stored.files])
        validation, after = validated()
    kept = after < before
    if kept:
        fitted = replace(fitted, judged=_answers(model, examples, examples.split.judged, batch_size),
                         validation=validation)
    else:
        model.set_weights(original)
    freeze(model)
    shutil.rmtree(state)
    return fitted, Tuned(kept, blocks, tuple(layers), before, after, tuple(keep.record), time.perf_counter() - start)


def _train(model: Any, examples: Examples, epochs: int, batch_size: int, runtime: Runtime, state: Path, before: float,
           settings: dict[str, float | str | int]) -> "_Keep":
    """Train; after each epoch the state folder holds all that going on needs. Returns what is known of the epochs."""
    assert examples.split is not None
    rows, validation = examples.split.rows(TRAIN), examples.split.rows(VALIDATION)
    state.mkdir(parents=True, exist_ok=True)
    steps = -(-len(rows) // batch_size)
    keras.utils.set_random_seed(runtime.seed)
    policy = runtime.precision if runtime.explicit_precision else "float32"
    trainee = model if policy == "float32" else in_policy(model, policy)
    training = keras.Sequential([keras.Input(model.input_shape[1:]), *_augmentation(runtime.seed), trainee])
    training.compile(keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(RATE, epochs * steps)),
                     _loss(examples.multi_label), jit_compile=runtime.xla)
    keep = _Keep(state, trainee, before)
    if keep.folder:
        training.optimizer.build(training.trainable_variables)  # else there is nothing to load its state into
        training.load_weights(keep.folder / LATEST)
    if len(keep.record) < epochs:
        targets = smoothed(examples, rows, float(settings["label_smoothing"]))
        weights = row_weights(examples, rows, str(settings["class_weights"]))
        training.fit(
            _dataset(examples, rows, batch_size, model.input_shape[1], (targets, weights), runtime.seed,
                     len(keep.record)), epochs=epochs,
            initial_epoch=len(keep.record), steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[keep],
            validation_data=_dataset(examples, validation, batch_size, model.input_shape[1]),
            validation_steps=-(-len(validation) // batch_size),
        )
    return keep


class _Keep(keras.callbacks.Callback):
    """Keeps what going on after an epoch needs in a folder, which gets its name when all is in it: the state of the
    training, the losses so far, and the weights of the best epoch if they beat the frozen backbone's loss."""

    def __init__(self, state: Path, trainee: Any, before: float) -> None:
        super().__init__()
        self.state, self.trainee, self.before = state, trainee, before
        self.folder = max(state.glob("after-*"), default=None)
        self.record: list[dict[str, float]] = json.loads((self.folder / LOSSES).read_text()) if self.folder else []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Called by Keras."""
        one = {"epoch": epoch + 1.0, **{name: float(value) for name, value in (logs or {}).items()}}
        last, partial = self.folder, self.state / "unfinished"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        if one["val_loss"] < min([self.before, *(past["val_loss"] for past in self.record)]):
            np.savez(partial / BEST, *self.trainee.get_weights())
        elif last and (last / BEST).exists():
            shutil.copy(last / BEST, partial)
        self.record.append(one)
        (partial / LOSSES).write_text(json.dumps(self.record))
        self.model.save_weights(partial / LATEST)
        self.folder = partial.rename(self.state / f"after-{epoch + 1:06d}")
        if last:
            shutil.rmtree(last)
        print(f"epoch {epoch + 1}: training loss {one['loss']:.4f}, validation loss {one['val_loss']:.4f} "
              f"(frozen: {self.before:.4f})", flush=True)


def _augmentation(seed: int) -> list[Any]:
    """Layers that act in training only: mirrored, turned by up to 18 degrees, shifted and zoomed by up to a tenth."""
    return [keras.layers.RandomFlip("horizontal", seed=seed), keras.layers.RandomRotation(0.05, seed=seed),
            keras.layers.RandomTranslation(0.1, 0.1, seed=seed), keras.layers.RandomZoom(0.1, seed=seed)]


def _loss(multi_label: bool) -> Any:
    if multi_label:  # summed over labels, as the frozen model's loss is
        return lambda y, z: tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(y, z.dtype), z), axis=-1)
    return keras.losses.CategoricalCrossentropy(from_logits=True)


def _dataset(examples: Examples, rows: NDArray[np.intp], batch_size: int, size: int,
             loss_on: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None, seed: int = 0, first: int = 0
             ) -> Any:
    """(pixels, targets, weights) batches of these rows without end.

    loss_on: targets and weights of the rows to train on, which are shuffled by the seed and the epoch, from the epoch
    `first`. Without, the rows are in order, with their own targets and weights of 1.
    """
    targets, weights = loss_on or (examples.one_hot(rows), np.ones(len(rows), np.float32))

    def batches() -> Iterator[tuple[Any, Any, Any]]:
        for epoch in itertools.count(first):
            order = np.random.default_rng((seed, epoch)).permutation(len(rows)) if loss_on else np.arange(len(rows))
            for places, pixels in _pixels(examples, rows[order], size, batch_size):
                yield pixels, targets[order[places]], weights[order[places]]

    signature = (tf.TensorSpec([None, size, size, 3], tf.float32),
                 tf.TensorSpec([None, len(examples.classes)], tf.float32), tf.TensorSpec([None], tf.float32))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)


def _pixels(examples: Examples, rows: NDArray[np.intp], size: int, batch_size: int
            ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    """Batches of places in `rows` and pixels. Raises DataError for a picture that was there when features were made."""
    paths = [examples.items[row] for row in rows]
    refused: dict[int, str] = {}
    for places, pixels in pixel_batches(paths, size, batch_size, refused):
        yield places, pixels.astype(np.float32)
    for place, reason in refused.items():
        raise DataError(f"{paths[place]} could be read before and cannot now: {reason}",
                        "pictures that stay while a model trains", "bring it back and run again: epochs done are kept")


def _answers(model: Any, examples: Examples, rows: NDArray[np.intp], batch_size: int) -> Answers:
    parts = [np.asarray(model.predict_on_batch(pixels), np.float32)
             for _, pixels in _pixels(examples, rows, model.input_shape[1], batch_size)]
    return Answers(rows, np.concatenate(parts))


def _name(backbone: Backbone, examples: Examples, blocks: int, epochs: int, batch_size: int, runtime: Runtime,
          weights: list[Any]) -> str:
    """A folder's name that is the same only for the same work."""
    import hashlib

    assert examples.split is not None
    digest = hashlib.blake2b(digest_size=16)
    about = [backbone.weights_hash, examples.ids, examples.classes, blocks, epochs, batch_size, asdict(runtime)]
    digest.update(json.dumps(about).encode())
    for array in (examples.targets, examples.split.part, *weights[-2:]):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
