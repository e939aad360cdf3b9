"""How much memory a text network needs, before it is tried."""

from math import ceil

SPARE = 100 * 2**20  # bytes, for what does not grow with anything here


def memory_needed(parameters: int, training_parameters: int, batch: int, length: int, dim: int, layers: int) -> int:
    """Bytes of float32 on a CPU for passes over batches of `batch` texts of `length` tokens.

    Counted are weights, gradients, the two moments of Adam and its temporary values, and the activations that are kept
    for going back through the layers above the lowest that trains. Not what TensorFlow, Keras and KerasHub take
    themselves, about 0.8 GB.

    The form is that of Korthikanti et al. 2022 (https://arxiv.org/abs/2205.05198); the factors were measured, as peak
    resident memory with TensorFlow 2.21 on 2 cores. In MiB, measured and estimated: bert_base without training, batches
    of 32 x 128, 784 and 867; of 64 x 256, 1339 and 1395. All of it training, 16 x 128, 4857 (with XLA 4424) and 4913;
    8 x 256, 5228 and 5345; its last 2 blocks, 16 x 128, 1364 and 1416. minilm, all, 16 x 256, 2522 and 2546. Of 13
    cases the furthest off were 5% too low (bert_base, last 6 blocks) and 12% too high (minilm without training).
    """
    heads = max(12, dim // 64)  # each keeps its map of all tokens to all tokens
    floats = 10 * dim + heads * length
    weights = 6 * parameters  # 2 bytes each for kernels in the order oneDNN likes
    if training_parameters:
        kept = min(layers, ceil(layers * training_parameters / parameters) + 1)
        floats = kept * (32 * dim + 3 * heads * length)
        weights = 4 * parameters + 16 * training_parameters
    return weights + 4 * batch * length * floats + SPARE
