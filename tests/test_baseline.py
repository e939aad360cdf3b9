"""The baseline without transfer: it learns from plain features, never from held-out rows, and has a verdict."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_folder
from sklearn.preprocessing import StandardScaler
from tiny import held_out, in_folds, made_examples

import kerastl as tl
from kerastl.data.examples import Examples
from kerastl.decision import Predictions
from kerastl.errors import OptionError
from kerastl.evaluation import baseline as module
from kerastl.evaluation.baseline import Baseline, _sentence
from kerastl.evaluation.image_histograms import ImageHistograms
from kerastl.evaluation.word_counts import WordCounts
from kerastl.modality import TEXT
from kerastl.stats import verdict

WORDS = ("good", "bad", "odd")


def texts(n: int, targets: np.ndarray, *, telling: bool) -> Examples:
    """Rows of made-up texts; `telling` ones hold their class's word."""
    generator = np.random.default_rng(0)
    items = []
    for row in range(n):
        words = [f"w{k}" for k in generator.integers(0, 50, 8)]
        if telling:
            here = targets[row] if targets.ndim == 1 else np.flatnonzero(targets[row])
            words += [WORDS[c] for c in np.atleast_1d(here)]
        items.append(" ".join(words))
    return replace(made_examples(targets), modality=TEXT, items=tuple(items))


def judged(examples: Examples, right: float) -> Baseline:
    """The baseline beside a model that is right on a share of the judged rows."""
    assert examples.split is not None
    rows = examples.split.held_out
    truth = examples.one_hot(rows)
    wrong = np.random.default_rng(1).uniform(size=len(rows)) >= right
    logits = (np.where(wrong[:, None], 1 - truth, truth) * 8 - 4).astype(np.float32)
    chosen = None if examples.split.mode == "cv" else Predictions(examples.split.rows(1), np.zeros(
        (len(examples.split.rows(1)), truth.shape[1]), np.float32))
    return tl.baseline(examples, tl.evaluate(examples, Predictions(rows, logits), chosen))


@pytest.mark.slow
def test_words_that_tell_are_learnt_and_the_verdict_compares() -> None:
    examples = in_folds(texts(300, np.arange(300) % 3, telling=True))
    worse, same = judged(examples, 0.6), judged(examples, 1.0)
    assert worse.accuracy == 1.0 and worse.n == 300 and worse.accuracy_ci95[0] > 0.98
    assert worse.verdict == "hurt" and "does NOT help" in worse.sentence
    assert worse.gain_ci95[0] < worse.gain == pytest.approx(-0.4, abs=0.08) and worse.gain_ci95[1] < 0
    assert same.verdict == "unclear" and same.gain == 0


def test_what_says_nothing_is_not_learnt_and_the_pretrained_network_helps() -> None:
    found = judged(in_folds(texts(400, np.random.default_rng(2).integers(0, 2, 400), telling=False)), 0.9)
    assert 0.4 < found.accuracy < 0.6  # a row that is judged is never fitted on
    assert found.verdict == "helped" and found.sentence.startswith("The pretrained backbone improves")


def test_a_hold_out_judges_its_test_rows_alone_and_they_choose_nothing() -> None:
    examples = replace(texts(400, np.arange(400) % 2, telling=True), split=held_out(400))
    assert examples.split is not None
    rows = examples.split.held_out
    turned = examples.targets.copy()
    turned[rows] = 1 - turned[rows]
    found = judged(examples, 1.0)
    assert found.accuracy > 0.95 and found.n == len(rows)
    assert judged(replace(examples, targets=turned), 1.0).accuracy == pytest.approx(1 - found.accuracy)


@pytest.mark.slow
def test_several_labels_are_judged_as_whole_sets() -> None:
    targets = np.random.default_rng(0).integers(0, 2, (300, 3))
    assert judged(in_folds(texts(300, targets, telling=True)), 0.5).accuracy > 0.8


def test_texts_without_words_are_no_obstacle() -> None:
    examples = in_folds(replace(texts(60, np.arange(60) % 2, telling=False), items=("!?",) * 60))
    assert judged(examples, 0.9).accuracy <= 0.6


def test_colours_and_shapes_of_images_are_learnt(tmp_path: Path) -> None:
    examples = tl.split(tl.read_images(str(draw_folder(tmp_path, 20))))
    found = judged(examples, 0.5)
    assert found.accuracy > 0.95 and found.name.startswith("colours") and found.seconds > 0


def test_image_features_are_scaled_by_the_rows_that_are_fitted_on_alone(tmp_path: Path) -> None:
    examples = tl.read_images(str(draw_folder(tmp_path, 12)))
    features = ImageHistograms(examples)
    fit_on, others = np.arange(0, 20), np.arange(20, 36)
    expected = StandardScaler().fit(features.vectors[fit_on])
    fitted, held = features(fit_on, others)
    assert np.allclose(fitted, expected.transform(features.vectors[fit_on]), atol=1e-4)
    assert np.allclose(held, expected.transform(features.vectors[others]), atol=1e-4)
    assert np.abs(held.mean(axis=0)).max() > 0.5  # red and blue rows have another mean


def test_words_are_those_of_the_rows_that_are_fitted_on_alone() -> None:
    examples = replace(texts(3, np.arange(3) % 2, telling=False), items=("a b", "b c", "d d"))
    fitted, held = WordCounts(examples)(np.array([0, 1]), np.array([2]))
    assert fitted.shape == (2, 5) and held.shape == (1, 5) and held.nnz == 0  # a, b, c, "a b", "b c"


def test_copies_of_rows_in_their_groups_do_not_narrow_the_interval_of_the_gain() -> None:
    targets = np.random.default_rng(3).integers(0, 2, 60)
    single = replace(texts(60, targets, telling=False), groups=tuple(str(i) for i in range(60)))
    rows = np.repeat(np.arange(60), 3)
    copies = replace(single.take(rows), ids=made_examples(targets[rows]).ids)
    split = held_out(60)
    results = []
    for examples, part in ((single, split.part), (copies, split.part[rows])):
        examples = replace(examples, split=replace(split, part=part))
        test = examples.split.held_out
        logits = np.where(np.array([int(examples.groups[row]) % 4 for row in test])[:, None] > 0, 1, -1) * (
            examples.one_hot(test) * 2 - 1)
        results.append(tl.baseline(examples, tl.evaluate(examples, Predictions(test, logits.astype(np.float32)))))
    widths = [one.gain_ci95[1] - one.gain_ci95[0] for one in results]
    assert results[1].n == 3 * results[0].n and widths[1] > 0.8 * widths[0]  # 0.58 times, were rows independent


def test_an_evaluation_of_other_rows_is_refused() -> None:
    examples = replace(texts(60, np.arange(60) % 2, telling=True), split=held_out(60))
    logits = np.zeros((60, 2), np.float32)
    of_all = tl.evaluate(in_folds(examples), Predictions(np.arange(60), logits))
    with pytest.raises(OptionError, match="`evaluation` is of 60 rows, not of the 12 held-out rows"):
        tl.baseline(examples, of_all)


@pytest.mark.parametrize(("interval", "start", "parts"), [
    ((0.146, 0.209), "The pretrained backbone improves accuracy by 17.7 points (95% CI 14.6 to 20.9) over a baseline "
     "without transfer (0.699).", ()),
    ((-0.022, 0.212), "Inconclusive: the baseline without transfer scores 0.699; the gain is +17.7 points (95% CI -2.2 "
     "to +21.2).", ("More labelled rows", "`kerastl compare`")),
    ((-0.3, -0.02), "The pretrained backbone does NOT help: a baseline without transfer (0.699) is more accurate by "
     "17.7 points (95% CI 2.0 to 30.0).", ("`kerastl compare`",)),
])
def test_sentences_say_what_was_found_and_what_to_do_next(interval: tuple[float, float], start: str,
                                                          parts: tuple[str, ...]) -> None:
    shown = verdict(interval)
    sentence = _sentence(shown, 0.699, -0.177 if shown == "hurt" else 0.177, interval)
    assert sentence.startswith(start) and all(part in sentence for part in parts)


def test_the_record_keeps_its_keys() -> None:
    result = judged(replace(texts(60, np.arange(60) % 2, telling=True), split=held_out(60)), 0.5)
    assert list(result.to_dict()) == ["name", "n", "accuracy", "accuracy_ci95", "gain", "gain_ci95", "verdict", "word",
                                      "trained_on", "seconds"]
    assert result.to_dict()["word"] == result.sentence


@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_rows_that_choose_the_strength_are_never_held_out_ones(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = texts(100, np.arange(100) % 2, telling=True)
    examples = in_folds(examples) if mode == "cv" else replace(examples, split=held_out(100))
    seen: list[int] = []

    def watched(examples: Examples, features: object, train: np.ndarray, choose: np.ndarray, everything: np.ndarray,
                test: np.ndarray) -> np.ndarray:
        assert len(choose) and not set(choose) & {*test, *train} and not set(everything) & set(test)
        assert set(everything) == ({*train, *choose} if mode == "cv" else set(train))
        seen.extend(test.tolist())
        return np.ones(len(test), bool)

    monkeypatch.setattr(module, "_correct", watched)
    judged(examples, 0.5)
    assert examples.split is not None and sorted(seen) == examples.split.held_out.tolist()
