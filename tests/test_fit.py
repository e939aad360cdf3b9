"""Which rows a head is fitted on, which stop it or choose its settings, and which it is judged on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import clouds, held_out, in_folds, made_examples, made_features, plain_runtime

import kerastl as tl
from kerastl.data.examples import VALIDATION
from kerastl.features.compute import Features
from kerastl.training import fit as fitting
from kerastl.training.fit import FittedHead, held_out_predictions
from kerastl.training.fitters import convex as linear
from kerastl.training.fitters import gradient


def weights_of(fitted: FittedHead) -> list[np.ndarray]:
    return fitted.head.get_weights()


def equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_validation_answers_come_from_the_rows_that_train_as_the_solver_sees_them(tmp_path: Path) -> None:
    """Only rows that judge have a float32 twin."""
    x, y = clouds(90, 3, 8, 3.0)
    features = made_features(tmp_path, x, made_examples(y, split=held_out(90)), held_out=-x)
    fitted = tl.fit(features, runtime=plain_runtime())
    split = features.examples.split
    for answers, rows, place in ((fitted.validation, x, split.rows(VALIDATION)), (fitted.held_out, -x, split.held_out)):
        assert answers.rows.tolist() == place.tolist()
        assert np.abs(np.asarray(fitted.head(rows[answers.rows])) - answers.logits).max() < 1e-5


def test_the_head_that_ships_is_fitted_on_all_rows_whatever_the_folds(tmp_path: Path) -> None:
    x, y = clouds(90, 3, 12, 2.0)
    examples = in_folds(made_examples(y))
    other = replace(examples, split=replace(examples.split, part=np.roll(examples.split.part, 7)))
    first, second = (tl.fit(made_features(tmp_path / name, x, some), runtime=plain_runtime())
                     for name, some in (("a", examples), ("b", other)))
    assert equal(weights_of(first), weights_of(second))
    assert not np.array_equal(first.held_out.logits, second.held_out.logits)


def test_a_fold_stops_on_rows_of_its_own_and_the_head_that_ships_trains_for_the_median_of_their_epochs(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = clouds(200, 2, 6, 3.0)
    examples = in_folds(made_examples(y, groups=[str(i // 4) for i in range(200)]))
    part, asked = examples.split.part, []

    def watched(head: Any, features: Features, rows: Any, validation: Any, weight: Any, *_: Any, epochs: Any, **__: Any
                ) -> gradient.Trained:
        asked.append((rows, validation, epochs))
        assert len(weight) == len(rows)
        return gradient.Trained(head.made(features.shape, 2), (3, 9, 5, 4, 40, 0)[len(asked) - 1], ())

    monkeypatch.setattr(fitting, "train_by_gradient", watched)
    tl.fit(made_features(tmp_path, x, examples), "mlp", runtime=plain_runtime(), epochs=50)
    for fold, (rows, validation, epochs) in enumerate(asked[:5]):
        assert sorted([*rows, *validation]) == np.flatnonzero(part != fold).tolist() and epochs == 50
        assert not set(rows // 4) & set(validation // 4) and 0.1 < len(validation) / 160 < 0.2
    rows, validation, epochs = asked[5]
    assert len(asked) == 6 and rows.tolist() == list(range(200)) and validation is None and epochs == 5


def test_the_strength_is_chosen_on_each_training_row_once_groups_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                      ) -> None:
    x, y = clouds(120, 3, 6, 3.0)
    examples = in_folds(made_examples(y, groups=[str(i // 4) for i in range(120)]))
    solve, seen = linear.solve, []

    def watched(x: Any, y: Any, weight: Any, held_out: Any, **more: Any) -> linear.Linear:
        seen.append((len(x), held_out, more["validation"]))
        return solve(x, y, weight, held_out, **more)

    monkeypatch.setattr(fitting, "solve", watched)
    tl.fit(made_features(tmp_path, x, examples), runtime=plain_runtime())
    assert [n for n, _, _ in seen] == [*((examples.split.part != fold).sum() for fold in range(5)), 120]
    for _, masks, validation in seen:
        assert validation is None and len(masks) == 5 and (np.sum(masks, axis=0) == 1).all()
    for mask in seen[-1][1]:
        assert all(len(set(mask[i:i + 4])) == 1 for i in range(0, 120, 4))


def test_a_fold_is_judged_by_the_features_given_for_it(tmp_path: Path) -> None:
    x, y = clouds(90, 3, 8, 2.0)
    examples = in_folds(made_examples(y))
    turned = [made_features(tmp_path / str(fold), x * np.roll(np.linspace(0, 2, 8), fold), examples)
              for fold in range(5)]
    own = made_features(tmp_path / "own", x, examples)
    fitted = tl.fit(own, runtime=plain_runtime(), of_fold=turned.__getitem__)
    for fold, features in enumerate(turned):
        wanted = held_out_predictions(features, "linear", fold, runtime=plain_runtime())
        assert np.array_equal(fitted.held_out.logits[wanted.rows], wanted.logits)
    assert equal(weights_of(fitted), weights_of(tl.fit(own, runtime=plain_runtime())))  # what ships has none of them


@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_answers_without_the_head_that_ships_are_those_of_a_whole_fit(mode: str, tmp_path: Path) -> None:
    x, y = clouds(90, 3, 8, 2.0)
    examples = made_examples(y)
    examples = in_folds(examples) if mode == "cv" else replace(examples, split=held_out(90))
    features = made_features(tmp_path, x, examples, held_out=x + 0.5)
    whole = tl.fit(features, runtime=plain_runtime()).held_out
    found = held_out_predictions(features, "linear", 3, runtime=plain_runtime())
    rows = np.flatnonzero(examples.split.part == 3) if mode == "cv" else examples.split.held_out
    assert found.rows.tolist() == rows.tolist()
    assert np.array_equal(found.logits, whole.logits[np.isin(whole.rows, rows)])
