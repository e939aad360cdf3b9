"""Words aligned to the pieces of an encoder, and their cached states."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from tiny import plain_runtime

from kerastl.data.examples import TEST, Split
from kerastl.errors import OptionError
from kerastl.inputs import vocabulary
from kerastl.tokens.align import Aligner, word_states
from kerastl.tokens.sentences import Sentence, TokenExamples
from kerastl.tokens.states import TokenEncoder, compute_states, load_encoder, untrained

SENTENCES = (("Kiss", "a", "cat"), ("x",), ("\u200b", "it", "is"), ("long",) * 4)


def examples(*sentences: tuple[str, ...]) -> TokenExamples:
    made = tuple(Sentence(words, ("X",) * len(words), origin=f"s{i}") for i, words in enumerate(sentences))
    part = np.array([TEST if i % 2 else 0 for i in range(len(made))], np.int8)
    return TokenExamples("made up", made, "two_column", split=Split("given", "", part))


@pytest.fixture(scope="module")
def encoder() -> TokenEncoder:
    return load_encoder("minilm", "none", layers="layer_1+layer_4+top")


def directly(encoder: TokenEncoder, sentence: Sentence) -> NDArray[np.float32]:
    """The states of the tokens, [tokens, layers, dim], and of each word the numbers of its tokens."""
    tokens, _ = encoder.encode([sentence])
    return np.asarray(encoder.backbone.model(tokens))[0].reshape(-1, *encoder.shape)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "sentencepiece", "glm"])
def test_the_pieces_of_words_are_those_of_the_text(kind: str) -> None:
    tokenizer = vocabulary.synthetic(kind, 400)
    words = [["Ab", "c,d", "e"], ["f"]]
    for pieces in ("first", "mean"):
        encoded = Aligner(tokenizer, 64, pieces)(tf.ragged.constant(words))
        for row, sentence in enumerate(words):
            ids = Aligner(tokenizer, 64)._ids(tf.constant([" ".join(sentence)]))[0].numpy().tolist()
            tokens = [*tokenizer.start, *ids, *tokenizer.end]
            found = encoded.tokens[row].numpy().tolist()
            assert found == tokens + [tokenizer.pad] * (len(found) - len(tokens))
            owners = encoded.owners[row].numpy()
            assert set(owners[owners >= 0]) == set(range(len(sentence))) and (np.diff(owners[owners >= 0]) >= 0).all()
            assert (pieces == "first") == (len(owners[owners >= 0]) == len(sentence)) or len(sentence) == 1
            assert owners[0] == (-1 if tokenizer.start else 0)


def test_a_words_state_is_the_mean_over_its_tokens_and_zero_without_any() -> None:
    states = np.arange(10, dtype=np.float32).reshape(1, 5, 2)
    pooled = word_states(tf.constant(states), tf.constant([[-1, 0, 0, 2, -1]]), tf.constant(4)).numpy()
    assert pooled.tolist() == [[[3, 4], [0, 0], [6, 7], [0, 0]]]


@pytest.mark.slow
@pytest.mark.parametrize("pieces", ["first", "mean"])
def test_cached_states_are_those_of_the_network(encoder: TokenEncoder, pieces: str, tmp_path: Path) -> None:
    encoder = replace(encoder, pieces=pieces)
    data = examples(*SENTENCES)
    states = compute_states(data, encoder, plain_runtime(), cache_dir=tmp_path)
    assert states.computed == 11 and states.cut == {"s2": 1}  # a word of nothing but an invisible character
    for row, sentence in enumerate(data.sentences):
        _, owners = encoder.encode([sentence])
        expected = directly(encoder, sentence)
        assert states[row].shape == (len(sentence), 3, 384)
        for word in range(len(sentence)):
            places = np.flatnonzero(owners[0] == word)
            mean = expected[places].mean(0) if len(places) else np.zeros((3, 384))
            assert np.abs(states[row][word] - mean).max() < (1e-5 if row % 2 else 3e-3)  # float32 and float16
    batch, mask = states.batch([1, 3])
    assert batch.shape == (2, 4, 3, 384) and mask.tolist() == [[1, 0, 0, 0], [1, 1, 1, 1]] and not batch[0, 1:].any()
    again = compute_states(data, encoder, plain_runtime(), cache_dir=tmp_path)
    assert again.computed == 0 and np.array_equal(again[0], states[0])
    assert not np.allclose(states[0][:, 0], states[0][:, 1], atol=0.1)  # the layers differ


@pytest.mark.slow
def test_words_beyond_the_encoders_length_are_counted_and_have_no_state(encoder: TokenEncoder, tmp_path: Path) -> None:
    short = replace(encoder, max_length=8)  # six letters, each a piece
    states = compute_states(examples(("abc", "def", "ghi")), short, plain_runtime(), cache_dir=tmp_path)
    assert states.cut == {"s0": 1} and states[0][1].any() and not states[0][2].any()


@pytest.mark.slow
def test_an_untrained_encoder_has_other_weights_and_the_same_tokens(encoder: TokenEncoder, tmp_path: Path) -> None:
    other = untrained(encoder, 3)
    assert other.backbone.weights_hash != encoder.backbone.weights_hash and other.shape == encoder.shape
    assert untrained(encoder, 3).backbone.weights_hash == other.backbone.weights_hash
    data = examples(*SENTENCES)
    one, two = (compute_states(data, each, plain_runtime(), cache_dir=tmp_path) for each in (encoder, other))
    assert two.computed == 11 and not np.allclose(one[1], two[1], atol=0.1)


@pytest.mark.slow
def test_faulty_options_are_refused() -> None:
    for options, message in (({"layers": "layer_9"}, "layer_9"), ({"layers": "top+top"}, "each layer once"),
                             ({"pieces": "last"}, "`pieces` is last"), ({"max_length": 2}, "`max_length` is 2")):
        with pytest.raises(OptionError) as raised:
            load_encoder("minilm", "none", **options)  # type: ignore[arg-type]
        assert message in str(raised.value)
    with pytest.raises(OptionError, match="resnet50 is for images"):
        load_encoder("resnet50", "none", layers="top")


def test_encoders_of_several_sizes_are_pooled_in_one_process() -> None:
    from kerastl.tokens.states import _pooled

    for dim in (3, 5, 4):
        states = np.arange(2 * dim, dtype=np.float32).reshape(1, 2, dim)
        assert np.array_equal(_pooled(states, np.array([[0, 0]], np.int32), 1), states.mean(1, keepdims=True))
