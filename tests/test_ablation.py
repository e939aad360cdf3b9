"""The ablation of a blend: what each part contributes, with an interval, and when it is said to have helped."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny import held_out, in_folds, made_examples, made_features

import kerastl as tl
from kerastl.data.examples import Split
from kerastl.decision import Predictions
from kerastl.features.compute import Features
from kerastl.heads import resolve_head
from kerastl.report.ablation import ablation_section
from kerastl.shell.summary import ablation_table
from kerastl.stats import mcnemar
from kerastl.studies import ablation
from kerastl.versions.sections import Ablation, Arm, Contrast

Z95 = 1.959963984540054


def noise(n: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=(n, 6)).astype(np.float32)


def names(n: int) -> list[str]:
    """The groups of n independent rows."""
    return [str(i) for i in range(n)]


def stand_in(share: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """In the place of training: each arm predicts its share of the rows correctly. Returns the arms and seeds that are
    trained."""
    fits = []

    def predicted(features: Features, head: str, fold: int, **_: Any) -> Predictions:
        name = next(name for name, text in ablation.arms_of(resolve_head("blend")).items() if text == head)
        seed = features.runtime.seed
        fits.append((name, seed))
        split = features.examples.split
        rows = np.flatnonzero(split.part == fold) if split.mode == "cv" else split.held_out
        y = features.examples.targets[rows]
        hit = np.random.default_rng((seed, len(name))).random(len(rows)) < share[name]
        return Predictions(rows, np.eye(2, dtype=np.float32)[np.where(hit, y, 1 - y)])

    monkeypatch.setattr(ablation, "held_out_predictions", predicted)
    monkeypatch.setattr(ablation, "with_raw", lambda features: features)
    return fits


@pytest.mark.parametrize(("scratch", "both", "verdict", "start"), [
    (0.6, 0.9, "helped", "The pretrained network improves accuracy by "),
    (0.9, 0.6, "hurt", "The pretrained network lowers accuracy by "),
    (0.8, 0.8, "unclear", "Inconclusive: the pretrained network changes accuracy by "),
])
@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_an_ablation_says_plainly_whether_transfer_helped(scratch: float, both: float, verdict: str, start: str,
                                                          mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                          ) -> None:
    y = np.arange(1000) % 2
    examples = made_examples(y, split=held_out(1000, test=0.5))
    if mode == "cv":
        examples = tl.split(replace(examples, split=None), "cv")
    features = made_features(tmp_path, noise(1000), examples)
    fits = stand_in({"pure transfer": 0.7, "from scratch": scratch, "both": both}, monkeypatch)
    found = ablation.ablate(features, "blend")
    first = found.contrasts[0]
    assert (first.what, first.over, first.verdict) == ("both", "from scratch", verdict)
    assert first.sentence.startswith(start) and ("negative transfer" in first.sentence) == (verdict == "hurt")
    assert first.gain_ci95[0] < first.gain < first.gain_ci95[1] and abs(first.gain - (both - scratch)) < 0.1
    assert (first.p < 0.01) == (verdict != "unclear")
    second = found.contrasts[1]
    assert second.over == "pure transfer" and abs(second.gain - (both - 0.7)) < 0.1
    assert found.n == (len(examples.split.held_out) if mode == "holdout" else (examples.split.part < 3).sum())
    assert [fit for fit in fits if fit[0] == "both"] == [("both", seed) for seed in (0, 1, 2)]
    arms = {arm.name: arm for arm in found.arms}
    assert len(arms["from scratch"].accuracies) == 3 and arms["both"].accuracy == pytest.approx(both, abs=0.08)
    assert arms["pure transfer"].head == "linear"  # which a blend without a side network is
    assert arms["from scratch"].head == "blend:mix=fixed,theta=0.0,lambda=1.0"
    assert ablation.arms_of(resolve_head("blend:inner=mlp"))["pure transfer"].endswith("theta=1.0,lambda=0.0")
    solved = sum(name == "pure transfer" for name, _ in fits)
    assert solved == (3 if mode == "cv" else 1)  # every seed has a fold of its own, or solves the same


@pytest.mark.parametrize(("won", "lost", "verdict"), [(6, 4, "unclear"), (4, 6, "unclear"), (9, 3, "unclear"),
                                                      (12, 3, "helped"), (3, 12, "hurt"), (0, 0, "unclear")])
def test_a_part_helped_only_where_the_whole_interval_of_its_gain_is_above_0(won: int, lost: int, verdict: str) -> None:
    gain = np.repeat([1.0, -1.0, 0.0], [won, lost, 100 - won - lost])
    contrast = ablation.contrast("from scratch", np.maximum(gain, 0)[None], np.maximum(-gain, 0)[None], names(100))
    assert contrast.verdict == verdict and contrast.gain == pytest.approx((won - lost) / 100)
    half = Z95 * (won + lost + 1 - (won - lost)**2 / 102)**0.5 / 102  # with two rows more (Agresti and Min 2005)
    assert contrast.gain_ci95 == pytest.approx(((won - lost) / 102 - half, (won - lost) / 102 + half))


def test_a_gain_averages_the_predictions_of_each_row_over_the_seeds_that_held_it_out() -> None:
    both = np.array([[1, 1, np.nan, np.nan, 1, 1], [1, 0, 1, 1, np.nan, np.nan]])
    alone = np.array([[0, 1, np.nan, np.nan, 1, 0], [1, 1, 1, 0, np.nan, np.nan]])
    contrast = ablation.contrast("from scratch", both, alone, names(6))
    gain = np.array([0.5, -0.5, 0, 1, 0, 1])
    assert contrast.gain == pytest.approx(gain.mean())
    centre, step = gain.sum() / 8, np.sqrt((gain[gain != 0]**2).mean())  # with two rows more, as different as others
    half = Z95 * np.sqrt((gain**2).sum() + step**2 - 8 * centre**2) / 8
    assert contrast.gain_ci95 == pytest.approx((centre - half, centre + half))
    first = [True, True, True, True, True, True], [False, True, True, False, True, False]  # of the first seed of each
    assert contrast.p == pytest.approx(mcnemar(*first))


def test_the_gain_of_an_arm_respects_groups() -> None:
    right = np.random.default_rng(0).random((3, 60)) < 0.8
    other = np.random.default_rng(1).random((3, 60)) < 0.6
    alone, doubled, apart = (
        ablation.contrast("from scratch", np.repeat(right, n, axis=1).astype(float),
                          np.repeat(other, n, axis=1).astype(float), groups)
        for n, groups in ((1, [str(i) for i in range(60)]), (2, [str(i // 2) for i in range(120)]),
                          (2, [str(i) for i in range(120)])))
    assert doubled.gain_ci95 == pytest.approx(alone.gain_ci95) and doubled.p == pytest.approx(alone.p)
    assert apart.gain_ci95[1] - apart.gain_ci95[0] < 0.8 * (alone.gain_ci95[1] - alone.gain_ci95[0])


@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_an_ablation_compares_by_the_groups_of_the_held_out_rows(mode: str, tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of a group are predicted alike, and a group in four by `both` alone: as many rows as groups count."""
    group = np.arange(400) % 40  # not side by side, so that groups of other rows are other groups
    examples = made_examples(group % 2, groups=[str(name) for name in group])
    examples = in_folds(examples) if mode == "cv" else replace(
        examples, split=Split("holdout", "a test's own", np.repeat([0, 1, 2], [10, 10, 20])[group].astype(np.int8)))
    stand_in({}, monkeypatch)

    def predicted(features: Features, head: str, fold: int, **_: Any) -> Predictions:
        part = features.examples.split.part
        rows = np.flatnonzero(part == fold) if mode == "cv" else features.examples.split.held_out
        y = features.examples.targets[rows]
        hit = (head == "blend") | (group[rows] % 4 > 0)
        return Predictions(rows, np.eye(2, dtype=np.float32)[np.where(hit, y, 1 - y)])

    monkeypatch.setattr(ablation, "held_out_predictions", predicted)
    result = ablation.ablate(made_features(tmp_path, noise(400), examples), "blend")
    part = examples.split.part
    held = np.unique(group[part < 3 if mode == "cv" else part == 2])  # the groups of 3 folds, or of the test rows
    gain = (held % 4 == 0).astype(float)
    won, n = gain.sum(), len(held) + 2  # with two groups more (Agresti and Min 2005)
    half = Z95 * (won + 1 - won**2 / n)**0.5 / n
    for contrast in result.contrasts:
        assert contrast.gain == pytest.approx(gain.mean()) and 0 < gain.mean() < 0.5
        assert contrast.gain_ci95 == pytest.approx((won / n - half, won / n + half))


def test_the_report_shows_the_ablation_and_escapes_it() -> None:
    contrast = Contrast("both", "from scratch", -0.1, (-0.2, -0.05), 0.01, "hurt", "It did NOT help.")
    record = Ablation("the test rows", 12, 2, (Arm("both", "blend:<b>", (0.5, 0.7)),), (contrast,), 1.0)
    page = ablation_section(record)
    assert "0.600" in page and "0.500 to 0.700" in page and "blend:&lt;b&gt;" in page
    assert "<b>It did NOT help.</b>" in page
    assert 'class="bad"' in page and "12 rows" in page and ablation_section(None) == ""
    assert re.search(r"both +0\.600 +0\.500 to 0\.700", ablation_table(record))


@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_with_several_labels_a_row_is_correct_when_all_of_them_are(mode: str, tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    targets = np.random.default_rng(0).integers(0, 2, (100, 2))
    examples = made_examples(targets)
    examples = in_folds(examples) if mode == "cv" else replace(examples, split=held_out(100))
    stand_in({}, monkeypatch)

    def half(features: Features, head: str, fold: int, **_: Any) -> Predictions:
        part = features.examples.split.part
        rows = np.flatnonzero(part == fold) if mode == "cv" else features.examples.split.held_out
        logits = targets[rows] * 2.0 - 1
        if head != "blend":
            logits[:, 1] *= -1  # the second label is wrong each time
        return Predictions(rows, logits)

    monkeypatch.setattr(ablation, "held_out_predictions", half)
    result = ablation.ablate(made_features(tmp_path, noise(100), examples), "blend")
    assert {arm.name: arm.accuracy for arm in result.arms} == {"pure transfer": 0, "from scratch": 0, "both": 1}
    assert result.contrasts[0].gain == 1
