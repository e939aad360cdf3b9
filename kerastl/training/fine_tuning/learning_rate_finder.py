"""The learning-rate range test, on training rows (Smith 2017, https://arxiv.org/abs/1506.01186)."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerastl.data.examples import TRAIN
from kerastl.data.split import split_of
from kerastl.features.compute import Features
from kerastl.model import block_count, freeze
from kerastl.tasks import Task
from kerastl.training.fine_tuning.batches import Failures, as_raised, training_data
from kerastl.training.fine_tuning.mirror import augmentation_for
from kerastl.training.fine_tuning.plan import DEFAULTS, Plan, TuningOptions, plan_for
from kerastl.training.fine_tuning.result import LearningRateCurve
from kerastl.training.fine_tuning.trainee import Trainee, compile_for, make_trainee
from kerastl.training.fit import FittedHead

LOWEST, HIGHEST, UPDATES = 1e-6, 1e-2, 48
SMOOTHING = 0.8  # share of the past in the smoothed loss
DIVERGED = 1.0  # the test ends when the loss exceeds the lowest by so many nats, and is twice as high


def find_learning_rate(features: Features, model: Any, fitted: FittedHead, unfreeze: int | str, *,
                       options: TuningOptions = DEFAULTS, batch_size: int = 32) -> LearningRateCurve:
    """Train the last blocks and the head on training rows while the learning rate rises, then restore every weight.

    model: the backbone of `features` and `fitted.head`, spliced; it is frozen afterwards. Raises OptionError as
    `fine_tune` does.
    """
    examples, backbone, runtime = features.examples, features.backbone, features.runtime
    plan = plan_for(examples.modality, len(split_of(examples).rows(TRAIN)), options)
    augmentation = augmentation_for(features, plan.augment, str(fitted.settings["class_weights"]))
    trainee = make_trainee(model, backbone, block_count(backbone, unfreeze), plan, runtime)
    source = backbone.input.single()
    data = training_data(source.stepped() if runtime.xla else source, examples, batch_size, fitted.settings,
                         augmentation, plan.mixing, runtime.seed, failures=(failures := Failures()))
    with as_raised(failures):
        curve = range_test(trainee, plan, data, examples.task, runtime.xla)
    freeze(model)
    return curve


def range_test(trainee: Trainee, plan: Plan, data: Any, task: Task, xla: bool) -> LearningRateCurve:
    """The curve of a trainee with all its blocks training; its weights are restored afterwards."""
    weights = trainee.training.weights
    before = [np.array(weight) for weight in weights]
    compile_for(trainee, plan, Ramp(), 0, task, xla)
    recorded = _Losses(plan.accumulate)
    try:
        trainee.training.fit(data, epochs=1, steps_per_epoch=UPDATES * plan.accumulate, shuffle=False, verbose=0,
                             callbacks=[recorded])
    finally:
        for weight, value in zip(weights, before, strict=True):
            weight.assign(value)
    losses = smooth([float(np.mean(recorded.losses[i:i + plan.accumulate]))
                     for i in range(0, len(recorded.losses), plan.accumulate)])
    losses = losses[:next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))]
    rates = rates_tried()[:len(losses)]
    return LearningRateCurve(learning_rates=tuple(rates), losses=tuple(losses), suggested=suggest(rates, losses))


def rates_tried() -> list[float]:
    """One learning rate for each update, from the lowest to the highest by a constant factor."""
    return np.geomspace(LOWEST, HIGHEST, UPDATES).tolist()


def smooth(losses: Sequence[float]) -> list[float]:
    """The exponential moving average of losses, corrected for its start at 0."""
    mean, smoothed = 0.0, []
    for i, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed.append(mean / (1 - SMOOTHING ** i))
    return smoothed


def suggest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """A tenth of the learning rate of the lowest loss, where the loss still falls; None where the lowest is in the
    first tenth of the test, so that there was no fall."""
    if len(losses) < 2 or (lowest := int(np.argmin(losses))) < UPDATES // 10:
        return None
    return rates[lowest] / 10


class Ramp(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rates that rise by a constant factor from update to update."""

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step."""
        return LOWEST * (HIGHEST / LOWEST) ** (keras.ops.cast(step, "float32") / (UPDATES - 1))

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {}


class _Losses(keras.callbacks.Callback):
    """Records the loss of each batch by itself, before its update; ends the test where the loss diverges."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.batches = batches

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Called by Keras, whose losses are means over the epoch so far."""
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Called by Keras."""
        self.losses.append(float((logs or {})["loss"]))
        if (batch + 1) % self.batches == 0:
            smoothed = smooth(self.losses)
            if not math.isfinite(smoothed[-1]) or smoothed[-1] > min(smoothed) + max(DIVERGED, min(smoothed)):
                self.model.stop_training = True
