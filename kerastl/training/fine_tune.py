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

from kerastl.backbones import Backbone, text_memory
from kerastl.data.examples import TRAIN, VALIDATION, Examples
from kerastl.errors import DataError, OptionError
from kerastl.features.engine import in_policy
from kerastl.inputs import Batch, Input, floats
from kerastl.model import Answerer, Answers, freeze, parts_of
from kerastl.model import blocks as blocks_of
from kerastl.model import unfreeze as unfreeze_last
from kerastl.runtime import Runtime, free_memory
from kerastl.training.fit import Fitted, row_weights, smoothed
from kerastl.training.linear import log_loss
from kerastl.training.schedule import Plan, layer_multipliers, optimizer_for, plan_for

BEST, LATEST, LOSSES = "best.npz", "latest.weights.h5", "epochs.json"


@dataclass(frozen=True)
class Tuned:
    """How unfreezing went. Losses are on the validation rows, in nats.

    how: `blocks`, kept if the validation loss fell; or `contrast`, which the number of rows decided for: then there are
    no such losses, and `frozen_accuracy` is what the frozen backbone reached on the rows that judge.
    """

    kept: bool
    blocks: int
    layers: tuple[str, ...]
    loss_before: float
    loss_after: float
    history: tuple[dict[str, float], ...]
    seconds: float
    how: str = "blocks"
    frozen_accuracy: float | None = None


def fine_tune(backbone: Backbone, model: Any, fitted: Fitted, examples: Examples, unfreeze: int | str, *,
              runtime: Runtime, cache_dir: Path, epochs: int | None = None, batch_size: int = 32
              ) -> tuple[Fitted, Tuned]:
    """Train the last blocks of the backbone, `unfreeze` of them or `all`, and the head, in place.

    model: spliced from `backbone` and `fitted.head`. BatchNorm stays in inference mode. Returns what was fitted, with
    the answers of the model that was kept, and how it went.
    Raises OptionError when the backbone has fewer blocks.
    """
    start = time.perf_counter()
    assert examples.split is not None and fitted.validation is not None, "unfreezing needs a hold-out"
    blocks = len(blocks_of(backbone)) if unfreeze == "all" else int(unfreeze)
    layers = unfreeze_last(backbone, blocks)
    fitted.head.trainable = True
    rows = examples.split.rows(VALIDATION)

    def validated() -> tuple[Answers, float]:  # in float32, as the export computes, whatever trains
        answers = answers_on(model, backbone.input, examples, rows, batch_size)
        return answers, log_loss(answers.logits, examples.one_hot(rows), examples.multi_label)

    _, before = validated()
    original = model.get_weights()
    plan = plan_for(examples.kind, epochs, _accumulate(backbone, batch_size))
    state = cache_dir / "fine_tune" / _name(backbone, examples, blocks, plan, batch_size, runtime, original)
    keep = _train(model, backbone, examples, plan, batch_size, runtime, state, before, fitted.settings)
    assert keep.folder is not None, "at least one epoch is trained"
    validation, after = fitted.validation, min(epoch["val_loss"] for epoch in keep.record)
    if after < before:
        with np.load(keep.folder / BEST) as stored:
            model.set_weights([stored[name] for name in stored.files])
        validation, after = validated()
    kept = after < before
    if kept:
        fitted = replace(fitted, judged=answers_on(model, backbone.input, examples, examples.split.judged,
                                                            batch_size),
                         validation=validation)
    else:
        model.set_weights(original)
    freeze(model)
    shutil.rmtree(state)
    return fitted, Tuned(kept, blocks, tuple(layers), before, after, tuple(keep.record), time.perf_counter() - start)


def _accumulate(backbone: Backbone, batch_size: int) -> int:
    """How many parts a batch is trained in, so that it fits into memory. Says what is needed and what there is.

    Raises OptionError when not even one row at a time fits.
    """
    if backbone.spec.kind != "text":
        return 1
    free, parts = free_memory(), 1
    while (needed := text_memory(backbone, -(-batch_size // parts), training=True)) > free and parts < batch_size:
        parts *= 2
    said = f"fine-tuning needs about {needed / 2**30:.1f} GiB, this machine has {free / 2**30:.1f} free"
    if needed > free:
        raise OptionError(f"{said}, with one text at a time", "enough memory",
                          "unfreeze fewer blocks, give a shorter --max-length, or choose a smaller backbone")
    print(said + (f": each batch of {batch_size} is trained in {parts} parts" if parts > 1 else ""), flush=True)
    return parts


def _train(model: Any, backbone: Backbone, examples: Examples, plan: Plan, batch_size: int, runtime: Runtime,
           state: Path, before: float, settings: dict[str, float | str | int]) -> "_Keep":
    """Train; after each epoch the state folder holds all that going on needs. Returns what is known of the epochs."""
    assert examples.split is not None
    rows, validation = examples.split.rows(TRAIN), examples.split.rows(VALIDATION)
    state.mkdir(parents=True, exist_ok=True)
    source, epochs = backbone.input.single(), plan.epochs
    source = source.stepped() if runtime.xla else source
    batch_size = -(-batch_size // plan.accumulate)
    steps = -(-len(rows) // batch_size)
    keras.utils.set_random_seed(runtime.seed)
    policy = runtime.precision if runtime.explicit_precision else "float32"
    trainee = model if policy == "float32" else in_policy(model, policy)
    augmentation = _augmentation(runtime.seed) if examples.kind == "image" else []
    entrance = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)
    training = keras.Sequential([entrance, *augmentation, trainee])
    rates = layer_multipliers(blocks_of(replace(backbone, model=parts_of(trainee)[0])), training.trainable_variables,
                              plan.layer_decay)
    training.compile(optimizer_for(plan, -(-epochs * steps // plan.accumulate), rates), _loss(examples.multi_label),
                     jit_compile=runtime.xla)
    keep = _Keep(state, trainee, before)
    if keep.folder:
        training.optimizer.build(training.trainable_variables)  # else there is nothing to load its state into
        training.load_weights(keep.folder / LATEST)
    if len(keep.record) < epochs:
        targets = smoothed(examples, rows, float(settings["label_smoothing"]))
        weights = row_weights(examples, rows, str(settings["class_weights"]))
        training.fit(
            _dataset(source, examples, rows, batch_size, (targets, weights), runtime.seed, len(keep.record)),
            epochs=epochs, initial_epoch=len(keep.record), steps_per_epoch=steps, shuffle=False, verbose=0,
            callbacks=[keep],
            validation_data=_dataset(source, examples, validation, batch_size),
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


def _dataset(source: Input, examples: Examples, rows: NDArray[np.intp], batch_size: int,
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
                        "pictures that stay while a model trains", "bring it back and run again: epochs done are kept")


def answers_on(model: Any, source: Input, examples: Examples, rows: NDArray[np.intp], batch_size: int) -> Answers:
    """What a whole model says of these rows."""
    logits, answer = np.zeros((len(rows), len(examples.classes)), np.float32), Answerer(model)
    for batch in values_of(source, examples, rows, batch_size):
        logits[batch.places] = answer(batch)
    return Answers(rows, logits)


def _name(backbone: Backbone, examples: Examples, blocks: int, plan: Plan, batch_size: int, runtime: Runtime,
          weights: list[Any]) -> str:
    """A folder's name that is the same only for the same work."""
    import hashlib

    assert examples.split is not None
    digest = hashlib.blake2b(digest_size=16)
    about = [backbone.weights_hash, backbone.pooling, backbone.input.version, backbone.input.record(),
             list(examples.ids), examples.classes, blocks, asdict(plan), batch_size, asdict(runtime)]
    digest.update(json.dumps(about).encode())
    for array in (examples.targets, examples.split.part, *weights[-2:]):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
