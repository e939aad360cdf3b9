"""The sizes of a GLM network from config.json, in the original layout or in that of transformers."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kerastl.backbones._glm.sizes import Sizes
from kerastl.backbones._weight_files import read_config
from kerastl.errors import WeightsError

BASE = 10_000.0  # of the rotary wavelengths, before rope_ratio
COUNTS = {  # by model_type: field of `Sizes` -> field of config.json
    "chatglm": {"layers": "num_layers", "dim": "hidden_size", "inner": "ffn_hidden_size",
                "heads": "num_attention_heads", "head_dim": "kv_channels", "vocabulary": "padded_vocab_size",
                "length": "seq_length"},
    "glm": {"layers": "num_hidden_layers", "dim": "hidden_size", "inner": "intermediate_size",
            "heads": "num_attention_heads", "groups": "num_key_value_heads", "head_dim": "head_dim",
            "vocabulary": "vocab_size", "length": "max_position_embeddings"},
}
EPSILON = {"chatglm": "layernorm_epsilon", "glm": "rms_norm_eps"}
ABSENT = object()
ALLOWED: dict[str, dict[str, tuple[Any, ...]]] = {  # fields that change the network, and their allowed values
    "chatglm": {
        "rmsnorm": (True, ABSENT), "add_qkv_bias": (True,), "add_bias_linear": (False, ABSENT),
        "apply_residual_connection_post_layernorm": (False, ABSENT), "post_layer_norm": (True, ABSENT),
        "original_rope": (True, ABSENT), "interleaved_qkv": (False, ABSENT), "quantization_bit": (0, None, ABSENT),
        "pre_seq_len": (None, ABSENT), "vision_config": (None, ABSENT),
    },
    "glm": {"attention_bias": (True,), "hidden_act": ("silu",), "quantization_config": (None, ABSENT)},
}


def read_sizes(folder: Path) -> tuple[Sizes, str]:
    """A folder's sizes, and the layout of its tensors: "original" or "transformers".

    Raises WeightsError for another family, or one that lists every field that is missing, invalid, or changes the
    network.
    """
    config, path = read_config(folder), folder / "config.json"
    family = config.get("model_type")
    if not isinstance(family, str) or family not in COUNTS:
        raise WeightsError(f"{folder} is a model of the family {family!r} (model_type in config.json)",
                           "'chatglm' (ChatGLM2-6B, ChatGLM3-6B, GLM-4-9B) or 'glm' (GLM-4-9B saved by transformers)",
                           "choose a backbone of that family: kerastl backbones")
    if family == "chatglm" and "padded_vocab_size" not in config and {"position_encoding_2d",
                                                                       "inner_hidden_size"} & set(config):
        raise WeightsError(f"{folder} is the first ChatGLM-6B (position_encoding_2d, inner_hidden_size in "
                           "config.json), which has another architecture",
                           "ChatGLM2-6B, ChatGLM3-6B or GLM-4-9B", "choose one of these")
    faults, values = _counts(config, COUNTS[family])
    for name, check in ({"groups": _groups, "base": _ratio} if family == "chatglm" else {"base": _theta}).items():
        values[name] = check(config, faults)
    values["epsilon"] = _number(config, EPSILON[family], faults)
    for field, allowed in ALLOWED[family].items():
        if field in config or ABSENT not in allowed:
            _checked(config, field, faults, partial(_is_one_of, allowed), json.dumps(allowed[0]))
    values["rotary"] = _rotary(config, values.get("head_dim"), faults)
    if not faults and values["heads"] % values["groups"]:
        faults.append(f"{values['heads']} heads are not a multiple of {values['groups']} key-value heads")
    if faults:
        raise WeightsError(f"{path}: {'; '.join(faults)}", "a plain network of the GLM family",
                           "choose other weights: this network would differ from the one that was trained")
    return Sizes(**values), "original" if family == "chatglm" else "transformers"


def _counts(config: dict[str, Any], fields: dict[str, str]) -> tuple[list[str], dict[str, Any]]:
    faults: list[str] = []
    return faults, {ours: _count(config, theirs, faults) for ours, theirs in fields.items()}


def _is_one_of(allowed: tuple[Any, ...], value: Any) -> bool:
    return any(type(value) is type(other) and value == other for other in allowed)


def _checked(config: dict[str, Any], field: str, faults: list[str], fits: Callable[[Any], bool], expected: str) -> Any:
    """A field's value; None, with a new entry in `faults`, if it is missing or does not fit."""
    if field in config and fits(config[field]):
        return config[field]
    faults.append(f"{field} {json.dumps(config[field])}, not {expected}" if field in config else f"no {field}")
    return None


def _count(config: dict[str, Any], field: str, faults: list[str]) -> Any:
    return _checked(config, field, faults, lambda value: type(value) is int and value > 0, "a whole number above 0")


def _number(config: dict[str, Any], field: str, faults: list[str]) -> Any:
    return _checked(config, field, faults, lambda value: type(value) in (int, float) and 0 < value < float("inf"),
                    "a number above 0")


def _groups(config: dict[str, Any], faults: list[str]) -> Any:
    """The number of key-value heads in the original layout."""
    shared = _checked(config, "multi_query_attention", faults, lambda value: type(value) is bool, "true or false")
    if shared is None:
        return None
    return _count(config, "multi_query_group_num", faults) if shared else config.get("num_attention_heads")


def _ratio(config: dict[str, Any], faults: list[str]) -> Any:
    """The rotary base in the original layout."""
    if "rope_ratio" not in config:
        return BASE
    ratio, name = _number(config, "rope_ratio", faults), str(config.get("_name_or_path"))
    if ratio is None:
        return None
    if ratio != 1 and "chatglm2" in name.lower():
        faults.append(f"rope_ratio {ratio} in a ChatGLM2 ({name}), whose code divides positions by it, while "
                      "ChatGLM3 and GLM-4 multiply the base")
    return BASE * ratio


def _theta(config: dict[str, Any], faults: list[str]) -> Any:
    """The rotary base in the layout of transformers: at the top level, or since version 5 in rope_parameters."""
    scaling, rope = config.get("rope_scaling"), config.get("rope_parameters")
    for field, value in (("rope_scaling", scaling), ("rope_parameters", rope)):
        if value is not None and (not isinstance(value, dict) or value.get("rope_type", "default") != "default"
                                  or value.get("type", "default") != "default"):
            faults.append(f"{field} {json.dumps(value)}, not of the type \"default\"")
    theta = _number(rope if isinstance(rope, dict) and "rope_theta" in rope else config, "rope_theta", faults)
    return None if theta is None else float(theta)


def _rotary(config: dict[str, Any], head_dim: Any, faults: list[str]) -> Any:
    """The number of rotary dimensions of a head: half of them in the original layout, else by partial_rotary_factor."""
    rope, factor = config.get("rope_parameters"), 0.5
    section = rope if isinstance(rope, dict) and "partial_rotary_factor" in rope else config
    if config["model_type"] == "glm" and "partial_rotary_factor" in section:
        factor = _checked(section, "partial_rotary_factor", faults,
                          lambda value: type(value) in (int, float) and 0 < value <= 1, "a number above 0, at most 1")
    if head_dim is None or factor is None:
        return None
    rotary = int(head_dim * factor)
    if rotary % 2 or rotary < 2:
        faults.append(f"{rotary} of the {head_dim} dimensions of a head would be rotary, which must be an even number")
    return rotary
