"""ChatGLM2-6B (Du et al. 2022, https://arxiv.org/abs/2103.10360) and its relatives ChatGLM3-6B and GLM-4-9B.

Features of a causal network with billions of parameters, read from a folder as published. If its weights take more than
2 GB, or are stored in fewer than 32 bits, the head is exported alone.
"""

from kerastl.backbones import BuildOptions, FeatureLayer, Network, Spec, Weights
from kerastl.backbones._glm.sizes import Sizes
from kerastl.errors import WeightsError
from kerastl.modality import TEXT

SIZES = Sizes()
FREE = "free for research; commercial use requires registration"


def build(options: BuildOptions) -> Network:
    """tokens: [batch, length] int32 -> features [batch, dim] float32; see `_glm.folder.build`."""
    if options.weights == "folder":
        raise WeightsError("`weights` is missing for glm2_6b", "a folder as published, for example that of "
                           "huggingface.co/THUDM/chatglm2-6b (12.5 GB)", "download the folder and pass its path as "
                           "`weights`; `kerastl backbones` lists the models")
    from kerastl.backbones._glm import folder

    return folder.build(options, name="glm2_6b", sizes=SIZES)


def _published(place: str, gigabytes: float, files: str, licence: str) -> Weights:
    return Weights("folder", f"a complete download of huggingface.co/{place} ({gigabytes} GB: "
                   f"config.json, {files})", f"{licence}: {FREE}", lambda: None)


SPEC = Spec(
    name="glm2_6b", summary="ChatGLM2-6B, Chinese and English, 2023; also ChatGLM3-6B and GLM-4-9B",
    size=8192,  # tokens of a dialogue in training; positions go up to 32,768, but memory limits the length
    dim=SIZES.dim, parameters=5_977_245_696,  # without the output embedding
    weights=(_published("THUDM/chatglm2-6b", 12.5, "tokenizer.model, weights in shards", "ChatGLM2-6B License"),
             _published("THUDM/chatglm3-6b", 12.5, "tokenizer.model, weights in shards", "ChatGLM3-6B License"),
             _published("THUDM/glm-4-9b", 18.8, "tokenizer.model or tokenizer.json, weights in shards; or "
                        "glm-4-9b-hf", "glm-4-9b License")),
    build=build, blocks=r"transformer_layer_\d+", preprocessing="sentencepieces after [gMASK] sop", modality=TEXT,
    large=True,
    feature_layers=tuple(FeatureLayer(f"layer_{number + 1}", f"transformer_layer_{number}", (None, SIZES.dim))
                         for number in range(SIZES.layers - 1)),
)
