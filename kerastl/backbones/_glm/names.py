"""The names of the family's tensors in published files, and our names for them."""

from dataclasses import dataclass

from kerastl.backbones._glm.sizes import Sizes

PREFIXES = {"original": "transformer.", "transformers": "model."}  # of tensors in a model saved with a head
UNUSED = {  # heads, and tables that are computed from the sizes
    "original": r"rotary_pos_emb\.inv_freq|output_layer\.weight|classifier_head\.(weight|bias)",
    "transformers": r"lm_head\.weight|score\.(weight|bias)|(.+\.)?rotary_emb\.inv_freq",
}
_OUTSIDE = {
    "original": {"token_embedding": "embedding.word_embeddings", "final_norm": "encoder.final_layernorm"},
    "transformers": {"token_embedding": "embed_tokens", "final_norm": "norm"},
}
_BLOCK = {
    "original": ("encoder.layers", {
        "attention_norm": "input_layernorm", "query": "self_attention.query_key_value",
        "key": "self_attention.query_key_value", "value": "self_attention.query_key_value",
        "attention_output": "self_attention.dense", "feedforward_norm": "post_attention_layernorm",
        "gate_up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h"}),
    "transformers": ("layers", {
        "attention_norm": "input_layernorm", "query": "self_attn.q_proj", "key": "self_attn.k_proj",
        "value": "self_attn.v_proj", "attention_output": "self_attn.o_proj",
        "feedforward_norm": "post_attention_layernorm", "gate_up": "mlp.gate_up_proj", "down": "mlp.down_proj"}),
}


@dataclass(frozen=True)
class Part:
    """Rows `start` to `stop` of a published tensor, which form one of our weights.

    tensor: its name without the prefix. shape: of the whole tensor.
    """

    tensor: str
    shape: tuple[int, ...]
    start: int
    stop: int


def block_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Every weight of one block by our name, [outputs, inputs] as in torch."""
    dim, queries, keys = sizes.dim, sizes.heads * sizes.head_dim, sizes.groups * sizes.head_dim
    return {"attention_norm": (dim,), "query": (queries, dim), "query_bias": (queries,), "key": (keys, dim),
            "key_bias": (keys,), "value": (keys, dim), "value_bias": (keys,), "attention_output": (dim, queries),
            "feedforward_norm": (dim,), "gate_up": (2 * sizes.inner, dim), "down": (dim, sizes.inner)}


def shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Every weight of a network of these sizes, in the form of `block_shapes`."""
    return {"token_embedding": (sizes.vocabulary, sizes.dim), "final_norm": (sizes.dim,),
            **{f"layer_{n}/{name}": shape for n in range(sizes.layers) for name, shape in block_shapes(sizes).items()}}


def parts(sizes: Sizes, layout: str) -> dict[str, Part]:
    """The place of each weight in the layout "original" or "transformers"."""
    place, names = _BLOCK[layout]
    queries, keys = sizes.heads * sizes.head_dim, sizes.groups * sizes.head_dim
    joint = {"query": 0, "key": queries, "value": queries + keys} if layout == "original" else {}  # first rows
    places = {}
    for ours, shape in shapes(sizes).items():
        block, _, name = ours.rpartition("/")
        if not block:
            places[ours] = Part(f"{_OUTSIDE[layout][name]}.weight", shape, 0, shape[0])
            continue
        layer = name.removesuffix("_bias")
        first, rows = joint.get(layer, 0), queries + 2 * keys if layer in joint else shape[0]
        tensor = f"{place}.{block.removeprefix('layer_')}.{names[layer]}.{'bias' if layer != name else 'weight'}"
        places[ours] = Part(tensor, (rows, *shape[1:]), first, first + shape[0])
    return places
