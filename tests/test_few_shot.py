"""Few-shot methods on made-up clouds, how their settings are chosen and how they are compared, and the recipe."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_folder
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from tiny import FEW_SHOT_DIM as DIM
from tiny import made_examples, made_features, noisy_clouds

from kerastl.cli import main
from kerastl.stats import mean_interval
from kerastl.studies.few_shot import comparison as few_shot
from kerastl.studies.few_shot import methods as meta
from kerastl.studies.few_shot.episodes import Pool, Task, divide_classes, sample

TASK = Task(4, (1, 5), 5)


@pytest.fixture(scope="module")
def base() -> Pool:
    return noisy_clouds(10, seed=1)


@pytest.fixture(scope="module")
def novel() -> Pool:
    return noisy_clouds(6, seed=2)


@pytest.fixture(scope="module")
def learned(base: Pool) -> dict[str, list[meta.Learned]]:
    return {approach.name: approach.learn(base, TASK, 0) for approach in meta.APPROACHES}


def quick(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Fewer steps to learn; fewer settings, folds and episodes to choose by."""
    monkeypatch.setattr(meta, "STEPS", (0, steps))
    monkeypatch.setattr(meta, "STRENGTHS", (1.0, 100.0))
    monkeypatch.setattr(few_shot, "CHOOSING", 8)
    monkeypatch.setattr(few_shot, "FOLDS", 2)


def reached(one: meta.Learned, novel: Pool, shot: int = 5) -> NDArray[np.float64]:
    drawn = sample(novel, 100, way=4, shot=shot, queries=5, seed=0)
    return few_shot.accuracies(one.method, novel, drawn)


@pytest.mark.parametrize("name", [approach.name for approach in meta.APPROACHES])
@pytest.mark.parametrize("shot", [1, 5])
@pytest.mark.slow
def test_each_method_beats_chance(name: str, shot: int, learned: dict[str, list[meta.Learned]], novel: Pool) -> None:
    for one in learned[name]:
        scores = reached(one, novel, shot)
        assert mean_interval(scores, np.arange(len(scores))).low > 0.25, one.setting


@pytest.mark.slow
@pytest.mark.parametrize("way", [2, 4])
def test_logistic_regression_in_the_span_of_the_support_is_that_in_full(way: int, novel: Pool,
                                                                        learned: dict[str, list[meta.Learned]]) -> None:
    drawn = sample(novel, 3, way=way, shot=5, queries=5, seed=0)
    support, queries = novel.x[drawn.support], novel.x[drawn.query].reshape(3, way * 5, DIM)
    y = np.repeat(np.arange(way), 5)
    for one, strength in zip(learned["logistic"][:2], meta.STRENGTHS[:2], strict=True):  # weaker ones end less exactly
        scores = one.method(support)(queries)
        for episode in range(3):
            rows = support[episode].reshape(way * 5, DIM).astype(np.float64)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            unit = queries[episode] / np.linalg.norm(queries[episode], axis=1, keepdims=True)
            full = LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(rows, y).decision_function(unit)
            ours = scores[episode] if way > 2 else scores[episode][:, 1] - scores[episode][:, 0]
            assert np.abs(ours - full).max() < 0.02 * np.abs(full).max()


@pytest.mark.slow
def test_prototypes_are_the_nearest_means(novel: Pool, base: Pool, learned: dict[str, list[meta.Learned]]) -> None:
    drawn = sample(novel, 4, way=4, shot=3, queries=5, seed=0)
    support, queries = novel.x[drawn.support] * 3 + 1, novel.x[drawn.query].reshape(4, 20, DIM)

    def unit(x: NDArray[Any]) -> NDArray[Any]:
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    def nearest(means: NDArray[Any], rows: NDArray[Any]) -> list[list[int]]:
        return ((rows[:, :, None] - means[:, None]) ** 2).sum(axis=-1).argmin(axis=-1).tolist()

    centre = base.x.mean(axis=0)
    expected = [nearest(support.mean(axis=2), queries),
                nearest(unit(unit(support).mean(axis=2)), unit(queries)),
                nearest(unit(unit(support - centre).mean(axis=2)), unit(queries - centre))]
    for one, predicted in zip(learned["prototypes"], expected, strict=True):
        assert one.method(support)(queries).argmax(axis=-1).tolist() == predicted, one.setting
    assert len({str(predicted) for predicted in expected}) == 3


@pytest.mark.slow
def test_meta_training_draws_other_episodes_each_step_and_every_number_of_shots(
        base: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, 4)
    drawn = []

    def recorded(*arguments: Any, **more: Any) -> Any:
        drawn.append(sample(*arguments, **more))
        return drawn[-1]

    monkeypatch.setattr(meta, "sample", recorded)
    first, last = meta._metric(base, TASK, 0)
    assert [episodes.support.shape for episodes in drawn] == [(8, 4, shot) for shot in (1, 5, 1, 5)]
    assert len({episodes.query.tobytes() for episodes in drawn}) == 4
    assert (first.setting, last.setting) == ("0 steps", "4 steps")
    assert not np.array_equal(first.weights[0], last.weights[0])


@pytest.mark.slow
def test_two_classes_are_told_apart_the_right_way_round(learned: dict[str, list[meta.Learned]]) -> None:
    far = np.array([-3.0, 3.0])[:, None, None] + np.random.default_rng(0).normal(size=(2, 3, DIM)) / 10
    far = far[None].astype(np.float32)
    for name in ("prototypes", "logistic"):  # with two classes scikit-learn has one row of weights
        for one in learned[name]:
            assert one.method(far)(far[:, :, 0]).argmax(axis=-1).tolist() == [[0, 1]]


def test_a_learned_metric_drops_what_base_classes_show_to_be_noise(learned: dict[str, list[meta.Learned]],
                                                                   novel: Pool) -> None:
    best = max(float(reached(one, novel).mean()) for one in learned["prototypes"])
    gain = reached(learned["metric"][-1], novel) - best
    assert gain.mean() > 0.08 and (gain > 0).mean() > 0.6


def test_a_learned_initialisation_beats_the_one_it_began_with(learned: dict[str, list[meta.Learned]],
                                                              novel: Pool) -> None:
    begun, *_, ended = learned["proto_maml"]
    assert begun.setting == "0 steps"
    difference = reached(ended, novel) - reached(begun, novel)
    assert difference.mean() > 0.1


def test_the_head_adapts_down_the_loss_of_its_support(novel: Pool) -> None:
    drawn = sample(novel, 20, way=4, shot=5, queries=5, seed=0)
    support = np.asarray(meta._unit(novel.x[drawn.support]))
    rows, truth = support.reshape(20, 20, DIM), np.repeat(np.arange(4), 5)
    losses = []
    for rate in (0.0, 0.1):
        kernel, offset = (np.asarray(part) for part in meta._adapted(support, rate))
        logits = rows @ kernel.transpose(0, 2, 1) + offset
        p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        losses.append(-np.log(p[:, np.arange(20), truth]).mean(axis=1))
    assert (losses[1] < losses[0]).all()
    assert np.allclose(np.asarray(meta._adapted(support, 0.0)[0]), 2 * support.mean(axis=2))  # the prototypes


def test_a_step_of_the_head_follows_the_gradient_of_the_log_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meta, "INNER", 1)
    support = np.random.default_rng(0).normal(size=(1, 3, 5, 4)).astype(np.float32)
    support[:, 0] *= 0.1  # so that classes are predicted more and less often than they occur
    rows, truth = support.reshape(15, 4), np.repeat(np.eye(3), 5, axis=0)
    means = support[0].mean(axis=1)
    offset = -(means**2).sum(axis=-1)
    logits = 2 * rows @ means.T + offset
    error = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - truth
    kernel_after, offset_after = (np.asarray(part)[0] for part in meta._adapted(support, 0.3))
    assert np.allclose(kernel_after, 2 * means - 0.3 * error.T @ rows / 5, atol=1e-5)
    assert np.allclose(offset_after[0], offset - 0.3 * error.mean(axis=0), atol=1e-5)
    assert np.abs(error.mean(axis=0)).max() > 0.01


def test_the_order_of_an_episode_s_classes_does_not_matter(learned: dict[str, list[meta.Learned]], novel: Pool
                                                           ) -> None:
    drawn = sample(novel, 5, way=4, shot=5, queries=5, seed=0)
    support, rows, order = novel.x[drawn.support], novel.x[drawn.query][:, :, 0], [2, 0, 3, 1]
    for name, candidates in learned.items():
        one = candidates[-1].method
        assert np.allclose(one(support)(rows)[..., order], one(support[:, order])(rows), atol=1e-2), name


@pytest.mark.slow
def test_novel_classes_teach_and_choose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, 10)
    y = np.repeat(np.arange(12), 12)
    x = np.random.default_rng(0).normal(size=(len(y), 8)).astype(np.float32) + y[:, None] % 5
    features = made_features(tmp_path / "whole", x, made_examples(y))
    novel = {int(name.split()[1]) for name in divide_classes(features, TASK).novel.classes}
    broken = np.where(np.isin(y, list(novel))[:, None], np.float32(1e30), x)
    division = divide_classes(made_features(tmp_path / "broken", broken, made_examples(y)), TASK)
    assert (division.novel.x > 1e29).all()
    one, other = (few_shot.learn_few_shot(pool, TASK) for pool in (divide_classes(features, TASK).base, division.base))
    for a, b in zip(one, other, strict=True):
        for shot in TASK.shots:
            assert a.by_shot[shot].setting == b.by_shot[shot].setting
            for left, right in zip(a.by_shot[shot].weights, b.by_shot[shot].weights, strict=True):
                assert np.array_equal(left, right)
    assert [len(one.learn(division.base, TASK, 0)[-1].weights) for one in meta.APPROACHES] == [1, 0, 2, 5]


def test_a_setting_is_chosen_on_base_classes_that_its_candidate_did_not_learn_from(base: Pool) -> None:
    seen: list[tuple[set[str], set[float]]] = []

    def method_of(taught: Pool, right: bool) -> meta.Method:
        def method(support: Any) -> meta.Classify:
            seen.append((set(taught.classes), set(support[..., 0].ravel().tolist())))
            return lambda rows: np.eye(4)[np.arange(rows.shape[1]) // 5 if right else (
                np.zeros(rows.shape[1], int))][None].repeat(len(rows), axis=0)
        return method

    def learn(pool: Pool, task: Task, seed: int) -> list[meta.Learned]:
        return [meta.Learned(name, (), method_of(pool, name == "right")) for name in ("wrong", "as wrong", "right")]

    chosen = few_shot._learn(meta.Approach("made up", "", learn), base, TASK, 0)
    assert {one.setting for one in chosen.by_shot.values()} == {"right"}
    class_of = {float(value): f"class {i // 25}" for i, value in enumerate(base.x[:, 0])}
    for taught, used in seen:
        assert not taught & {class_of[value] for value in used}
    assert len({frozenset(taught) for taught, _ in seen}) == 3
    chosen.by_shot[1].method(base.x[None, None, :1])
    assert seen[-1][0] == set(base.classes)  # the chosen setting is learned again, on all base classes
    seen.clear()
    few_shot._learn(meta.Approach("made up", "", learn), base.only([0, 1, 2, 3, 4]), TASK, 0)
    assert {len(taught) for taught, _ in seen} == {2, 3}  # 2 folds: in one of a single class there is nothing to tell


def share_of(way: int, correct: int) -> meta.Method:
    """Predicts the queries of the first classes of an episode correctly, and the others as the first class."""
    def method(support: Any) -> meta.Classify:
        truth = np.repeat(np.arange(way), 5)
        return lambda rows: np.eye(way)[np.where(truth < correct, truth, 0)][None].repeat(len(rows), axis=0)
    return method


def test_a_figure_is_that_of_the_setting_chosen_for_its_shots_on_the_same_episodes_each_time(
        novel: Pool, learned: dict[str, list[meta.Learned]]) -> None:
    by_shot = {1: meta.Learned("one", (), share_of(4, 2)), 5: meta.Learned("five", (), share_of(4, 4))}
    real = dict.fromkeys(TASK.shots, learned["prototypes"][0])
    methods = [few_shot.Chosen("made up", "", by_shot, 0.0), few_shot.Chosen("real", "", real, 0.0)]
    figures = few_shot.evaluate_few_shot(novel, methods, TASK, 120)
    assert [(one.method, one.shot, one.setting) for one in figures] == [
        ("made up", 1, "one"), ("real", 1, "Euclidean"), ("made up", 5, "five"), ("real", 5, "Euclidean")]
    assert (figures[0].accuracy, figures[2].accuracy) == (0.5, 1.0) and len(figures[0].by_episode) == 120
    values = figures[1].by_episode
    half = 1.959964 * values.std(ddof=1) / np.sqrt(120)
    assert figures[1].accuracy_ci95 == pytest.approx((values.mean() - half, values.mean() + half))
    again = few_shot.evaluate_few_shot(novel, methods, TASK, 120)
    assert np.array_equal(again[3].by_episode, figures[3].by_episode)
    drawn = sample(novel, 120, way=4, shot=5, queries=5, seed=(few_shot.EVALUATION_SEED, 5))
    for start in (0, 60, 119):  # whatever the blocks in which episodes are evaluated
        part = replace(drawn, **{name: value[start:start + 1] for name, value in vars(drawn).items()})
        alone = few_shot.accuracies(learned["prototypes"][0].method, novel, part)
        assert alone == figures[3].by_episode[start:start + 1]


def figure(name: str, right: NDArray[np.float64]) -> few_shot.Figure:
    return few_shot.Figure(name, 1, "", float(right.mean()), (0, 1), right)


def test_the_simplest_method_within_the_noise_is_named() -> None:
    generator = np.random.default_rng(0)
    hard = generator.uniform(0.3, 0.7, 200)  # episodes differ far more than methods do, so pairs must be compared
    plain, noisy, ahead = hard, hard + generator.normal(0.001, 0.05, 200), hard + generator.normal(0.02, 0.05, 200)
    assert few_shot.simplest_of_best([figure("plain", plain), figure("noisy", noisy)]) == {1: "plain"}
    assert few_shot.simplest_of_best([figure("plain", plain), figure("ahead", ahead)]) == {1: "ahead"}
    assert few_shot.simplest_of_best([figure("ahead", ahead), figure("plain", plain)]) == {1: "ahead"}


@pytest.mark.slow
def test_the_recipe_runs_whole(shell: Callable[..., tuple[int, str, str]], tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, 20)
    shades = {f"c{i}": (40 + 90 * (i % 3), 40 + 90 * (i // 3 % 3), 40 + 150 * (i // 6)) for i in range(9)}
    data = draw_folder(tmp_path / "data", 7, shades)
    words = ["run", "few_shot_images", "--data", data, "--name", "few", "--out", tmp_path / "out", "--backbone",
             "tiny_net", "--weights", "none", "--way", 3, "--shots", "1,3", "--queries", 3, "--episodes", 200]
    code, out, err = shell(*words)
    assert code == 0, err
    assert "RANDOM WEIGHTS" in out and "4 novel classes" in out and "chance level 0.333" in out
    run = json.loads((tmp_path / "out/few/few_shot.json").read_text())
    assert (tmp_path / "out/few/few_shot.md").read_text() == out and "Near-duplicates are not kept apart" in out
    assert len(run["base_classes"]) == 5 and not set(run["base_classes"]) & set(run["novel_classes"])
    assert {(one["method"], one["shot"]) for one in run["results"]} == {
        (approach.name, shot) for approach in meta.APPROACHES for shot in (1, 3)}
    for one in run["results"]:
        low, high = one["accuracy_ci95"]
        assert 0.5 < low <= one["accuracy"] <= high  # colours are easy, on random features too
        assert f"{one['accuracy']:.3f} ({low:.3f} to {high:.3f})" in out
    code, out, _ = shell(*words, "--json")
    again = json.loads(out)
    assert code == 0 and again["results"] == run["results"]  # the same to the bit
    assert main([*map(str, words), "--way", "5"]) == 2  # 4 novel classes
