"""How an unfrozen model trains: the rule, the course of the rate over the steps, and over the layers."""

from typing import Any

import keras
import numpy as np
import pytest
from tiny import tiny_backbone

from kerastl.errors import OptionError
from kerastl.modality import IMAGE, TEXT, Modality
from kerastl.model import blocks, unfreeze
from kerastl.training.fine_tuning.optimizer import LayerwiseAdamW, heights, optimizer_for
from kerastl.training.fine_tuning.plan import SCHEDULES, Plan, TuningOptions, plan_for
from kerastl.training.fine_tuning.schedules import OneCycle, WarmUp, schedule_for


def course(schedule: Any, steps: int) -> np.ndarray:
    return np.array([float(schedule(step)) for step in range(steps)])


def test_the_number_of_rows_decides_how_long_to_train() -> None:
    for modality, expected in ((IMAGE, {50: 8, 10_000: 8, 20_000: 4, 50_000: 2, 10**6: 2}),
                               (TEXT, {50: 4, 10_000: 4, 13_000: 3, 20_000: 2, 10**6: 2})):
        assert {rows: plan_for(modality, rows).epochs for rows in expected} == expected
    assert [plan_for(IMAGE, rows).mixing for rows in (19_999, 20_000)] == ["none", "mixup"]
    assert plan_for(TEXT, 10**6).mixing == "none"
    assert plan_for(TEXT, 100).schedule == "linear" and plan_for(IMAGE, 100).schedule == "cosine"
    assert plan_for(TEXT, 100, TuningOptions(lora=4)).learning_rate == pytest.approx(
        10 * plan_for(TEXT, 100).learning_rate)


def test_what_is_asked_for_goes_before_the_rule() -> None:
    asked = TuningOptions("one-cycle", 0.5, False, True, 0.25, 0, "cutmix", 3)
    plan = plan_for(IMAGE, 10**6, asked, epochs=5, accumulate=2)
    assert plan == Plan(epochs=5, learning_rate=0.5, schedule="one-cycle", warmup=0.1, layer_decay=0.25,
                        weight_decay=4e-3, accumulate=2, gradual=True, mixing="cutmix", average_epochs=3,
                        augment="auto")
    assert plan_for(IMAGE, 10**6, TuningOptions(mixing="none")).mixing == "none"
    assert plan_for(TEXT, 90, TuningOptions(find_learning_rate=True)).find_learning_rate
    assert plan_for(TEXT, 90, TuningOptions(lora=2)).lora == 2
    assert plan_for(IMAGE, 90, TuningOptions(augment="strong")).augment == "strong"
    assert [plan_for(modality, 90).augment for modality in (IMAGE, TEXT)] == ["auto", "none"]


@pytest.mark.parametrize(("modality", "asked", "words"), [
    (IMAGE, TuningOptions(lora=4), ["`lora` must be 0 for images", "got 4"]),
    (TEXT, TuningOptions(mixing="mixup"), ["`mixing` must be auto or none for texts (got mixup)"]),
    (TEXT, TuningOptions(mixing="cutmix"), ["texts"]),
    (IMAGE, TuningOptions(augment="flip"), ["`augment` must be one of auto, none, light, standard, strong (got flip)"]),
    (TEXT, TuningOptions(augment="light"), ["`augment` must be auto or none for texts (got light)"]),
    (IMAGE, TuningOptions(schedule="step"), [*SCHEDULES, "step"]),
    (IMAGE, TuningOptions(mixing="blend"), ["blend", "cutmix"]),
    (IMAGE, TuningOptions(learning_rate=0.0), ["`learning_rate` must be in (0, 1] (got 0.0)"]),
    (IMAGE, TuningOptions(learning_rate=0.1, find_learning_rate=True), ["`find_learning_rate`", "one of them"]),
    (TEXT, TuningOptions(lora=-1), ["`lora` must be", "(got -1)"]),
    (IMAGE, TuningOptions(layer_decay=1.5), ["`layer_decay` must be in (0, 1] (got 1.5)"]),
    (IMAGE, TuningOptions(average_epochs=0), ["`average_epochs` must be at least 1 (got 0)"]),
    (TEXT, TuningOptions(average_epochs=5, schedule="step"),
     ["`average_epochs` must be at most `epochs`, 4 (got 5)", "step"]),  # all
])
def test_what_does_not_fit_is_refused(modality: Modality, asked: TuningOptions, words: list[str]) -> None:
    with pytest.raises(OptionError) as refused:
        plan_for(modality, 100, asked)
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize("fall", ["linear", "cosine"])
def test_the_rate_rises_then_falls_to_nothing(fall: str) -> None:
    schedule = WarmUp(1.0, 10, 100, fall)
    rates = course(schedule, 101)
    assert rates[0] == pytest.approx(0.1) and rates[9] == pytest.approx(1.0) and rates.max() <= 1.0
    assert (np.diff(rates[:10]) > 0).all() and (np.diff(rates[10:100]) < 0).all()
    assert 0 < rates[99] < 0.02 and rates[100] == 0
    assert rates[77] == pytest.approx(0.255 if fall == "linear" else 0.152, abs=0.01)
    again = WarmUp(**schedule.get_config())
    assert float(again(50)) == float(schedule(50))


def test_one_cycle_rises_as_long_as_it_falls_then_vanishes() -> None:
    schedule = OneCycle(1.0, 101)
    rates = course(schedule, 101)
    assert rates[0] == pytest.approx(0.1) and rates[45] == pytest.approx(1.0) and rates[90] == pytest.approx(0.1)
    assert (np.diff(rates[:46]) > 0).all() and (np.diff(rates[45:]) < 0).all()
    assert rates[100] == pytest.approx(0.001)
    assert float(OneCycle(**schedule.get_config())(50)) == float(schedule(50))


def test_a_rate_of_few_steps_is_never_negative_or_over_the_highest() -> None:
    for name in SCHEDULES[1:]:
        for steps in range(1, 6):
            schedule = schedule_for(plan_for(TEXT, 9, TuningOptions(name, 1.0)), steps)
            assert all(0 < rate <= 1 for rate in course(schedule, steps)), name


def variables(*names: str) -> list[keras.Variable]:
    return [keras.Variable(np.ones(4, np.float32), name=name) for name in names]


def apply(optimizer: Any, some: list[keras.Variable]) -> list[float]:
    """One step with gradients of 1: how far each variable moved."""
    before = [np.array(one) for one in some]
    optimizer.apply([keras.ops.ones(4) for _ in some], some)
    return [float((old - np.array(one))[0]) for old, one in zip(before, some, strict=True)]


def test_variables_move_by_their_own_share() -> None:
    some = variables("near", "far")
    optimizer = LayerwiseAdamW([1.0, 0.25], [0, 0], 0.0, 0.01)
    optimizer.build(some)
    assert apply(optimizer, some) == pytest.approx([0.01, 0.0025], rel=1e-3)


def test_weights_decay_by_their_own_rate() -> None:
    some = variables("near", "far")
    optimizer = LayerwiseAdamW([1.0, 0.25], [0, 0], 0.5, 0.01)
    optimizer.build(some)
    assert apply(optimizer, some) == pytest.approx([0.01 * 1.5, 0.0025 * 1.5], rel=1e-3)


def test_what_waits_does_not_move_by_a_bit_and_then_begins_no_faster_than_the_rest() -> None:
    some = variables("head", "last", "before")
    plan = plan_for(TEXT, 90, TuningOptions(gradual=True, layer_decay=1.0))
    optimizer = optimizer_for(plan, 0.01, [0, 1, 2], batches=3)
    optimizer.build(some)
    moved = [apply(optimizer, some) for _ in range(5)]
    assert [one[2] == 0 for one in moved] == [True, True, True, False, False]
    assert all(one[0] > 0.009 and one[1] > 0.009 for one in moved)
    assert moved[3][2] == pytest.approx(0.01, rel=0.05)


def test_rates_fall_from_block_to_block_towards_the_input() -> None:
    backbone = tiny_backbone()
    found = blocks(backbone)
    unfreeze(backbone, len(found))
    head = keras.Sequential([keras.Input((24,)), keras.layers.Dense(3)])
    model = keras.Sequential([backbone.model, head])
    high = heights(found, model.trainable_variables)
    assert high == [2, 2, 1, 1, 0, 0]  # variables come from input to output: a kernel and a bias each
    optimizer = optimizer_for(plan_for(IMAGE, 90, TuningOptions(layer_decay=0.5)), 0.1, high, 7)
    assert optimizer.multipliers == [0.25, 0.25, 0.5, 0.5, 1, 1] and set(optimizer.starts) == {0}


@pytest.mark.slow
def test_gradients_of_parts_make_the_step_of_the_whole_batch() -> None:
    """Two halves accumulated move the weights as the batch of both does."""
    x, y = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32), np.arange(8).astype(np.float32)[:, None]
    found = []
    for parts in (1, 2):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
        plan = plan_for(TEXT, 8, epochs=4, accumulate=parts)
        model.compile(optimizer_for(plan, schedule_for(plan, 4), [0, 0], parts), "mse")
        model.fit(x, y, batch_size=8 // parts, epochs=4, shuffle=False, verbose=0)
        found.append(model.get_weights()[0])
    assert np.abs(found[0] - found[1]).max() < 1e-6


def test_a_plan_is_recorded_under_the_keys_of_old_records() -> None:
    record = plan_for(TEXT, 5, TuningOptions(average_epochs=2)).to_dict()
    assert record == {"epochs": 4, "rate": 5e-5, "schedule": "linear", "warmup": 0.1, "layer_decay": 0.9,
                      "weight_decay": 1e-2, "accumulate": 1, "find": False, "gradual": False, "lora": 0, "mix": "none",
                      "average": 2, "augment": "none", "gamma": 0.0}
