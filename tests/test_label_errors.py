"""Possible label errors: flipped labels are found by two opinions, near-duplicates do not vote, no class is lost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny import clouds, held_out, in_folds, made_examples, made_features

import kerastl as tl
from kerastl.audit.label_errors import label_errors_of_run
from kerastl.evaluation.confident import confident_joint
from kerastl.evaluation.label_errors import LIKELY, LOOK, ranked
from kerastl.evaluation.neighbours import neighbour_votes
from kerastl.training.fit import fit


def flipped(n: int, classes: int, share: float) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.intp]]:
    """Rows of clouds that are far apart, their labels, and the rows whose label was flipped to the next class."""
    x, y = clouds(n, classes, 6, 8.0)
    rows = np.random.default_rng(1).permutation(n)[:round(share * n)]
    labels = y.copy()
    labels[rows] = (y[rows] + 1) % classes
    return x, labels, rows


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.2])
def test_flipped_labels_are_ranked_first_with_the_label_that_they_had(share: float, tmp_path: Path) -> None:
    x, labels, rows = flipped(300, 3, share)
    features = made_features(tmp_path, x, in_folds(made_examples(labels)))
    errors = label_errors_of_run(features, tl.evaluate(features.examples, fit(features)))
    names = {f"row {row}" for row in rows}
    first = errors.first(len(rows))
    assert len({error.origin for error in first} & names) >= 0.9 * len(rows)
    assert errors.rows == 300 and 0.8 * len(rows) <= errors.estimated <= 2 * len(rows)
    right = [error for error in first if error.origin in names and error.verdict == LIKELY]
    assert len(right) >= 0.8 * len(rows)
    for error in right:  # flipped to the next class, so the suggestion is the one before
        assert (int(error.predicted[-1]) + 1) % 3 == int(error.label[-1])
    confidence = [error.self_confidence for error in errors]
    assert confidence == sorted(confidence) and len(errors) <= errors.estimated


@pytest.mark.slow
def test_a_hold_out_searches_training_and_validation_rows_and_says_why_not_where_it_does_not(tmp_path: Path) -> None:
    x, labels, rows = flipped(300, 3, 0.1)
    features = made_features(tmp_path, x, made_examples(labels, split=held_out(300)))
    evaluation = tl.evaluate(features.examples, fit(features))
    errors = label_errors_of_run(features, evaluation)
    split = features.examples.split
    assert split is not None and errors.rows == 300 - len(split.held_out) and errors.reason == ""
    tested = {f"row {row}" for row in split.held_out}
    found = {error.origin for error in errors}
    assert not found & tested and len(found & {f"row {row}" for row in rows}) >= 0.8 * len({*rows} - {*split.held_out})
    several = replace(features, examples=replace(features.examples, targets=np.eye(3, dtype=np.int64)[labels]))
    assert "several labels" in label_errors_of_run(several, evaluation).reason
    maps = replace(features, shape=(2, 2, 6))
    assert "not pooled" in label_errors_of_run(maps, evaluation).reason


def test_near_duplicates_do_not_vote() -> None:
    """Eleven copies share a wrong label. Alone, the copies would confirm it; the rows around them do not."""
    generator = np.random.default_rng(0)
    x = np.concatenate([generator.normal(size=(30, 4)) * 0.1 + [1, 0, 0, 0], generator.normal(size=(30, 4)) * 0.1
                        + [0, 1, 0, 0], np.tile([[1.0, 0.02, 0, 0]], (11, 1))]).astype(np.float32)
    labels = np.array([0] * 30 + [1] * 41)
    clusters = [f"row {row}" for row in range(60)] + ["copies"] * 11

    def votes(names: list[str]) -> NDArray[np.float32]:
        return neighbour_votes(lambda rows: x[rows], labels, names, 2)

    assert (votes(clusters)[60:, 0] == 1).all()
    assert (votes([str(row) for row in range(71)])[60:, 1] == 1).all()
    assert (votes(["same"] * 71) == 0).all()  # nobody is left to vote


def test_blocks_and_feature_maps_give_the_votes_of_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = clouds(200, 4, 6, 2.0)
    clusters = [str(row // 2) for row in range(200)]
    whole = neighbour_votes(lambda rows: x[rows], y, clusters, 4)
    maps = np.stack([x + 1, x - 1], axis=1)  # two places, whose mean is x
    monkeypatch.setattr("kerastl.evaluation.neighbours.BLOCK", 600)
    np.testing.assert_array_equal(neighbour_votes(lambda rows: x[rows], y, clusters, 4), whole)
    np.testing.assert_array_equal(neighbour_votes(lambda rows: maps[rows], y, clusters, 4), whole)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    for row in (0, 7, 199):
        order = [other for other in np.argsort(-(unit @ unit[row])) if clusters[other] != clusters[row]][:10]
        np.testing.assert_allclose(whole[row], np.bincount(y[order], minlength=4) / 10)


def test_rows_are_confidently_of_another_class_by_the_average_of_its_own_rows() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    p = np.array([[.9, .1, 0], [.5, .4, .1], [.2, .5, .3],  # class 0: 0.533 on average
                  [.125, .375, .5], [.625, .375, 0], [.5, .375, .125],  # class 1: 0.375
                  [.1, .1, .8], [.3, .2, .5]])  # class 2: 0.65
    # Row 1 is below the average of class 0, though that is its most likely class, and row 3 below that of class 2. Row
    # 7 is confidently of no class, and seems to have its most likely one.
    joint, seems = confident_joint(p, labels)
    assert seems.tolist() == [0, 1, 1, 1, 0, 1, 2, 2]
    np.testing.assert_allclose(joint, [[1, 2, 0], [1, 2, 0], [0, 0, 2]])  # scaled to the 3, 3 and 2 rows of the labels
    np.testing.assert_allclose(confident_joint(p[:6], labels[:6])[0].sum(axis=1), [3, 3, 0])  # a class without rows


def test_errors_of_a_rare_class_are_found_although_its_probabilities_are_low() -> None:
    """Of 100 rows, 6 have the rare label, which never gets more than 0.4; two of the others are more like it."""
    labels = np.array([0] * 94 + [1] * 6)
    p = np.tile([0.97, 0.03], (100, 1))
    p[94:] = [0.65, 0.35]
    p[:2] = [0.6, 0.4]
    errors = ranked(made_examples(labels), np.arange(100), p, np.eye(2)[[1] + [0] * 99])
    assert [(error.origin, error.predicted, error.verdict) for error in errors] == [
        ("row 0", "class 1", LIKELY), ("row 1", "class 1", LOOK)]
    assert (errors.estimated, errors.likely, errors.look) == (2, 1, 1)
    assert [(pair.given, pair.actual, round(pair.estimated)) for pair in errors.pairs] == [("class 0", "class 1", 2)]
    assert errors.agreement == 0.94 and errors.caution == ""
    assert "contradict 20%" in replace(errors, agreement=0.8).caution
    assert "2 of 100 labels" in errors.sentence and tl.LabelErrors.from_dict(errors.to_dict()) == errors
