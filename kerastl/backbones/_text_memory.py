"""How much memory a text network needs, estimated before it runs."""

import re
from math import ceil

import numpy as np

from kerastl.backbones._spec import Backbone

SPARE = 100 * 2**20  # bytes, for what grows with none of the arguments


def text_memory(backbone: Backbone, batch: int, *, training: bool = False) -> int:
    """Estimated bytes for batches of `batch` texts of the maximum length (see `memory_needed`). training: with
    gradients and optimizer state for the weights that are trainable now."""
    length = backbone.input.record()["max_length"]
    if backbone.large:  # its weights are in memory already, so only the activations are still to come
        return memory_needed(0, 0, batch, length, backbone.dim, 1)
    total, trained = (sum(int(np.prod(weight.shape)) for weight in weights) for weights in
                      (backbone.model.weights, backbone.model.trainable_weights if training else []))
    matches = (re.match(backbone.spec.blocks, layer.name) for layer in backbone.model._flatten_layers())
    layers = len({match.group() for match in matches if match})
    return memory_needed(total, trained, batch, length, backbone.dim, max(1, layers))


def memory_needed(parameters: int, training_parameters: int, batch: int, length: int, dim: int, layers: int) -> int:
    """Bytes of float32 on a CPU for passes over batches of `batch` texts of `length` tokens.

    This counts weights, gradients, Adam's two moments and temporary values, and the activations that are stored for
    backpropagation through the layers above the lowest trainable one. It does not count what TensorFlow, Keras and
    KerasHub occupy themselves, about 0.8 GB.

    The formula is that of Korthikanti et al. 2022 (https://arxiv.org/abs/2205.05198); the factors were fitted to peak
    resident memory with TensorFlow 2.21 on 2 cores. In MiB, measured and estimated: bert_base without training, batches
    of 32 x 128, 784 and 867; of 64 x 256, 1339 and 1395. Training all of it, 16 x 128, 4857 (with XLA 4424) and 4913;
    8 x 256, 5228 and 5345; its last 2 blocks, 16 x 128, 1364 and 1416. minilm, all, 16 x 256, 2522 and 2546. The
    largest errors in 13 cases were 5% too low (bert_base, last 6 blocks) and 12% too high (minilm without training).
    """
    heads = max(12, dim // 64)  # each stores its attention map, all tokens by all tokens
    floats = 10 * dim + heads * length
    weights = 6 * parameters  # 2 bytes each for a copy of the kernels in oneDNN's layout
    if training_parameters:
        stored = min(layers, ceil(layers * training_parameters / parameters) + 1)
        floats = stored * (32 * dim + 3 * heads * length)
        weights = 4 * parameters + 16 * training_parameters
    return weights + 4 * batch * length * floats + SPARE
