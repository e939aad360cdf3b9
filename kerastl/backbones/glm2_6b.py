"""ChatGLM2-6B (Du et al. 2022, https://arxiv.org/abs/2103.10360) and its kin: ChatGLM3-6B and GLM-4-9B.

Features of a causal network of billions of parameters, read from a folder as published. Its head ships alone where the
weights are over 2 GB, or kept in fewer than 32 bits.
"""

from kerastl.backbones import Network, Spec, Tap, Wanted, Weights
from kerastl.backbones._glm.sizes import Sizes
from kerastl.errors import WeightsError
from kerastl.modality import TEXT

SIZES = Sizes()
FREE = "free for research, for commerce after registration"


def build(wanted: Wanted) -> Network:
    """tokens: [batch, length] int32 -> features [batch, dim] float32; see `_glm.folder.build`."""
    if wanted.weights == "folder":
        raise WeightsError("glm2_6b without weights", "a folder as published, say of huggingface.co/THUDM/chatglm2-6b "
                           "(12.5 GB)", "download it, and give --weights DIR: kerastl backbones says what there is")
    from kerastl.backbones._glm import folder

    return folder.build(wanted, name="glm2_6b", sizes=SIZES)


def _published(place: str, gigabytes: float, holds: str, licence: str) -> Weights:
    return Weights("folder", f"--weights DIR, huggingface.co/{place} downloaded whole ({gigabytes} GB: config.json, "
                   f"{holds})", f"{licence}: {FREE}", lambda: None)


SPEC = Spec(
    name="glm2_6b", summary="ChatGLM2-6B, Chinese and English, 2023; also ChatGLM3-6B and GLM-4-9B",
    size=8192,  # tokens of a dialogue in training; the positions go on to 32,768, memory does not
    dim=SIZES.dim, parameters=5_977_245_696,  # without the table that turns states into words
    weights=(_published("THUDM/chatglm2-6b", 12.5, "tokenizer.model, and weights in shards", "ChatGLM2-6B License"),
             _published("THUDM/chatglm3-6b", 12.5, "tokenizer.model, and weights in shards", "ChatGLM3-6B License"),
             _published("THUDM/glm-4-9b", 18.8, "tokenizer.model or tokenizer.json, and weights in shards; also its "
                        "twin glm-4-9b-hf", "glm-4-9b License")),
    build=build, blocks=r"transformer_layer_\d+", preprocessing="sentencepieces after [gMASK] sop", modality=TEXT,
    large=True, taps=tuple(Tap(f"layer_{number + 1}", f"transformer_layer_{number}", (None, SIZES.dim))
                           for number in range(SIZES.layers - 1)),
)
