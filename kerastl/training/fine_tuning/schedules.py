"""Learning-rate schedules of fine-tuning, by updates of the weights."""

from math import pi
from typing import Any

import keras

from kerastl.training.fine_tuning.plan import Plan


def schedule_for(plan: Plan, steps: int) -> Any:
    """The plan's schedule over `steps` updates of the weights."""
    if plan.schedule == "one-cycle":
        return OneCycle(plan.learning_rate, steps)
    return WarmUp(plan.learning_rate, max(1, round(plan.warmup * steps)), steps, plan.schedule)


class EachUpdate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule by updates of the weights, for gradient accumulation: Keras counts batches, several of which make one
    update."""

    def __init__(self, schedule: Any, batches: int) -> None:
        super().__init__()
        self.schedule, self.batches = schedule, batches

    def __call__(self, step: Any) -> Any:
        """The learning rate of a batch's update."""
        return self.schedule(step // self.batches)

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {"schedule": self.schedule, "batches": self.batches}


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to `peak` over `warmup` steps, then to 0 at `steps`: linearly, or by half a cosine."""

    def __init__(self, peak: float, warmup: int, steps: int, decay: str = "linear") -> None:
        super().__init__()
        self.peak, self.warmup, self.steps, self.decay = peak, warmup, steps, decay

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step."""
        done = keras.ops.cast(step, "float32") + 1  # else the first step would do nothing
        left = keras.ops.clip((self.steps + 1 - done) / max(1, self.steps - self.warmup), 0.0, 1.0)
        left = (1 - keras.ops.cos(pi * left)) / 2 if self.decay == "cosine" else left
        return self.peak * keras.ops.minimum(done / self.warmup, left)

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {"peak": self.peak, "warmup": self.warmup, "steps": self.steps, "decay": self.decay}


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """From a tenth of `peak` up to it over 45% of the steps, back over as many, then down to a thousandth of it, all
    linear (Smith 2018, https://arxiv.org/abs/1803.09820; Adam's momentum stays constant, which he cycles too)."""

    def __init__(self, peak: float, steps: int) -> None:
        super().__init__()
        self.peak, self.steps = peak, steps

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step."""
        done = keras.ops.cast(step, "float32") / max(1, self.steps - 1)  # from 0 to 1
        cycle = 1 - 2 * keras.ops.absolute(done - 0.45)  # 0.1 at both ends of the cycle, 1 between
        tail = 0.1 - 0.99 * (done - 0.9)
        return self.peak * keras.ops.where(done < 0.9, cycle, keras.ops.maximum(tail, 0.001))

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {"peak": self.peak, "steps": self.steps}
