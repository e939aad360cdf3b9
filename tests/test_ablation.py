"""The ablation of a blend: what each part is worth, with an interval, and when it is said to have helped."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from kerastl.entry import ablation_table
from numpy.typing import NDArray
from tiny import held_out, in_folds, made_examples, made_features, plain_runtime, tiny_backbone

import kerastl as tl
from kerastl.features.compute import Features
from kerastl.heads import head_of
from kerastl.report.ablation import ablation_section
from kerastl.studies import ablation as ablation


def noise(n: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=(n, 6)).astype(np.float32)


def answered(right: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Heads that answer a share of the rows rightly, for the ablation; what was asked of them."""
    asked = []

    def judged(features: Features, head: str, fold: int, *, runtime: Any, **how: Any) -> Any:
        name = next(name for name, one in ablation.arms_of(head_of("blend")).items() if one == head)
        asked.append((name, runtime.seed))
        split = features.examples.split
        rows = np.flatnonzero(split.part == fold) if split.mode == "cv" else split.held_out
        y = features.examples.targets[rows]
        hit = np.random.default_rng((runtime.seed, len(name))).random(len(rows)) < right[name]
        return ablation.Predictions(rows, np.eye(2, dtype=np.float32)[np.where(hit, y, 1 - y)])

    monkeypatch.setattr(ablation, "judged_answers", judged)
    monkeypatch.setattr(ablation, "with_raw", lambda features, backbone, cache_dir: features)
    return asked


@pytest.mark.parametrize(("scratch", "both", "verdict", "said"), [
    (0.6, 0.9, "helped", "The pretrained network helped (+"),
    (0.9, 0.6, "hurt", "The pretrained network did NOT help: without it the accuracy is better, which is negative"),
    (0.8, 0.8, "unclear", "Whether the pretrained network helped cannot be told"),
])
@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_an_ablation_says_plainly_whether_transfer_helped(scratch: float, both: float, verdict: str, said: str,
                                                          mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                          ) -> None:
    y = np.arange(1000) % 2
    examples = made_examples(y, split=held_out(1000, test=0.5))
    if mode == "cv":
        examples = tl.split(replace(examples, split=None), "cv")
    features = made_features(tmp_path, noise(1000), examples)
    asked = answered({"pure transfer": 0.7, "from scratch": scratch, "both": both}, monkeypatch)
    found = ablation.ablate(tiny_backbone(), features, "blend", runtime=plain_runtime(), cache_dir=tmp_path)
    first = found.contrasts[0]
    assert (first.what, first.over, first.verdict) == ("both", "from scratch", verdict) and first.word.startswith(said)
    assert first.gain_ci95[0] < first.gain < first.gain_ci95[1] and abs(first.gain - (both - scratch)) < 0.1
    assert (first.p < 0.01) == (verdict != "unclear")
    assert found.n == (len(examples.split.held_out) if mode == "holdout" else (examples.split.part < 3).sum())
    assert [one for one in asked if one[0] == "both"] == [("both", seed) for seed in (0, 1, 2)]
    arms = {arm.name: arm for arm in found.arms}
    assert len(arms["from scratch"].accuracies) == 3 and arms["both"].accuracy == pytest.approx(both, abs=0.08)
    assert arms["pure transfer"].head == "linear"  # which a blend without a side is
    assert arms["from scratch"].head == "blend:mix=fixed,theta=0.0,lambda=1.0"
    assert ablation.arms_of(head_of("blend:inner=mlp"))["pure transfer"].endswith("theta=1.0,lambda=0.0")
    solved = sum(name == "pure transfer" for name, _ in asked)
    assert solved == (3 if mode == "cv" else 1)  # every seed has a fold of its own, or solves the same


@pytest.mark.parametrize(("won", "lost", "verdict"), [(6, 4, "unclear"), (4, 6, "unclear"), (9, 3, "unclear"),
                                                      (12, 3, "helped"), (3, 12, "hurt"), (0, 0, "unclear")])
def test_an_arm_helped_only_where_the_whole_interval_of_its_gain_is_above_0(won: int, lost: int, verdict: str) -> None:
    gain = np.repeat([1.0, -1.0, 0.0], [won, lost, 100 - won - lost])
    right, other = np.maximum(gain, 0)[None], np.maximum(-gain, 0)[None]
    found = ablation.contrast("both", "from scratch", "pretrained network", right, other)
    assert found.verdict == verdict and found.gain == pytest.approx((won - lost) / 100)
    reach = scipy.stats.norm.ppf(0.975) * gain.std() / 10
    assert found.gain_ci95 == pytest.approx((gain.mean() - reach, gain.mean() + reach))


def test_a_gain_averages_each_rows_answers_over_the_seeds_that_judged_it() -> None:
    right = np.array([[1, 1, np.nan, np.nan, 1, 1], [1, 0, 1, 1, np.nan, np.nan]])
    other = np.array([[0, 1, np.nan, np.nan, 1, 0], [0, 0, 1, 0, np.nan, np.nan]])
    found = ablation.contrast("both", "from scratch", "pretrained network", right, other)
    gain = np.array([1, 0, 0, 1, 0, 1.0])
    assert found.gain == pytest.approx(gain.mean())
    assert found.gain_ci95[1] - found.gain == pytest.approx(scipy.stats.norm.ppf(0.975) * gain.std() / np.sqrt(6))
    assert found.p == pytest.approx(ablation.mcnemar([True, True, True, True, True, True],
                                                     [False, True, True, False, True, False]))


def test_mcnemars_test_is_the_binomial_one() -> None:
    a, b = [True] * 9 + [False] + [True] * 50, [False] * 9 + [True] + [True] * 50
    assert ablation.mcnemar(a, b) == pytest.approx(2 * (1 + 10) / 2**10)
    assert ablation.mcnemar(b, b) == 1.0


def test_the_report_shows_the_ablation_and_escapes_it() -> None:
    arm = {"name": "both", "head": "blend:<b>", "accuracies": [0.5, 0.7]}
    record = {"rows": "the test rows", "n": 12, "seeds": 2, "arms": [arm], "seconds": 1.0, "contrasts": [
        {"verdict": "hurt", "word": "It did NOT help.", "p": 0.01}]}
    page = ablation_section(record)
    assert "0.600" in page and "0.500 to 0.700" in page and "blend:&lt;b&gt;" in page
    assert "<b>It did NOT help.</b>" in page
    assert 'class="bad"' in page and "12 rows" in page and ablation_section(None) == ""
    assert re.search(r"both +0\.600 +0\.500 to 0\.700", ablation_table(record))


@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_of_several_labels_a_row_is_right_when_all_of_them_are(mode: str, tmp_path: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    targets = np.random.default_rng(0).integers(0, 2, (100, 2))
    examples = made_examples(targets)
    examples = in_folds(examples) if mode == "cv" else replace(examples, split=held_out(100))
    answered({}, monkeypatch)

    def half(features: Features, head: str, fold: int, **_: Any) -> Any:
        part = features.examples.split.part
        rows = np.flatnonzero(part == fold) if mode == "cv" else features.examples.split.held_out
        logits = targets[rows] * 2.0 - 1
        if head != "blend":
            logits[:, 1] *= -1  # the second label is wrong each time
        return ablation.Predictions(rows, logits)

    monkeypatch.setattr(ablation, "judged_answers", half)
    found = ablation.ablate(tiny_backbone(), made_features(tmp_path, noise(100), examples), "blend",
                            runtime=plain_runtime(), cache_dir=tmp_path)
    assert {arm.name: arm.accuracy for arm in found.arms} == {"pure transfer": 0, "from scratch": 0, "both": 1}
    assert found.contrasts[0].gain == 1

