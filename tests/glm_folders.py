"""Tiny GLM networks as folders: config.json and weights as published, with random weights, the same for a seed.

Imports neither TensorFlow nor torch: the pickles are written by hand, opcode by opcode.
"""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from kerastl.backbones._glm.sizes import Sizes

TINY = Sizes(layers=2, dim=32, inner=48, heads=4, head_dim=8, groups=2, vocabulary=100, rotary=4, length=64)
GOLDEN = Sizes(layers=3, dim=64, inner=96, heads=8, head_dim=16, groups=2, vocabulary=120, rotary=8, length=64,
               base=1e6)  # of golden/glm.npz
SMALL = replace(TINY, layers=3, vocabulary=600)  # with room for the trained vocabulary
STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage", "int8": "CharStorage"}
Arrays = dict[str, NDArray[Any]]
CORPUS = """
今天天气很好，我们去公园散步吧。机器学习很有意思。
敏捷的棕色狐狸跳过了懒狗，而那只狗并不在意。
这部电影太棒了，又好笑又感人；那一部太长、太闷，不推荐。
The quick brown fox jumps over the lazy dog, and the dog doesn't mind; it's used to that.
Transfer learning (迁移学习) takes a network that was trained on much data and fits a small head to it.
This film is wonderful; that one was dull, far too long and badly acted. Not recommended at all.
ChatGLM2-6B 是 2023 年 6 月 25 日发布的，有 62 亿个参数。 [gMASK] sop eop
""".strip().split("\n")


def write_folder(path: Path, sizes: Sizes = TINY, *, layout: str = "original", seed: int = 0, shards: int = 2,
                 dtype: str = "float32", form: str = "safetensors", prefix: bool = True,
                 change: Callable[[Arrays], Any] = lambda given: None) -> Arrays:
    """A folder as published, without a tokenizer. Returns the weights by our names as float32, rounded to the dtype.

    layout: `original` (ChatGLM2, ChatGLM3, GLM-4) or `transformers`. form: `safetensors` or `pickle`. prefix: saved
    with the language head, and so with a prefix. change: alters the published tensors before they are written.
    """
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config(sizes, layout, dtype), indent=2))
    cast = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    weights = {name: array.astype(cast) for name, array in random_weights(sizes, seed).items()}
    given = published(weights, sizes, layout, prefix)
    change(given)
    write_tensors(path, given, shards, form)
    return {name: array.astype(np.float32) for name, array in weights.items()}


def config(sizes: Sizes, layout: str, dtype: str = "float32") -> dict[str, Any]:
    """config.json as published: of ChatGLM3-6B with GLM-4's rope_ratio, or as transformers 5 writes it."""
    if layout == "original":
        return {
            "_name_or_path": "THUDM/chatglm3-6b", "model_type": "chatglm", "architectures": ["ChatGLMModel"],
            "add_bias_linear": False, "add_qkv_bias": True, "apply_query_key_layer_scaling": True,
            "apply_residual_connection_post_layernorm": False, "attention_dropout": 0.0,
            "attention_softmax_in_fp32": True, "bias_dropout_fusion": True, "ffn_hidden_size": sizes.inner,
            "fp32_residual_connection": False, "hidden_dropout": 0.0, "hidden_size": sizes.dim,
            "kv_channels": sizes.head_dim, "layernorm_epsilon": sizes.epsilon,
            "multi_query_attention": sizes.groups < sizes.heads, "multi_query_group_num": sizes.groups,
            "num_attention_heads": sizes.heads, "num_layers": sizes.layers, "original_rope": True,
            "padded_vocab_size": sizes.vocabulary, "post_layer_norm": True, "rmsnorm": True,
            "rope_ratio": sizes.base / 10_000, "seq_length": sizes.length, "use_cache": True, "torch_dtype": dtype,
            "transformers_version": "4.30.2", "tie_word_embeddings": False, "eos_token_id": 2, "pad_token_id": 0,
        }
    return {
        "architectures": ["GlmForCausalLM"], "attention_bias": True, "attention_dropout": 0.0, "dtype": dtype,
        "head_dim": sizes.head_dim, "hidden_act": "silu", "hidden_size": sizes.dim, "initializer_range": 0.02,
        "intermediate_size": sizes.inner, "max_position_embeddings": sizes.length, "model_type": "glm",
        "num_attention_heads": sizes.heads, "num_hidden_layers": sizes.layers, "num_key_value_heads": sizes.groups,
        "pad_token_id": 0, "rms_norm_eps": sizes.epsilon,
        "rope_parameters": {"partial_rotary_factor": sizes.rotary / sizes.head_dim, "rope_theta": sizes.base,
                            "rope_type": "default"},
        "tie_word_embeddings": False, "transformers_version": "5.24.0", "use_cache": True,
        "vocab_size": sizes.vocabulary,
    }


def random_weights(sizes: Sizes, seed: int) -> Arrays:
    """Weights by our names, such that what flows through the network stays around 1 at any size."""
    random, dim = np.random.default_rng(seed), sizes.dim
    queries, keys = sizes.heads * sizes.head_dim, sizes.groups * sizes.head_dim
    made: Arrays = {"token_embedding": random.standard_normal((sizes.vocabulary, dim))}
    for n in range(sizes.layers):
        for name, shape in {"attention_norm": (dim,), "query": (queries, dim), "query_bias": (queries,),
                            "key": (keys, dim), "key_bias": (keys,), "value": (keys, dim), "value_bias": (keys,),
                            "attention_output": (dim, queries), "feedforward_norm": (dim,),
                            "gate_up": (2 * sizes.inner, dim), "down": (dim, sizes.inner)}.items():
            draw = random.standard_normal(shape)
            made[f"layer_{n}/{name}"] = (1 + 0.1 * draw if name.endswith("norm") else 0.1 * draw
                                         if name.endswith("bias") else draw / np.sqrt(shape[-1]))
    made["final_norm"] = 1 + 0.1 * random.standard_normal(dim)
    return made


def published(weights: Arrays, sizes: Sizes, layout: str, prefix: bool) -> Arrays:
    """The same weights under the names they are published with, in the files' order, and what else is there."""
    table, norm = weights["token_embedding"], weights["final_norm"]
    found, angles = {}, (1 / 10_000 ** np.linspace(0, 1, sizes.rotary // 2, endpoint=False)).astype(table.dtype)
    found["embedding.word_embeddings.weight" if layout == "original" else "embed_tokens.weight"] = table
    if layout == "original" and prefix:
        found["rotary_pos_emb.inv_freq"] = angles
    for n in range(sizes.layers):
        ours = {name.partition("/")[2]: array for name, array in weights.items() if name.startswith(f"layer_{n}/")}
        found |= {f"{'encoder.' if layout == 'original' else ''}layers.{n}.{name}": array
                  for name, array in (_original if layout == "original" else _transformers)(ours).items()}
    found["encoder.final_layernorm.weight" if layout == "original" else "norm.weight"] = norm
    if not prefix:
        return found
    if layout == "original":
        return {f"transformer.{name}": array for name, array in (found | {"output_layer.weight": table[::-1]}).items()}
    return {f"model.{name}": array for name, array in found.items()} | {"lm_head.weight": table[::-1]}


def _original(ours: Arrays) -> Arrays:
    joint = {kind: np.concatenate([ours[f"{name}{end}"] for name in ("query", "key", "value")])
             for kind, end in (("weight", ""), ("bias", "_bias"))}
    return {"input_layernorm.weight": ours["attention_norm"],
            "self_attention.query_key_value.weight": joint["weight"],
            "self_attention.query_key_value.bias": joint["bias"],
            "self_attention.dense.weight": ours["attention_output"],
            "post_attention_layernorm.weight": ours["feedforward_norm"],
            "mlp.dense_h_to_4h.weight": ours["gate_up"], "mlp.dense_4h_to_h.weight": ours["down"]}


def _transformers(ours: Arrays) -> Arrays:
    attention = {f"self_attn.{name[0]}_proj.{kind}": ours[f"{name}{end}"] for name in ("query", "key", "value")
                 for kind, end in (("weight", ""), ("bias", "_bias"))}
    return {"input_layernorm.weight": ours["attention_norm"], **attention,
            "self_attn.o_proj.weight": ours["attention_output"],
            "post_attention_layernorm.weight": ours["feedforward_norm"],
            "mlp.gate_up_proj.weight": ours["gate_up"], "mlp.down_proj.weight": ours["down"]}


def write_tensors(path: Path, given: Arrays, shards: int, form: str) -> None:
    """The folder's file of weights, or as many shards of about the same size and their index."""
    stem, ending = ("model", "safetensors") if form == "safetensors" else ("pytorch_model", "bin")
    total, so_far, parts = sum(array.nbytes for array in given.values()), 0, [Arrays() for _ in range(shards)]
    for name, array in given.items():
        parts[min(shards - 1, so_far * shards // total)][name] = np.ascontiguousarray(array)
        so_far += array.nbytes
    files = [f"{stem}-{i + 1:05}-of-{shards:05}.{ending}" if shards > 1 else f"{stem}.{ending}" for i in range(shards)]
    for file, part in zip(files, parts, strict=True):
        if form == "safetensors":
            save_file(part, path / file, metadata={"format": "pt"})
        else:
            write_archive(path / file, pickled(part), [array.tobytes() for array in part.values()])
    if shards > 1:
        index = {"metadata": {"total_size": total},
                 "weight_map": {name: file for file, part in zip(files, parts, strict=True) for name in part}}
        (path / f"{stem}.{ending}.index.json").write_text(json.dumps(index, indent=2))


def write_archive(path: Path, content: bytes, storages: list[bytes], *, compression: int = zipfile.ZIP_STORED,
                  byteorder: bytes = b"little") -> None:
    """The zip that torch.save writes: numbers begin at multiples of 64 bytes, by an extra field in the entry alone."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", byteorder)
        for key, numbers in enumerate(storages):
            entry = zipfile.ZipInfo(f"archive/data/{key}")
            entry.compress_type = compression
            gap = -(archive.fp.tell() + 30 + len(entry.filename) + 4) % 64  # type: ignore[union-attr]
            entry.extra = b"FB" + struct.pack("<H", gap) + b"Z" * gap
            archive.writestr(entry, numbers)
            entry.extra = b""
        archive.writestr("archive/version", b"3\n")


def pickled(given: Arrays) -> bytes:
    """data.pkl: an ordered dictionary of tensors, each of a storage of its own, as torch.save pickles it."""
    return as_pickle(b"".join(
        string(name) + tensor(i, array.shape, tuple(step // array.itemsize for step in array.strides), array.size,
                              STORAGES[array.dtype.name])
        for i, (name, array) in enumerate(given.items())))


def as_pickle(pairs: bytes) -> bytes:
    """A pickle of an ordered dictionary, from the opcodes of its names and values."""
    return (pickle.PROTO + b"\2" + ORDERED + pickle.MARK + pairs + pickle.SETITEMS + pickle.STOP)


def tensor(key: int, shape: tuple[int, ...], strides: tuple[int, ...], count: int, kind: str,
           offset: int = 0) -> bytes:
    """The opcodes of one tensor. count: of the numbers in its storage."""
    storage = (pickle.MARK + string("storage") + name_of("torch", kind) + string(str(key)) + string("cpu")
               + number(count) + pickle.TUPLE + pickle.BINPERSID)
    return (name_of("torch._utils", "_rebuild_tensor_v2") + pickle.MARK + storage + number(offset) + numbers(shape)
            + numbers(strides) + pickle.NEWFALSE + ORDERED + pickle.TUPLE + pickle.REDUCE)


def name_of(module: str, name: str) -> bytes:
    """The opcode that imports a name."""
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def string(value: str) -> bytes:
    """The opcode of a string."""
    return pickle.BINUNICODE + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """The opcode of a whole number."""
    return pickle.BININT + struct.pack("<i", value)


def numbers(values: tuple[int, ...]) -> bytes:
    """The opcodes of a tuple of whole numbers."""
    return pickle.MARK + b"".join(map(number, values)) + pickle.TUPLE


ORDERED = name_of("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE  # an empty one


def trained_vocabulary(**options: Any) -> bytes:
    """A SentencePiece model as ChatGLM's: byte pairs with byte fallback. NFKC as published ones have, too."""
    import sentencepiece

    out = io.BytesIO()
    options = {"model_type": "bpe", "byte_fallback": True, "split_digits": True} | options
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 5), model_writer=out, vocab_size=480, hard_vocab_limit=False, minloglevel=2,
        character_coverage=0.98, **options)
    return out.getvalue()


def write_vocabulary(path: Path, model: bytes | None, **about: Any) -> None:
    """What a published folder holds of its tokenizer, besides config.json. about: of tokenizer_config.json."""
    auto = {"AutoTokenizer": ["tokenization_chatglm.ChatGLMTokenizer", None]}
    (path / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "ChatGLMTokenizer", "auto_map": auto, "do_lower_case": False} | about))
    if model is not None:
        (path / "tokenizer.model").write_bytes(model)


def glm_folder(path: Path, sizes: Sizes = SMALL, **more: Any) -> Path:
    """A whole folder as published. more: as `write_folder` takes it."""
    write_folder(path, sizes, **more)
    write_vocabulary(path, trained_vocabulary())
    return path
