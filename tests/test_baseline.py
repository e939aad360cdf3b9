"""The baseline without transfer: it learns from plain features, never from held-out rows, and has a verdict."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from conftest import draw_folder
from image_files import jpeg
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import StandardScaler
from tiny import held_out, in_folds, made_examples

import kerastl as tl
from kerastl.data.examples import Examples, Split
from kerastl.decision import Predictions
from kerastl.errors import DataError, OptionError
from kerastl.evaluation import baseline as module
from kerastl.evaluation import word_counts
from kerastl.evaluation.baseline import Baseline, _sentence
from kerastl.evaluation.image_histograms import SIZE, ImageHistograms, histograms
from kerastl.evaluation.word_counts import WordCounts
from kerastl.inputs.batches import decode_file
from kerastl.modality import TEXT
from kerastl.stats import verdict, wilson_interval

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


def baseline_beside(examples: Examples, right: float) -> Baseline:
    """The baseline beside a model that is correct on a share of the held-out rows."""
    assert examples.split is not None
    rows = examples.split.held_out
    truth = examples.one_hot(rows)
    wrong = np.random.default_rng(1).uniform(size=len(rows)) >= right
    logits = (np.where(wrong[:, None], 1 - truth, truth) * 8 - 4).astype(np.float32)
    chosen = None if examples.split.mode == "cv" else Predictions(examples.split.rows(1), np.zeros(
        (len(examples.split.rows(1)), truth.shape[1]), np.float32))
    return tl.baseline(examples, tl.evaluate(examples, Predictions(rows, logits), chosen))


def beside(right: int, *, telling: bool, groups: list[str] | None = None) -> Baseline:
    """The baseline beside a model that is right on the first `right` of 60 test rows, of two classes by turns. The
    texts are the name of the class, and the baseline is always right; or all the same, and it gives one class always:
    it is right on every second row."""
    part = np.repeat([0, 1, 2], [60, 30, 60]).astype(np.int8)
    y = np.arange(150) % 2
    items = tuple(WORDS[c] if telling else "!?" for c in y.tolist())
    examples = replace(made_examples(y, groups=groups, split=Split("holdout", "a test's own", part)), modality=TEXT,
                       items=items)
    rows, validation = np.arange(90, 150), np.arange(60, 90)
    hit = np.arange(60) < right
    logits = np.eye(2, dtype=np.float32)[np.where(hit, y[rows], 1 - y[rows])]
    evaluation = tl.evaluate(examples, Predictions(rows, logits), Predictions(validation, np.eye(2, dtype=np.float32)[
        y[validation]]))
    assert evaluation.accuracy == right / 60
    return tl.baseline(examples, evaluation)


@pytest.mark.parametrize(("right", "telling"), [(45, True), (58, True), (45, False), (33, False)])
def test_the_interval_of_the_gain_is_that_of_paired_differences(right: int, telling: bool) -> None:
    found = beside(right, telling=telling)
    ours = (np.arange(60) < right).astype(float)
    theirs = np.ones(60) if telling else (np.arange(60) % 2 == 0).astype(float)
    assert found.accuracy == theirs.mean()
    gain = ours - theirs
    assert found.gain == pytest.approx(gain.mean())
    centre = gain.sum() / 62  # with two rows more, one of them half in either direction (Agresti and Min 2005)
    expected = scipy.stats.norm.interval(0.95, centre, ((np.abs(gain).sum() + 1) / 62 - centre**2)**0.5 / 62**0.5)
    assert found.gain_ci95 == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize(("right", "telling", "verdict"), [
    (33, False, "unclear"), (27, False, "unclear"), (38, False, "unclear"), (45, False, "helped"), (14, False, "hurt"),
    (58, True, "unclear"), (52, True, "hurt")])
def test_the_network_helped_only_where_the_whole_interval_of_the_gain_is_above_0(right: int, telling: bool,
                                                                                verdict: str) -> None:
    found = beside(right, telling=telling)
    low, high = found.gain_ci95
    assert found.gain != 0 and found.verdict == verdict
    assert {"helped": low > 0, "hurt": high < 0, "unclear": low < 0 < high}[verdict]


@pytest.mark.slow
def test_words_that_tell_are_learnt_and_the_verdict_compares() -> None:
    examples = in_folds(texts(300, np.arange(300) % 3, telling=True))
    worse, same = baseline_beside(examples, 0.6), baseline_beside(examples, 1.0)
    assert worse.accuracy == 1.0 and worse.n == 300 and worse.accuracy_ci95[0] > 0.98
    assert worse.verdict == "hurt" and "does NOT help" in worse.sentence
    assert worse.gain_ci95[0] < worse.gain == pytest.approx(-0.4, abs=0.08) and worse.gain_ci95[1] < 0
    assert same.verdict == "unclear" and same.gain == 0


def test_what_says_nothing_is_not_learnt_and_the_pretrained_network_helps() -> None:
    found = baseline_beside(in_folds(texts(400, np.random.default_rng(2).integers(0, 2, 400), telling=False)), 0.9)
    assert 0.4 < found.accuracy < 0.6  # a held-out row is never fitted on
    assert found.verdict == "helped" and found.sentence.startswith("The pretrained backbone improves")


def test_a_hold_out_is_evaluated_on_its_test_rows_and_they_choose_nothing() -> None:
    examples = replace(texts(400, np.arange(400) % 2, telling=True), split=held_out(400))
    assert examples.split is not None
    rows = examples.split.held_out
    turned = examples.targets.copy()
    turned[rows] = 1 - turned[rows]
    found = baseline_beside(examples, 1.0)
    assert found.accuracy > 0.95 and found.n == len(rows)
    assert baseline_beside(replace(examples, targets=turned), 1.0).accuracy == pytest.approx(1 - found.accuracy)


@pytest.mark.slow
def test_several_labels_are_evaluated_as_whole_sets() -> None:
    targets = np.random.default_rng(0).integers(0, 2, (300, 3))
    assert baseline_beside(in_folds(texts(300, targets, telling=True)), 0.5).accuracy > 0.8


def test_texts_without_words_are_no_obstacle() -> None:
    examples = in_folds(replace(texts(60, np.arange(60) % 2, telling=False), items=("!?",) * 60))
    assert baseline_beside(examples, 0.9).accuracy <= 0.6


def test_colours_and_shapes_of_images_are_learnt(tmp_path: Path) -> None:
    examples = tl.split(tl.read_images(str(draw_folder(tmp_path, 20))))
    found = baseline_beside(examples, 0.5)
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


def test_histograms_are_those_of_each_image() -> None:
    """Of an image whose left half gets brighter downwards and whose right half is flat."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :32] = 4 * np.arange(64, dtype=np.uint8)[:, None, None]
    image[:, 32:] = (255, 0, 64)
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    vectors = histograms(np.stack([*noise, image]))
    assert vectors.shape == (4, 208) and np.array_equal(vectors[3:], histograms(image[None]))
    assert np.allclose((vectors[:, :144] ** 2).sum(axis=1), 1) and np.allclose((vectors[:, 144:] ** 2).sum(axis=1), 1)
    edges, colours = vectors[3, :144].reshape(4, 4, 9) ** 2, vectors[3, 144:].reshape(4, 4, 4) ** 2
    assert colours[3, 0, 1] == pytest.approx(0.5) and colours[1, 1, 1] == pytest.approx(0.125)
    assert (edges[:, 0].argmax(axis=1) == 4).all() and edges[:, 3].max() == 0  # downwards: a right angle


@pytest.mark.parametrize("limit", [10_000, 60])
def test_words_that_are_counted_once_give_the_vectors_of_scikit_learn(limit: int, monkeypatch: pytest.MonkeyPatch
                                                                     ) -> None:
    monkeypatch.setattr(word_counts, "MOST", limit)
    examples = texts(90, np.arange(90) % 3, telling=True)
    fit_on, others = np.arange(70, 10, -1), np.array([5, 80, 81])
    theirs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=limit, token_pattern=r"(?u)\w+",
                             dtype=np.float32)
    expected = [theirs.fit_transform([examples.items[row] for row in fit_on]),
                theirs.transform([examples.items[row] for row in others])]
    found = WordCounts(examples, np.concatenate([others, fit_on]))(fit_on, others)
    for ours, wanted in zip(found, expected, strict=True):
        assert ours.shape == wanted.shape and abs(ours - wanted).max() < 1e-6


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
    sentence = _sentence(0.699, -0.177 if shown == "hurt" else 0.177, interval)
    assert sentence.startswith(start) and all(part in sentence for part in parts)


def test_the_record_keeps_its_keys() -> None:
    result = baseline_beside(replace(texts(60, np.arange(60) % 2, telling=True), split=held_out(60)), 0.5)
    assert list(result.to_dict()) == ["name", "n", "accuracy", "accuracy_ci95", "gain", "gain_ci95", "verdict", "word",
                                      "trained_on", "seconds"]
    assert result.to_dict()["word"] == result.sentence


@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_rows_that_choose_the_strength_are_never_held_out_ones(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = texts(100, np.arange(100) % 2, telling=True)
    examples = in_folds(examples) if mode == "cv" else replace(examples, split=held_out(100))
    seen: list[int] = []

    def watched(examples: Examples, features: object, part: Any) -> np.ndarray:
        train, choose, everything, test = (set(rows.tolist()) for rows in (part.train, part.choose, part.everything,
                                                                          part.held_out))
        assert choose and not choose & (test | train) and not everything & test
        assert everything == (train | choose if mode == "cv" else train)
        seen.extend(part.held_out.tolist())
        return np.ones(len(part.held_out), bool)

    monkeypatch.setattr(module, "_correct", watched)
    baseline_beside(examples, 0.5)
    assert examples.split is not None and sorted(seen) == examples.split.held_out.tolist()


def test_the_interval_of_the_baseline_respects_groups() -> None:
    groups = [f"{row % 2} {row // 20}" for row in range(150)]  # correct or not together
    result = beside(45, telling=False, groups=groups)
    expected = wilson_interval(np.arange(60) % 2 == 0, groups[90:])
    assert result.accuracy_ci95 == expected.ends and result.accuracy == 0.5
    low, high = beside(45, telling=False).accuracy_ci95
    assert expected.high - expected.low > 1.5 * (high - low)


def test_with_several_labels_the_whole_set_must_be_correct() -> None:
    targets = np.random.default_rng(3).integers(0, 2, (150, 3))
    result = baseline_beside(replace(texts(150, targets, telling=False), split=held_out(150)), 0.5)
    assert 0 < result.accuracy < 0.45  # a single label of the three is correct more often


def test_of_many_rows_those_that_are_used_follow_from_their_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerastl.evaluation.baseline.MOST", 60)
    examples = texts(150, np.arange(150) % 2, telling=True)
    result = baseline_beside(replace(examples, split=held_out(150)), 0.5)
    assert result.trained_on == 60 and baseline_beside(in_folds(examples), 0.5).trained_on == 60
    order = np.random.default_rng(0).permutation(150)
    shuffled = replace(examples.take(order), split=replace(held_out(150), part=held_out(150).part[order]))
    assert baseline_beside(shuffled, 0.5).accuracy == result.accuracy


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What logistic regression is fitted on, each time."""
    from sklearn.linear_model import LogisticRegression

    seen: list[Any] = []
    fit = LogisticRegression.fit

    def recorded(self: LogisticRegression, x: Any, y: np.ndarray) -> LogisticRegression:
        seen.append(x)
        return fit(self, x, y)

    monkeypatch.setattr(LogisticRegression, "fit", recorded)
    return seen


@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_the_baseline_of_images_scales_by_the_rows_it_is_fitted_on(mode: str, fits: list[Any], tmp_path: Path) -> None:
    """What is fitted on has mean 0 and standard deviation 1 by itself: no other row has a part in it."""
    examples = tl.read_images(str(draw_folder(tmp_path, 12)))
    examples = tl.split(examples) if mode == "cv" else replace(examples, split=held_out(36, validation=0.3, test=0.4))
    baseline_beside(examples, 0.5)
    # four strengths; then in each fold the one that was chosen, also on the rows that chose it
    assert len(fits) == (25 if mode == "cv" else 4)
    for x in fits:
        deviation = x.std(axis=0)
        moving = deviation > 1e-6
        assert moving.sum() > 100 and np.abs(x.mean(axis=0)).max() < 1e-4
        assert np.abs(deviation[moving] - 1).max() < 1e-3


def test_the_baseline_of_texts_has_the_words_of_the_rows_it_is_fitted_on(fits: list[Any]) -> None:
    examples = replace(texts(100, np.arange(100) % 2, telling=True), split=held_out(100))
    examples = replace(examples, items=tuple(f"{text} only{row}" for row, text in enumerate(examples.items)))
    baseline_beside(examples, 0.5)
    assert all((x != 0).sum(axis=0).min() == 1 for x in fits)  # every word is in one of these rows


def test_a_fold_chooses_on_rows_that_are_not_fitted_on_then_fits_on_them_too(fits: list[Any]) -> None:
    examples = in_folds(texts(150, np.arange(150) % 2, telling=True))
    baseline_beside(examples, 0.5)
    assert examples.split is not None and len(fits) == 25
    for fold in range(5):
        *choosing, last = (x.shape[0] for x in fits[5 * fold:5 * fold + 5])
        assert last == (examples.split.part != fold).sum()
        assert len(set(choosing)) == 1 and 0.8 < choosing[0] / last < 0.9


@pytest.mark.slow
def test_a_truncated_file_has_the_histograms_of_what_is_left_of_it(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "data", 2)
    for place, path in enumerate(sorted(folder.rglob("*.png"))):
        content = jpeg(Image.open(path))
        path.with_suffix(".jpg").write_bytes(content if place % 3 else content[:len(content) // 2])
        path.unlink()
    examples = tl.read_images(str(folder), min_per_class=2)
    vectors = ImageHistograms(examples).vectors
    assert isinstance(decode_file(examples.items[0], SIZE), str) and len(vectors) == 6  # refused, unless accepted
    for vector, item in zip(vectors, examples.items, strict=True):
        np.testing.assert_array_equal(vector, histograms(
            np.asarray(decode_file(item, SIZE, accept_truncated=True))[np.newaxis])[0])
    Path(examples.items[4]).write_bytes(b"no image")
    with pytest.raises(DataError, match="can no longer be read"):
        ImageHistograms(examples)
