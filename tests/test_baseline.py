"""What is reached without transfer: it learns what plain features hold, never what it is judged on, and is compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_folder
from tiny import held_out, in_folds, made_examples

import kerastl as tl
from kerastl.data.examples import Examples
from kerastl.decision import Predictions
from kerastl.evaluation.baseline import Baseline
from kerastl.modality import TEXT

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
