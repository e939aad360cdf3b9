"""What is kept, the frozen or the fine-tuned backbone: by more than chance, on rows that report nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_folder
from numpy.typing import NDArray
from tiny import in_folds, made_examples, plain_runtime, tiny_backbone

import kerastl as tl
from kerastl.data.examples import Examples
from kerastl.decision import Predictions
from kerastl.evaluation.calibration import as_reported
from kerastl.training.fine_tuning.estimate import Estimate, duration
from kerastl.training.fine_tuning.keep import (
    FROZEN,
    TUNED,
    better_on_validation,
    choose,
    choose_on,
    is_better,
    little_to_gain,
)
from kerastl.training.fit import FittedHead

CLOSE = {"red": (121, 120, 120), "green": (120, 121, 120), "blue": (120, 120, 121)}


def sure(examples: Examples, correct: NDArray[np.bool_], margin: float = 2.0, seed: int = 0) -> Predictions:
    """Predictions that are correct where asked, with some noise."""
    truth = examples.one_hot()
    shifted = np.roll(truth, 1, axis=1)
    noise = np.random.default_rng(seed).normal(size=truth.shape) * 0.3
    logits = margin * np.where(correct[:, None], truth, shifted) + noise
    return Predictions(np.arange(len(examples)), logits.astype(np.float32))


def of(n: int, **more: Any) -> Examples:
    return in_folds(made_examples(np.arange(n) % 3, **more))


def shares(n: int, accuracy: float, seed: int) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).permutation(n) < accuracy * n


def test_the_tuned_model_is_kept_where_it_is_clearly_better_and_not_else() -> None:
    examples = of(150)
    good, poor = sure(examples, shares(150, 0.9, 0)), sure(examples, shares(150, 0.6, 1))
    assert is_better(examples, poor, good)
    assert not is_better(examples, good, poor)
    assert not is_better(examples, good, good)


def test_a_gain_within_one_standard_error_is_not_enough() -> None:
    examples = of(150)
    frozen = sure(examples, shares(150, 0.80, 0), seed=0)
    tuned = sure(examples, shares(150, 0.81, 5), seed=1)  # other rows are correct, and one or two more of them
    assert not is_better(examples, frozen, tuned)


def test_copies_of_rows_are_no_further_evidence() -> None:
    """Ten copies of 15 rows, each in its group, count as the 15 rows do."""
    few = in_folds(made_examples(np.arange(15) % 3))
    frozen, tuned = sure(few, shares(15, 0.7, 0), seed=3), sure(few, shares(15, 0.8, 0), seed=4)
    assert not is_better(few, frozen, tuned)
    many = in_folds(made_examples(np.tile(np.arange(15) % 3, 10), groups=[str(i % 15) for i in range(150)]))
    copied = [Predictions(np.arange(150), np.tile(each.logits, (10, 1))) for each in (frozen, tuned)]
    assert not is_better(many, *copied)
    assert is_better(replace(many, groups=many.ids), *copied)  # taken for independent, they would be


def test_what_is_reported_for_a_fold_is_chosen_by_the_other_folds() -> None:
    examples = of(150)
    assert examples.split is not None
    first = examples.split.part == 0
    frozen = sure(examples, shares(150, 0.5, 0), seed=0)
    right = sure(examples, np.ones(150, bool), seed=1)
    logits = frozen.logits.copy()
    logits[first] = right.logits[first]  # better on the first fold alone: only its own report must not see it
    choice = choose(examples, frozen, Predictions(frozen.rows, logits))
    assert np.array_equal(choice.held_out.logits[first], frozen.logits[first])
    assert choice.folds == 4 and choice.kept


@pytest.mark.slow
def test_choosing_among_two_that_know_nothing_reports_chance() -> None:
    accuracies = []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        examples = in_folds(made_examples(generator.integers(0, 2, 60)))
        either = [Predictions(np.arange(60), generator.normal(size=(60, 2)).astype(np.float32)) for _ in range(2)]
        held_out = choose(examples, *either).held_out
        accuracies.append((held_out.logits.argmax(axis=1) == examples.targets).mean())
    assert np.mean(accuracies) == pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(60 * 60))


def test_a_hold_out_chooses_on_validation_rows() -> None:
    examples = of(150)
    good, poor = sure(examples, shares(150, 0.9, 0)), sure(examples, shares(150, 0.5, 1))
    frozen, tuned = (FittedHead("linear", None, held_out, validation, {}, (), 0.0)
                     for held_out, validation in ((good, poor), (poor, good)))
    choice = choose_on(examples, frozen, tuned)  # on the test rows, the frozen one is better
    assert choice.kept and choice.held_out is poor
    assert choice.frozen_loss > choice.tuned_loss
    of_frozen, of_tuned = (as_reported(examples, rival.held_out, rival.validation)[0].mean()
                           for rival in (choice.backbones[FROZEN], choice.backbones[TUNED]))
    assert of_frozen > of_tuned


def test_the_accuracies_side_by_side_are_calibrated_on_other_rows_than_they_report() -> None:
    """Labels that nothing predicts: thresholds fitted on the rows that report would find some of them."""
    targets = (np.random.default_rng(0).random((200, 4)) < 0.2).astype(int)
    examples = in_folds(made_examples(targets, classes="abcd"))
    noise = [Predictions(np.arange(200), np.random.default_rng(seed).normal(size=(200, 4)).astype(np.float32))
             for seed in (1, 2)]
    backbones = choose(examples, *noise).backbones
    for name, predictions in zip((FROZEN, TUNED), noise, strict=True):
        correct, _ = as_reported(examples, backbones[name].held_out, backbones[name].validation)
        assert correct.tolist() == list(tl.evaluate(examples, predictions).correct)


def test_a_hold_out_keeps_blocks_only_where_validation_rows_show_more_than_chance() -> None:
    examples = of(150)
    better, slightly, frozen = (sure(examples, shares(150, share, 0)) for share in (0.95, 0.705, 0.7))
    heads = [FittedHead("linear", None, frozen, validation, {}, (), 0.0) for validation in (frozen, slightly, better)]
    assert not better_on_validation(examples, heads[0], heads[1])
    assert better_on_validation(examples, heads[0], heads[2])


def test_a_nearly_perfect_frozen_backbone_leaves_little_to_gain() -> None:
    examples = of(150)
    perfect, good = sure(examples, np.ones(150, bool), 12.0), sure(examples, shares(150, 0.9, 0))
    loss = little_to_gain(examples, perfect, None)
    assert loss is not None and loss < 0.05
    assert little_to_gain(examples, good, None) is None and little_to_gain(examples, perfect, good) is None


def test_the_time_is_said_once_after_a_few_steps(capsys: pytest.CaptureFixture[str]) -> None:
    estimate = Estimate("fine-tuning", 1200, "`unfreeze` 0 skips it")
    for _ in range(4):
        estimate()
    assert capsys.readouterr().out == ""
    for _ in range(9):
        estimate()
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and "1,200 steps" in line and line.endswith("`unfreeze` 0 skips it\n")
    assert [duration(seconds) for seconds in (0.2, 40, 300, 9000)] == ["about 1 s", "about 40 s", "about 5 min",
                                                                       "about 2.5 h"]


@pytest.mark.slow
@pytest.mark.parametrize("learning_rate", [3e-3, 1.0])
def test_blocks_are_tuned_once_per_fold_and_the_frozen_model_ships_where_that_is_no_better(
        learning_rate: float, tmp_path: Path) -> None:
    examples = tl.split(tl.read_images(str(draw_folder(tmp_path / "close", 20, CLOSE))), unfreeze=1)
    assert examples.split is not None and examples.split.mode == "cv"
    features = tl.compute_features(examples, tiny_backbone(), plain_runtime(), cache_dir=tmp_path / "cache")
    options = tl.TrainingOptions(2, fine_tuning=tl.TuningOptions(learning_rate=learning_rate))
    trained, frozen = tl.train(features, unfreeze=1, options=options), tl.train(features)
    result = trained.fine_tuning
    assert result is not None and result.folds_kept is not None
    assert trained.fitted.validation is None
    assert trained.fitted.held_out.rows.tolist() == list(range(len(examples)))
    assert trained.fitted.choice is not None and trained.fitted.choice.chosen == trained.fitted.name
    for rival in trained.fitted.choice.rivals.values():  # on all rows, whatever the last fit held out
        assert rival.validation is None and rival.held_out.rows.tolist() == list(range(len(examples)))
    same = np.array_equal(trained.fitted.held_out.logits, frozen.fitted.held_out.logits)
    weights = all(map(np.array_equal, trained.model.get_weights(), frozen.model.get_weights()))
    assert same == (result.folds_kept == 0) and weights == (not result.kept)
    assert np.array_equal(trained.fitted.backbones[FROZEN].held_out.logits, frozen.fitted.held_out.logits)
    assert trained.fitted.backbones[TUNED].held_out.rows.tolist() == list(range(len(examples)))
    if learning_rate == 1.0:
        assert not result.kept
    assert all(map(np.array_equal, features.backbone.model.get_weights(), tiny_backbone().model.get_weights()))
