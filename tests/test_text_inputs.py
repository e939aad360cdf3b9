"""Texts as input of a network: the cache keys of their features, and the features."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from text_folders import hugging_face_folder
from tiny import content_id, made_examples, plain_runtime

import kerastl as tl
from kerastl.backbones import Backbone
from kerastl.heads import resolve_head
from kerastl.inputs import vocabulary
from kerastl.inputs.texts import Texts
from kerastl.inputs.tokenizer import Tokenizer
from kerastl.modality import TEXT
from kerastl.model import Predictor

SHORT, LONG, PAIR = "a good film", "the film was " * 6 + "great", ("a good film", "the plot was never dull " * 4)
WAYS = ("head", "head+tail", "chunks")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return vocabulary.read(Path(__file__).parent / "golden/tokenizers/bert-uncased")


@pytest.mark.slow
def test_a_truncated_text_has_a_key_for_each_way_of_truncating_it(tokenizer: Tokenizer) -> None:
    """Its features differ with each, and the cache must not return those of one way for another."""
    ids = [content_id("short"), content_id("long")]
    keys = {(long, length): Texts(tokenizer, length, long).keys(ids, [SHORT, LONG])
            for long, length in itertools.product(WAYS, (8, 9))}
    assert all(short == ids[0] for short, _ in keys.values())  # not truncated: the same features in each way
    assert len({long for _, long in keys.values()} | {ids[1]}) == len(keys) + 1
    assert all(len(bytes.fromhex(long)) == 16 for _, long in keys.values())
    assert keys == {(long, length): Texts(tokenizer, length, long).keys(ids, [SHORT, LONG]) for long, length in keys}


def test_other_texts_have_other_keys(tokenizer: Tokenizer) -> None:
    ids = [content_id(i) for i in range(5)]
    assert len(set(Texts(tokenizer, 8).keys(ids, [LONG] * 5))) == 5


def test_a_text_that_just_fits_keeps_its_id(tokenizer: Tokenizer) -> None:
    for items, pair in (([LONG], False), ([PAIR], True)):
        (length,) = Texts(tokenizer, 512, pair=pair).counts(items).tolist()
        assert list(Texts(tokenizer, length, pair=pair).keys([content_id(0)], items)) == [content_id(0)]
        assert list(Texts(tokenizer, length - 1, pair=pair).keys([content_id(0)], items)) != [content_id(0)]


# Features of truncated texts


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A tiny BERT of random weights."""
    return tl.load_backbone("bert_base", str(hugging_face_folder(tmp_path_factory.mktemp("bert"), "bert")))


def of(backbone: Backbone, long: str) -> Backbone:
    return backbone.taking(replace(backbone.input, long=long, max_length=12))


ITEMS = (SHORT, LONG, "a bad film", LONG + " not", "the actor was " * 9)


@pytest.mark.slow
def test_features_of_truncated_texts_are_those_of_the_way_that_was_asked_for(bert: Backbone, tmp_path: Path) -> None:
    """All ways share a cache: only truncated texts are computed anew, and no way gets the rows of another."""
    examples = replace(made_examples(np.arange(5) % 2), modality=TEXT, items=ITEMS)
    rows = {}
    for way, computed in zip((*WAYS, WAYS[0]), (5, 3, 3, 0), strict=True):
        backbone = of(bert, way)
        features = tl.compute_features(examples, backbone, plain_runtime(), cache_dir=tmp_path)
        assert features.computed == computed
        rows[way] = features.rows(np.arange(5))
        for row in (0, 1):  # alone, without padding
            (batch,) = backbone.input.batches([ITEMS[row]], 1, {})
            alone = np.asarray(backbone.model(batch.values, training=False))
            assert (len(alone) > 1) == (way == "chunks" and row == 1)
            assert np.abs(rows[way][row] - alone.mean(axis=0)).max() < 1e-4
    for way, other in itertools.combinations(WAYS, 2):
        assert (np.abs(rows[way] - rows[other]).max(axis=1) > 1e-3).tolist() == [False, True, False, True, True]


@pytest.mark.slow
def test_logits_of_a_text_in_chunks_are_those_of_its_mean_features(bert: Backbone) -> None:
    backbone = of(bert, "chunks")
    head = resolve_head("linear").build(backbone.shape, 2)
    head.set_weights([np.random.default_rng(0).normal(size=(32, 2)), np.ones(2)])
    (batch,) = backbone.input.batches(ITEMS, 8, {}, in_order=True)
    logits = Predictor(tl.splice(backbone, head))(batch)
    assert logits.shape == (5, 2) and len(batch.values) > 5
    pieces = np.asarray(backbone.model(batch.values, training=False))
    mean = np.stack([pieces[batch.owners == row].mean(axis=0) for row in range(5)])
    assert np.abs(np.asarray(head(mean)) - logits).max() < 1e-4


@pytest.mark.slow
def test_another_tokenizer_has_its_own_cached_features(bert: Backbone, tmp_path: Path) -> None:
    examples = replace(made_examples(np.arange(2)), modality=TEXT, items=(SHORT, "good"))
    vocabulary_of = bert.input.tokenizer
    pieces = list(vocabulary_of.pieces)
    place = pieces.index("good")
    pieces[place], pieces[place + 1] = pieces[place + 1], pieces[place]
    other = bert.taking(replace(bert.input, tokenizer=replace(vocabulary_of, pieces=tuple(pieces))))
    for backbone, computed in ((bert, 2), (other, 2), (bert, 0)):
        assert tl.compute_features(examples, backbone, plain_runtime(), cache_dir=tmp_path).computed == computed
