"""LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685): of a kernel only a change of low rank trains, A times B."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import OptionError

TARGETS = ("query", "value", "query_dense", "value_dense")  # as KerasHub's `backbone.enable_lora` names them


def adapt(blocks: Sequence[Sequence[Any]], rank: int) -> list[Any]:
    """Of these blocks, which are unfrozen, let only a change of the given rank to each query and value kernel train.
    Returns the layers that have one.

    KerasHub's own `enable_lora` does so for all blocks, and trains the biases of these layers, too; here they rest.
    Raises OptionError when there is no attention in the blocks.
    """
    layers = [layer for block in blocks for layer in block]
    parts = [part for layer in layers for part in layer._flatten_layers()  # also within KerasHub's composite layers
             if part.name in TARGETS and hasattr(part, "enable_lora")]
    if not parts:
        raise OptionError(f"lora {rank}", "attention with query and value kernels in the blocks that are unfrozen",
                          "unfreeze more blocks, or leave it out")
    for layer in layers:
        for weight in layer.weights:
            weight.trainable = False
    for part in parts:
        part.enable_lora(rank)
    return parts


def merged(part: Any) -> NDArray[np.float32]:
    """The kernel with its change, in float32; Keras' `kernel` is rounded to what the layer computes in."""
    kernel, a, b = (np.asarray(one, np.float32) for one in (part._kernel, part.lora_kernel_a, part.lora_kernel_b))
    return kernel + np.float32(part.lora_alpha / part.lora_rank) * (a @ b)
