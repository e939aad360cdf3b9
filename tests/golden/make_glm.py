"""Makes glm.npz: hidden states of transformers' GLM, to which kerastl's network is held in tests/test_glm.py.

    PYTHONPATH=.:tests PYTHON tests/golden/make_glm.py

PYTHON: of an environment with torch, transformers, safetensors and ml_dtypes, apart from TensorFlow's. Made with torch
2.13.0 (CPU, float32) and transformers 5.24.0. The weights are those of tests/glm_folders.py, in the `transformers`
layout, so they are not stored.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import transformers
from glm_folders import GOLDEN, write_folder


def states_of(tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The states after the embedding, after each block, and the normed last ones: [blocks + 1, batch, length, dim]."""
    with TemporaryDirectory() as folder:
        write_folder(Path(folder), GOLDEN, layout="transformers")
        model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        inner: list[torch.Tensor] = []
        for layer in model.layers:
            layer.register_forward_hook(lambda _, __, out: inner.append(out[0] if isinstance(out, tuple) else out))
        with torch.no_grad():
            ids, seen = torch.tensor(tokens), torch.tensor(mask)
            positions = torch.clamp(torch.cumsum(seen, 1) - 1, min=0)
            last = model(input_ids=ids, attention_mask=seen, position_ids=positions).last_hidden_state
            first = model.embed_tokens(ids)
        return np.stack([one.numpy() for one in (first, *inner, last)])


def main() -> None:
    """Three rows padded on the right, and the same on the left."""
    random = np.random.default_rng(1)
    lengths, length = np.array([9, 5, 1]), 9
    tokens = random.integers(1, GOLDEN.vocabulary, (3, length))
    right = (np.arange(length) < lengths[:, None]).astype(np.int64)
    left = right[:, ::-1].copy()
    found = {"right_mask": right, "left_mask": left, "tokens": tokens}
    for side, mask in (("right", right), ("left", left)):
        found[f"{side}_states"] = states_of(np.where(mask, tokens, 0), mask).astype(np.float32)
    np.savez_compressed(Path(__file__).parent / "glm.npz", **found)


if __name__ == "__main__":
    main()
