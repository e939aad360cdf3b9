"""Searching settings: the best by the validation rows, the same each time, and the rows that judge are not there."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import clouds, held_out, made_examples, made_features, tiny_backbone

import kerastl as tl
from kerastl.data.examples import TEST, VALIDATION
from kerastl.decision import Predictions
from kerastl.errors import CheckFailed, OptionError
from kerastl.features.compute import Features
from kerastl.heads import heads, heads_of, parted, resolve_head
from kerastl.stats import log_loss
from kerastl.studies import search as searching
from kerastl.studies.search import best, best_head, search, search_heads, without_test_rows
from kerastl.tasks import Task
from kerastl.training.fit import FittedHead
from kerastl.training.options import TrainingOptions

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def features(tmp_path: Path) -> Features:
    x, y = clouds(200, 3, 12, 2.0)
    return made_features(tmp_path, x, made_examples(y, split=held_out(200)))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[Features]:
    """In the place of training: the class with the nearest mean, the surer the higher the rate. Looks at every row that
    it is given, and keeps what it was given."""
    given: list[Features] = []

    def fit(features: Features, head: str, **how: Any) -> FittedHead:
        given.append(features)
        x, examples = features.rows(np.arange(len(features.examples))), features.examples
        means = np.stack([x[examples.targets == c].mean(axis=0) for c in range(len(examples.classes))])
        validation = examples.split.rows(VALIDATION)
        one = resolve_head(head)
        sure = 0.01 if one.spec.convex else one.setting("rate")
        logits = -((x[validation][:, None] - means) ** 2).sum(axis=2) * sure
        return FittedHead(head, None, None, Predictions(validation, logits), {}, (), 0.0)

    monkeypatch.setattr(searching, "fit", fit)
    return given


def test_the_chosen_setting_has_the_least_loss_of_the_validation_rows(features: Features, quick: list) -> None:
    trials = search(features, "mlp", 12)
    assert len(trials) == 12 and trials[0].head == "mlp"  # as it is
    assert best(trials).log_loss == min(one.log_loss for one in trials) < trials[0].log_loss
    answers = searching.fit(without_test_rows(features), best(trials).head).validation
    examples = without_test_rows(features).examples
    assert best(trials).log_loss == pytest.approx(
        examples.task.log_loss(answers.logits.astype(float), examples.one_hot(answers.rows)).mean())


def test_every_trial_is_a_head_that_can_be_asked_for_within_its_ranges(features: Features, quick: list) -> None:
    trials = search(features, "mlp:hidden=64,linear,shallow", 15)
    assert [one.head for one in trials[:3]] == ["mlp:hidden=64", "linear", "shallow"]
    asked = [resolve_head(one.head) for one in trials]  # raises for a value out of range
    assert {head.spec.name for head in asked[3:]} == {"mlp", "shallow"}  # linear has one answer
    assert all(head.setting("hidden") == 64 for head in asked if head.spec.name == "mlp")
    assert all(set(dict(head.settings)) == set(head.spec.known) for head in asked[3:])
    assert len({one.head for one in trials}) == 15


def test_the_seed_decides_the_trials(features: Features, quick: list) -> None:
    a, b, c = ([one.head for one in search(features.with_seed(seed), "mlp", 6)] for seed in (1, 1, 2))
    assert a == b != c


def test_rows_that_judge_are_not_there(features: Features, quick: list, tmp_path: Path) -> None:
    examples = features.examples
    x = features.rows(np.arange(len(examples)))
    x[examples.split.rows(TEST)] = 1e6
    spoilt = made_features(tmp_path / "spoilt", x, examples)
    clean = [(one.head, one.log_loss) for one in search(features, "mlp", 6)]
    assert [(one.head, one.log_loss) for one in search(spoilt, "mlp", 6)] == clean
    judges = {examples.ids[row] for row in examples.split.rows(TEST)}
    assert judges and not any(judges & set(one.examples.ids) for one in quick)


def test_what_judges_is_computed_apart_and_not_asked_for(tmp_path: Path) -> None:
    x, y = clouds(60, 2, 6, 3.0)
    made = made_features(tmp_path, x, made_examples(y, split=held_out(60)), held_out=x + 5)
    seen = without_test_rows(made)
    rows = seen.examples.split.held_out
    assert np.array_equal(seen.held_out_rows(rows), seen.rows(rows))
    assert np.array_equal(rows, np.arange(len(rows)) + len(seen.examples) - len(rows))
    kept = np.flatnonzero(made.examples.split.part != TEST)
    assert set(seen.examples.ids) == {made.examples.ids[row] for row in kept}


def test_a_trial_that_diverges_loses(features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverged(features: Features, head: str, **how: Any) -> FittedHead:
        rows = features.examples.split.rows(VALIDATION)
        return FittedHead(head, None, None, Predictions(rows, np.full((len(rows), 3), np.nan, np.float32)), {}, (), 0.0)

    monkeypatch.setattr(searching, "fit", diverged)
    trials = search(features, "linear,shallow", 2)
    assert [one.log_loss for one in trials] == [None, None]
    with pytest.raises(CheckFailed, match="none of 2 trials"):
        best(trials)


def test_settings_that_diverge_are_kept_away_from(features: Features, quick: list, monkeypatch: pytest.MonkeyPatch
                                                  ) -> None:
    """All low rates diverge here, half of the range, and the highest are the best: the sampler learns where to look."""
    def bounded(logits: np.ndarray, truth: np.ndarray, task: Task) -> float:
        loss = log_loss(logits, truth, task)
        return loss if np.abs(logits).max() > 0.05 else float("nan")

    monkeypatch.setattr(searching, "log_loss", bounded)
    trials = search(features, "shallow", 40)
    diverged = [trial.log_loss is None for trial in trials]
    assert sum(diverged[:15]) > 4 and sum(diverged[-15:]) < 4
    assert best(trials).log_loss is not None


@pytest.mark.slow
def test_training_takes_the_setting_that_was_found(features: Features, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
                                                   ) -> None:
    from kerastl.training import train as training

    found = (searching.Trial("shallow", 0.9, 0.0), searching.Trial("shallow:rate=0.02", 0.5, 0.0))
    monkeypatch.setattr(searching, "search", lambda *_, **__: found)
    monkeypatch.setattr(training, "splice", lambda *_: None)
    trials = search_heads(features, "shallow", 2)
    assert trials == found
    trained = tl.train(replace(features, backbone=tiny_backbone()), best_head(trials, "shallow"),
                       options=TrainingOptions(1))
    assert trained.fitted.name == "shallow:learning_rate=0.02" and best_head((), "shallow") == "shallow"


def test_heads_with_commas_between_keep_their_settings() -> None:
    assert parted("linear,mlp:hidden=64,dropout=0.2,shallow") == ["linear", "mlp:hidden=64,dropout=0.2", "shallow"]
    assert {head.spec.name for head in heads_of("auto")} == {one.name for one in heads().values()
                                                        if one.takes == "row" and not one.takes_raw}
    with pytest.raises(OptionError, match="some of these heads take pooled features"):
        heads_of("linear,attention")
    assert tl.pooling_for("auto") == "mean" and tl.pooling_for("attention") == "none"


def test_a_search_holds_rows_out(features: Features) -> None:
    examples = features.examples
    assert tl.split(examples, search=5).split.mode == "holdout"
    assert tl.split(examples).split.mode == "cv"
    with pytest.raises(OptionError, match="`split=cv` cannot be combined with `search`"):
        tl.split(examples, "cv", search=5)


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "said"), [
    (["--head", "linear", "--search", "5"], "no setting left to search"),
    (["--head", "mlp,linear", "--search", "1"], "at least 2"),
    (["--head", "mlp", "--search", "5", "--split", "cv"], "--search needs validation rows, which --split cv does not"),
    (["--head", "auto"], "only a search can choose among them"),
    (["--head", "linear,mlp"], "only a search can choose among them"),
    (["--head", "mlpp,linear", "--search", "5"], "unknown head 'mlpp'"),
    (["--search", "-1"], "--search must be at least 0 (got -1)"),
])
def test_what_cannot_be_searched_is_refused_before_any_work(flags: list[str], said: str, shell: Shell, tmp_path: Path
                                                            ) -> None:
    code, out, err = shell("run", "tiny_images", "--data", tmp_path / "nothing", "--name", "m", "--weights", "none",
                           *flags)
    assert code == 2 and said in err and "Traceback" not in err and "nothing" not in err


@pytest.mark.slow
def test_a_recipe_records_its_trials(shell: Shell, images: Path, tmp_path: Path) -> None:
    code, out, err = shell("run", "tiny_images", "--data", images, "--name", "m", "--out", tmp_path, "--weights",
                           "none", "--head", "linear,shallow", "--search", "3", "--split", "holdout", "--epochs", "1",
                           "--tflite", "none", "--json")
    assert code == 0, err
    run = json.loads(out)
    assert [one["head"] for one in run["search"]][:2] == ["linear", "shallow"] and len(run["search"]) == 3
    assert run["head"] == min(run["search"], key=lambda one: one["log_loss"])["head"]
    from kerastl.shell.summary import run_summary
    from kerastl.versions.record import RunRecord

    assert "search     3 trials" in run_summary(RunRecord.from_dict(run))
