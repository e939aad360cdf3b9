"""Text networks from folders that Hugging Face's transformers saved: config.json and safetensors.

KerasHub's own converters fail on models that were saved without a task's prefix or without a pooler, and keep
KerasHub's activation and epsilon even if config.json specifies others. Therefore the names are mapped here.
"""

import re
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones._weight_files import PICKLES, first_file, read_config, shards
from kerastl.errors import WeightsError

FLOATS = ("F16", "BF16", "F32", "F64")


@dataclass(frozen=True)
class Layout:
    """The names in a family's config.json and tensors. sizes: KerasHub's argument -> the field of config.json."""

    backbone: str  # class of keras_hub.models
    sizes: dict[str, str]
    activation: str  # field
    dropout: str  # field
    prefix: str  # of tensors in a model saved with a task's head
    block: str
    layers: dict[str, str]  # within a block: KerasHub's layer -> theirs
    epsilon: float | None = None  # of layer normalization; None: read from config.json
    segments: bool = False
    offset: bool = False  # position embeddings up to the padding id are never used


_BLOCK = {
    "self_attention_layer/query": "attention.self.query", "self_attention_layer/key": "attention.self.key",
    "self_attention_layer/value": "attention.self.value",
    "self_attention_layer/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense", "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
}
_SIZES = {
    "vocabulary_size": "vocab_size", "num_layers": "num_hidden_layers", "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size", "intermediate_dim": "intermediate_size",
    "max_sequence_length": "max_position_embeddings",
}
_bert = partial(Layout, sizes=_SIZES, activation="hidden_act", dropout="hidden_dropout_prob", block="encoder.layer",
                layers=_BLOCK)
LAYOUTS = {
    "bert": _bert("BertBackbone", prefix="bert.", segments=True),
    "roberta": _bert("RobertaBackbone", prefix="roberta.", offset=True),
    "xlm-roberta": _bert("XLMRobertaBackbone", prefix="roberta.", offset=True),
    "distilbert": Layout(
        "DistilBertBackbone", activation="activation", dropout="dropout", prefix="distilbert.",
        block="transformer.layer", epsilon=1e-12,
        sizes={**_SIZES, "num_layers": "n_layers", "num_heads": "n_heads", "hidden_dim": "dim",
               "intermediate_dim": "hidden_dim"},
        layers={
            "self_attention_layer/query": "attention.q_lin", "self_attention_layer/key": "attention.k_lin",
            "self_attention_layer/value": "attention.v_lin",
            "self_attention_layer/attention_output": "attention.out_lin", "self_attention_layer_norm": "sa_layer_norm",
            "feedforward_intermediate_dense": "ffn.lin1", "feedforward_output_dense": "ffn.lin2",
            "feedforward_layer_norm": "output_layer_norm",
        }),
}
_OUTSIDE = {  # layers outside the blocks
    "token_embedding": "embeddings.word_embeddings", "position_embedding": "embeddings.position_embeddings",
    "segment_embedding": "embeddings.token_type_embeddings", "embeddings_layer_norm": "embeddings.LayerNorm",
    "pooled_dense": "pooler.dense",
}
_KINDS = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "embeddings": "weight"}
_UNUSED = re.compile(  # task heads, and buffers that are not weights
    r"(cls|lm_head|classifier|pre_classifier|qa_outputs|vocab_(transform|layer_norm|projector))\."
    r"|embeddings\.(position_ids|token_type_ids)$")


@dataclass(frozen=True)
class Loaded:
    """A network with a folder's weights: the layers of a KerasHub backbone in a plain functional model.

    A plain model, because KerasHub saves only the sizes of a backbone, which would then be loaded with KerasHub's
    activation and epsilon instead of the folder's. rows: of the token embedding. pooler: whether the folder has BERT's
    pooler.
    """

    backbone: Any
    rows: int
    pooler: bool


def load(folder: Path, family: str) -> Loaded:
    """The network of a folder. family: one of `LAYOUTS`, the "model_type" in config.json.

    Raises WeightsError that names the problem: another family, a config that changes the network, weights stored only
    as a pickle, a tensor that is missing, unexpected or of another shape.
    """
    import keras
    import keras_hub

    layout = LAYOUTS[family]
    config = _checked(read_config(folder), folder, family)
    places = _places(folder, layout)
    sizes: dict[str, Any] = {ours: config[theirs] for ours, theirs in layout.sizes.items()}
    if layout.segments:
        sizes["num_segments"] = config.get("type_vocab_size", 2)
    first = config.get("pad_token_id", 1) + 1 if layout.offset else 0
    sizes["max_sequence_length"] -= first
    backbone = getattr(keras_hub.models, layout.backbone)(dropout=config.get(layout.dropout, 0.1), **sizes)
    epsilon = layout.epsilon or config.get("layer_norm_eps", 1e-12)
    backbone.embeddings_layer_norm.epsilon = epsilon
    for block in backbone.transformer_layers:
        # KerasHub's BERT uses the tanh approximation of Google's first code; "gelu" in config.json is the exact one.
        block.activation = block._feedforward_intermediate_dense.activation = keras.activations.gelu
        block.layer_norm_epsilon = epsilon
        block._self_attention_layer_norm.epsilon = block._feedforward_layer_norm.epsilon = epsilon
    pooler = _fill(backbone, places, layout, first, folder)
    return Loaded(keras.Model(backbone.input, backbone.output, name="encoder"), config["vocab_size"], pooler)


def _checked(config: dict[str, Any], folder: Path, family: str) -> dict[str, Any]:
    """The config, if it is of the family and changes nothing in the network but its sizes."""
    if config.get("model_type") != family:
        raise WeightsError(f"{folder} is of the family {config.get('model_type')!r} (model_type in config.json)",
                           f"the family {family!r}", "choose a backbone of that family: kerastl backbones")
    layout = LAYOUTS[family]
    counts = [*(["type_vocab_size"] if "type_vocab_size" in config else []), *layout.sizes.values()]
    faults = [f"no {field}" if field not in config else f"{field} {config[field]!r}, not a whole number above 0"
              for field in counts if not (type(config.get(field)) is int and config[field] > 0)]
    if layout.offset and not faults and config.get("pad_token_id", 1) not in range(config[counts[-1]] - 1):
        faults.append(f"pad_token_id {config['pad_token_id']!r}, which is outside the table of positions")
    allowed: dict[str, tuple[Any, ...]] = {
        layout.activation: ("gelu",), "position_embedding_type": ("absolute", None), "is_decoder": (False, None),
        "add_cross_attention": (False, None), "quantization_config": (None,), "pruned_heads": ({}, None),
    }
    faults += [f"{field} {config[field]!r}, not {' or '.join(repr(v) for v in values if v is not None) or 'any'}"
               for field, values in allowed.items() if field in config and config[field] not in values]
    heads, dim = layout.sizes["num_heads"], layout.sizes["hidden_dim"]
    if not faults and config[dim] % config[heads]:
        faults.append(f"{dim} {config[dim]} is not a multiple of {heads} {config[heads]}")
    if faults:
        raise WeightsError(f"{folder / 'config.json'}: {'; '.join(faults)}", f"a plain {family} network",
                           "choose other weights: this network would differ from the one that was trained")
    return config


def _places(folder: Path, layout: Layout) -> dict[str, tuple[Any, str]]:
    """Each tensor's name without prefixes -> an open file and the tensor's name in it. No value is read yet."""
    from safetensors import SafetensorError, safe_open

    places: dict[str, tuple[Any, str]] = {}
    for path in _files(folder):
        try:
            file: Any = safe_open(path, framework="numpy")
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path} is damaged or missing: {error}", "a complete safetensors file",
                               "download it again") from error
        for name in file.keys():
            bare = _bare(name, layout.prefix)
            if bare in places:
                raise WeightsError(f"{folder} contains the tensor {bare} twice, once as {name}", "each tensor once",
                                   "save the model again")
            places[bare] = (file, name)
    return places


def _files(folder: Path) -> list[Path]:
    first = first_file(folder)
    if first.name not in PICKLES:
        return shards(first)
    code = ("import sys; from transformers import AutoModel as M, AutoTokenizer as T; "
            "[kind.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2]) for kind in (M, T)]")
    raise WeightsError(
        f"{folder} has its weights only as a pickle ({first.name}), and loading a pickle can run arbitrary code",
        "safetensors", f"if you trust it, convert it on a machine with transformers: python -c \"{code}\" {folder} OUT")


def _bare(name: str, prefix: str) -> str:
    """A tensor's name without the prefixes that a task adds, with gamma and beta of the first BERT renamed."""
    name = name.removeprefix("model.").removeprefix(prefix)
    return re.sub(r"LayerNorm\.(gamma|beta)$", lambda match: f"LayerNorm.{_KINDS[match[1]]}", name)


def _named(path: str, layout: Layout) -> str:
    """The tensor of a KerasHub weight: transformer_layer_0/self_attention_layer/query/kernel ->
    encoder.layer.0.attention.self.query.weight."""
    layer, _, kind = path.rpartition("/")
    block = re.match(r"transformer_layer_(\d+)/(.+)", layer)
    if block:
        return f"{layout.block}.{block[1]}.{layout.layers[block[2]]}.{_KINDS[kind]}"
    return f"{_OUTSIDE[layer.rpartition('/')[2]]}.{_KINDS[kind]}"


def _fill(backbone: Any, places: dict[str, tuple[Any, str]], layout: Layout, first: int, folder: Path) -> bool:
    """Copy every tensor to its weight, one at a time. Returns whether the folder has a pooler."""
    names = {_named(weight.path, layout): weight for weight in backbone.weights}
    types = "embeddings.token_type_embeddings.weight"
    extra = {types} if layout.offset else set()  # RoBERTa adds its only row to every position
    pooler = any(name.startswith("pooler.") for name in places)
    missing = [name for name in (*names, *extra) if name not in places and (pooler or not name.startswith("pooler."))]
    unused = {name for name in places if _UNUSED.match(name) or (not layout.segments and name.startswith("pooler."))}
    unexpected = sorted(set(places) - set(names) - extra - unused)
    for problem, tensors in (("has no tensor", missing), ("has an unexpected tensor", unexpected)):
        if tensors:
            raise WeightsError(f"{folder} {problem} {', '.join(tensors[:3])}{' ...' if len(tensors) > 3 else ''}",
                               f"the {len(names)} tensors of a {layout.backbone} with {backbone.num_layers} layers",
                               "check that config.json and the weights belong to the same model")
    for name, weight in names.items():
        if name not in places:
            continue
        shape = _shape(weight)
        if name == "embeddings.position_embeddings.weight":
            value = _read(places[name], (shape[0] + first, shape[1]), folder)[first:]
            if extra:
                value = value + _read(places[types], (None, shape[1]), folder)[0]
        else:
            value = _read(places[name], shape, folder)
        weight.assign((value.T if weight.path.endswith("/kernel") else value).reshape(weight.shape))
    return pooler and layout.segments


def _shape(weight: Any) -> tuple[int, ...]:
    """The shape of a weight's tensor: kernels are [out, in], with the attention heads in one dimension."""
    if not weight.path.endswith("/kernel"):
        return (prod(weight.shape),) if weight.path.endswith("/bias") else tuple(weight.shape)
    inner = 2 if "/attention_output/" in weight.path else 1  # its inputs are [heads, head]
    return prod(weight.shape[inner:]), prod(weight.shape[:inner])


def _read(place: tuple[Any, str], shape: tuple[int | None, ...], folder: Path) -> NDArray[np.float32]:
    """One tensor as float32. Raises WeightsError if its shape is not `shape` (None: any size) or it is not a float."""
    import ml_dtypes  # noqa: F401 - gives NumPy the type bfloat16

    file, name = place
    header = file.get_slice(name)
    got, kind = tuple(header.get_shape()), header.get_dtype()
    if len(got) != len(shape) or any(n not in (m, None) for n, m in zip(shape, got, strict=True)):
        raise WeightsError(f"{folder}: the tensor {name} has the shape {list(got)}",
                           f"{['any' if n is None else n for n in shape]}, as config.json says",
                           "check that config.json and the weights belong to the same model")
    if kind not in FLOATS:
        raise WeightsError(f"{folder}: the tensor {name} is of type {kind}", f"one of {', '.join(FLOATS)}",
                           "choose weights that are not quantized")
    return np.asarray(file.get_tensor(name), np.float32)
