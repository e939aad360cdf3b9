"""How an unfrozen model trains: what may be asked for, the plan that follows from it, and the rate's course."""

from dataclasses import dataclass
from math import pi
from typing import Any

import keras

from kerastl.errors import OptionError
from kerastl.runtime import MIXES, SCHEDULES


@dataclass(frozen=True)
class TuningOptions:
    """What may be asked of fine-tuning; what is left out, a rule decides from the kind and number of rows.

    rate: of the head, the highest; find: from a ramp of rates instead (see `rates`). gradual: one more block from the
    top each epoch. layer_decay: see `Plan`. lora: rank of the low-rank change that trains in place of the attention's
    query and value kernels, 0: the kernels themselves. mix: of images, in training. average: so many of the last
    epochs' weights are averaged, 1: none are.
    """

    schedule: str = "auto"
    rate: float | None = None
    find: bool = False
    gradual: bool = False
    layer_decay: float | None = None
    lora: int = 0
    mix: str = "auto"
    average: int = 1


@dataclass(frozen=True)
class Plan:
    """rate: the highest, of the head. warmup: share of the steps in which the rate rises to it; then it falls to 0, by
    `schedule` (cosine | linear); one-cycle has its own. layer_decay: what the rate of a block is multiplied by, from
    block to block towards the input. accumulate: batches whose gradients make one step. The others: see
    `TuningOptions`."""

    epochs: int
    rate: float
    schedule: str
    warmup: float
    layer_decay: float
    weight_decay: float
    accumulate: int = 1
    find: bool = False
    gradual: bool = False
    lora: int = 0
    mix: str = "none"
    average: int = 1


def plan_for(kind: str, rows: int, tuning: TuningOptions | None = None, *, epochs: int | None = None,
             accumulate: int = 1) -> Plan:
    """The plan for so many training rows of a kind, `image` or `text`; what `tuning` and `epochs` say goes first.

    As BiT-HyperRule does (Kolesnikov et al. 2020, https://arxiv.org/abs/1912.11370), the number of rows decides how
    long to train, and from 20,000 images on MixUp is used, with its alpha of 0.1. BiT's shortest run sees 256,000
    images, on a TPU; here a run sees 80,000 images or 40,000 texts, in 2 epochs at least. Few rows: at most 8, of
    texts 4, as BERT and RoBERTa were fine-tuned (Devlin et al. 2019, Liu et al. 2019: linear decay, too); blocks learn
    slower towards the input (Howard and Ruder 2018). LoRA takes ten times the rate (Hu et al. 2021).
    Raises OptionError for what does not fit.
    """
    text, asked = kind == "text", tuning or TuningOptions()
    seen, most = (40_000, 4) if text else (80_000, 8)
    epochs = epochs or min(most, max(2, round(seen / rows)))
    _check(asked, kind, epochs)
    schedule = asked.schedule if asked.schedule != "auto" else "linear" if text else "cosine"
    mix = asked.mix if asked.mix != "auto" else "mixup" if rows >= 20_000 and not text else "none"
    rate = asked.rate or (5e-5 if text else 3e-5) * (10 if asked.lora else 1)
    return Plan(epochs, rate, schedule, 0.1, asked.layer_decay or (0.9 if text else 1.0), 1e-2 if text else 4e-3,
                accumulate, asked.find, asked.gradual, asked.lora, mix, asked.average)


def _check(asked: TuningOptions, kind: str, epochs: int) -> None:
    """Raises OptionError for all that is wrong, at once."""
    trouble = [
        (asked.schedule not in SCHEDULES, f"schedule {asked.schedule}", f"one of {', '.join(SCHEDULES)}"),
        (asked.mix not in MIXES, f"mix {asked.mix}", f"one of {', '.join(MIXES)}"),
        (asked.rate is not None and not 0 < asked.rate <= 1, f"rate {asked.rate}", "a rate in (0, 1]"),
        (asked.rate is not None and asked.find, "a rate, and finding one", "one of the two"),
        (asked.layer_decay is not None and not 0 < asked.layer_decay <= 1, f"layer_decay {asked.layer_decay}",
         "a factor in (0, 1]"),
        (asked.lora < 0, f"lora {asked.lora}", "a rank of 1 or more, or 0 for none"),
        (asked.lora > 0 and kind != "text", "lora for images", "texts: it changes kernels of attention"),
        (asked.mix in ("mixup", "cutmix") and kind == "text", f"mix {asked.mix} for texts", "images: tokens do not "
         "mix"),
        (not 1 <= asked.average <= epochs, f"average {asked.average} of {epochs} epochs", f"1 to {epochs}"),
    ]
    found = [(got, wanted) for wrong, got, wanted in trouble if wrong]
    if found:
        raise OptionError("; ".join(got for got, _ in found), "; ".join(wanted for _, wanted in found),
                          "leave it out: a rule decides")


def schedule_for(plan: Plan, steps: int) -> Any:
    """The rate's course over `steps` updates of the weights."""
    if plan.schedule == "one-cycle":
        return OneCycle(plan.rate, steps)
    return WarmUp(plan.rate, max(1, round(plan.warmup * steps)), steps, plan.schedule)


class EachUpdate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule by updates of the weights, where Keras counts the batches whose gradients it collects for one."""

    def __init__(self, schedule: Any, batches: int) -> None:
        super().__init__()
        self.schedule, self.batches = schedule, batches

    def __call__(self, step: Any) -> Any:
        """The rate of a batch's update."""
        return self.schedule(step // self.batches)

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {"schedule": self.schedule, "batches": self.batches}


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to `rate` over `warmup` steps, then to 0 at `steps`: linear, or by half a cosine."""

    def __init__(self, rate: float, warmup: int, steps: int, fall: str = "linear") -> None:
        super().__init__()
        self.rate, self.warmup, self.steps, self.fall = rate, warmup, steps, fall

    def __call__(self, step: Any) -> Any:
        """The rate of a step."""
        done = keras.ops.cast(step, "float32") + 1  # else the first step would do nothing
        left = keras.ops.clip((self.steps + 1 - done) / max(1, self.steps - self.warmup), 0.0, 1.0)
        left = (1 - keras.ops.cos(pi * left)) / 2 if self.fall == "cosine" else left
        return self.rate * keras.ops.minimum(done / self.warmup, left)

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {"rate": self.rate, "warmup": self.warmup, "steps": self.steps, "fall": self.fall}


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """From a tenth of `rate` up to it over 45% of the steps, back over as many, then down to a thousandth of it, all
    linear (Smith 2018, https://arxiv.org/abs/1803.09820; Adam's momentum stays, which he cycles too)."""

    def __init__(self, rate: float, steps: int) -> None:
        super().__init__()
        self.rate, self.steps = rate, steps

    def __call__(self, step: Any) -> Any:
        """The rate of a step."""
        done = keras.ops.cast(step, "float32") / max(1, self.steps - 1)  # from 0 to 1
        cycle = 1 - 2 * keras.ops.absolute(done - 0.45)  # 0.1 at both ends of the cycle, 1 between
        tail = 0.1 - 0.99 * (done - 0.9)
        return self.rate * keras.ops.where(done < 0.9, cycle, keras.ops.maximum(tail, 0.001))

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {"rate": self.rate, "steps": self.steps}
