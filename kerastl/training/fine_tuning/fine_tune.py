"""Unfreezing: the last blocks of the backbone train with the head, at a low rate, from the fitted model on.

It is kept only if the validation loss improves. A killed run goes on from its last epoch.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.backbones import Backbone, text_memory
from kerastl.data.examples import TRAIN, VALIDATION, Examples
from kerastl.decision import Predictions
from kerastl.errors import OptionError
from kerastl.files import cache_folder, write_atomically
from kerastl.model import blocks as blocks_of
from kerastl.model import freeze
from kerastl.model import unfreeze as unfreeze_last
from kerastl.runtime import Runtime, free_memory
from kerastl.stats import log_loss
from kerastl.training.fine_tuning.batches import dataset, predictions_on, training_data
from kerastl.training.fine_tuning.checkpoints import Checkpoints, averaged
from kerastl.training.fine_tuning.learning_rate_finder import LearningRateCurve, ramp
from kerastl.training.fine_tuning.plan import Plan, TuningOptions, plan_for, schedule_for
from kerastl.training.fine_tuning.trainee import compile_for, make_trainee
from kerastl.training.fit import FittedHead

CURVE = "rates.json"


@dataclass(frozen=True)
class FineTuneResult:
    """How unfreezing went. Losses are on the validation rows, in nats.

    how: `blocks`, kept if the validation loss fell; or `contrast`, which the number of rows decided for: then there are
    no such losses, and `frozen_accuracy` is what the frozen backbone reached on the rows that judge.
    plan: the `Plan` it trained by. rates: where a rate was looked for. average_loss: of the mean of the last epochs'
    weights, where one was made; averaged: those epochs, if that mean is what is kept.
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
    plan: dict[str, Any] | None = None
    rates: LearningRateCurve | None = None
    average_loss: float | None = None
    averaged: tuple[int, ...] = ()


def fine_tune(backbone: Backbone, model: Any, fitted: FittedHead, examples: Examples, unfreeze: int | str, *,
              runtime: Runtime, cache_dir: Path, epochs: int | None = None, batch_size: int = 32,
              tuning: TuningOptions | None = None) -> tuple[FittedHead, FineTuneResult]:
    """Train the last blocks of the backbone, `unfreeze` of them or `all`, and the head, in place.

    model: spliced from `backbone` and `fitted.head`. BatchNorm stays in inference mode. tuning: what the rule of
    `plan_for` is not to decide. Returns what was fitted, with the answers of the model that was kept, and how it went.
    Raises OptionError when the backbone has fewer blocks or what is asked for does not fit, CheckFailed when a frozen
    weight moved.
    """
    start = time.perf_counter()
    assert examples.split is not None and fitted.validation is not None, "unfreezing needs a hold-out"
    plan = plan_for(examples.modality.name, len(examples.split.rows(TRAIN)), tuning, epochs=epochs)
    blocks = len(blocks_of(backbone)) if unfreeze == "all" else int(unfreeze)
    layers = unfreeze_last(backbone, blocks)
    plan = replace(plan, accumulate=_accumulate(backbone, batch_size))
    rows = examples.split.rows(VALIDATION)

    def validated() -> tuple[Predictions, float]:  # in float32, as the export computes, whatever trains
        answers = predictions_on(model, backbone.input, examples, rows, batch_size)
        return answers, log_loss(answers.logits, examples.one_hot(rows), examples.task)

    _, before = validated()
    original = model.get_weights()
    name = _name(backbone, examples, blocks, plan, batch_size, runtime, original)
    state = cache_folder(cache_dir, "fine_tune") / name
    keep, rates = _train(model, backbone, examples, blocks, plan, batch_size, runtime, state, before, fitted.settings)
    found: list[tuple[float, Any, Predictions, tuple[int, ...]]] = [(before, original, fitted.validation, ())]
    average_loss = None
    for weights, epochs_in in ((keep.best(), ()), (keep.average(), averaged(plan))):
        if weights is not None:
            model.set_weights(weights)
            answers, loss = validated()
            found.append((loss, weights, answers, epochs_in))
            average_loss = loss if epochs_in else average_loss
    after, weights, validation, epochs_in = min(found, key=lambda one: one[0])
    model.set_weights(weights)
    freeze(model)
    kept = after < before
    if kept:
        judged = predictions_on(model, backbone.input, examples, examples.split.held_out, batch_size)
        fitted = replace(fitted, held_out=judged, validation=validation)
    else:
        after = min(epoch["val_loss"] for epoch in keep.record)
    shutil.rmtree(state)
    return fitted, FineTuneResult(kept, blocks, tuple(layers), before, after, tuple(keep.record),
                                  time.perf_counter() - start, plan=asdict(keep.plan), rates=rates,
                                  average_loss=average_loss, averaged=epochs_in)


def _accumulate(backbone: Backbone, batch_size: int) -> int:
    """How many parts a batch is trained in, so that it fits into memory. Says what is needed and what there is.

    Raises OptionError when not even one row at a time fits.
    """
    if backbone.spec.modality.name != "text":
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


def _train(model: Any, backbone: Backbone, examples: Examples, blocks: int, plan: Plan, batch_size: int,
           runtime: Runtime, state: Path, before: float, settings: dict[str, float | str | int]
           ) -> tuple[Checkpoints, LearningRateCurve | None]:
    """Train; after each epoch the state folder holds all that going on needs. Returns what is known of the epochs, and
    the curve that the rate comes from, if it was looked for."""
    assert examples.split is not None
    validation, original = examples.split.rows(VALIDATION), model.get_weights()
    state.mkdir(parents=True, exist_ok=True)
    source = backbone.input.single()
    source = source.stepped() if runtime.xla else source
    batch_size = -(-batch_size // plan.accumulate)
    steps = -(-len(examples.split.rows(TRAIN)) // batch_size)
    trainee = make_trainee(model, backbone, blocks, plan, runtime)

    def data(first: int = 0) -> Any:
        return training_data(source, examples, batch_size, settings, plan.mix, runtime.seed, first)

    rates = _rates(state / CURVE, lambda: ramp(trainee, plan, data(), examples.multi_label, runtime.xla)
                   ) if plan.find else None
    if rates and rates.suggested:
        plan = replace(plan, rate=rates.suggested)
    schedule = schedule_for(plan, -(-plan.epochs * steps // plan.accumulate))
    compile_for(trainee, plan, schedule, steps, examples.multi_label, runtime.xla)
    keep = Checkpoints(state, trainee, plan, before, original)
    keep.go_on()
    if len(keep.record) < plan.epochs:
        trainee.training.fit(
            data(len(keep.record)), epochs=plan.epochs, initial_epoch=len(keep.record), steps_per_epoch=steps,
            shuffle=False, verbose=0, callbacks=[keep],
            validation_data=dataset(source, examples, validation, batch_size),
            validation_steps=-(-len(validation) // batch_size))
    return keep, rates


def _rates(path: Path, find: Callable[[], LearningRateCurve]) -> LearningRateCurve:
    """The curve found before the run was stopped, else a new one, which is kept: a second would not be the same."""
    if path.exists():
        known = json.loads(path.read_text())
        return LearningRateCurve(tuple(known["rates"]), tuple(known["losses"]), known["suggested"])
    curve = find()
    write_atomically(path, json.dumps(asdict(curve)))
    print(f"a rate of {curve.suggested:.1e} is suggested by {len(curve.rates)} rates tried" if curve.suggested else
          "the loss fell at none of the rates tried: the rule's rate is used", flush=True)
    return curve


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
