"""Small parts that tests share: the tiny backbone, made-up features in a real cache, folders split for fine-tuning."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import kerastl as tl
from kerastl.backbones import Backbone
from kerastl.data.examples import TEST, TRAIN, VALIDATION, Examples, Split
from kerastl.features.cache import Space, SpaceKey
from kerastl.features.compute import Features
from kerastl.inputs.packing import pack
from kerastl.inputs.tokenizer import TokenIds, Tokenizer
from kerastl.modality import IMAGE
from kerastl.runtime import Runtime, choose
from kerastl.studies.few_shot.episodes import Pool

KEY = SpaceKey("tiny", "0" * 32, "none", "top", "mean", "float32", (6,))
FEW_SHOT_DIM = 24


def content_id(name: object) -> str:
    """An id as content hashes are: 32 hexadecimal digits."""
    return hashlib.blake2b(str(name).encode(), digest_size=16).hexdigest()


def known_rows(ids: Sequence[str], dim: int = KEY.shape[0]) -> NDArray[np.float32]:
    """Rows that follow from their ids, so that a row that is torn or misplaced is seen. Every value is exact."""
    seeds = np.array([int(one[:5], 16) for one in ids], np.float32)
    return seeds[:, None] + np.arange(dim, dtype=np.float32)


def tiny_backbone() -> Backbone:
    """The backbone dropped in by conftest: random weights, the same each time, 32 x 32 images, 24 features."""
    return tl.load_backbone("tiny_net", "none")


def plain_runtime(**choices: Any) -> Runtime:
    """Float32 without XLA unless told otherwise, whatever the machine."""
    return choose(**{"precision": "float32", "xla": "off"} | choices, gpu=False, bfloat16_cpu=False)


def made_examples(targets: NDArray[Any], *, groups: Sequence[str] | None = None, split: Split | None = None,
                  classes: Sequence[str] | None = None) -> Examples:
    """Examples without files. targets: [n] class numbers, or [n, classes] of 0 and 1. Default split: none."""
    n = len(targets)
    outputs = targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1
    ids = tuple(content_id(i) for i in range(n))
    names = tuple(classes or (f"class {c}" for c in range(outputs)))
    return Examples(IMAGE, "made up", items=("",) * n, origins=tuple(f"row {i}" for i in range(n)), ids=ids,
                    groups=tuple(groups or ids), source_split=("",) * n, classes=names,
                    targets=targets.astype(np.int64), split=split)


def in_folds(examples: Examples) -> Examples:
    """The same, to be cross-validated."""
    return tl.split(examples, "cv")


def held_out(n: int, *, validation: float = 0.2, test: float = 0.2, seed: int = 0) -> Split:
    """A hold-out of n rows drawn at random."""
    place = np.random.default_rng(seed).permutation(n) / n
    part = np.where(place < test, TEST, np.where(place < test + validation, VALIDATION, TRAIN))
    return Split("holdout", "a test's own", part.astype(np.int8))


def made_features(folder: Path, x: NDArray[Any], examples: Examples, held_out: NDArray[Any] | None = None, *,
                  backbone: Backbone | None = None) -> Features:
    """Features of given numbers, x: [n, *shape], kept in a real cache. held_out: float32 rows, where they differ.
    backbone: for tests that need one; these rows do not come from it."""
    shape = x.shape[1:]
    spaces = []
    for kind, rows in (("bfloat16", x), ("float32", held_out)) if held_out is not None else (("float32", x),):
        space = Space(folder, replace(KEY, compute=kind, shape=shape))
        space.append(examples.ids, rows.astype(np.float32))
        spaces.append(space)
    return Features(examples, backbone, plain_runtime(), folder, shape,  # type: ignore[arg-type]
                    spaces[0].key.compute, "made up", 0, 0.0, spaces[0], spaces[-1])


def clouds(n: int, outputs: int, dim: int, apart: float, seed: int = 0
           ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Gaussian clouds, one a class, whose centres lie about `apart` times their width from the origin."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(outputs, dim)) * apart / np.sqrt(dim)
    y = np.arange(n) % outputs
    return (centres[y] + generator.normal(size=(n, dim))).astype(np.float32), y


class Packed(tf.Module):
    """A tokenizer as a saved model holds it: `packed` gives texts as rows of at most 64 tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.ids = TokenIds(tokenizer)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def packed(self, texts: tf.Tensor) -> tf.Tensor:
        """[n] string -> [rows, length] int32."""
        return pack(self.ids(texts), self.ids.tokenizer, 64, "chunks")[0]


def noisy_clouds(classes: int, seed: int, per_class: int = 25) -> Pool:
    """Classes that differ in 5 directions of 24, the same for every seed; the other 19 are louder, and say nothing."""
    generator = np.random.default_rng(seed)
    turned = np.linalg.qr(np.random.default_rng(99).normal(size=(FEW_SHOT_DIM, FEW_SHOT_DIM)))[0]
    centres = np.zeros((classes, FEW_SHOT_DIM))
    centres[:, :5] = 2 * generator.normal(size=(classes, 5))
    y = np.repeat(np.arange(classes), per_class)
    x = centres[y] + generator.normal(size=(len(y), FEW_SHOT_DIM)) * np.where(np.arange(FEW_SHOT_DIM) < 5, 1.0, 2.5)
    rows = tuple(np.flatnonzero(y == c) for c in range(classes))
    return Pool(tuple(f"class {c}" for c in range(classes)), (x @ turned).astype(np.float32), rows, np.arange(len(y)))
