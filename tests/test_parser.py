"""The biaffine parser: its network, its baselines, and a whole run on a language whose trees are known."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from text_folders import LETTERS, WORDS, hugging_face_folder
from tiny import KEY, content_id, plain_runtime

import kerastl as tl
from benchmarks.grammar import Grammar, write
from kerastl.data.examples import TEST
from kerastl.dependencies.decoding import is_tree
from kerastl.dependencies.evaluation import chained
from kerastl.dependencies.fit import ParserSizes, Relations
from kerastl.dependencies.model import Parser, predict_files
from kerastl.dependencies.network import BiaffineParser, loss_of_words, relations_at
from kerastl.errors import DataError, ModelError, OptionError
from kerastl.features.cache import Space
from kerastl.shell.recipes import load_recipe
from kerastl.tokens import conllu
from kerastl.tokens.sentences import Sentence, TokenExamples
from kerastl.tokens.states import TokenStates
from kerastl.versions.saved_graph import check_graph

LEXICON = [*dict.fromkeys([*WORDS, *LETTERS, *"0123456789", *".,!?"])]  # words of one piece in the tiny vocabulary


def small_parser(dropout: float = 0.0) -> BiaffineParser:
    """A parser with random kernels, which start at zero."""
    keras.utils.set_random_seed(1)
    parser = BiaffineParser(5, arc=7, relation=6, dropout=dropout)
    parser.build([(None, None, 2, 8), (None, None)])
    for weight in (parser.arc_kernel, parser.relation_kernel, parser.root):
        weight.assign(keras.random.normal(weight.shape))
    return parser


def batch() -> tuple[np.ndarray, np.ndarray]:
    states = np.random.default_rng(0).normal(size=(2, 4, 2, 8)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.float32)
    return states, mask


def test_training_sees_the_scores_of_relations_that_inference_gives() -> None:
    parser, (states, mask) = small_parser(), batch()
    arcs, relations = parser([states, mask])
    heads = np.array([[2, 0, 2, 3], [0, 1, 0, 0]])
    training_arcs, *factors = parser([states, mask], training=True)
    given = relations_at(heads, *factors)
    wanted = np.take_along_axis(np.asarray(relations), heads[:, :, None, None], 2)[:, :, 0]
    assert np.allclose(training_arcs, arcs, atol=1e-5) and np.allclose(given, wanted, atol=1e-5)


def test_padding_changes_neither_scores_nor_loss() -> None:
    parser, (states, mask) = small_parser(), batch()
    arcs, _ = parser([states, mask])
    alone, _ = parser([states[1:, :2], mask[1:, :2]])
    assert np.allclose(np.asarray(arcs)[1, :2, :3], np.asarray(alone)[0], atol=1e-5)
    assert (np.asarray(arcs)[1, :, 3:] < -1e8).all()
    heads, relations = np.array([[2, 0]], np.int32), np.array([[4, 1]], np.int32)
    padded = np.pad(heads, ((0, 0), (0, 2))), np.pad(relations, ((0, 0), (0, 2)), constant_values=3)
    short = loss_of_words(parser([states[1:, :2], mask[1:, :2]], training=True), mask[1:, :2], heads, relations)
    long = loss_of_words(parser([states[1:], mask[1:]], training=True), mask[1:], *padded)
    assert float(short) == pytest.approx(float(long), rel=1e-5)


def test_a_saved_parser_loads_with_the_same_scores(tmp_path: Path) -> None:
    parser, inputs = small_parser(), [*batch()]
    parser.start(np.full((2, 8), 0.1, np.float32), np.full((2, 8), 2.0, np.float32))
    parser(inputs)
    parser.save(tmp_path / "p.keras")
    loaded = keras.models.load_model(tmp_path / "p.keras")
    assert all(np.allclose(a, b) for a, b in zip(parser(inputs), loaded(inputs), strict=True))


def test_a_word_gets_only_relations_that_its_place_had_in_training() -> None:
    relations = Relations.of([Sentence(("a", "b"), heads=(2, 0), relations=("obj", "root"))])
    assert relations == Relations(("obj", "root"), (False, True), (True, False))
    scores = np.zeros((2, 3, 2), np.float32)
    scores[:, 0, 0] = scores[:, 1:, 1] = 9  # each prefers the wrong one
    found = relations.tree(Sentence(("a", "b")), np.array([[0, 0, 5], [5, 0, 0]], np.float32), scores)
    assert found.heads == (2, 0) and found.relations == ("obj", "root")


def test_the_baselines_chain_words_with_their_most_frequent_relations() -> None:
    training = [Sentence(("a", "b", "c"), heads=(0, 1, 1), relations=("root", "x", "y")),
                Sentence(("a", "b", "b"), heads=(0, 1, 1), relations=("root", "x", "y"))]
    found = chained(training, -1)(Sentence(("c", "b", "c", "new")))
    assert found.heads == (0, 1, 2, 3) and found.relations == ("root", "x", "y", "x")
    assert chained(training, 1)(Sentence(("b", "c"))).heads == (2, 0)


def states_of_words(examples: TokenExamples, folder: Path) -> TokenStates:
    """States in a real cache that tell which word it is, and nothing else: a random row for each form."""
    forms = sorted({word for sentence in examples.sentences for word in sentence.words})
    space = Space(folder, replace(KEY, shape=(2, 40)))
    space.append([content_id(form) for form in forms],
                 np.random.default_rng(0).normal(size=(len(forms), 2, 40)).astype(np.float32))
    keys = tuple(tuple(content_id(word) for word in sentence.words) for sentence in examples.sentences)
    encoder: Any = SimpleNamespace(shape=(2, 40), untrained=False)
    return TokenStates(examples.sentences, encoder, space, space, frozenset(), keys, {}, "float32", "", 0, 0.0)


@pytest.mark.slow
def test_the_trees_of_a_known_language_are_found(tmp_path: Path) -> None:
    """They follow from the forms of the words, whatever their order."""
    write(tmp_path / "g.conllu", 800, 1)
    examples = tl.split_sentences(tl.read_sentences(tmp_path / "g.conllu"))
    states = states_of_words(examples, tmp_path)
    parser = tl.fit_parser(examples, states, plain_runtime(), options=tl.FitOptions(epochs=25, patience=5),
                           sizes=ParserSizes(100, 50))
    evaluation = tl.evaluate_parser(parser, examples, states, plain_runtime(), with_untrained=False)
    assert evaluation.figures.las >= 0.99 and not evaluation.notes
    previous = next(gain for gain in evaluation.gains if gain.name == "previous")
    assert previous.las < 0.5 and previous.gain_ci95[0] > 0.4


@pytest.mark.slow
def test_a_parser_is_exported_and_predicts_the_same_trees_again(tmp_path: Path) -> None:
    write(tmp_path / "g.conllu", 300, 1, Grammar(0, LEXICON))
    runtime = plain_runtime(engine="tensorflow")
    examples = tl.split_sentences(tl.read_sentences(tmp_path / "g.conllu"))
    encoder = tl.load_encoder("minilm", hugging_face_folder(tmp_path / "bert", "bert"), layers="layer_1+top")
    states = tl.compute_states(examples, encoder, runtime, cache_dir=tmp_path / "cache")
    parser = tl.fit_parser(examples, states, runtime, options=tl.FitOptions(epochs=2), sizes=ParserSizes(100, 50))
    evaluation = tl.evaluate_parser(parser, examples, states, runtime, options=tl.FitOptions(epochs=1),
                                    cache_dir=tmp_path / "cache")
    assert [gain.name for gain in evaluation.gains] == ["previous", "next", "untrained"]
    target = tl.target(str(tmp_path), "m", "none", modality="text")
    record = tl.write_parser(target, parser, examples, states, runtime, evaluation)
    folder = tmp_path / "m" / "1"
    run = json.loads((folder / "run.json").read_text())
    assert run["test"]["las"] == record.test.las and run["parity"][0]["kept"] and run["kind"] == "token"
    assert "<svg class=\"tree\"" in (folder / "report.html").read_text()
    check_graph(folder)  # nothing but what a model needs
    loaded = tl.load(folder)
    assert isinstance(loaded, Parser)
    test = [examples.sentences[row] for row in examples.part(TEST)]
    assert loaded.predict(test) == list(evaluation.predicted)
    assert loaded.predict([" ".join(test[0].words)])[0].heads == evaluation.predicted[0].heads
    result = predict_files(str(folder), [str(tmp_path / "g.conllu")], out=str(tmp_path / "out.conllu"))
    again = list(conllu.read(tmp_path / "out.conllu"))
    assert [sentence.heads for sentence in again] == [sentence.heads for sentence in result.sentences]
    assert all(is_tree(np.array(sentence.heads)) for sentence in again) and len(again) == len(examples)
    with pytest.raises(DataError, match="sentence 1"):
        loaded.predict(["a b", "  "])
    with pytest.raises(DataError, match="sentence 1 has 10,000 words"):  # whose scores would take gigabytes
        loaded.predict(["a b", ["a"] * 10_000])
    (listed,) = tl.list_models(tmp_path).models
    assert not listed.error and (listed.figure, listed.accuracy) == ("las", record.test.las)
    with pytest.raises(ModelError, match="a model on tokens"):
        tl.evaluate_model(folder, tmp_path / "g.conllu")


def test_a_sentence_without_a_tree_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "t.conllu").write_text("1\ta\t_\tX\t_\t_\t_\t_\t_\t_\n\n", encoding="utf-8")
    with pytest.raises(DataError, match="no heads"):
        tl.fit_parser(tl.read_sentences(tmp_path / "t.conllu"), None, plain_runtime())  # type: ignore[arg-type]
    write(tmp_path / "g.conllu", 100, 1)
    recipe = load_recipe("parse_dependencies")
    with pytest.raises(OptionError, match="`epochs`"):  # before an encoder is looked for
        recipe.main(recipe.Config(data=str(tmp_path / "g.conllu"), name="m", out=str(tmp_path), epochs=0,
                                  weights=str(tmp_path / "none")))
