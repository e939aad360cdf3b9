"""Fine-tuning: the last blocks of the backbone are trained with the head, at a low learning rate, from the fitted model
on.

The result is kept only if the validation loss improves. A killed run resumes from its last epoch, also one that was
killed after training, before its version was written: `remove_finished` is called when it is.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.backbones import Backbone, text_memory
from kerastl.data.examples import TRAIN, VALIDATION, Examples
from kerastl.data.split import split_of
from kerastl.decision import Predictions
from kerastl.errors import OptionError
from kerastl.features.compute import Features
from kerastl.files import (
    cache_folder,
    held_folder,
    read_text,
    remove_leftovers,
    remove_unheld,
    write_atomically,
)
from kerastl.model import block_count, freeze
from kerastl.model import unfreeze as unfreeze_last
from kerastl.runtime import Runtime, free_memory
from kerastl.stats import log_loss
from kerastl.training.augmentation import Augmentation
from kerastl.training.fine_tuning.batches import Failures, as_raised, dataset, predictions_on, training_data
from kerastl.training.fine_tuning.checkpoints import Checkpoints
from kerastl.training.fine_tuning.keep import calibrated_losses
from kerastl.training.fine_tuning.learning_rate_finder import range_test
from kerastl.training.fine_tuning.mirror import augmentation_for
from kerastl.training.fine_tuning.plan import Plan, plan_for
from kerastl.training.fine_tuning.result import FineTuneResult, LearningRateCurve
from kerastl.training.fine_tuning.schedules import schedule_for
from kerastl.training.fine_tuning.trainee import compile_for, make_trainee
from kerastl.training.fit import FittedHead
from kerastl.training.options import DEFAULTS, TrainingOptions

CURVE, FINISHED = "rates.json", "finished"
FOLDER = "fine_tune"  # in the cache directory
STALE_DAYS = 7  # after which the state of a finished training that nobody resumed is removed
ABANDONED_DAYS = 30  # after which that of one that was not finished is


def fine_tune(features: Features, model: Any, fitted: FittedHead, unfreeze: int | str, *,
              options: TrainingOptions = DEFAULTS, after_step: Callable[[], None] | None = None
              ) -> tuple[FittedHead, FineTuneResult]:
    """Train the last blocks of the backbone, `unfreeze` of them or `all`, and the head, in place.

    model: the backbone of `features` and `fitted.head`, spliced. BatchNorm stays in inference mode. after_step: called
    after each batch. Returns the fitted head, with the predictions of the model that is kept, and how it went. Raises
    OptionError when the backbone has fewer blocks or the options do not fit, CheckFailed when a frozen weight changed.
    """
    start = time.perf_counter()
    examples, backbone, runtime = features.examples, features.backbone, features.runtime
    split = split_of(examples)
    if fitted.validation is None:
        raise OptionError(f"`unfreeze` is {unfreeze!r} on cross-validated rows", "a hold-out: here the backbone is "
                          "trained only once", "call kerastl.train, which trains it once per fold")
    plan = plan_for(examples.modality, len(split.rows(TRAIN)), options.fine_tuning, epochs=options.epochs,
                    gamma=options.gamma)
    augmentation = augmentation_for(features, plan.augment, str(fitted.settings["class_weights"]))
    blocks = block_count(backbone, unfreeze)
    layers = unfreeze_last(backbone, blocks)
    plan = replace(plan, accumulate=_accumulate(backbone, options.batch_size))
    rows = split.rows(VALIDATION)

    def validate() -> tuple[Predictions, float]:  # in float32, as the export computes, whatever trains
        predictions = predictions_on(model, backbone.input, examples, rows, options.batch_size)
        if plan.gamma:  # logits are less confident, so that only calibrated ones can be compared
            return predictions, float(calibrated_losses(examples, predictions).mean())
        return predictions, log_loss(predictions.logits, examples.one_hot(rows), examples.task)

    _, before = validate()
    original = model.get_weights()
    name = _state_name(backbone, examples, blocks, plan, augmentation, options.batch_size, runtime, fitted, original)
    state = cache_folder(features.cache_dir, FOLDER) / name
    # the epochs' validation losses are focal, so that none can be compared with the frozen backbone's before the end
    to_beat = float("inf") if plan.gamma else before
    with held_folder(state, "fine-tunes the same model on the same rows"):
        checkpoints, curve = _train(model, backbone, examples, blocks, plan, augmentation, options.batch_size, runtime,
                                    state, to_beat, fitted.settings, after_step)
        trained = ((checkpoints.best(), ()), (checkpoints.average(), plan.averaged_epochs))
        write_atomically(state / FINISHED, str(os.getpid()))
    candidates: list[tuple[float, Any, Predictions, tuple[int, ...]]] = [(before, original, fitted.validation, ())]
    average_loss = None
    for weights, averaged in trained:
        if weights is not None:
            model.set_weights(weights)
            predictions, loss = validate()
            candidates.append((loss, weights, predictions, averaged))
            average_loss = loss if averaged else average_loss
    after, weights, validation, averaged = min(candidates, key=lambda candidate: candidate[0])
    model.set_weights(weights)
    freeze(model)
    kept = after < before
    if kept:
        held_out = predictions_on(model, backbone.input, examples, split.held_out, options.batch_size)
        fitted = replace(fitted, held_out=held_out, validation=validation)
    elif plan.gamma:
        after = min((loss for loss, *_ in candidates[1:]), default=float("nan"))  # none where training diverged
    else:
        after = min(epoch["val_loss"] for epoch in checkpoints.epochs)
    return fitted, FineTuneResult(kept=kept, blocks=blocks, layers=tuple(layers), loss_before=before, loss_after=after,
                                  epochs=tuple(checkpoints.epochs), seconds=time.perf_counter() - start,
                                  plan=checkpoints.plan, curve=curve, average_loss=average_loss,
                                  averaged_epochs=averaged, augmentation=augmentation)


def remove_finished(cache_dir: str | Path) -> None:
    """Remove the states of the trainings that this process finished, once their result is stored or not needed, those
    that other processes finished days ago, and those that nobody has continued for weeks; none that another process
    is working with."""
    remove_leftovers(Path(cache_dir) / FOLDER)
    for state in (Path(cache_dir) / FOLDER).glob("*/"):
        with suppress(FileNotFoundError, BlockingIOError):  # another process removes it too, or works with it
            mark = state / FINISHED
            finished = mark.exists()
            age = abs(time.time() - (mark if finished else state).stat().st_mtime)
            if age > 24 * 3600 * (STALE_DAYS if finished else ABANDONED_DAYS) or (
                    finished and read_text(mark) == str(os.getpid())):
                remove_unheld(state)


def _accumulate(backbone: Backbone, batch_size: int) -> int:
    """In how many parts a batch is trained, so that it fits into memory. Prints what is needed and what is free.

    Raises OptionError when not even one row at a time fits.
    """
    if not backbone.spec.modality.has_length:
        return 1
    free, parts = free_memory(), 1
    while (needed := text_memory(backbone, -(-batch_size // parts), training=True)) > free and parts < batch_size:
        parts *= 2
    message = f"fine-tuning needs about {needed / 2**30:.1f} GiB; this machine has {free / 2**30:.1f} GiB free"
    if needed > free:
        raise OptionError(f"{message}, with one text at a time", "enough memory",
                          "unfreeze fewer blocks, use a smaller `max_length`, or choose a smaller backbone")
    print(message + (f": each batch of {batch_size} is trained in {parts} parts" if parts > 1 else ""), flush=True)
    return parts


def _train(model: Any, backbone: Backbone, examples: Examples, blocks: int, plan: Plan, augmentation: Augmentation,
           batch_size: int, runtime: Runtime, state: Path, before: float, settings: dict[str, float | str | int],
           after_step: Callable[[], None] | None) -> tuple[Checkpoints, LearningRateCurve | None]:
    """Train; after each epoch the state folder holds all that resuming needs. Returns the checkpoints, and the curve
    that the learning rate comes from, if a range test was run."""
    split = split_of(examples)
    validation, original = split.rows(VALIDATION), model.get_weights()
    source = backbone.input.single()
    source = source.stepped() if runtime.xla else source
    batch_size = -(-batch_size // plan.accumulate)
    steps = -(-len(split.rows(TRAIN)) // batch_size)
    trainee, failures = make_trainee(model, backbone, blocks, plan, runtime), Failures()

    def data(first: int = 0) -> Any:
        return training_data(source, examples, batch_size, settings, augmentation, plan.mixing, runtime.seed,
                             first, failures)

    with as_raised(failures):
        curve = _curve(state / CURVE, lambda: range_test(trainee, plan, data(), examples.task, runtime.xla)
                       ) if plan.find_learning_rate else None
    if curve and curve.suggested:
        plan = replace(plan, learning_rate=curve.suggested)
    schedule = schedule_for(plan, -(-plan.epochs * steps // plan.accumulate))
    compile_for(trainee, plan, schedule, steps, examples.task, runtime.xla)
    checkpoints = Checkpoints(state, trainee, plan, before, original)
    checkpoints.resume()
    if len(checkpoints.epochs) < plan.epochs:
        with as_raised(failures):
            trainee.training.fit(
                data(len(checkpoints.epochs)), epochs=plan.epochs, initial_epoch=len(checkpoints.epochs),
                steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[checkpoints, *_after_batch(after_step)],
                validation_data=dataset(source, examples, validation, batch_size, failures=failures),
                validation_steps=-(-len(validation) // batch_size))
    return checkpoints, curve


def _after_batch(call: Callable[[], None] | None) -> list[Any]:
    import keras

    return [keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: call())] if call else []


def _curve(path: Path, run_test: Callable[[], LearningRateCurve]) -> LearningRateCurve:
    """The curve of the run that was killed, else a new one, which is kept: a second test would not give the same."""
    if path.exists():
        return LearningRateCurve.from_dict(json.loads(read_text(path)))
    curve = run_test()
    write_atomically(path, json.dumps(curve.to_dict()))
    print(f"the range test of {len(curve.learning_rates)} learning rates suggests {curve.suggested:.1e}"
          if curve.suggested else "the loss fell at none of the learning rates; using the default", flush=True)
    return curve


def _state_name(backbone: Backbone, examples: Examples, blocks: int, plan: Plan, augmentation: Augmentation,
                batch_size: int, runtime: Runtime, fitted: FittedHead, weights: list[Any]) -> str:
    """A folder's name that is the same only for the same work."""
    digest = hashlib.blake2b(digest_size=16)
    work = [backbone.weights_hash, backbone.pooling, backbone.input.version, backbone.input.record(),
            list(examples.ids), examples.classes, blocks, asdict(plan), *map(asdict, augmentation.operations),
            augmentation.drawn, *map(asdict, augmentation.pool), batch_size,
            asdict(runtime), fitted.name, fitted.settings.get("head_sha256", "")]
    digest.update(json.dumps(work).encode())
    for array in (examples.targets, split_of(examples).part, *weights[-2:]):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
