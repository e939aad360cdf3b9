"""Fitting heads: the solver against scikit-learn, and what they may not see, they do not see."""

import os
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import sklearn.datasets
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from tiny import clouds, held_out, in_folds, made_examples, made_features

import kerastl as tl
from kerastl.data.examples import TRAIN, VALIDATION
from kerastl.data.split import folds
from kerastl.errors import DataError, OptionError
from kerastl.features.compute import Features
from kerastl.heads import PLACES, heads
from kerastl.tasks import task_named
from kerastl.training.fit import FittedHead
from kerastl.training.fitters import convex, gradient, solver
from kerastl.training.fitters.axes import Axes
from kerastl.training.options import TrainingOptions
from kerastl.training.scaling import scale_of
from kerastl.training.targets import row_weights

ONE_HOT = np.eye(10, dtype=np.float32)
SEEDS = 5 if "KERASTL_SOAK" in os.environ else 2  # ways to divide the digits into folds


def accuracy(fitted: FittedHead, features: Features) -> float:
    return float((fitted.held_out.logits.argmax(axis=1) == features.examples.targets[fitted.held_out.rows]).mean())


def weights_of(fitted: FittedHead) -> list[np.ndarray]:
    return fitted.head.get_weights()


def same(a: list[np.ndarray], b: list[np.ndarray]) -> list[bool]:
    return [bool(np.array_equal(x, y)) for x, y in zip(a, b, strict=True)]


# The solver


def problem(kind: str, n: int = 240, dim: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of uneven scale, with one that never moves; targets and weights of a kind."""
    x, labels = clouds(n, 4, dim, 2.5)
    x = x * np.logspace(-2, 2, dim, dtype=np.float32) + 7
    x[:, 3] = 5.0
    y, weight = ONE_HOT[labels][:, :4], np.ones(n, np.float32)
    if kind == "several labels":
        y = np.stack([labels > 1, labels % 2, np.arange(n) % 3 == 0], axis=1).astype(np.float32)
    elif kind == "weighted":
        weight = np.random.default_rng(1).uniform(0.1, 5, n).astype(np.float32)
    elif kind == "smoothed":
        y = y * 0.8 + 0.05
    return x, y, weight


def solved(x: np.ndarray, y: np.ndarray, weight: np.ndarray, multi_label: bool = False) -> solver.Linear:
    inner = np.arange(len(x)) % 5
    return solver.solve(x, y, weight, [inner == k for k in range(5)],
                        task=task_named("multi_label" if multi_label else "single_label"))


def penalty_scale(x: np.ndarray) -> np.ndarray:
    """What the penalty takes for a feature's unit: the square root of its variance plus the mean variance."""
    variance = x.astype(np.float64).var(axis=0)
    return np.sqrt(variance + variance.mean())


def test_a_feature_is_scaled_by_its_own_variance_and_that_of_all_together() -> None:
    variance = np.array([0.0, 1.0, 5.0])
    assert scale_of(variance) == pytest.approx(np.sqrt([2, 3, 7]))
    assert scale_of(np.array([0, 1, 5, 100, 300.0]), (3, 2)) == pytest.approx(np.sqrt([2, 3, 7, 300, 500]))
    assert scale_of(np.array([0, 1, 5, 100, 300.0]), (1, 2, 2)) == pytest.approx(
        [1, 2, np.sqrt(8), np.sqrt(300), np.sqrt(500)])
    assert scale_of(np.array([0, 0, 4.0]), (2, 1)) == pytest.approx([1, 1, np.sqrt(8)])  # 1 for what never moves


@pytest.mark.parametrize("kind", ["single", "several labels", "weighted", "smoothed"])
@pytest.mark.parametrize("dim", [20, 400], ids=["more rows", "more features"])
def test_a_solution_is_where_the_gradient_vanishes(kind: str, dim: int) -> None:
    x, y, weight = problem(kind, dim=dim)
    several = kind == "several labels"
    found = solved(x, y, weight, several)

    def gradient_at(kernel: np.ndarray, bias: np.ndarray) -> float:
        logits = x.astype(np.float64) @ kernel + bias
        p = scipy.special.expit(logits) if several else scipy.special.softmax(logits, axis=1)
        error = (p - y) * (weight / weight.sum())[:, None]
        scale = penalty_scale(x)  # the penalty is on scaled features
        by_kernel = ((x - x.mean(axis=0)) / scale).T @ error + found.l2 * kernel * scale[:, None]
        return float(max(np.abs(by_kernel).max(), np.abs(error.sum(axis=0)).max()))

    nothing = gradient_at(np.zeros_like(found.kernel), np.zeros_like(found.bias))
    assert nothing > 0.02 and gradient_at(found.kernel, found.bias) < 1e-3 * nothing
    assert found.l2 == min(found.path, key=lambda point: point[1])[0]


@pytest.mark.parametrize("kind", ["single", "several labels", "weighted"])
def test_a_solution_is_scikit_learns_of_the_same_strength(kind: str) -> None:
    x, y, weight = problem(kind)
    several = kind == "several labels"
    found = solved(x, y, weight, several)
    z = (x - x.mean(axis=0)) / penalty_scale(x)
    given = x @ found.kernel + found.bias
    given = scipy.special.expit(given) if several else scipy.special.softmax(given, axis=1)
    theirs = LogisticRegression(C=1 / (found.l2 * weight.sum()), tol=1e-6, max_iter=10_000)
    with threadpool_limits(1):  # on so little, more threads only wait for each other
        if several:
            wanted = np.stack([theirs.fit(z, one).predict_proba(z)[:, 1] for one in y.T], axis=1)
        else:
            wanted = theirs.fit(z, y.argmax(axis=1), sample_weight=weight).predict_proba(z)
    assert wanted.std() > 0.2 and np.abs(given - wanted).max() < 2e-3


def test_the_strength_of_a_solution_is_chosen_on_held_out_rows() -> None:
    """Labels are random, so a strong penalty is best; on the rows that are fitted on, a weak one would seem best."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(120, 40)).astype(np.float32), ONE_HOT[generator.integers(0, 2, 120)][:, :2]
    found = solved(x, y, np.ones(120, np.float32))
    assert found.l2 >= 1 and min(loss for _, loss in found.path) > 0.98 * np.log(2)


@pytest.mark.parametrize("dim", [20, 400], ids=["more rows", "more features"])
def test_the_loss_that_chose_a_solution_is_that_of_its_validation_rows(dim: int) -> None:
    x, y, weight = problem("single", dim=dim)
    task, rows, validation = task_named("single_label"), slice(0, 160), slice(160, 240)
    found = solver.solve(x[rows], y[rows], weight[rows], [], task=task, validation=(x[validation], y[validation]))
    logits = (x[validation] @ found.kernel + found.bias).astype(np.float64)
    assert task.log_loss(logits, y[validation]).mean() == pytest.approx(min(loss for _, loss in found.path), rel=0.01)


@pytest.mark.parametrize("kind", ["single", "several labels", "weighted"])
@pytest.mark.parametrize(("n", "dim"), [(60, 150), (240, 20)], ids=["more features", "more rows"])
def test_on_the_principal_axes_the_solution_is_the_same(kind: str, n: int, dim: int, monkeypatch) -> None:
    x, y, weight = problem(kind, n=n, dim=dim)
    other, _, _ = problem(kind, n=100, dim=dim)

    def columns(z: np.ndarray) -> Axes:
        """The features as they are in the place of axes."""
        return Axes(z, None, (z**2).mean(axis=0), lambda weights: weights)

    short = solved(x, y, weight, kind == "several labels")
    monkeypatch.setattr(solver, "principal_axes", columns)
    direct = solved(x, y, weight, kind == "several labels")
    assert short.l2 == direct.l2 and np.allclose(short.path, direct.path, rtol=0.01)
    a, b = (other @ one.kernel + one.bias for one in (short, direct))
    assert a.std() > 0.3 and np.abs(a - b).max() < 0.02 * a.std()


def test_problems_are_solved_in_groups_where_there_are_many_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, weight = problem("single")
    together = solved(x, y, weight)
    monkeypatch.setattr(solver, "COLUMNS", 8)  # two problems of four outputs
    grouped = solved(x, y, weight)
    assert grouped.l2 == together.l2 and np.allclose(grouped.path, together.path, rtol=1e-3)
    a, b = (x @ one.kernel + one.bias for one in (together, grouped))
    assert np.abs(a - b).max() < 0.03 * a.std()


@pytest.mark.slow
@pytest.mark.parametrize(("n", "dim", "outputs"), [(900, 400, 3), (400, 900, 3), (900, 900, 3), (300, 300, 120)])
def test_the_solver_takes_the_memory_that_it_is_said_to(n: int, dim: int, outputs: int) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(n, dim)).astype(np.float32)
    y = np.eye(outputs, dtype=np.float32)[generator.integers(0, outputs, n)]
    tracemalloc.start()
    solver.solve(x, y, np.ones(n, np.float32), [np.arange(n) % 3 == k for k in range(3)],
                 task=task_named("single_label"))
    peak = tracemalloc.get_traced_memory()[1] + x.nbytes
    tracemalloc.stop()
    assert 0.5 * solver.memory_of(n, dim, outputs) < peak < solver.memory_of(n, dim, outputs)


def test_features_that_never_move_leave_the_share_of_each_class() -> None:
    y = ONE_HOT[[0] * 30 + [1] * 10][:, :2]
    for x in (np.zeros((40, 5), np.float32), np.full((40, 90), 3.0, np.float32)):
        found = solved(x, y, np.ones(40, np.float32))
        p = scipy.special.softmax(x @ found.kernel + found.bias, axis=1)
        assert np.abs(p - [0.75, 0.25]).max() < 0.01
        entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))  # the loss in nats, of a row
        assert [loss for _, loss in found.path] == pytest.approx([entropy] * len(found.path), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("components", [None, 30], ids=["pixels", "principal components"])
def test_digits_are_read_as_well_as_by_scikit_learn_which_searched_over_the_same_folds(components: int | None,
                                                                                      tmp_path: Path) -> None:
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    if components:
        centred = x - x.mean(axis=0)
        x = centred @ np.linalg.svd(centred, full_matrices=False)[2][:components].T
    ours, theirs = [], []
    for seed in range(SEEDS):
        examples = in_folds(made_examples(y, groups=[f"{seed} {i}" for i in range(len(y))]))
        features = made_features(tmp_path / str(seed), x, examples)
        ours.append(accuracy(tl.fit(features), features))
        right = 0
        for fold in range(5):
            rows, rest = np.flatnonzero(examples.split.part != fold), np.flatnonzero(examples.split.part == fold)
            inner = folds(examples, 5, rows)
            search = LogisticRegressionCV(cv=[(np.flatnonzero(inner != k), np.flatnonzero(inner == k))
                                              for k in range(5)], scoring="neg_log_loss", max_iter=1000,
                                          l1_ratios=(0,), use_legacy_attributes=False)
            scaler = StandardScaler().fit(x[rows])
            search.fit(scaler.transform(x[rows]), y[rows])
            right += (search.predict(scaler.transform(x[rest])) == y[rest]).sum()
        theirs.append(right / len(y))
    print("ours", ours, "scikit-learn", theirs)
    assert np.mean(theirs) > 0.93
    assert np.mean(ours) >= np.mean(theirs) - 0.005


# What may not be seen


@pytest.mark.parametrize("head", ["linear", pytest.param("mlp", marks=pytest.mark.slow)])
def test_out_of_fold_answers_do_not_know_their_own_labels(head: str, tmp_path: Path) -> None:
    """Turning the labels of one fold changes what ships, but not a bit of that fold's answers."""
    x, y = clouds(90, 3, 12, 3.0)
    examples = in_folds(made_examples(y))
    more = {"options": TrainingOptions(2)}
    before = tl.fit(made_features(tmp_path / "a", x, examples), head, **more)
    for fold in (0, 3):
        here = examples.split.part == fold
        turned = replace(examples, targets=np.where(here, (y + 1) % 3, y))
        after = tl.fit(made_features(tmp_path / f"b{fold}", x, turned), head, **more)
        assert np.array_equal(after.held_out.logits[here], before.held_out.logits[here])
        assert not np.array_equal(after.held_out.logits[~here], before.held_out.logits[~here])
        assert not all(same(weights_of(before), weights_of(after)))


@pytest.mark.parametrize("head", ["linear", pytest.param("mlp", marks=pytest.mark.slow)])
def test_random_labels_stay_near_chance_though_every_row_has_a_twin(head: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    n = 240 if head == "linear" else 120
    x = np.repeat(generator.normal(size=(n // 2, 200)), 2, axis=0).astype(np.float32)
    y = np.repeat(generator.integers(0, 3, n // 2), 2)
    found = {}
    for name, groups in (("together", [str(i // 2) for i in range(n)]), ("apart", [str(i) for i in range(n)])):
        features = made_features(tmp_path / name, x, in_folds(made_examples(y, groups=groups)))
        found[name] = accuracy(tl.fit(features, head, options=TrainingOptions(8)), features)
    assert abs(found["together"] - 1 / 3) < 4 * np.sqrt(2 / 9 / (n // 2))
    assert found["apart"] > 0.6  # twins on both sides do show


@pytest.mark.parametrize("head", [name for name, head in heads().items() if not head.takes_raw])  # blend: test_blend.py
@pytest.mark.slow
def test_test_rows_never_influence_the_fit(head: str, tmp_path: Path) -> None:
    x, y = clouds(150, 3, 20, 3.0)
    x = x.reshape(150, 2, 2, 5) if heads()[head].takes == PLACES else x
    examples = made_examples(y, split=held_out(150))
    test = examples.split.held_out
    more = {"options": TrainingOptions(1)}
    before = tl.fit(made_features(tmp_path / "a", x, examples), head, **more)
    changed_x, changed_y = x.copy(), y.copy()
    changed_x[test], changed_y[test] = -50 * x[test], (y[test] + 1) % 3
    features = made_features(tmp_path / "b", changed_x, replace(examples, targets=changed_y))
    after = tl.fit(features, head, **more)
    assert all(same(weights_of(before), weights_of(after))) and before.curve == after.curve
    assert np.array_equal(before.validation.logits, after.validation.logits)
    assert not np.array_equal(before.held_out.logits, after.held_out.logits)


def test_training_and_validation_rows_do_influence_the_fit(tmp_path: Path) -> None:
    x, y = clouds(150, 3, 20, 3.0)
    split = held_out(150)
    found = []
    for part in ((), (TRAIN,), (VALIDATION,)):
        turned = np.where(np.isin(split.part, part), (y + 1) % 3, y)
        features = made_features(tmp_path / str(part), x, made_examples(turned, split=split))
        found.append(tl.fit(features))
    plain, trained, chosen = found
    assert not any(same(weights_of(plain), weights_of(trained)))
    assert plain.settings["l2"] < chosen.settings["l2"] and plain.curve != chosen.curve


@pytest.mark.slow
def test_answers_that_judge_come_from_float32_rows(tmp_path: Path) -> None:
    x, y = clouds(90, 3, 8, 3.0)
    features = made_features(tmp_path, x, in_folds(made_examples(y)), held_out=-x)
    plain = tl.fit(made_features(tmp_path / "plain", x, features.examples))
    turned = tl.fit(features)
    assert all(same(weights_of(plain), weights_of(turned)))
    assert accuracy(plain, features) > 0.8 > 0.4 > accuracy(turned, features)


# Choices


@pytest.mark.parametrize("head", ["linear", pytest.param("mlp", marks=pytest.mark.slow)])
def test_class_weights_help_the_rare_class_and_are_used_when_it_is_rare(head: str, tmp_path: Path) -> None:
    x, _ = clouds(660, 2, 10, 0.0)
    y = (np.arange(660) % 22 == 0).astype(np.int64)  # one in 22
    x[y == 1] += 0.5
    features = made_features(tmp_path, x, made_examples(y, split=held_out(660, test=0.4)))
    recall = {}
    for choice in ("none", "auto", "balanced"):
        fitted = tl.fit(features, head, options=TrainingOptions(6, class_weights=choice))
        assert fitted.settings["class_weights"] == ("none" if choice == "none" else "balanced")
        rare = y[fitted.held_out.rows] == 1
        recall[choice] = (fitted.held_out.logits.argmax(axis=1)[rare] == 1).mean()
    assert recall["auto"] == recall["balanced"] > recall["none"] + 0.3


def test_class_weights_are_the_inverse_of_the_training_rows_of_a_class_and_1_in_the_mean() -> None:
    y = np.repeat([0, 1, 2], [100, 10, 9])
    examples, rows = made_examples(y), np.arange(109, -1, -1)  # the rows of the first two classes, backwards
    for how in ("auto", "balanced"):
        weights = row_weights(examples, rows, how)
        assert weights == pytest.approx(np.where(y[rows] == 0, 110 / 200, 110 / 20))
        assert weights.mean() == pytest.approx(1)
    assert (row_weights(examples, np.arange(99), "auto") == 1).all()
    assert (row_weights(examples, np.arange(1, 110), "auto") == 1).all()  # 9.9 times as many is not 10 times
    assert (row_weights(examples, rows, "none") == 1).all()


def test_class_weights_are_not_used_unasked_on_mild_imbalance_nor_with_several_labels(tmp_path: Path) -> None:
    x, y = clouds(200, 5, 10, 2.0)
    y = np.minimum(y, 1)  # 40 and 160
    several = np.stack([np.arange(200) % 40 == 0, y], axis=1)
    for name, targets in (("mild", y), ("several", several)):
        features = made_features(tmp_path / name, x, made_examples(targets, split=held_out(200)))
        assert tl.fit(features).settings["class_weights"] == "none"
    with pytest.raises(OptionError, match="several labels"):
        tl.fit(features, options=TrainingOptions(class_weights="balanced"))


@pytest.mark.parametrize(("head", "several"), [
    ("linear", False), ("linear", True), pytest.param("mlp", False, marks=pytest.mark.slow),
    pytest.param("mlp", True, marks=pytest.mark.slow)])
def test_label_smoothing_makes_a_head_less_sure_and_no_worse(head: str, several: bool, tmp_path: Path) -> None:
    x, y = clouds(240, 3, 20, 6.0)
    features = made_features(tmp_path, x, made_examples(np.eye(3)[y] if several else y, split=held_out(240)))
    sure, right = [], []
    for share in (0.0, 0.3):
        fitted = tl.fit(features, head, options=TrainingOptions(15, label_smoothing=share))
        assert fitted.settings["label_smoothing"] == share
        z = fitted.held_out.logits
        p = scipy.special.expit(z) if several else scipy.special.softmax(z, axis=1)
        sure.append(p.max(axis=1).mean())
        right.append((z.argmax(axis=1) == y[fitted.held_out.rows]).mean())
    assert sure[0] > sure[1] + 0.03 and min(right) > 0.9
    assert sure[1] == pytest.approx(0.85 if several else 0.8, abs=0.08)  # what the smoothed targets say


@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_several_labels_are_learned_each(mode: str, tmp_path: Path) -> None:
    x, y = clouds(200, 4, 16, 4.0)
    targets = np.stack([y >= 2, y % 2, y == 0], axis=1).astype(np.int64)
    examples = made_examples(targets)
    examples = in_folds(examples) if mode == "cv" else replace(examples, split=held_out(200))
    fitted = tl.fit(made_features(tmp_path, x, examples))
    right = ((fitted.held_out.logits > 0) == targets[fitted.held_out.rows]).mean(axis=0)
    assert right.shape == (3,) and (right > 0.85).all()


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "scale"), [
    ("holdout", 1e-3), pytest.param("holdout", 100.0, marks=pytest.mark.slow),
    pytest.param("cv", 1.0, marks=pytest.mark.slow)])
def test_without_the_memory_for_the_solver_gradient_descent_gets_there_too(mode: str, scale: float, tmp_path: Path,
                                                                           monkeypatch) -> None:
    x, y = sklearn.datasets.load_digits(n_class=4, return_X_y=True)
    x, y = (x[:300] + 50) * scale, y[:300]
    examples = made_examples(y)
    examples = in_folds(examples) if mode == "cv" else replace(examples, split=held_out(300))
    features = made_features(tmp_path, x, examples)
    solved = tl.fit(features)
    monkeypatch.setattr(convex, "free_memory", lambda: 0)
    descended = tl.fit(features, options=TrainingOptions(25, head_batch_size=8))
    assert (solved.settings["solver"], descended.settings["solver"]) == ("L-BFGS", "AdamW")
    assert accuracy(solved, features) > 0.95
    assert accuracy(descended, features) >= accuracy(solved, features) - 0.02


@pytest.mark.slow
def test_early_stopping_ships_the_best_epoch(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(gradient, "PATIENCE", 4)
    monkeypatch.setattr(gradient, "PATIENCE_STEPS", 4)
    x, y = clouds(120, 3, 40, 1.5)
    features = made_features(tmp_path, x, made_examples(y, split=held_out(120, validation=0.4, test=0.1)))
    fitted = tl.fit(features, "cosine:learning_rate=0.03")
    losses = [one["val_loss"] for one in fitted.curve]
    assert fitted.settings["epochs"] == np.argmin(losses) + 1 == len(losses) - 4
    rows = fitted.validation.rows
    shipped = features.examples.task.log_loss(fitted.validation.logits, features.examples.one_hot(rows)).mean()
    assert shipped == pytest.approx(min(losses), rel=1e-4) and losses[-1] > shipped * 1.001


@pytest.mark.slow
def test_another_seed_trains_another_head(tmp_path: Path) -> None:
    x, y = clouds(60, 3, 10, 1.5)
    features = made_features(tmp_path, x, made_examples(y, split=held_out(60)))
    first, other = (weights_of(tl.fit(features.with_seed(seed), "shallow", options=TrainingOptions(1)))
                    for seed in (0, 1))
    assert not any(same(first, other))


@pytest.mark.parametrize(("choice", "words"), [
    ({"class_weights": "heavy"}, ["`class_weights` must be one of", "auto, none, balanced (got heavy)"]),
    ({"label_smoothing": 1.0}, ["`label_smoothing` must be in [0, 1) (got 1.0)"]),
    ({"label_smoothing": -0.1}, ["-0.1"]),
    ({"epochs": 0, "batch_size": 0, "head_batch_size": 0, "class_weights": "x"},  # all at once
     ["`epochs` must be", "`batch_size` must be", "`head_batch_size` must be at least 1 (got 0)", "`class_weights`"]),
])
def test_options_that_cannot_be_are_refused_all_at_once(choice: dict[str, Any], words: list[str], tmp_path: Path
                                                        ) -> None:
    x, y = clouds(60, 3, 4, 1.0)
    with pytest.raises(OptionError) as refused:
        tl.fit(made_features(tmp_path, x, in_folds(made_examples(y))),
               options=TrainingOptions(**choice))
    assert all(word in str(refused.value) for word in words), refused.value


def test_what_there_is_not_is_refused(tmp_path: Path) -> None:
    x, y = clouds(60, 3, 4, 1.0)
    features = made_features(tmp_path, x, in_folds(made_examples(y)))
    with pytest.raises(OptionError, match="did you mean 'linear'"):
        tl.fit(features, "linaer")
    with pytest.raises(OptionError, match="unknown fitter 'convecks'[\\s\\S]*did you mean 'convex'"):
        tl.fit(features, replace(heads()["linear"], fitter="convecks"))
    with pytest.raises(DataError, match="not split"):
        tl.fit(replace(features, examples=replace(features.examples, split=None)))
