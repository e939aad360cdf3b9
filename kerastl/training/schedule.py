"""How an unfrozen model trains: rates, their course over the steps and the layers, and batches that fit into memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras


@dataclass(frozen=True)
class Plan:
    """rate: the highest, of the head. warmup: share of the steps in which the rate rises to it; then it falls to 0, by
    `decay` (cosine | linear). layer_decay: what the rate of a block is multiplied by, from block to block towards the
    input. accumulate: batches whose gradients make one step."""

    epochs: int
    rate: float
    warmup: float
    decay: str
    layer_decay: float
    weight_decay: float
    accumulate: int = 1


def plan_for(kind: str, epochs: int | None = None, accumulate: int = 1) -> Plan:
    """The usual plan. Texts: as BERT and RoBERTa were fine-tuned (Devlin et al. 2019, Liu et al. 2019: warm-up over a
    tenth of the steps, linear decay, 3 to 4 epochs), with rates that fall by the layer (Howard and Ruder 2018)."""
    if kind == "text":
        return Plan(epochs or 4, 5e-5, 0.1, "linear", 0.9, 1e-2, accumulate)
    return Plan(epochs or 8, 3e-5, 0.0, "cosine", 1.0, 4e-3, accumulate)


def optimizer_for(plan: Plan, steps: int, multipliers: Sequence[float]) -> Any:
    """AdamW for `steps` steps in all. multipliers: of the rate of each trainable variable, in their order."""
    rate: Any = keras.optimizers.schedules.CosineDecay(plan.rate, steps)
    if plan.decay == "linear":
        rate = WarmUp(plan.rate, max(1, round(plan.warmup * steps)), steps)
    if plan.accumulate == 1:
        return LayerwiseAdamW(multipliers, rate, weight_decay=plan.weight_decay)
    return LayerwiseAdamW(multipliers, EachUpdate(rate, plan.accumulate), weight_decay=plan.weight_decay,
                          gradient_accumulation_steps=plan.accumulate)


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
    """Linear from 0 to `rate` over `warmup` steps, then linear to 0 at `steps`."""

    def __init__(self, rate: float, warmup: int, steps: int) -> None:
        super().__init__()
        self.rate, self.warmup, self.steps = rate, warmup, steps

    def __call__(self, step: Any) -> Any:
        """The rate of a step."""
        done = keras.ops.cast(step, "float32") + 1  # else the first step would do nothing
        fall = (self.steps + 1 - done) / max(1, self.steps - self.warmup)
        return self.rate * keras.ops.maximum(0.0, keras.ops.minimum(done / self.warmup, fall))

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {"rate": self.rate, "warmup": self.warmup, "steps": self.steps}


class LayerwiseAdamW(keras.optimizers.AdamW):
    """AdamW whose rate is multiplied by a number of each variable's own."""

    def __init__(self, multipliers: Sequence[float], learning_rate: Any, **more: Any) -> None:
        super().__init__(learning_rate, **more)
        self.multipliers = list(multipliers)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Called by Keras, a variable at a time."""
        factor = self.multipliers[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)


def layer_multipliers(blocks: Sequence[Sequence[Any]], variables: Sequence[Any], decay: float) -> list[float]:
    """1 for the head, `decay` for the last block, its square for the one before, and so on.

    blocks: the backbone's layers in blocks, from input to output. variables: those that train.
    """
    height = {variable.path: decay ** (len(blocks) - number) for number, block in enumerate(blocks) for layer in block
              for variable in layer.trainable_variables}
    return [height.get(variable.path, 1.0) for variable in variables]
