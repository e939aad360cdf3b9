"""Tagging: figures of tags and entities, heads on states, and a run of the recipe from files to an exported model."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from text_folders import hugging_face_folder
from tiny import plain_runtime

import kerastl as tl
from kerastl.data.examples import TEST
from kerastl.errors import DataError, ModelError, OptionError
from kerastl.shell.recipes import load_recipe
from kerastl.tagging.entities import is_bio, spans
from kerastl.tagging.figures import compare, figures, most_frequent
from kerastl.tagging.record import TaggingRecord
from kerastl.tokens import conllu
from kerastl.tokens.sentences import Sentence

Shell = Callable[..., tuple[int, str, str]]
LETTERS = {"N": "abc", "V": "def", "D": "gh"}  # a word's first letter says its tag; the encoder sees letters


def sentence(words: str, tags: str) -> Sentence:
    return Sentence(tuple(words.split()), tuple(tags.split()))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hundred sentences in which a word's tag is B-X or O by its letter, and I-X behind B-X of the same letter."""
    generator, lines = random.Random(0), []
    for _ in range(200):
        before = ""
        for _ in range(generator.randint(2, 7)):
            letter = generator.choice("abcdef")
            tag = "O" if letter in "abc" else "I-X" if before == letter else "B-X"
            lines.append(f"{letter}\t{tag}\n")
            before = letter
        lines.append("\n")
    path = tmp_path_factory.mktemp("tags") / "=data.tsv"
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hugging_face_folder(tmp_path_factory.mktemp("bert") / "m", "bert")


def test_spans_are_those_of_conll() -> None:
    assert spans(["B-A", "I-A", "O", "I-B", "B-B", "I-A"]) == {
        (0, 2, "A"), (3, 4, "B"), (4, 5, "B"), (5, 6, "A")}
    assert is_bio(["O", "B-A"]) and not is_bio(["O", "NOUN"]) and not is_bio(["O"]) and not is_bio([])


def test_figures_count_words_unknown_words_and_whole_entities() -> None:
    test = [sentence("a b c", "B-A I-A O"), sentence("a d", "O B-A")]
    found = figures(test, [["B-A", "O", "O"], ["O", "B-A"]], {"a", "b"})
    assert found.n == 5 and found.accuracy == 0.8 and found.n_unknown == 2 and found.unknown_accuracy == 1.0
    assert found.entities == 2 and found.entity_f1 == 0.5 and found.entity_recall == 0.5
    assert [(one.tag, one.n, one.recall) for one in found.tags] == [("B-A", 2, 1.0), ("O", 2, 1.0), ("I-A", 1, 0.0)]
    assert [(one.tag, one.predicted, one.n) for one in found.confusions] == [("I-A", "O", 1)]
    assert found.whole_sentences == 0.5
    assert figures([sentence("a", "X")], [["X"]], set()).entity_f1 is None


def test_intervals_are_those_of_sentences_and_not_of_words() -> None:
    generator = np.random.default_rng(0)
    one = [sentence(f"w{i}", "A" if right else "B") for i, right in enumerate(generator.random(60) < 0.7)]
    low, high = figures(one, [["A"]] * 60, set()).accuracy_ci95
    long = [Sentence(s.words * 20, s.tags * 20) for s in one]
    again = figures(long, [["A"] * 20] * 60, set()).accuracy_ci95
    assert low < 0.7 < high and np.allclose(again, (low, high), atol=0.04) and 0.15 < high - low < 0.3
    assert figures(one + one, [["A"]] * 120, set()).accuracy_ci95 == pytest.approx((low, high), abs=1e-9)
    all_right = figures(one, [s.tags for s in one], set()).accuracy_ci95
    assert 0.9 < all_right[0] < 1 and all_right[1] == 1


def test_the_baseline_takes_the_most_frequent_tag() -> None:
    tag = most_frequent([sentence("a a a b", "X X Y Y"), sentence("c d", "Y Y")])
    assert tag(sentence("a b new", "X X X")) == ("X", "Y", "Y")
    test = [sentence("a b", "X Z")]
    gain = compare("m", test, [["X", "Z"]], [tag(test[0])], set(), lambda gain, ends: f"{gain:+.1f}")
    assert gain.accuracy == 0.5 and gain.gain == 0.5 and gain.sentence == "+0.5"


@pytest.mark.slow
@pytest.mark.parametrize("head", ["bilstm", "transformer"])
def test_heads_that_see_the_neighbours_learn_what_depends_on_them(head: str, data: Path, bert: Path, tmp_path: Path
                                                                   ) -> None:
    examples = tl.split_sentences(tl.read_sentences(data))
    states = tl.compute_states(examples, tl.load_encoder("bert_base", bert, layers="top"), plain_runtime(),
                               cache_dir=tmp_path)
    options = tl.FitOptions(epochs=12)
    fits = [tl.fit_tagger(examples, states, head, options=options, seed=seed) for seed in (1, 1, 2)]
    rows = examples.part(TEST)
    logits = [np.concatenate(fit.logits(states, rows)) for fit in fits]
    assert np.array_equal(logits[0], logits[1]) and not np.array_equal(logits[0], logits[2])  # equal by seed
    right = np.mean([a == b for row, tags in zip(rows, fits[0].predict(states, rows), strict=True)
                     for a, b in zip(examples.sentences[row].tags, tags, strict=True)])
    assert right > 0.6  # half of the words are O


@pytest.fixture(scope="module")
def run(data: Path, bert: Path, tmp_path_factory: pytest.TempPathFactory) -> TaggingRecord:
    """A run of the recipe on a tiny encoder with random weights."""
    recipe, out = load_recipe("tag_tokens"), tmp_path_factory.mktemp("out")
    record: TaggingRecord = recipe.main(recipe.Config(
        data=str(data), name="tags", out=str(out), backbone="bert_base", weights=str(bert), epochs=12, tflite="fp32",
        cache_dir=str(out / "cache")))
    return record


@pytest.mark.slow
def test_a_run_writes_a_version_that_answers_as_it_was_evaluated(run: TaggingRecord, data: Path) -> None:
    folder = Path(run.path)
    document = json.loads((folder / "run.json").read_text())
    assert document["kind"] == "token" and document["task"] == "tagging"
    assert 0.55 < document["test"]["accuracy"] <= 1 and len(document["test"]["accuracy_ci95"]) == 2
    assert 0 < document["test"]["entity_f1"] <= 1 and len(document["test"]["entity_f1_ci95"]) == 2
    assert {one["kind"]: one["kept"] for one in document["parity"]} == {"saved_model": True, "fp32": True}
    assert document["baseline"]["accuracy"] and document["untrained"]["accuracy"]
    examples = tl.split_sentences(tl.read_sentences(data))
    test = [examples.sentences[row] for row in examples.part(TEST)]
    tagged = tl.load_tagger(folder).predict([list(one.words) for one in test])
    hits = [a == b for one, own in zip(test, tagged, strict=True) for a, b in zip(one.tags, own.tags, strict=True)]
    assert np.mean(hits) == pytest.approx(run.test.accuracy, abs=1e-9)
    assert all(0 < score <= 1 for own in tagged for score in own.scores)
    assert TaggingRecord.read(folder) == run
    rows = list(csv.DictReader((folder / "split.csv").read_text().splitlines()))
    assert len(rows) == 200 and all(row["name"].startswith("'=data.tsv:") for row in rows)  # no formula


def test_states_are_not_computed_on_a_cluster(data: Path, bert: Path, tmp_path: Path) -> None:
    examples, encoder = tl.split_sentences(tl.read_sentences(data)), tl.load_encoder("bert_base", str(bert))
    for runtime, words in ((plain_runtime(engine="ray"), "`engine` is ray\n"),
                           (plain_runtime(workers=2), "`workers` is 2")):
        with pytest.raises(OptionError, match=words):
            tl.compute_states(examples, encoder, runtime, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_saved_model_takes_strings_and_returns_tokens_tags_and_scores(run: TaggingRecord) -> None:
    loaded = tf.saved_model.load(run.path)
    texts = loaded.signatures["serving_default"](text=tf.constant([" a\u00a0 b\td ", "", "e"]))
    assert texts["tokens"].numpy().tolist() == [[b"a", b"b", b"d"], [b""] * 3, [b"e", b"", b""]]
    words = loaded.signatures["words"](words=tf.constant([["a", "b", "d"], ["", "", ""], ["e", "", ""]]))
    for name in ("tags", "scores", "tokens"):
        assert (texts[name].numpy() == words[name].numpy()).all()
    ids = {"tokens": tf.constant([[2, 5, 3]]), "owners": tf.constant([[-1, 2_000_000_000, 0]])}
    assert loaded.signatures["tensor"](**ids)["logits"].shape[1] == 1  # and no memory for so many words
    assert not texts["scores"].numpy()[1].any() and set(texts["tags"].numpy()[1]) == {b""}


@pytest.mark.slow
def test_predict_verify_models_and_other_verbs_on_a_tagger(run: TaggingRecord, shell: Shell, data: Path, tmp_path: Path
                                                            ) -> None:
    lines, tree, out = tmp_path / "in.txt", tmp_path / "in.conllu", tmp_path / "out.conllu"
    lines.write_text("a d d\n\nb\n", encoding="utf-8")
    tree.write_text("1-2\tad\t_\t_\t_\t_\t_\t_\t_\t_\n1\ta\ta\t_\t_\t_\t2\tx\t_\t_\n2\td\t_\t_\t_\t_\t0\troot\t_\t_\n\n",
                    encoding="utf-8")
    code, shown, _ = shell("predict", run.path, lines, "--text", "e e")
    assert code == 0 and [line.split("/")[0] for line in shown.splitlines()] == ["a", "b", "e"]
    code, _, _ = shell("predict", run.path, tree, "--out", out)
    (written,) = conllu.read(out)
    assert code == 0 and written.heads == (2, 0) and written.rows[0][0] == "1-2" and set(written.tags) <= set(run.tags)
    code, shown, _ = shell("predict", run.path, lines, "--json")
    assert code == 0 and [len(one["tags"]) for one in json.loads(shown)["predictions"]] == [3, 1]
    code, _, err = shell("predict", run.path, lines, "--top", 2)
    assert code == 2 and "--top cannot be used with a model on tokens" in err
    code, shown, err = shell("verify", run.path)
    assert code == 0 and "match the manifest" in shown, err
    code, shown, _ = shell("models", Path(run.path).parent.parent)
    assert code == 0 and "bert_base + linear" in shown
    for verb, *more in (("explain", lines), ("evaluate", data), ("drift", lines), ("reproduce",), ("doctor",)):
        code, _, err = shell(verb, run.path, *more)
        assert code == 2 and "is that of a model on tokens" in err
    code, _, err = shell("predict", run.path, lines, "--workers", 2)
    assert code == 2 and "--workers cannot be used with a model on tokens" in err
    code, _, err = shell("predict", run.path, "a \udcff", "--out", out)
    assert code == 0 and next(conllu.read(out)).words == ("a", "\ufffd"), err
    assert repr(tl.load(run.path)).startswith("Tagger(")
    with pytest.raises(DataError, match="sentence 1: ''"):
        tl.load_tagger(run.path).predict(["a", ""])


@pytest.mark.slow
def test_a_damaged_tagger_is_refused(run: TaggingRecord, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "tags" / "1"
    shutil.copytree(run.path, folder)
    document = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**document, "tags": []}))
    with pytest.raises(ModelError, match="not the record of a tagger"):
        tl.load(folder)
    (folder / "run.json").write_text(json.dumps({**document, "task": "chunking"}))
    with pytest.raises(ModelError, match="'chunking'"):
        tl.load(folder)


@pytest.mark.slow
def test_the_report_shows_what_comes_from_data_escaped(run: TaggingRecord) -> None:
    from kerastl.tagging.report import report_html

    evil = Sentence(("<script>", "\u202eb"), ("O", "O"), origin="<b>")
    page = report_html(run, [evil], [["B-X", "O"]])
    assert "<script>" not in page and "&lt;script&gt;" in page and "\u202e" not in page and "<b>:" not in page
    assert (Path(run.path) / "MODEL_CARD.md").read_text().startswith("# tags, version 1")


def test_faulty_options_are_refused_before_the_work(data: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.tsv"
    one.write_text("".join(f"w{i}\tX\n\n" for i in range(60)), encoding="utf-8")
    examples = tl.split_sentences(tl.read_sentences(one))
    with pytest.raises(DataError, match="one tag: X"):
        tl.fit_tagger(examples, None)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="unknown head 'crf'"):
        tl.fit_tagger(examples, None, "crf")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="`epochs`"):
        tl.check_tagger(examples, "linear", tl.FitOptions(epochs=0))
    recipe = load_recipe("tag_tokens")
    for settings, error in (({"data": str(one)}, "one tag: X"), ({"data": str(data), "head": "crf"}, "'crf'"),
                            ({"data": str(data), "patience": 0}, "`patience`")):
        with pytest.raises((DataError, OptionError), match=error):  # before an encoder is looked for
            recipe.main(recipe.Config(name="m", out=str(tmp_path), weights=str(tmp_path / "none"), **settings))
