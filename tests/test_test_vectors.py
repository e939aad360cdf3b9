"""Test vectors: the reference client, in NumPy and Pillow, and the graph agree on them, and so do their hashes."""

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

from kerastl.export.reference_images import pixels
from kerastl.export.tflite import Interpreter


def test_a_client_that_reproduces_the_vectors_gets_the_answers(trained: Path) -> None:
    folder = trained / "tflite" / "test_vectors"
    listed = json.loads((folder / "vectors.json").read_text())
    kinds = {path.stem.removeprefix("model_"): Interpreter(path.read_bytes())
             for path in (trained / "tflite").glob("model_*.tflite")}
    assert kinds and len(listed["vectors"]) == 4
    for vector in listed["vectors"]:
        expected = np.asarray(Image.open(folder / vector["expected"]))
        assert hashlib.sha256(expected.tobytes()).hexdigest() == vector["pixels_sha256"]
        own = pixels((folder / vector["input"]).read_bytes(), len(expected))
        assert np.abs(own.astype(int) - expected).max() <= 1
        assert {*vector["probabilities"]} == {*kinds}
        for kind, run in kinds.items():
            answer = run(expected[None])["probabilities"]
            assert np.allclose(answer, vector["probabilities"][kind], atol=1e-5), (vector["input"], kind)
            assert listed["classes"][int(answer.argmax())] == vector["label"][kind]
