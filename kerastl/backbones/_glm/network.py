"""A GLM network as a KerasHub backbone, and its weights, by the names that checkpoints are read in."""

from collections.abc import Iterator
from typing import Any

import keras
import keras_hub
import numpy as np
from keras import layers
from numpy.typing import NDArray

from kerastl.backbones._glm.layers import PACKAGE, GlmBlock, GlmPlaces, KeptEmbedding, group_of
from kerastl.backbones._glm.sizes import Sizes

BLOCK = "transformer_layer_{}"  # counted from 0
SLICE = 2**22  # numbers that are rounded at a time


@keras.saving.register_keras_serializable(PACKAGE)
class GlmBackbone(keras_hub.models.Backbone):
    """token_ids and padding_mask, [batch, length] int32 -> the last states, normed, [batch, length, dim] float32.

    Arguments are KerasHub's where it has a name for them; `kept` is what the weights are kept in (see `runtime.KEPT`).
    """

    def __init__(self, vocabulary_size: int, num_layers: int, num_query_heads: int, num_key_value_heads: int,
                 head_dim: int, hidden_dim: int, intermediate_dim: int, rotary_dim: int, rope_max_wavelength: float,
                 layer_norm_epsilon: float, max_sequence_length: int, kept: str = "float32", dtype: Any = None,
                 **more: Any) -> None:
        self.sizes = Sizes(num_layers, hidden_dim, intermediate_dim, num_query_heads, head_dim, num_key_value_heads,
                           vocabulary_size, layer_norm_epsilon, rotary_dim, rope_max_wavelength, max_sequence_length)
        self.kept = kept
        tokens = keras.Input((None,), dtype="int32", name="token_ids")
        mask = keras.Input((None,), dtype="int32", name="padding_mask")
        states = embedding_of(self.sizes, kept)(tokens)
        angles, bias = GlmPlaces(rotary_dim, rope_max_wavelength, name="places")(mask)
        for number in range(num_layers):
            states = block_of(self.sizes, kept, BLOCK.format(number), dtype)(states, angles, bias)
        states = norm_of(self.sizes)(states)
        super().__init__(inputs={"token_ids": tokens, "padding_mask": mask}, outputs=states, dtype=dtype, **more)

    def get_config(self) -> dict[str, Any]:
        """The arguments it was made with."""
        return {**super().get_config(), **arguments(self.sizes), "kept": self.kept}

    @classmethod
    def from_preset(cls, preset: str, load_weights: bool = True, **more: Any) -> Any:
        """From a folder as published, or as KerasHub's `save_to_preset` wrote it. more: `kept` and `dtype`."""
        from kerastl.backbones._glm import folder

        if folder.is_published(preset):
            return folder.backbone_from(preset, load_weights, **more)
        return super().from_preset(preset, load_weights, **more)


def arguments(sizes: Sizes) -> dict[str, Any]:
    """Sizes as the backbone's arguments."""
    return {"vocabulary_size": sizes.vocabulary, "num_layers": sizes.layers, "num_query_heads": sizes.heads,
            "num_key_value_heads": sizes.groups, "head_dim": sizes.head_dim, "hidden_dim": sizes.dim,
            "intermediate_dim": sizes.inner, "rotary_dim": sizes.rotary, "rope_max_wavelength": sizes.base,
            "layer_norm_epsilon": sizes.epsilon, "max_sequence_length": sizes.length}


def embedding_of(sizes: Sizes, kept: str) -> Any:
    """The layer of tokens."""
    if kept == "float32":
        return layers.Embedding(sizes.vocabulary, sizes.dim, dtype="float32", name="token_embedding")
    return KeptEmbedding(sizes.vocabulary, sizes.dim, kept, dtype="float32", name="token_embedding")


def block_of(sizes: Sizes, kept: str, name: str, dtype: Any = None) -> GlmBlock:
    """One block."""
    return GlmBlock(sizes.heads, sizes.head_dim, sizes.groups, sizes.inner, sizes.epsilon, kept, dtype=dtype, name=name)


def norm_of(sizes: Sizes) -> Any:
    """The last layer."""
    return layers.RMSNormalization(epsilon=sizes.epsilon, dtype="float32", name="final_norm")


def set_tensor(layer: Any, name: str, tensor: NDArray[Any]) -> None:
    """Set one weight of a block, of the embedding or of the last norm. name: within the block, as checkpoints are read
    (`query`, `query_bias`, `attention_norm`), or "" for the layer's own. tensor: [outputs, inputs], as torch has it."""
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
            some, scales = rounded(tensor[rows], 1, 127)
            values[:, rows], scale[rows] = some.T, scales[:, 0]
        layer.kernel.assign(values)
        layer.scale.assign(scale)
    elif kept == "int4":
        packed, groups = np.empty((inputs // 2, units), np.uint8), inputs // group_of(inputs)
        scale = np.empty((groups, units), np.float16)
        for rows in _slices(tensor):
            some, scales = rounded(tensor[rows].reshape(-1, groups, group_of(inputs)), 2, 7, np.float16)
            bits = (some.reshape(-1, inputs) + 8).astype(np.uint8)
            packed[:, rows] = (bits[:, :inputs // 2] | bits[:, inputs // 2:] << 4).T
            scale[:, rows] = scales[..., 0].T
        layer.kernel.assign(packed)
        layer.scale.assign(scale)
    else:
        layer.kernel.assign(tensor.T)


def _slices(tensor: NDArray[Any]) -> Iterator[slice]:
    """A tensor's rows, few enough at a time that they may be copied."""
    step = max(1, SLICE // tensor.shape[1])
    return (slice(start, start + step) for start in range(0, len(tensor), step))


def rounded(values: NDArray[Any], axis: int, most: int, scale_type: type[np.floating[Any]] = np.float32
            ) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Values as whole numbers up to `most`, and the scales that turn them back, one a line along `axis`, as they are
    when kept in `scale_type`."""
    values = values.astype(np.float32)
    scale = np.maximum(np.abs(values).max(axis=axis, keepdims=True) / most, 1e-8)
    scale = np.maximum(scale.astype(scale_type), np.finfo(scale_type).smallest_subnormal).astype(np.float32)
    return np.clip(np.rint(values / scale), -most, most).astype(np.int8), scale
