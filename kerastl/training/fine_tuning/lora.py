"""LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685): of a kernel only an update of low rank is trained, A times
B."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import OptionError

TARGETS = ("query", "value", "query_dense", "value_dense")  # as KerasHub's `backbone.enable_lora` names them


def adapt(blocks: Sequence[Sequence[Any]], rank: int) -> list[Any]:
    """In these unfrozen blocks, train only an update of this rank to each query and value kernel. Returns the layers
    that have one.

    KerasHub's own `enable_lora` does so in all blocks, and also trains the biases of these layers; here they stay
    frozen. Raises OptionError when there is no attention in the blocks.
    """
    layers = [layer for block in blocks for layer in block]
    projections = [part for layer in layers for part in layer._flatten_layers()  # also in KerasHub's composite layers
                   if part.name in TARGETS and hasattr(part, "enable_lora")]
    if not projections:
        raise OptionError(f"`lora` is {rank}, but the unfrozen blocks have no attention", "attention with query and "
                          "value kernels in the unfrozen blocks", "unfreeze more blocks, or omit `lora`")
    for layer in layers:
        for weight in layer.weights:
            weight.trainable = False
    for projection in projections:
        projection.enable_lora(rank)
    return projections


def merged(projection: Any) -> NDArray[np.float32]:
    """The kernel with its update, in float32; Keras' own `kernel` is rounded to the type the layer computes in."""
    kernel, a, b = (np.asarray(array, np.float32)
                    for array in (projection._kernel, projection.lora_kernel_a, projection.lora_kernel_b))
    return kernel + np.float32(projection.lora_alpha / projection.lora_rank) * (a @ b)
