"""The simple model in the graph, its sum with the linear head, and the choice among them."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from test_blend import DIM, IMAGE, TEXT, beside, noise, seen, telling
from test_reference_tokenizer import FOLDERS, GOLDEN
from test_text_models import answers_the_same
from text_folders import hugging_face_folder
from tiny import held_out, made_examples

import kerastl as tl
from kerastl.evaluation.competitors import Competitor, Competitors
from kerastl.export import reference_tokenizer
from kerastl.features.compute import Features
from kerastl.heads import Raw, heads_of, resolve_head
from kerastl.inputs import vocabulary
from kerastl.inputs.packing import pack
from kerastl.inputs.texts import Texts
from kerastl.model import parts_of
from kerastl.report.sentences import fine_tuned, no_transfer_note
from kerastl.shell.summary import run_summary
from kerastl.stats import standard_error
from kerastl.training.fine_tuning.result import FineTuneResult
from kerastl.training.fit import FittedHead, fit
from kerastl.training.fitters.best import choose
from kerastl.training.fitters.contenders import JOINT, LINEAR, PLAIN, best_shares
from kerastl.training.fitters.plain import PlainRows
from kerastl.training.options import TrainingOptions
from kerastl.versions.make_record import competitors_of
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import restore_input, restore_model

Shell = Callable[..., tuple[int, str, str]]
ALLOWED = TrainingOptions(allow_baseline=True)
RAWS = {"texts": TEXT, "images": IMAGE}


def classes(n: int) -> np.ndarray:
    return np.arange(n) % 2


def clear(y: np.ndarray) -> np.ndarray:
    """Features that tell the class."""
    x = noise(len(y))
    x[:, 0] += 4 * y
    return x


def accuracy(features: Features, fitted: FittedHead) -> float:
    return float((fitted.held_out.logits.argmax(1) == features.examples.targets[fitted.held_out.rows]).mean())


def compared(features: Features, fitted: FittedHead) -> Competitors:
    competitors = competitors_of(features.examples, tl.evaluate(features.examples, fitted), fitted)
    assert competitors is not None
    return competitors


# The simple model


@pytest.mark.parametrize("raw", RAWS.values(), ids=RAWS)
def test_the_graph_computes_what_was_solved(raw: Raw, tmp_path: Path) -> None:
    y = classes(60)
    features = beside(tmp_path, noise(60), y, raw, telling(raw, y))
    rows = np.arange(60)
    solution = PlainRows(features).solve(rows, None, TrainingOptions())
    model = resolve_head("plain").build((DIM,), 2, raw)
    model.get_layer("plain").set_weights(solution.weights)
    logits = np.asarray(model([noise(60), features.raw_rows(rows)]))
    assert np.abs(logits - solution.logits(rows)).max() < 1e-4 and np.abs(logits).max() > 0.1
    assert ((logits.argmax(1) == y).mean()) > 0.9
    assert (np.asarray(model([noise(60, seed=9), features.raw_rows(rows)])) == logits).all()  # features have no effect


def test_repeated_words_count_by_their_logarithm_and_rows_have_norm_1(tmp_path: Path) -> None:
    from kerastl.heads.layers.plain_features import Tfidf

    layer = Tfidf(2)
    layer.build((None, None))
    tokens = np.array([[5, 5, 5, 7, 0, 0], [9, 0, 0, 0, 0, 0]], np.int32)
    from kerastl.heads.layers.blending import BUCKETS, buckets_of
    table = np.zeros((BUCKETS, 2), np.float32)
    buckets = np.asarray(buckets_of(tokens)[0])
    table[buckets[0, 0]], table[buckets[1, 0], 1] = (1, 0), 2
    layer.set_weights([table, np.zeros(2, np.float32), np.ones(BUCKETS, np.float32)])
    often = 1 + np.log([3, 1, 2, 1])  # 5, 7, the pair 5 5, the pair 5 7
    wanted = often[0] / np.sqrt((often**2).sum())
    assert np.allclose(np.asarray(layer(tokens)), [[wanted, 0], [0, 2]], atol=1e-5)


def test_a_test_row_changes_no_inverse_document_frequency(tmp_path: Path) -> None:
    y, rows = classes(60), telling(TEXT, classes(60))
    changed = rows.copy()
    changed[50:] = seen(TEXT, 10, seed=5)
    one, other = (PlainRows(beside(tmp_path / name, noise(60), y, TEXT, made)).solve(
        np.arange(50), None, TrainingOptions()) for name, made in (("a", rows), ("b", changed)))
    assert all((a == b).all() for a, b in zip(one.weights, other.weights, strict=True))


# The choice


@pytest.mark.slow
@pytest.mark.parametrize("raw", RAWS.values(), ids=RAWS)
@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_linear_ships_where_only_the_features_tell(raw: Raw, mode: str, tmp_path: Path) -> None:
    y = classes(120)
    features = beside(tmp_path, clear(y), y, raw, seen(raw, 120))
    if mode == "cv":
        features = replace(features, examples=tl.split(replace(features.examples, split=None), "cv"))
    best, linear = fit(features, "best"), fit(features, "linear")
    assert best.name == "linear" and len(best.head.inputs) == 1
    competitors = compared(features, best)
    assert [np.array_equal(a, b) for a, b in zip(best.head.get_weights(), linear.head.get_weights(), strict=True)]
    assert not competitors.simple_wins and competitors.sentence == ""
    figures = {other.head: other for other in competitors.heads}
    assert set(figures) == {LINEAR, PLAIN, JOINT} and sum(other.folds for other in figures.values()) in (1, 5)
    assert figures[LINEAR].accuracy == pytest.approx(accuracy(features, linear))
    assert figures[PLAIN].gain_ci95[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("raw", RAWS.values(), ids=RAWS)
def test_the_simple_model_ships_only_where_it_is_allowed(raw: Raw, tmp_path: Path) -> None:
    y = classes(200)
    features = beside(tmp_path, noise(200), y, raw, telling(raw, y))
    refused, allowed = fit(features, "best"), fit(features, "best", options=ALLOWED)
    assert refused.name == "joint" and allowed.name == "plain"
    not_it, it = compared(features, refused), compared(features, allowed)
    assert not_it.simple_wins and it.simple_wins
    assert "set `allow_baseline`" in not_it.sentence and "as requested" in it.sentence
    figures = {other.head: other.accuracy for other in not_it.heads}
    assert figures[LINEAR] < 0.7 < 0.9 < figures[PLAIN]
    assert accuracy(features, refused) >= figures[PLAIN] - 0.03


def test_both_together_where_each_tells_a_part(tmp_path: Path) -> None:
    y = np.arange(400) % 4
    rows = telling(TEXT, y // 2)  # one bit in the text, the other in the features
    x = noise(400)
    x[:, 0] += 4 * (y % 2)
    features = beside(tmp_path, x, y, TEXT, rows)
    best = fit(features, "best", options=ALLOWED)
    assert best.name == "joint" and accuracy(features, best) > 0.85
    assert best.settings["share_linear"] > 0.2 and best.settings["share_plain"] > 0.2


@pytest.mark.slow
def test_held_out_labels_choose_nothing(tmp_path: Path) -> None:
    y = classes(150)
    split = held_out(150)
    other = y.copy()
    other[split.held_out] = 1 - other[split.held_out]
    rows = telling(TEXT, y)
    one, two = (fit(beside(tmp_path / name, noise(150), labels, TEXT, rows), "best")
                for name, labels in (("a", y), ("b", other)))
    assert one.name == two.name and one.choice is not None and two.choice is not None
    assert one.choice.reason == two.choice.reason and "validation rows: " in one.choice.reason
    assert all((a == b).all() for a, b in zip(one.head.get_weights(), two.head.get_weights(), strict=True))


def test_a_tie_within_one_standard_error_goes_to_the_simpler() -> None:
    examples = made_examples(classes(100))
    rows, generator = np.arange(100), np.random.default_rng(0)
    base = generator.uniform(0.2, 1.0, 100)
    difference = generator.normal(size=100)
    difference -= difference.mean()
    error = standard_error(difference, examples.clusters)
    losses = {LINEAR: base + difference + 0.9 * error, PLAIN: base + 5, JOINT: base}
    assert choose(losses, examples, rows) == LINEAR
    losses[LINEAR] = base + difference + 1.1 * error
    assert choose(losses, examples, rows) == JOINT
    losses[PLAIN] = base + difference + 0.5 * error
    assert choose(losses, examples, rows) == PLAIN and choose(losses, examples, rows, skip=PLAIN) == JOINT
    doubled = made_examples(classes(100), groups=[str(row // 2) for row in range(100)])  # pairs count once
    assert standard_error(np.repeat(difference[::2], 2), doubled.clusters) > 1.3 * standard_error(
        np.repeat(difference[::2], 2), examples.clusters)


def test_shares_are_not_negative_and_the_least_loss() -> None:
    from kerastl.tasks.single_label import TASK

    y = np.eye(2)[classes(200)]
    tell = (y * 2 - 1) * np.random.default_rng(0).uniform(0.2, 1, (200, 1))
    shares = best_shares(np.stack([tell, -tell]), y, np.ones(200), TASK)
    assert shares[0] > 1 and shares[1] == 0


@pytest.mark.slow
def test_several_labels_a_row(tmp_path: Path) -> None:
    y = classes(120)
    targets = np.stack([y, 1 - y], axis=1)
    features = replace(beside(tmp_path, noise(120), y, TEXT, telling(TEXT, y)),
                       examples=made_examples(targets, split=held_out(120)))
    best = fit(features, "best")
    assert best.name == "joint"
    assert {other.head: other.accuracy for other in compared(features, best).heads}[PLAIN] > 0.9


@pytest.mark.slow
def test_the_figures_of_the_heads_are_those_of_the_model_that_is_reported(tmp_path: Path) -> None:
    y = np.repeat(np.arange(3), [200, 20, 14])  # classes are weighted, which only a calibration undoes
    x = noise(len(y))
    x[:, 0] += 1.5 * y
    features = beside(tmp_path, x, y, TEXT, seen(TEXT, len(y)))
    features = replace(features, examples=tl.split(replace(features.examples, split=None), "cv"))
    linear = fit(features, "linear")
    alone, beside_others = tl.evaluate(features.examples, linear), compared(features, fit(features, "best")).heads[0]
    assert beside_others.accuracy == alone.accuracy > accuracy(features, linear) + 0.05
    assert beside_others.log_loss == pytest.approx(alone.log_loss_calibrated)


def test_a_gain_over_the_baseline_that_plain_features_make_is_not_put_down_to_the_backbone(trained: Path) -> None:
    record = RunRecord.read(trained)
    assert record.baseline is not None
    better = replace(record.baseline, verdict="helped")
    plain = Competitor("plain", 0.919, (0.87, 0.95), 0.2, -0.006, (-0.04, 0.03), 0)
    for head, gained, note in (("joint", plain, "head plain, which does not use the backbone either, scores 0.919"),
                               ("plain", plain, "does not use the backbone"),
                               ("joint", replace(plain, gain_ci95=(0.01, 0.1)), "")):
        changed = replace(record, head=head, baseline=better, competitors=Competitors(head, "", 9, (gained,)))
        assert note in no_transfer_note(changed) and bool(note) == bool(no_transfer_note(changed))
        assert note in " ".join(run_summary(changed).split())


def test_a_frozen_model_that_a_hold_out_left_fewer_rows_says_so(trained: Path) -> None:
    record = replace(RunRecord.read(trained), split="holdout", split_reason="the backbone is unfrozen", n_train=33,
                     fine_tuning=FineTuneResult(kept=False, blocks=1, layers=(), loss_before=1.0, loss_after=1.1,
                                                epochs=(), seconds=1.0))
    assert "trained on the 33 training rows" in fine_tuned(record)
    for other in (replace(record, split="cv"), replace(record, split_reason="requested"),
                  replace(record, n_train=6000)):
        assert "training rows" not in fine_tuned(other)


def test_auto_does_not_search_heads_that_choose() -> None:
    assert "best" not in {head.spec.name for head in heads_of("auto")}


# Tokens that the backbone does not take


@pytest.mark.slow
def test_without_truncated_texts_the_tokens_are_as_ever() -> None:
    source = Texts(vocabulary.read(GOLDEN / "bert-uncased"), 12)
    more = replace(source, beyond=8)
    short = ["a film", "a noise"]
    assert (source.decoded(source.contents(short), {}).values == more.decoded(more.contents(short), {}).values).all()
    long = ["a film " * 9, "short"]
    first, whole = (one.decoded(one.contents(long), {}).values for one in (source, more))
    assert first.shape[1] == 12 and whole.shape[1] == 20 and (whole[:, :12] == first).all()
    assert more.fixed(whole[0]).shape == more.single_spec.shape and more.for_network() == source


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("long", ["head", "head+tail"])
def test_what_is_truncated_follows_in_order(name: str, long: str) -> None:
    tokenizer = vocabulary.read(GOLDEN / name)
    source = Texts(tokenizer, 10, long, beyond=200)
    text = "one two three four five six seven eight nine ten eleven twelve thirteen"
    ids = pack(source.tables()(tf.constant([text])), tokenizer, 1000)[0].numpy()[0].tolist()
    words = ids[len(tokenizer.start):len(ids) - len(tokenizer.end)]
    row = source.decoded([text.encode()], {}).values[0].tolist()
    assert sorted(row) == sorted(ids)
    room = 10 - len(tokenizer.start) - len(tokenizer.end)
    tail = room // 2 if long == "head+tail" else 0
    assert row[10:] == words[room - tail:len(words) - tail]


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_the_reference_tokenizer_gives_them_too(name: str, tmp_path: Path) -> None:
    tokenizer = vocabulary.read(GOLDEN / name)
    vocabulary.save(tokenizer, tmp_path)
    text, second = "a long text that does not fit, " * 3, "another one, which is also long " * 2
    for pair in (False, True):
        source = Texts(tokenizer, 12, pair=pair, beyond=30)
        content: Any = [text.encode(), second.encode()] if pair else text.encode()
        wanted = source.fixed(source.decoded([content], {}).values[0])[0].tolist()
        assert reference_tokenizer.tokens(tmp_path, text, second if pair else None, 12, 30) == wanted


def late_table(folder: Path, n: int = 120) -> Path:
    """Texts whose telling word comes after all others, beyond the length that the backbone is given."""
    generator, words = np.random.default_rng(0), "film scene plot and the of a good great".split()
    with open(folder / "late.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for i in range(n):
            start = " ".join(generator.choice(words, 20))
            rows.writerow([f"{start} {'bad' if i % 2 else 'awful'}", "cats" if i % 2 else "dogs"])
    return folder / "late.csv"


@pytest.mark.slow
def test_a_word_beyond_the_length_decides_in_every_format(shell: Shell, tmp_path: Path) -> None:
    folder = hugging_face_folder(tmp_path / "w", "bert")
    code, out, err = shell("run", "bert_text", "--data", late_table(tmp_path), "--name", "m", "--out", tmp_path,
                           "--weights", folder, "--unfreeze", 0, "--head", "best", "--max-length", 16, "--tflite",
                           "fp32,fp16", "--json")
    assert code == 0, err
    run = json.loads(out)
    figures = {other["head"]: other["accuracy"] for other in run["competitors"]["heads"]}
    assert run["head"] == run["competitors"]["chosen"] == "joint"
    assert figures["linear"] < 0.8 and run["test"]["accuracy"] > max(0.9, figures["linear"] + 0.1)
    assert {one["kind"]: one["kept"] for one in run["parity"]} == dict.fromkeys(("saved_model", "fp32", "fp16"), True)
    assert run["input"]["beyond"] > 0 and run["config"]["head"] == "best"
    answers_the_same(tmp_path / "m/1")
    texts = [line.partition(",")[0] for line in (tmp_path / "late.csv").read_text().splitlines()[1:9]]
    assert [one.label for one in tl.load(tmp_path / "m/1").predict(texts)] == ["dogs", "cats"] * 4
    record = RunRecord.read(tmp_path / "m/1")
    assert record.competitors is not None and record.to_dict() == run
    source, model = restore_input(tmp_path / "m/1", record), restore_model(tmp_path / "m/1", record)
    assert not parts_of(model).backbone.trainable_weights
    assert model(source.decoded(source.contents(texts), {}).values).shape == (8, 2)
    page = (tmp_path / "m/1/report.html").read_text()
    assert "Which head was chosen" in page and run["competitors"]["reason"][1:40] in page
