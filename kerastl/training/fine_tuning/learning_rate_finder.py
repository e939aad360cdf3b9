"""Which rate to train at, found on the training rows (Smith 2017, https://arxiv.org/abs/1506.01186)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerastl.backbones import Backbone
from kerastl.data.examples import TRAIN, Examples
from kerastl.model import blocks as blocks_of
from kerastl.model import freeze
from kerastl.runtime import Runtime
from kerastl.training.fine_tuning.batches import training_data
from kerastl.training.fine_tuning.plan import Plan, TuningOptions, plan_for
from kerastl.training.fine_tuning.trainee import Trainee, compile_for, make_trainee
from kerastl.training.fit import FittedHead

LOWEST, HIGHEST, UPDATES = 1e-6, 1e-2, 48
SMOOTHING = 0.8  # share of the past in the smoothed loss
DIVERGED = 1.0  # nats over the lowest loss, and twice it, from which on the ramp ends


@dataclass(frozen=True)
class LearningRateCurve:
    """rates: rising. losses: of each the smoothed loss of the training rows it was tried on, in nats. suggested: a
    tenth of the rate of the lowest loss; None where the loss did not fall, as of a head that fits its rows already."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float | None


def find_rate(backbone: Backbone, model: Any, fitted: FittedHead, examples: Examples, unfreeze: int | str, *,
              runtime: Runtime, tuning: TuningOptions | None = None, batch_size: int = 32) -> LearningRateCurve:
    """Train the last blocks and the head on training rows while the rate rises, then put every weight back.

    model: spliced from `backbone` and `fitted.head`; it is frozen afterwards. Raises OptionError as `fine_tune` does.
    """
    assert examples.split is not None
    blocks = len(blocks_of(backbone)) if unfreeze == "all" else int(unfreeze)
    plan = plan_for(examples.modality.name, len(examples.split.rows(TRAIN)), tuning)
    trainee = make_trainee(model, backbone, blocks, plan, runtime)
    source = backbone.input.single()
    data = training_data(source.stepped() if runtime.xla else source, examples, batch_size, fitted.settings, plan.mix,
                         runtime.seed)
    curve = ramp(trainee, plan, data, examples.multi_label, runtime.xla)
    freeze(model)
    return curve


def ramp(trainee: Trainee, plan: Plan, data: Any, multi_label: bool, xla: bool) -> LearningRateCurve:
    """The curve of a trainee, all of whose blocks train; its weights are as before afterwards."""
    weights = trainee.training.weights
    before = [np.array(weight) for weight in weights]
    compile_for(trainee, plan, Ramp(), 0, multi_label, xla)
    tried = _Losses(plan.accumulate)
    try:
        trainee.training.fit(data, epochs=1, steps_per_epoch=UPDATES * plan.accumulate, shuffle=False, verbose=0,
                             callbacks=[tried])
    finally:
        for weight, value in zip(weights, before, strict=True):
            weight.assign(value)
    losses = smooth([float(np.mean(tried.losses[i:i + plan.accumulate]))
                     for i in range(0, len(tried.losses), plan.accumulate)])
    losses = losses[:next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))]
    rates = rates_tried()[:len(losses)]
    return LearningRateCurve(tuple(rates), tuple(losses), suggest(rates, losses))


def rates_tried() -> list[float]:
    """As many as there are updates, from the lowest to the highest by one factor."""
    return np.geomspace(LOWEST, HIGHEST, UPDATES).tolist()


def smooth(losses: Sequence[float]) -> list[float]:
    """The running mean of losses that forgets, without the pull of its beginning towards 0."""
    mean, found = 0.0, []
    for i, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING ** i))
    return found


def suggest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """A tenth of the rate of the lowest loss, which is on the way down and not where it ends; None where the lowest is
    among the first tenth of the ramp, so that there is no way down."""
    if len(losses) < 2 or (lowest := int(np.argmin(losses))) < UPDATES // 10:
        return None
    return rates[lowest] / 10


class Ramp(keras.optimizers.schedules.LearningRateSchedule):
    """Rates that rise by one factor from update to update."""

    def __call__(self, step: Any) -> Any:
        """The rate of a step."""
        return LOWEST * (HIGHEST / LOWEST) ** (keras.ops.cast(step, "float32") / (UPDATES - 1))

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {}


class _Losses(keras.callbacks.Callback):
    """The loss of each batch by itself, before its update; it ends the ramp where the loss diverges."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.batches = batches

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Called by Keras, whose losses are means of an epoch so far."""
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Called by Keras."""
        self.losses.append(float((logs or {})["loss"]))
        if (batch + 1) % self.batches == 0:
            smoothed = smooth(self.losses)
            if not math.isfinite(smoothed[-1]) or smoothed[-1] > min(smoothed) + max(DIVERGED, min(smoothed)):
                self.model.stop_training = True
