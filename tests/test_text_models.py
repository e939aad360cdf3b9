"""Texts through the whole way on tiny networks: every family and every recipe trains, exports, and answers the same."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_hub  # noqa: F401  its layers are in model.keras
import numpy as np
import pytest
from glm_folders import glm_folder
from text_folders import hugging_face_folder, keras_hub_folder

import kerastl as tl
from kerastl.inputs import restored
from kerastl.modality import TEXT
from kerastl.model import Predictor
from kerastl.shell import recipes as finding
from kerastl.shell.summary import run_summary
from kerastl.versions.record import RunRecord

Shell = Callable[..., tuple[int, str, str]]
FAMILIES = {"bert": "bert_base", "roberta": "roberta_base", "xlm-roberta": "xlm_roberta_base",
            "distilbert": "distil_bert", "deberta-v2": "deberta_v3_base"}
TELLING = {"fine": ["good", "loved", "great"], "poor": ["awful", "hated", "dull"]}
PLAIN = "the film is it movie story was this a plot scene".split()
AWKWARD = ["", " ", "word " * 10_000, "so 😀 good 👩‍👩‍👧", "cafe\u0301 café", "a\0b\x07c\x9fd", "שלום good", "這是電影",
           "\ud800 half", "[SEP] [PAD] </s>", "x" * 300, "a\u00a0b\u2028c\u3000d", "A\tB\nC\r\nD"]
BROKEN = [b"\xff\xfe", b"good \xc3( film", b"\xed\xa0\x80", b"\xf0\x9f\x98"]


def made_texts(per_class: int, seed: int = 0) -> list[tuple[str, str]]:
    """(text, label): plain words, and two that tell the class."""
    generator = np.random.default_rng(seed)
    rows = []
    for label, words in TELLING.items():
        for i in range(per_class):
            text = [*generator.choice(PLAIN, int(generator.integers(2, 9))), *generator.choice(words, 2)]
            rows.append((" ".join(generator.permutation(text)) + f" {i}", label))
    return rows


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20 texts."""
    return write_table(tmp_path_factory.mktemp("texts") / "t.csv", ("text", "label"), made_texts(20))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT as transformers saves it."""
    return hugging_face_folder(tmp_path_factory.mktemp("bert") / "bert", "bert", variant="head")


def trained_on(shell: Shell, out: Path, data: Path, weights: Path, *more: Any, recipe: str = "bert_text"
               ) -> dict[str, Any]:
    frozen = () if "--unfreeze" in more else ("--unfreeze", "0")
    code, text, err = shell("run", recipe, "--data", data, "--name", "m", "--out", out, "--weights", weights, *more,
                            *frozen, "--json")
    assert code == 0, err
    return json.loads(text)


def answers_the_same(version: Path, texts: Sequence[Any] = AWKWARD) -> None:
    """The SavedModel, loaded again, and Keras on tokens made in Python give the same probabilities, for any text."""
    run = json.loads((version / "run.json").read_text())
    model = keras.models.load_model(version / "model.keras", compile=False)
    source = restored(TEXT, run["input"], version)
    classifier = tl.load(version)
    answer = Predictor(model)
    logits = np.concatenate([answer(batch) for batch in source.batches(list(texts), 4, {}, in_order=True)])
    logits = logits / run["temperature"] + np.array(run["bias"] or 0)
    wanted = 1 / (1 + np.exp(-logits)) if run["multi_label"] else np.exp(logits - np.logaddexp.reduce(
        logits, axis=1, keepdims=True))
    given = classifier.probabilities(classifier.contents(texts))
    assert np.abs(given - wanted).max() < 1e-4
    for text, prediction, probability in zip(texts, classifier.predict_each(texts), wanted, strict=True):
        assert prediction.error or prediction.score == pytest.approx(probability.max(), abs=1e-4)
        parts = text if isinstance(text, tuple) else (text,)
        assert bool(prediction.error) >= (not all(map(str.strip, parts)))


def kept(run: dict[str, Any]) -> dict[str, bool]:
    return {one["kind"]: one["kept"] for one in run["parity"]}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_exports_and_answers_the_same(family: str, shell: Shell, table: Path, tmp_path: Path
                                                          ) -> None:
    folder = (keras_hub_folder if family == "deberta-v2" else hugging_face_folder)(tmp_path / "w", family)
    run = trained_on(shell, tmp_path, table, folder, "--backbone", FAMILIES[family])
    assert run["n_test"] == 40 and not run["random_weights"] and run["kind"] == "text"
    assert kept(run) == dict.fromkeys(("saved_model", "fp32", "fp16", "dynamic"), True)
    answers_the_same(tmp_path / "m/1")
    classifier = tl.load(tmp_path / "m/1")
    assert len({one.label for one in classifier.predict([row[0] for row in made_texts(5)])}) == 2
    broken = classifier.predict_each(BROKEN)  # bytes that are not UTF-8 are answered too, if a token is known
    assert 0 < broken[1].score <= 1 and all("no known token" in one.error or 0 < one.score <= 1 for one in broken)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["transformer:width=32", "attention:learning_rate=0.003"])
def test_heads_on_token_states_answer_texts_of_any_length_the_same(head: str, shell: Shell, table: Path, bert: Path,
                                                                   tmp_path: Path) -> None:
    run = trained_on(shell, tmp_path, table, bert, "--head", head, "--tflite", "fp32,fp16", "--split", "holdout",
                     "--epochs", 3)
    assert run["head"] == head and kept(run) == dict.fromkeys(("saved_model", "fp32", "fp16"), True)
    answers_the_same(tmp_path / "m/1")  # in batches of 4, padded to the longest; the SavedModel takes all at once
    classifier = tl.load(tmp_path / "m/1")
    short, long = "a good film", "the film is it movie story was this a plot scene, " * 3
    alone = np.concatenate([classifier.probabilities(classifier.contents([one])) for one in (short, long)])
    assert np.abs(classifier.probabilities(classifier.contents([short, long])) - alone).max() < 1e-5
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


FOLLOWED = ("bert_text", "glm2_transformer_text")  # by every verb: exported with its head, and without


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in finding.recipes() if name.endswith("_text")])
def test_every_recipe_for_texts_runs_and_its_verbs_follow(recipe: str, shell: Shell, table: Path, tmp_path: Path
                                                          ) -> None:
    if recipe == "glm2_transformer_text":
        folder = glm_folder(tmp_path / "w")
    else:
        folder = hugging_face_folder(tmp_path / "w", "roberta" if recipe == "roberta_text" else "bert")
    run = trained_on(shell, tmp_path, table, folder, "--tflite", "fp32", "--epochs", 2, recipe=recipe)
    assert run["baseline"]["accuracy"] > 0.9 and run["baseline"]["name"].startswith("TF-IDF")
    code, out, err = shell("verify", tmp_path / "m", "--json")
    assert code == 0, err
    if recipe in FOLLOWED:
        code, out, err = shell("evaluate", tmp_path / "m", table, "--json")
        assert code == 0 and json.loads(out)["trained_on"] == 40, err
        code, out, err = shell("export", tmp_path / "m", "--tflite", "fp16", "--json")
        assert code == 0 and json.loads(out)["version"] == 2, err
    code, out, err = shell("predict", tmp_path / "m", "a good film", table, "--json")
    assert code == 0 and len(json.loads(out)["predictions"]) == 41, err
    report = (tmp_path / "m/1/report.html").read_text()
    assert "Does transfer learning help?" in report and "Text length" in report


@pytest.mark.slow
def test_pairs_are_two_columns_and_two_strings(shell: Shell, bert: Path, tmp_path: Path) -> None:
    rows = [(text, "the film", label) for text, label in made_texts(20)]
    pairs = write_table(tmp_path / "p.csv", ("premise", "hypothesis", "label"), rows)
    run = trained_on(shell, tmp_path, pairs, bert, "--tflite", "fp32")
    assert run["input"]["pair"] and kept(run) == {"saved_model": True, "fp32": True}
    answers_the_same(tmp_path / "m/1", [(text, "good") for text in AWKWARD])
    with pytest.raises(tl.KerastlError, match="two texts"):
        tl.load(tmp_path / "m").predict(["one text"])


@pytest.mark.slow
def test_chunks_average_windows_and_have_no_tflite_file(shell: Shell, bert: Path, tmp_path: Path) -> None:
    rows = [(" ".join([text] * (1 + i % 5)), label) for i, (text, label) in enumerate(made_texts(20))]
    long = write_table(tmp_path / "l.csv", ("text", "label"), rows)
    run = trained_on(shell, tmp_path, long, bert, "--long", "chunks", "--max-length", "16")
    assert kept(run) == {"saved_model": True} and run["input"]["lengths"]["cut"] > 10
    answers_the_same(tmp_path / "m/1", [row[0] for row in rows] + AWKWARD)
    code, _, err = shell("verify", tmp_path / "m")
    assert code == 0, err


@pytest.mark.slow
def test_several_labels_have_thresholds_of_their_own_in_the_export(shell: Shell, bert: Path, tmp_path: Path) -> None:
    rows = [(f"{text} long" if i % 3 == 0 else text, f"{label}|long" if i % 3 == 0 else label)
            for i, (text, label) in enumerate(made_texts(30))]
    data = write_table(tmp_path / "s.csv", ("text", "label"), rows)
    run = trained_on(shell, tmp_path, data, bert, "--tflite", "none", "--multi-label", "on")
    assert run["multi_label"] and len(run["thresholds"]) == 3 and set(run["thresholds"]) != {0.5}
    answers_the_same(tmp_path / "m/1")
    classifier = tl.load(tmp_path / "m/1")
    texts = [row[0] for row in rows]
    held = classifier.probabilities(classifier.contents(texts)) >= np.array(run["thresholds"], np.float32)
    wanted = ["|".join(np.array(run["classes"])[line]) for line in held]
    assert [one.label for one in classifier.predict(texts)] == wanted


@pytest.mark.slow
def test_unfreezing_all_blocks_trains_and_is_kept_only_if_validation_improves(shell: Shell, bert: Path, tmp_path: Path
                                                                              ) -> None:
    data = write_table(tmp_path / "u.csv", ("text", "label"), made_texts(60))
    run = trained_on(shell, tmp_path, data, bert, "--unfreeze", "all", "--epochs", "2", "--tflite", "none",
                     "--split", "holdout")
    tuned = run["unfrozen"]
    assert run["split"] == "holdout" and len(tuned["history"]) == 2 and tuned["layers"]
    assert not tuned["kept"] or tuned["loss_after"] < tuned["loss_before"]
    answers_the_same(tmp_path / "m/1")


@pytest.mark.slow
def test_few_labels_are_tuned_by_contrast_and_the_folds_never_see_their_rows(shell: Shell, bert: Path, tmp_path: Path
                                                                             ) -> None:
    rows = made_texts(14)
    shuffled = [label for _, label in np.random.default_rng(0).permutation(rows)]
    parts = ([*["train"] * 10, *["validation"] * 2, *["test"] * 2] * 2, [""] * 28)
    for name, labels, part in (("telling", [label for _, label in rows], parts[0]), ("chance", shuffled, parts[1])):
        data = write_table(tmp_path / f"{name}.csv", ("text", "label", *["split"] * any(part)), [
            (text, label, *[at] * any(part)) for (text, _), label, at in zip(rows, labels, part, strict=True)])
        run = trained_on(shell, tmp_path / name, data, bert, "--unfreeze", "contrast", "--tflite", "none")
        assert run["unfrozen"]["how"] == "contrast" and run["unfrozen"]["blocks"] >= 1
        assert (run["split"] == "cv") == (name == "chance")  # in five folds, or on the split that the data give
        history = [one["loss"] for one in run["unfrozen"]["history"]]
        assert np.mean(history[-5:]) < np.mean(history[:5])
        if name == "chance":  # a head that had seen the rows it judges would be right on nearly all of them
            assert run["test"]["accuracy"] < 0.75
    answers_the_same(tmp_path / "telling/m/1")


@pytest.mark.slow
def test_a_model_of_texts_says_so_to_images_and_a_model_of_images_to_texts(
        shell: Shell, bert: Path, table: Path, trained: Path, images: Path, tmp_path: Path) -> None:
    trained_on(shell, tmp_path, table, bert, "--tflite", "none")
    for words in (("predict", tmp_path / "m", next(images.rglob("*.png"))), ("evaluate", tmp_path / "m", images),
                  ("evaluate", trained, table), ("predict", trained, "a good film"),
                  ("run", "bert_text", "--data", images, "--name", "x", "--out", tmp_path, "--weights", bert),
                  ("run", "tiny_images", "--data", table, "--name", "x", "--out", tmp_path, "--weights", "none"),
                  ("run", "bert_text", "--backbone", "resnet50", "--data", table, "--name", "x", "--out", tmp_path)):
        code, out, err = shell(*words)
        assert code == 2 and out == "" and err.count("error: ") == 1 and "to fix: " in err, (words, err)
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_features_and_check_take_texts(shell: Shell, bert: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.npz"
    code, text, err = shell("features", table, "--backbone", "bert_base", "--weights", bert, "--out", out, "--json")
    assert code == 0 and json.loads(text)["rows"] == 40, err
    with np.load(out) as found:
        assert found["features"].shape == (40, 32) and found["names"][0]
    with table.open() as file:
        header, *rows = csv.reader(file)
    doubled = write_table(tmp_path / "d.csv", header, [*rows, (rows[0][0], "poor")])
    code, text, err = shell("check", doubled, "--backbone", "bert_base", "--weights", bert, "--json")
    assert code == 0, err
    found = json.loads(text)
    assert found["kind"] == "text" and len(found["conflicts"]) == 1 and found["left_out"] == []


@pytest.mark.slow
def test_plain_tensorflow_and_tf_text_serve_the_folder(shell: Shell, bert: Path, table: Path, tmp_path: Path) -> None:
    """A process without kerastl and Keras finds the signatures by name; every operation is of the two packages."""
    trained_on(shell, tmp_path, table, bert, "--tflite", "none")
    code = (
        "import json, sys, tensorflow as tf, tensorflow_text\n"
        "m = tf.saved_model.load(sys.argv[1]).signatures\n"
        "out = m['serving_default'](text=tf.constant(['a good film', 'dull']))\n"
        "graph = m['serving_default'].graph.as_graph_def()\n"
        "ops = {n.op for n in graph.node} | {n.op for f in graph.library.function for n in f.node_def}\n"
        "assert 'kerastl' not in sys.modules and 'keras_hub' not in sys.modules\n"
        "print(json.dumps([sorted(m), sorted(out), sorted(o for o in ops if not o.startswith(('Stateful', 'Part')))]))")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "m/1"], capture_output=True, text=True, check=True)
    signatures, outputs, ops = json.loads(done.stdout.splitlines()[-1])
    assert signatures == ["features", "serving_default", "tensor"]
    assert outputs == ["label", "probabilities", "score", "top_labels", "top_scores", "unknown_score"]
    of_tf_text = {"FastWordpieceTokenizeWithOffsets", "NormalizeUTF8"}
    import tensorflow as tf

    core = set(tf.raw_ops.__dict__)
    assert [op for op in ops if op not in core and op not in of_tf_text] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["two classes", "several labels"])
def test_a_target_is_applied_by_the_export_and_by_evaluate(kind: str, shell: Shell, bert: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random(90)
    rows = [(text, "poor" if noise[i] < 0.3 else label) for i, (text, label) in enumerate(made_texts(45))]
    if kind == "several labels":
        rows = [(text, f"{label}|long" if noise[i] < 0.5 else label) for i, (text, label) in enumerate(rows)]
    data = write_table(tmp_path / "t.csv", ("text", "label"), rows)
    more = ("--multi-label", "on") if kind == "several labels" else ()
    run = trained_on(shell, tmp_path, data, bert, "--tflite", "fp32", "--target", "recall=0.95", *more)
    target = run["test"]["target"]
    assert target["asked"].startswith("recall=0.95") and len(target["classes"]) == (3 if more else 1)
    assert f"target     {target['asked']}" in run_summary(RunRecord.read(tmp_path / "m/1"))
    classifier = tl.load(tmp_path / "m/1")
    texts = [row[0] for row in rows]
    p = np.stack([row["probabilities"] for row in classifier.rows(texts)])
    task = classifier.task
    predicted = task.predict(p, np.array(run["thresholds"], np.float32))
    labels = [task.label(row, classifier.classes) for row in predicted]
    assert [prediction.label for prediction in classifier.predict(texts)] == labels
    code, out, err = shell("evaluate", tmp_path / "m/1", data, "--json")
    assert code == 0, err
    again = json.loads(out)["test"]["target"]
    assert again["asked"] == target["asked"]
    assert [part["threshold"] for part in again["classes"]] == [part["threshold"] for part in target["classes"]]
    code, out, err = shell("verify", tmp_path / "m/1")
    assert code == 0, err
