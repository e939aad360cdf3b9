"""Heads that are trained from the solved linear head on, and `linear` beside them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_heads import placed_features
from tiny import clouds, held_out, in_folds, made_examples, made_features

import kerastl as tl
from kerastl.evaluation.linear_beside import compare_with_linear
from kerastl.features.compute import Features
from kerastl.features.means import means_of
from kerastl.heads import resolve_head
from kerastl.model import predict_logits
from kerastl.training.fit import held_out_predictions
from kerastl.training.fitters import fitter_named
from kerastl.training.options import DEFAULTS, TrainingOptions
from kerastl.training.train import linear_beside

SMALL = {"mlp": "mlp:hidden=16", "attention": "attention", "resnet": "resnet:width=16,blocks=1",
         "transformer": "transformer:width=16,heads=2", "gated": "gated:width=16", "averaged": "averaged:width=16"}


def places(n: int, classes: int, apart: float, kind: str, seed: int = 0
           ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Clouds as features of a kind: rows, maps of 3 x 3 places, or states of 2 to 6 tokens."""
    x, y = clouds(n, classes, 12, apart, seed)
    generator = np.random.default_rng(seed + 1)
    if kind == "row":
        return x, y
    if kind == "map":
        return (x[:, None, None] + generator.normal(size=(n, 3, 3, 12))).astype(np.float32), y
    states = (x[:, None] + generator.normal(size=(n, 6, 12))).astype(np.float32)
    states[np.arange(6) >= generator.integers(2, 7, n)[:, None]] = 0
    return states, y


def features_of(folder: Path, x: NDArray[np.float32], y: NDArray[np.int64]) -> Features:
    return placed_features(folder, x, y) if x.ndim > 2 else made_features(folder, x, made_examples(
        y, split=held_out(len(y))))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [
    ("mlp", "row"), ("averaged", "row"), ("attention", "map"), ("attention", "states"), ("transformer", "states"),
    ("resnet", "map"), ("gated", "row")])
def test_training_starts_from_the_linear_head_of_the_mean(name: str, kind: str, tmp_path: Path) -> None:
    features = features_of(tmp_path / "f", *places(60, 3, 3.0, kind))
    head, rows = resolve_head(SMALL[name]), np.arange(40)
    fitted = fitter_named(head.spec.fitter).fit_rows(head, features, rows, None, DEFAULTS, epochs=0)
    means = means_of(features)
    linear = fitter_named("convex").fit_rows(resolve_head("linear"), means, rows, None, DEFAULTS).model
    expected = predict_logits(linear, means.rows(np.arange(60)))
    assert expected.std() > 0.1
    assert np.abs(predict_logits(fitted.model, features.rows(np.arange(60))) - expected).max() < 1e-4
    assert fitted.epochs == 0 and not fitted.model.trainable_weights


@pytest.mark.slow
def test_padding_has_no_part_in_the_answer(tmp_path: Path) -> None:
    x, y = places(60, 3, 3.0, "states")
    features, head = features_of(tmp_path / "f", x, y), resolve_head(SMALL["transformer"])
    model = fitter_named("residual").fit_rows(head, features, np.arange(60), None, DEFAULTS, epochs=2).model
    longer = np.concatenate([x, np.zeros((60, 4, 12), np.float32)], axis=1)
    assert np.abs(predict_logits(model, longer) - predict_logits(model, x)).max() < 1e-4


@pytest.mark.parametrize("kind", ["row", "map", "states"])
def test_the_means_are_those_of_the_places_that_are_there(kind: str, tmp_path: Path) -> None:
    x, y = places(70, 2, 1.0, kind)
    features, rows = features_of(tmp_path / "f", x, y), np.arange(69, 3, -1)
    stored = features.rows(rows)
    if kind == "states":
        expected = np.stack([row[(row != 0).any(axis=1)].mean(axis=0) for row in stored])
    else:
        expected = stored.reshape(len(rows), -1, 12).mean(axis=1)
    means = means_of(features)
    assert means.shape == (12,) and means.rows(rows) == pytest.approx(expected, abs=1e-5)
    assert means.held_out_rows(rows[:3]) == pytest.approx(expected[:3], abs=1e-5)


@pytest.mark.slow
def test_where_nothing_holds_for_other_rows_the_linear_head_ships(tmp_path: Path) -> None:
    """Labels that follow from nothing: every epoch is worse than the start."""
    x, y = clouds(90, 3, 12, 0.0)
    features = made_features(tmp_path, x, in_folds(made_examples(y)))
    fitted, linear = tl.fit(features, "mlp:hidden=64,dropout=0"), tl.fit(features, "linear")
    assert fitted.settings["epochs"] == 0 and linear.settings["solver"] == "L-BFGS"
    assert np.abs(fitted.head(x) - linear.head(x)).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("mlp", "row"), ("resnet", "map"), ("attention", "map"),
                                            ("transformer", "states")])
def test_on_few_rows_of_weak_features_no_head_falls_far_behind_linear(name: str, kind: str, tmp_path: Path) -> None:
    """As those of a random network, all features lie close together and far from 0."""
    difference = []
    for draw in range(3):
        x, y = places(96, 4, 2.0, kind, seed=draw)
        x = np.where(x == 0, 0, 0.05 * x + 3).astype(np.float32)
        features = features_of(tmp_path / str(draw), x, y)
        features = replace(features, examples=in_folds(replace(features.examples, split=None)))
        examples, losses = features.examples, []
        for own, head in ((features, SMALL[name]), (means_of(features), "linear")):
            predictions = held_out_predictions(own, head, draw)  # of one fold each, as all five take minutes
            truth = examples.one_hot(predictions.rows)
            losses.append(examples.task.log_loss(predictions.logits.astype(float), truth))
        difference.append(losses[0] - losses[1])
    assert np.concatenate(difference).mean() < 0.1


@pytest.mark.slow
def test_linear_is_fitted_beside_heads_that_descend_and_beside_no_other(tmp_path: Path) -> None:
    x, y = clouds(90, 3, 12, 4.0)
    features = made_features(tmp_path, x, in_folds(made_examples(y)))
    for name in ("linear", "prototype"):
        assert linear_beside(features, resolve_head(name), DEFAULTS) is None
    linear = linear_beside(features, resolve_head("cosine"), DEFAULTS)
    assert linear is not None and linear.held_out.id == tl.fit(features).held_out.id
    fitted = tl.fit(features, "cosine", options=TrainingOptions(2))
    evaluation, of_linear = (tl.evaluate(features.examples, head) for head in (fitted, linear))
    beside = compare_with_linear(features.examples, evaluation, "cosine", linear)
    assert beside.n == 90 and beside.accuracy == of_linear.accuracy
    assert beside.gain == pytest.approx(evaluation.accuracy - of_linear.accuracy)
    assert (beside.log_loss, beside.head_log_loss) == (of_linear.log_loss_calibrated, evaluation.log_loss_calibrated)
    assert "`linear`" in beside.sentence and beside.from_dict(beside.to_dict()) == beside
