"""Unfreezing: the last blocks of the backbone train with the head, at a low rate, from the fitted model on.

It is kept only if the validation loss improves. A killed run goes on from its last epoch.
"""

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
from kerastl.features.engine import in_policy
from kerastl.model import Answers, freeze, unfreeze
from kerastl.runtime import Runtime
from kerastl.training.fit import Fitted
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
    keep = _train(model, examples, epochs, batch_size, runtime, state, before)
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


def _train(model: Any, examples: Examples, epochs: int, batch_size: int, runtime: Runtime, state: Path, before: float
           ) -> "_Keep":
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
        training.fit(
            _dataset(examples, rows, batch_size, model.input_shape[1], runtime.seed), epochs=epochs,
            initial_epoch=len(keep.record), steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[keep],
            validation_data=_dataset(examples, validation, batch_size, model.input_shape[1], None),
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


def _dataset(examples: Examples, rows: NDArray[np.intp], batch_size: int, size: int, seed: int | None) -> Any:
    """(pixels, targets) batches without end, reshuffled each time through when seeded."""

    def batches() -> Iterator[tuple[Any, Any]]:
        generator = np.random.default_rng(seed)
        while True:
            order = generator.permutation(rows) if seed is not None else rows
            paths = [examples.items[row] for row in order]
            refused: dict[int, str] = {}
            for places, pixels in pixel_batches(paths, size, batch_size, refused):
                yield pixels.astype(np.float32), examples.one_hot(order[places])
            if refused:
                raise FileNotFoundError(f"{paths[next(iter(refused))]} was there and is gone")

    signature = (tf.TensorSpec([None, size, size, 3], tf.float32),
                 tf.TensorSpec([None, len(examples.classes)], tf.float32))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)


def _answers(model: Any, examples: Examples, rows: NDArray[np.intp], batch_size: int) -> Answers:
    paths = [examples.items[row] for row in rows]
    parts = [np.asarray(model.predict_on_batch(pixels.astype(np.float32)), np.float32)
             for _, pixels in pixel_batches(paths, model.input_shape[1], batch_size, {})]
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
