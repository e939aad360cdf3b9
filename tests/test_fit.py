"""Which rows a head is fitted on, which stop training or choose its settings, and which are held out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info
from tiny import clouds, held_out, in_folds, made_examples, made_features

import kerastl as tl
from kerastl.data.examples import VALIDATION
from kerastl.features.compute import Features
from kerastl.training.fit import FittedHead, held_out_predictions
from kerastl.training.fitters import convex, gradient, solver
from kerastl.training.options import TrainingOptions


def weights_of(fitted: FittedHead) -> list[np.ndarray]:
    return fitted.head.get_weights()


def equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_validation_predictions_come_from_the_features_that_the_solver_sees(tmp_path: Path) -> None:
    """Only held-out rows have features in float32 as well."""
    x, y = clouds(90, 3, 8, 3.0)
    features = made_features(tmp_path, x, made_examples(y, split=held_out(90)), held_out=-x)
    fitted = tl.fit(features)
    split = features.examples.split
    for predictions, values, rows in ((fitted.validation, x, split.rows(VALIDATION)),
                                      (fitted.held_out, -x, split.held_out)):
        assert predictions.rows.tolist() == rows.tolist()
        assert np.abs(np.asarray(fitted.head(values[rows])) - predictions.logits).max() < 1e-5


@pytest.mark.slow
def test_the_shipped_head_is_fitted_on_all_rows_whatever_the_folds(tmp_path: Path) -> None:
    x, y = clouds(90, 3, 12, 2.0)
    examples = in_folds(made_examples(y))
    other = replace(examples, split=replace(examples.split, part=np.roll(examples.split.part, 7)))
    first, second = (tl.fit(made_features(tmp_path / name, x, rows))
                     for name, rows in (("a", examples), ("b", other)))
    assert equal(weights_of(first), weights_of(second))
    assert not np.array_equal(first.held_out.logits, second.held_out.logits)


@pytest.mark.slow
def test_a_fold_stops_on_rows_of_its_own_and_the_shipped_head_trains_for_the_median_of_their_epochs(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = clouds(700, 2, 6, 3.0)
    examples = in_folds(made_examples(y, groups=[str(i // 4) for i in range(700)]))
    part, calls = examples.split.part, []

    def recorded(model: Any, head: Any, features: Features, rows: Any, validation: Any, weights: Any, moments: Any,
                 options: TrainingOptions, seed: int, epochs: int, on_epoch_begin: Any) -> tuple[float, Any]:
        """In the place of Keras' training loop: the best epoch is the 3rd, the 9th, and so on."""
        calls.append((rows, validation, epochs))
        assert len(weights) == len(rows) and options.head_batch_size == 32
        best = (3, 9, 5, 4, 40, 5)[len(calls) - 1]
        return 1e3, tuple({"epoch": i + 1.0, "loss": 1.0, "val_loss": abs(i + 1.0 - best)} for i in range(epochs))

    monkeypatch.setattr(gradient, "_train", recorded)
    options = TrainingOptions(50, head_batch_size=32)
    fitted = tl.fit(made_features(tmp_path, x, examples), "mlp", options=options)
    for fold, (rows, validation, epochs) in enumerate(calls[:5]):
        assert sorted([*rows, *validation]) == np.flatnonzero(part != fold).tolist() and epochs == 50
        assert not set(rows // 4) & set(validation // 4) and 0.1 < len(validation) / 560 < 0.2
    rows, validation, epochs = calls[5]
    assert len(calls) == 6 and rows.tolist() == list(range(700)) and validation is None
    assert epochs == 5 == fitted.settings["epochs"]


def test_the_strength_is_chosen_on_each_training_row_once_with_whole_groups(tmp_path: Path,
                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = clouds(120, 3, 6, 3.0)
    group = np.arange(120) % 30  # not side by side, so that rows of other numbers are of other groups
    examples = in_folds(made_examples(y, groups=[str(name) for name in group]))
    solve, calls = solver.solve, []

    def recorded(x: Any, y: Any, weight: Any, held_out: Any, **more: Any) -> solver.Linear:
        calls.append((len(x), held_out, more["validation"]))
        return solve(x, y, weight, held_out, **more)

    monkeypatch.setattr(convex, "solve", recorded)
    monkeypatch.setattr(convex.os, "cpu_count", lambda: 1)  # folds in turn
    tl.fit(made_features(tmp_path, x, examples))
    assert [n for n, _, _ in calls] == [*((examples.split.part != fold).sum() for fold in range(5)), 120]
    for _, masks, validation in calls:
        assert validation is None and len(masks) == 5 and (np.sum(masks, axis=0) == 1).all()
    for fold, (_, masks, _) in enumerate(calls):
        groups = group[examples.split.part != fold]  # at last of all rows
        assert not any(set(groups[mask]) & set(groups[~mask]) for mask in masks)


@pytest.mark.slow
def test_a_fold_is_fitted_and_evaluated_on_its_own_features(tmp_path: Path) -> None:
    x, y = clouds(90, 3, 8, 2.0)
    examples = in_folds(made_examples(y))
    turned = [made_features(tmp_path / str(fold), x * np.roll(np.linspace(0, 2, 8), fold), examples)
              for fold in range(5)]
    own = made_features(tmp_path / "own", x, examples)
    fitted = tl.fit(own, fold_features=dict(enumerate(turned)))
    for fold, features in enumerate(turned):
        expected = held_out_predictions(features, "linear", fold)
        assert np.array_equal(fitted.held_out.logits[expected.rows], expected.logits)
    assert equal(weights_of(fitted), weights_of(tl.fit(own)))  # of the shipped head


@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_held_out_predictions_are_those_of_a_whole_fit(mode: str, tmp_path: Path) -> None:
    x, y = clouds(90, 3, 8, 2.0)
    examples = made_examples(y)
    examples = in_folds(examples) if mode == "cv" else replace(examples, split=held_out(90))
    features = made_features(tmp_path, x, examples, held_out=x + 0.5)
    whole = tl.fit(features).held_out
    fold, missing = (3, None) if mode == "cv" else (None, 3)
    predictions = held_out_predictions(features, "linear", fold)
    with pytest.raises(tl.OptionError, match="`fold` is"):
        held_out_predictions(features, "linear", missing)
    rows = np.flatnonzero(examples.split.part == 3) if mode == "cv" else examples.split.held_out
    assert predictions.rows.tolist() == rows.tolist()
    assert np.array_equal(predictions.logits, whole.logits[np.isin(whole.rows, rows)])


@pytest.mark.slow
def test_folds_that_are_solved_side_by_side_give_what_they_give_in_turn(tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = clouds(150, 3, 200, 3.0)
    features = made_features(tmp_path, x, in_folds(made_examples(y)))
    running, most, solve = [], [], solver.solve

    def watched(*args: Any, **more: Any) -> solver.Linear:
        running.append(None)
        most.append(len(running))
        result = solve(*args, **more)
        running.pop()
        return result

    monkeypatch.setattr(convex, "solve", watched)
    fits = []
    threads = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
    for cores in (1, 3):
        most.clear()
        monkeypatch.setattr(convex.os, "cpu_count", lambda cores=cores: cores)
        fits.append(tl.fit(features))
        assert max(most) <= cores and len(most) == 6
    assert max(most) > 1 and equal(*map(weights_of, fits))
    assert np.array_equal(fits[0].held_out.logits, fits[1].held_out.logits)
    assert [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"] == threads


@pytest.mark.slow
def test_large_folds_are_solved_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = clouds(60, 3, 8, 3.0)
    features = made_features(tmp_path, x, in_folds(made_examples(y)))
    expected = tl.fit(features)
    monkeypatch.setattr(convex, "LARGE", 0)
    monkeypatch.setattr(convex, "ThreadPoolExecutor", None)
    assert np.allclose(tl.fit(features).held_out.logits, expected.held_out.logits, atol=1e-3)
