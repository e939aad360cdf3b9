"""AdamW with a rate of each block's own, from an epoch of its own."""

from collections.abc import Sequence
from typing import Any

import keras

from kerastl.training.fine_tuning.plan import EachUpdate, Plan


def heights(blocks: Sequence[Sequence[Any]], variables: Sequence[Any]) -> list[int]:
    """How far from the top each variable is: 0 in the head, 1 in the last block, 2 in the one before, and so on.

    blocks: the backbone's layers in blocks, from input to output.
    """
    height = {id(variable): len(blocks) - number for number, block in enumerate(blocks) for layer in block
              for variable in layer.weights}
    return [height.get(id(variable), 0) for variable in variables]


def optimizer_for(plan: Plan, rate: Any, heights: Sequence[int], batches: int) -> Any:
    """AdamW for the variables whose heights these are. rate: a schedule, by updates. batches: of one epoch."""
    multipliers = [plan.layer_decay ** height for height in heights]
    starts = [max(0, height - 1) * batches if plan.gradual else 0 for height in heights]
    if plan.accumulate == 1:
        return LayerwiseAdamW(multipliers, starts, plan.weight_decay, rate)
    return LayerwiseAdamW(multipliers, starts, plan.weight_decay, EachUpdate(rate, plan.accumulate),
                          gradient_accumulation_steps=plan.accumulate)


class LayerwiseAdamW(keras.optimizers.Adam):
    """AdamW (Loshchilov and Hutter 2019) whose rate is multiplied by a number of each variable's own, and is 0 before
    a batch of its own. Decay is by the same rate, so that a rate of 0 leaves a variable as it is.

    What waits still gathers its gradients' moments. They cost time, but were they empty when it begins, Adam, whose
    correction goes by the steps of all, would begin with steps of three times the rate.
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
