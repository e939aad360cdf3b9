"""What a training leaves in memory."""

import gc
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from conftest import ROOT

from kerastl.optimizers import Adam, AdamW
from kerastl.training.fine_tuning.optimizer import LayerwiseAdamW


def graphs() -> int:
    """The graphs that are alive."""
    gc.collect()
    return sum(type(item).__name__ == "FuncGraph" for item in gc.get_objects())


def network() -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(2)])


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: Adam(0.1), lambda: AdamW(0.1),
                                  lambda: LayerwiseAdamW([1] * 4, [0] * 4, 0, 0.1)])
def test_a_training_leaves_no_graph_and_no_moments(make: Callable[[], Any]) -> None:
    model, x, y = network(), np.ones((4, 3), np.float32), np.zeros(4, np.int32)

    def train() -> None:
        model.compile(make(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(x, y, verbose=0)

    train()
    before = graphs()
    for _ in range(3):
        train()
    assert graphs() == before


@pytest.mark.slow
def test_the_steps_are_those_of_keras() -> None:
    x, y = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32), np.arange(8, dtype=np.int32) % 2
    made = []
    for optimizer in (AdamW(0.01), keras.optimizers.AdamW(0.01)):
        model = network()
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(x, y, epochs=3, verbose=0)
        made.append(model.get_weights())
    assert all((a == b).all() for a, b in zip(*made, strict=True))


def test_every_optimizer_is_one_of_these() -> None:
    direct = [path for path in (ROOT / "kerastl").rglob("*.py") if path.name != "optimizers.py"
              and any(f"keras.optimizers.{name}" in path.read_text() for name in ("Adam", "SGD", "RMSprop", "Lion"))]
    assert direct == []
