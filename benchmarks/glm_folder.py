"""A folder of the GLM family as published, with random weights, of any size, written shard by shard."""

import io
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

PHRASES = ("这部电影太棒了，又好笑又感人。", "那一部太长、太闷，不推荐。", "A warm film, well acted and never dull.",
           "Far too long, and the plot makes no sense.", "今天天气很好，我们去公园散步吧。", "It was released in 2023.")


def mid_size() -> Any:
    """Sizes of about 100 million parameters."""
    from kerastl.backbones._glm.sizes import Sizes

    return Sizes(layers=12, dim=768, inner=2048, heads=12, head_dim=64, groups=2, vocabulary=32_768, rotary=32)


def write_folder(folder: Path, sizes: Any, shard_bytes: float = 2e9) -> int:
    """A folder as published, in bfloat16, written shard by shard, with a vocabulary trained on a few phrases. Returns
    the bytes of its largest shard."""
    import sentencepiece
    from safetensors.numpy import save_file

    from kerastl.backbones._glm.assign import random_tensors
    from kerastl.backbones._glm.names import parts

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({
        "model_type": "glm", "attention_bias": True, "hidden_act": "silu", "hidden_size": sizes.dim,
        "intermediate_size": sizes.inner, "num_attention_heads": sizes.heads, "num_hidden_layers": sizes.layers,
        "num_key_value_heads": sizes.groups, "head_dim": sizes.head_dim, "rms_norm_eps": sizes.epsilon,
        "vocab_size": sizes.vocabulary, "max_position_embeddings": sizes.length, "rope_theta": sizes.base,
        "partial_rotary_factor": sizes.rotary / sizes.head_dim, "pad_token_id": 0, "dtype": "bfloat16"}))
    places, shard, sizes_of, index = parts(sizes, "transformers"), dict[str, Any](), [], dict[str, str]()

    def flush() -> None:
        name = f"model-{len(sizes_of) + 1:05}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        sizes_of.append(sum(tensor.nbytes for tensor in shard.values()))
        index.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, tensor in random_tensors(sizes):
        if shard and sum(one.nbytes for one in shard.values()) + 2 * tensor.size > shard_bytes:
            flush()
        shard[f"model.{places[name].tensor}"] = tensor.astype(ml_dtypes.bfloat16)
    flush()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(PHRASES * 9), model_writer=model, model_type="bpe", byte_fallback=True, vocab_size=400,
        hard_vocab_limit=False, minloglevel=2)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ChatGLMTokenizer"}))
    return max(sizes_of)


def random_tokens(sizes: Any, batch: int, length: int) -> NDArray[np.int32]:
    """[batch, length] without padding."""
    return np.random.default_rng(0).integers(300, min(sizes.vocabulary, 30_000), (batch, length)).astype(np.int32)
