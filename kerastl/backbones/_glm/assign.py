"""Copies tensors into the layers of a GLM network, quantized to the layers' storage type; also random weights."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import layers
from numpy.typing import NDArray

from kerastl.backbones._glm.layers import BLOCK, KeptEmbedding, group_of
from kerastl.backbones._glm.names import shapes
from kerastl.backbones._glm.sizes import Sizes

SLICE = 2**22  # values that are quantized at a time


def fill(backbone: Any, tensors: Iterator[tuple[str, NDArray[Any]]]) -> None:
    """Set every weight, with one tensor in memory at a time."""
    for name, tensor in tensors:
        layer, _, part = name.partition("/")
        layer = BLOCK.format(layer.removeprefix("layer_")) if part else layer
        set_tensor(backbone.get_layer(layer), part, tensor)
        del tensor  # before the next one is read


def set_tensor(layer: Any, name: str, tensor: NDArray[Any]) -> None:
    """Set one weight of a block, of the embedding or of the last norm. name: within the block, as in `names.py`
    (`query`, `query_bias`, `attention_norm`), or "" for the layer's own. tensor: [outputs, inputs], as in torch."""
    part, of_bias = name.removesuffix("_bias"), name.endswith("_bias")
    target = getattr(layer, part) if part else layer
    if of_bias:
        target.bias.assign(tensor)
    elif isinstance(target, layers.RMSNormalization):
        target.scale.assign(tensor)
    elif isinstance(target, layers.Embedding):
        target.embeddings.assign(tensor)
    elif isinstance(target, KeptEmbedding):
        _set_table(target, tensor)
    else:
        _set_kernel(target, tensor)


def _set_table(layer: KeptEmbedding, tensor: NDArray[Any]) -> None:
    if layer.kept == "bfloat16":
        layer.kernel.assign(tensor)
        return
    values, scale = np.empty(tensor.shape, np.int8), np.empty((len(tensor), 1), np.float32)
    for rows in _slices(tensor):
        values[rows], scale[rows] = rounded(tensor[rows], 1, 127)
    layer.kernel.assign(values)
    layer.scale.assign(scale)


def _set_kernel(layer: Any, tensor: NDArray[Any]) -> None:
    kept, (units, inputs) = getattr(layer, "kept", "float32"), tensor.shape
    if kept == "int8":
        values, scale = np.empty((inputs, units), np.int8), np.empty(units, np.float32)
        for rows in _slices(tensor):
            quantized, scales = rounded(tensor[rows], 1, 127)
            values[:, rows], scale[rows] = quantized.T, scales[:, 0]
        layer.kernel.assign(values)
        layer.scale.assign(scale)
    elif kept == "int4":
        packed, groups = np.empty((inputs // 2, units), np.uint8), inputs // group_of(inputs)
        scale = np.empty((groups, units), np.float16)
        for rows in _slices(tensor):
            quantized, scales = rounded(tensor[rows].reshape(-1, groups, group_of(inputs)), 2, 7, np.float16)
            bits = (quantized.reshape(-1, inputs) + 8).astype(np.uint8)
            packed[:, rows] = (bits[:, :inputs // 2] | bits[:, inputs // 2:] << 4).T
            scale[:, rows] = scales[..., 0].T
        layer.kernel.assign(packed)
        layer.scale.assign(scale)
    else:
        layer.kernel.assign(tensor.T)


def _slices(tensor: NDArray[Any]) -> Iterator[slice]:
    """Slices of a tensor's rows that are small enough to be copied."""
    step = max(1, SLICE // tensor.shape[1])
    return (slice(start, start + step) for start in range(0, len(tensor), step))


def rounded(values: NDArray[Any], axis: int, most: int, scale_type: type[np.floating[Any]] = np.float32
            ) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Values as integers from -most to most, and the scales that restore them, one for each slice along `axis`, rounded
    to `scale_type`."""
    values = values.astype(np.float32)
    scale = np.maximum(np.abs(values).max(axis=axis, keepdims=True) / most, 1e-8)
    scale = np.maximum(scale.astype(scale_type), np.finfo(scale_type).smallest_subnormal).astype(np.float32)
    return np.clip(np.rint(values / scale), -most, most).astype(np.int8), scale


def random_tensors(sizes: Sizes, seed: int = 0) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Random weights, the same for each seed: kernels that preserve the scale of their inputs, and norms of 1. Each is
    [outputs, inputs]."""
    generator = np.random.default_rng(seed)
    for name, shape in shapes(sizes).items():
        if name.endswith("norm"):
            yield name, np.ones(shape, np.float32)
        elif name.endswith("_bias"):
            yield name, np.zeros(shape, np.float32)
        else:
            tensor = generator.standard_normal(shape, np.float32)
            tensor *= np.float32(shape[-1] ** -0.5)
            yield name, tensor
