"""A GLM network's sizes from its folder's config.json, as first published or as saved by transformers."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kerastl.backbones._glm.sizes import Sizes
from kerastl.backbones._weight_files import read_config
from kerastl.errors import WeightsError

BASE = 10_000.0  # of the angles' wavelengths, before rope_ratio
COUNTS = {  # field of `Sizes` to field of config.json, by model_type
    "chatglm": {"layers": "num_layers", "dim": "hidden_size", "inner": "ffn_hidden_size",
                "heads": "num_attention_heads", "head_dim": "kv_channels", "vocabulary": "padded_vocab_size",
                "length": "seq_length"},
    "glm": {"layers": "num_hidden_layers", "dim": "hidden_size", "inner": "intermediate_size",
            "heads": "num_attention_heads", "groups": "num_key_value_heads", "head_dim": "head_dim",
            "vocabulary": "vocab_size", "length": "max_position_embeddings"},
}
EPSILON = {"chatglm": "layernorm_epsilon", "glm": "rms_norm_eps"}
ABSENT = object()
TOLD: dict[str, dict[str, tuple[Any, ...]]] = {  # fields that change the network, and what they may say: wanted first
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

    Raises WeightsError when it is of another family, or with every field that is missing, impossible, or makes another
    network than this one.
    """
    config, path = read_config(folder), folder / "config.json"
    family = config.get("model_type")
    if not isinstance(family, str) or family not in COUNTS:
        raise WeightsError(f"{folder} is of the family {family!r} (model_type in config.json)",
                           "'chatglm' (ChatGLM2-6B, ChatGLM3-6B, GLM-4-9B) or 'glm' (GLM-4-9B saved by transformers)",
                           "choose a backbone of its own family: kerastl backbones")
    if family == "chatglm" and "padded_vocab_size" not in config and {"position_encoding_2d",
                                                                       "inner_hidden_size"} & set(config):
        raise WeightsError(f"{folder} is the first ChatGLM-6B (position_encoding_2d, inner_hidden_size in "
                           "config.json), which is another network",
                           "ChatGLM2-6B, ChatGLM3-6B or GLM-4-9B", "choose one of these")
    faults, values = _counts(config, COUNTS[family])
    for name, check in ({"groups": _groups, "base": _ratio} if family == "chatglm" else {"base": _theta}).items():
        values[name] = check(config, faults)
    values["epsilon"] = _number(config, EPSILON[family], faults)
    for field, wanted in TOLD[family].items():
        if field in config or ABSENT not in wanted:
            _checked(config, field, faults, partial(_is_one_of, wanted), json.dumps(wanted[0]))
    values["rotary"] = _rotary(config, values.get("head_dim"), faults)
    if not faults and values["heads"] % values["groups"]:
        faults.append(f"{values['heads']} heads are no multiple of {values['groups']} groups of keys")
    if faults:
        raise WeightsError(f"{path}: {'; '.join(faults)}", "a plain network of the GLM family",
                           "choose other weights: this network would not be the one that was trained")
    return Sizes(**values), "original" if family == "chatglm" else "transformers"


def _counts(config: dict[str, Any], fields: dict[str, str]) -> tuple[list[str], dict[str, Any]]:
    faults: list[str] = []
    return faults, {ours: _count(config, theirs, faults) for ours, theirs in fields.items()}


def _is_one_of(wanted: tuple[Any, ...], got: Any) -> bool:
    return any(type(got) is type(one) and got == one for one in wanted)


def _checked(config: dict[str, Any], field: str, faults: list[str], fits: Callable[[Any], bool], what: str) -> Any:
    """A field's value; None, and one fault more, when it is not as it must be."""
    if field in config and fits(config[field]):
        return config[field]
    faults.append(f"{field} {json.dumps(config[field])}, not {what}" if field in config else f"no {field}")
    return None


def _count(config: dict[str, Any], field: str, faults: list[str]) -> Any:
    return _checked(config, field, faults, lambda got: type(got) is int and got > 0, "a whole number above 0")


def _number(config: dict[str, Any], field: str, faults: list[str]) -> Any:
    return _checked(config, field, faults, lambda got: type(got) in (int, float) and 0 < got < float("inf"),
                    "a number above 0")


def _groups(config: dict[str, Any], faults: list[str]) -> Any:
    """Heads of keys and values, of the original layout."""
    shared = _checked(config, "multi_query_attention", faults, lambda got: type(got) is bool, "true or false")
    if shared is None:
        return None
    return _count(config, "multi_query_group_num", faults) if shared else config.get("num_attention_heads")


def _ratio(config: dict[str, Any], faults: list[str]) -> Any:
    """The base of the original layout."""
    if "rope_ratio" not in config:
        return BASE
    ratio, name = _number(config, "rope_ratio", faults), str(config.get("_name_or_path"))
    if ratio is None:
        return None
    if ratio != 1 and "chatglm2" in name.lower():
        faults.append(f"rope_ratio {ratio} in a ChatGLM2 ({name}), whose code divides positions by it where "
                      "ChatGLM3 and GLM-4 multiply the base")
    return BASE * ratio


def _theta(config: dict[str, Any], faults: list[str]) -> Any:
    """The base of the layout of transformers: at the top, or since its version 5 among rope_parameters."""
    scaling, rope = config.get("rope_scaling"), config.get("rope_parameters")
    for field, given in (("rope_scaling", scaling), ("rope_parameters", rope)):
        if given is not None and (not isinstance(given, dict) or given.get("rope_type", "default") != "default"
                                  or given.get("type", "default") != "default"):
            faults.append(f"{field} {json.dumps(given)}, not of the type \"default\"")
    theta = _number(rope if isinstance(rope, dict) and "rope_theta" in rope else config, "rope_theta", faults)
    return None if theta is None else float(theta)


def _rotary(config: dict[str, Any], head_dim: Any, faults: list[str]) -> Any:
    """How many dimensions of a head are turned: the original layout's first half, or partial_rotary_factor's."""
    rope, factor = config.get("rope_parameters"), 0.5
    held = rope if isinstance(rope, dict) and "partial_rotary_factor" in rope else config
    if config["model_type"] == "glm" and "partial_rotary_factor" in held:
        factor = _checked(held, "partial_rotary_factor", faults,
                          lambda got: type(got) in (int, float) and 0 < got <= 1, "a number above 0, at most 1")
    if head_dim is None or factor is None:
        return None
    rotary = int(head_dim * factor)
    if rotary % 2 or rotary < 2:
        faults.append(f"{rotary} of a head's {head_dim} dimensions would be turned by position, which are no pairs")
    return rotary
