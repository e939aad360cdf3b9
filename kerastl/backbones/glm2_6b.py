"""ChatGLM2-6B and its family, ChatGLM3-6B and GLM-4-9B, from a folder as published."""

from functools import partial

from kerastl.backbones import Network, Spec, Tap, Wanted, Weights
from kerastl.backbones._glm.sizes import Sizes
from kerastl.errors import WeightsError

SIZES = Sizes()
FOLDER = Weights(
    "folder", "huggingface.co/THUDM/chatglm2-6b: config.json, tokenizer.model and the weights (12.5 GB), downloaded "
    "into a folder, --weights FOLDER; also chatglm3-6b (12.5 GB) and glm-4-9b (18.8 GB)",
    "ChatGLM2-6B's own: free for research, for business after registering with its makers", lambda: None)


def build(wanted: Wanted, *, name: str, sizes: Sizes) -> Network:
    """See `_glm.folder.build`. Raises WeightsError where no folder was given, for nothing can be downloaded here."""
    from kerastl.backbones._glm import folder

    if wanted.weights == FOLDER.kind:
        raise WeightsError(f"{name} has no weights that come with a package", f"--weights FOLDER, of {FOLDER.origin}",
                           "download it, or choose another backbone: kerastl backbones")
    return folder.build(wanted, name=name, sizes=sizes)


SPEC = Spec(
    name="glm2_6b", summary="ChatGLM2-6B, Chinese and English, 2023", size=SIZES.length, dim=SIZES.dim,
    parameters=5_977_245_696, weights=(FOLDER,), build=partial(build, name="glm2_6b", sizes=SIZES),
    blocks=r"transformer_layer_\d+", preprocessing="sentencepieces after [gMASK] sop", kind="text", large=True,
    taps=tuple(Tap(f"layer_{n}", f"transformer_layer_{n - 1}", (None, SIZES.dim)) for n in range(1, SIZES.layers)),
)
