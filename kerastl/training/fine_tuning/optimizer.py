"""AdamW with a learning rate for each block, from an epoch of its own."""

from collections.abc import Sequence
from typing import Any

import keras

from kerastl.optimizers import Adam
from kerastl.training.fine_tuning.plan import Plan
from kerastl.training.fine_tuning.schedules import EachUpdate


def heights(blocks: Sequence[Sequence[Any]], variables: Sequence[Any]) -> list[int]:
    """How far from the top each variable is: 0 in the head, 1 in the last block, 2 in the one before, and so on.

    blocks: the backbone's layers in blocks, from input to output.
    """
    height = {id(variable): len(blocks) - number for number, block in enumerate(blocks) for layer in block
              for variable in layer.weights}
    return [height.get(id(variable), 0) for variable in variables]


def optimizer_for(plan: Plan, learning_rate: Any, heights: Sequence[int], batches: int) -> Any:
    """AdamW for the variables of these heights. learning_rate: a schedule, by updates. batches: in one epoch."""
    multipliers = [plan.layer_decay ** height for height in heights]
    starts = [max(0, height - 1) * batches if plan.gradual else 0 for height in heights]
    if plan.accumulate == 1:
        return LayerwiseAdamW(multipliers, starts, plan.weight_decay, learning_rate)
    return LayerwiseAdamW(multipliers, starts, plan.weight_decay, EachUpdate(learning_rate, plan.accumulate),
                          gradient_accumulation_steps=plan.accumulate)


class LayerwiseAdamW(Adam):
    """AdamW (Loshchilov and Hutter 2019) whose learning rate has a multiplier for each variable, and is 0 for a
    variable before its start, counted in batches. Weight decay uses the same rate, so that a rate of 0 leaves a
    variable as it is.

    A variable that waits still collects the moments of its gradients. That costs time; but were they empty when it
    starts, Adam, whose bias correction counts the steps of all, would start with steps of three times the rate.
    """

    def __init__(self, multipliers: Sequence[float], starts: Sequence[int], decay: float, learning_rate: Any,
                 **more: Any) -> None:
        super().__init__(learning_rate, **more)
        self.multipliers, self.starts, self.decay = list(multipliers), list(starts), decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Called by Keras, a variable at a time."""
        index = self._get_variable_index(variable)
        rate = learning_rate * self.multipliers[index]
        if self.starts[index]:
            rate *= keras.ops.cast(self.iterations >= self.starts[index], "float32")
        self.assign_sub(variable, variable * (rate * self.decay))
        super().update_step(gradient, variable, rate)
