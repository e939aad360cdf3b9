"""A GLM network as a KerasHub backbone: without weights, from a published folder, or with random weights."""

from pathlib import Path
from typing import Any

import keras
import keras_hub
from keras import layers

from kerastl.backbones._glm.assign import fill, random_tensors
from kerastl.backbones._glm.checkpoint import Checkpoint, open_checkpoint
from kerastl.backbones._glm.config import COUNTS, read_sizes
from kerastl.backbones._glm.layers import BLOCK, PACKAGE, GlmBlock, GlmPlaces, KeptEmbedding
from kerastl.backbones._glm.names import shapes
from kerastl.backbones._glm.sizes import Sizes
from kerastl.backbones._weight_files import read_config
from kerastl.devices import has_gpu
from kerastl.errors import WeightsError
from kerastl.runtime import cpu_has_bfloat16


@keras.saving.register_keras_serializable(PACKAGE)
class GlmBackbone(keras_hub.models.Backbone):
    """token_ids and padding_mask, [batch, length] int32 -> the normalized last states, [batch, length, dim] float32.

    Arguments have KerasHub's names where it has them; `kept` is the storage type of the weights (see `runtime.KEPT`).
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
        """The arguments that it was built with."""
        return {**super().get_config(), **arguments(self.sizes), "kept": self.kept}

    @classmethod
    def from_preset(cls, preset: str, load_weights: bool = True, **more: Any) -> Any:
        """From a published folder, or from one that KerasHub's `save_to_preset` wrote. more: `kept` and `dtype`."""
        if is_published(preset):
            return backbone_from(preset, load_weights, **more)
        return super().from_preset(preset, load_weights, **more)


def arguments(sizes: Sizes) -> dict[str, Any]:
    """The backbone's arguments for these sizes."""
    return {"vocabulary_size": sizes.vocabulary, "num_layers": sizes.layers, "num_query_heads": sizes.heads,
            "num_key_value_heads": sizes.groups, "head_dim": sizes.head_dim, "hidden_dim": sizes.dim,
            "intermediate_dim": sizes.inner, "rotary_dim": sizes.rotary, "rope_max_wavelength": sizes.base,
            "layer_norm_epsilon": sizes.epsilon, "max_sequence_length": sizes.length}


def embedding_of(sizes: Sizes, kept: str) -> Any:
    """The token embedding."""
    if kept == "float32":
        return layers.Embedding(sizes.vocabulary, sizes.dim, dtype="float32", name="token_embedding")
    return KeptEmbedding(sizes.vocabulary, sizes.dim, kept, dtype="float32", name="token_embedding")


def block_of(sizes: Sizes, kept: str, name: str, dtype: Any = None) -> GlmBlock:
    """One block."""
    return GlmBlock(sizes.heads, sizes.head_dim, sizes.groups, sizes.inner, sizes.epsilon, kept, dtype=dtype, name=name)


def norm_of(sizes: Sizes) -> Any:
    """The final norm."""
    return layers.RMSNormalization(epsilon=sizes.epsilon, dtype="float32", name="final_norm")


def is_published(folder: str) -> bool:
    """Whether a path is a published folder of the family, according to its config.json."""
    try:
        return read_config(Path(folder)).get("model_type") in list(COUNTS)
    except WeightsError:  # the name of a preset, or another kind of folder
        return False


def backbone_from(folder: str, load_weights: bool = True, *, kept: str = "float32", dtype: Any = None) -> GlmBackbone:
    """The network of a published folder, in memory. Raises WeightsError for a folder that is not one of the family."""
    sizes, layout = read_sizes(Path(folder))
    if not load_weights:
        return GlmBackbone(**arguments(sizes), kept=kept, dtype=dtype)
    checkpoint = open_checkpoint(Path(folder), sizes, layout)
    return made(sizes, checkpoint, kept, dtype or compute_type(kept))


def made(sizes: Sizes, checkpoint: Checkpoint | None, kept: str, compute: str) -> GlmBackbone:
    """The network with the weights of a checkpoint, or with random ones."""
    backbone = GlmBackbone(**arguments(sizes), kept=kept, dtype=compute)
    if checkpoint is None and kept == "float32":
        return backbone  # Keras' own random weights
    tensors = checkpoint.tensors(shapes(sizes)) if checkpoint else random_tensors(sizes)
    fill(backbone, tensors)
    return backbone


def compute_type(kept: str) -> str:
    """What a network computes in: bfloat16 if its weights are no more precise and the hardware supports it."""
    return "bfloat16" if kept != "float32" and (cpu_has_bfloat16() or has_gpu()) else "float32"
