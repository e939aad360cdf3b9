"""How an unfrozen model trains: the course of the rate over the steps, and over the layers."""

import keras
import numpy as np
import pytest
from tiny import tiny_backbone

from kerastl.model import blocks, unfreeze
from kerastl.training.schedule import LayerwiseAdamW, WarmUp, layer_multipliers, optimizer_for, plan_for


def test_the_rate_rises_then_falls_to_nothing() -> None:
    schedule = WarmUp(1.0, warmup=10, steps=100)
    rates = np.array([float(schedule(step)) for step in range(101)])
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0) and rates.max() <= 1.0
    assert (np.diff(rates[:10]) > 0).all() and (np.diff(rates[10:100]) < 0).all()
    assert 0 < rates[99] < 0.02 and rates[100] == 0
    again = WarmUp(**schedule.get_config())
    assert float(again(50)) == float(schedule(50))


def test_a_rate_of_few_steps_is_never_negative_or_over_the_highest() -> None:
    for steps in range(1, 6):
        schedule = WarmUp(1.0, 1, steps)
        assert all(0 < float(schedule(step)) <= 1 for step in range(steps))


def test_variables_move_by_their_own_share() -> None:
    near, far = (keras.Variable(np.ones(4), name=name) for name in ("near", "far"))
    optimizer = LayerwiseAdamW([1.0, 0.25], 0.01, weight_decay=0.0)
    optimizer.build([near, far])
    optimizer.apply([keras.ops.ones(4), keras.ops.ones(4)], [near, far])
    moved = 1 - keras.ops.convert_to_numpy(near)[0], 1 - keras.ops.convert_to_numpy(far)[0]
    assert moved[0] == pytest.approx(0.01, rel=1e-3) and moved[1] == pytest.approx(0.0025, rel=1e-3)


def test_rates_fall_from_block_to_block_towards_the_input() -> None:
    backbone = tiny_backbone()
    found = blocks(backbone)
    unfreeze(backbone, len(found))
    head = keras.Sequential([keras.Input((24,)), keras.layers.Dense(3)])
    model = keras.Sequential([backbone.model, head])
    rates = layer_multipliers(found, model.trainable_variables, 0.5)
    assert set(rates) == {1.0, *(0.5 ** (k + 1) for k in range(len(found)))}
    assert rates == sorted(rates)  # variables come from input to output
    assert rates[-2:] == [1.0, 1.0]


def test_gradients_of_parts_make_the_step_of_the_whole_batch() -> None:
    """Two halves accumulated move the weights as the batch of both does."""
    x, y = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32), np.arange(8).astype(np.float32)[:, None]
    found = []
    for parts in (1, 2):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
        model.compile(optimizer_for(plan_for("text", 4, parts), 4, [1.0, 1.0]), "mse")
        model.fit(x, y, batch_size=8 // parts, epochs=4, shuffle=False, verbose=0)
        found.append(model.get_weights()[0])
    assert np.abs(found[0] - found[1]).max() < 1e-6
