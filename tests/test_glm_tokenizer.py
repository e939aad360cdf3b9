"""The GLM family's tokenizers in the graph give the ids of the originals: of SentencePiece itself."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import sentencepiece
import tensorflow as tf
from glm_folders import CORPUS, trained_vocabulary, write_vocabulary
from hypothesis import given, settings
from tiny import Packed

from kerastl.errors import OptionError, WeightsError
from kerastl.export import reference_tokenizer
from kerastl.inputs import _sentence_piece, vocabulary
from kerastl.inputs._sentence_piece import Piece
from kerastl.inputs.packing import lengths, pack, special
from kerastl.inputs.tokenizer import TokenIds, Tokenizer
from kerastl.inputs.vocabulary import synthetic

SPELT = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "sop eop", "</s>", "<s>", "<unk>", "<pad>", "<|user|>", "<0x41>",
         "[gMASK] sop a</s>"]
TEXTS = [
    "", " ", "  ", "a", " a", "a  b ", "the dog", "天气", "今天天气很好。", "电影 film 好 good", "敏捷的brown狐狸",
    "。，！？：“”《》", "1", "42", "1,234.5", "2023年6月25日", "１２３ Ａｂｃ", "😀", "a😀b 👍🏽 👨‍👩‍👧‍👦 🇨🇳 ❤️",
    "龘靐齉", "\U00020000\U0002a6d6\U00030000",
    "ﬁne ½ ™ ﷺ", "cafe\u0301 café", "السلام عليكم", "नमस्ते", "สวัสดี", "한국어",
    "\u1112\u1161\u11ab", "ᏣᎳᎩ", "\ue000\uffff\ufffd",
    "a\tb", "a\nb", "\n\n", "a\r\nb", "a\u00a0b", "a\u3000b\u2003c", "zero\u200bwidth\u200d\ufeff", "▁", "a▁b", "▁▁a",
    "the quick " * 500, "很好" * 700, "x" * 2000, "😀" * 300, *CORPUS, *SPELT,
]
# What `clean` turns into a space on purpose, and what is no text.
LEFT_ALONE = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(
    lambda text: not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", text))


@pytest.fixture(scope="module")
def model() -> bytes:
    """A model as ChatGLM's: byte pairs with byte fallback. NFKC as published ones have, too."""
    return trained_vocabulary()


def folder(path: Path, model: bytes | None, config: Any = None, **about: Any) -> Path:
    """What a published folder holds of its tokenizer."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({"model_type": "chatglm"} if config is None else config))
    write_vocabulary(path, model, **about)
    return path


@pytest.fixture(scope="module")
def glm(model: bytes, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return vocabulary.read(folder(tmp_path_factory.mktemp("chatglm2"), model))


@pytest.fixture(scope="module")
def ids(glm: Tokenizer) -> Any:
    return tf.function(TokenIds(glm), input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)


@pytest.fixture(scope="module")
def original(model: bytes) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=model)


def rows(tokens: tf.Tensor, pad: int) -> list[list[int]]:
    """Rows without their padding, which is at the end and nowhere else."""
    found = []
    for row in tokens.numpy().tolist():
        while row and row[-1] == pad:
            row.pop()
        assert pad not in row
        found.append(row)
    return found


def test_special_pieces_have_the_ids_after_the_models(glm: Tokenizer, model: bytes, original: Any, tmp_path: Path
                                                      ) -> None:
    size = original.vocab_size()
    assert glm.size == size + 5 and glm.kind == "sentencepiece"
    assert glm.start == (size + 1, size + 3)
    assert (glm.end, glm.between, glm.pair_end) == ((), (), (original.eos_id(),))
    assert glm.pad == glm.unknown == original.unk_id() == 0
    assert [glm.pieces[i] for i in (*glm.start, *glm.pair_end)] == ["[gMASK]", "sop", "</s>"]
    # ChatGLM3's: its own list after the same five
    user = {"64795": {"content": "<|user|>", "special": False}, "64790": {"content": "[gMASK]", "special": False}}
    for about in ({"added_tokens_decoder": user}, {"additional_special_tokens": ["<|user|>", "<|system|>"]}):
        third = vocabulary.read(folder(tmp_path / next(iter(about)), model, **about))
        assert third.pieces == (*glm.pieces, "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
        assert third.start == glm.start


@pytest.mark.parametrize("options", [{}, {"model_type": "unigram"}, {"normalization_rule_name": "identity"},
                                     {"add_dummy_prefix": False, "remove_extra_whitespaces": False}], ids=str)
def test_ids_are_sentencepieces(options: dict[str, Any], tmp_path: Path) -> None:
    model = trained_vocabulary(**options)
    tokenizer = vocabulary.read(folder(tmp_path, model))
    tokens, _ = pack(TokenIds(tokenizer)(tf.constant(TEXTS)), tokenizer, 10_000)
    original = sentencepiece.SentencePieceProcessor(model_proto=model)
    for text, got in zip(TEXTS, rows(tokens, tokenizer.pad), strict=True):
        assert got == [*tokenizer.start, *original.encode(text)], text


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(text=LEFT_ALONE)
def test_ids_of_any_text_are_sentencepieces(ids: Any, original: Any, text: str) -> None:
    assert ids(tf.constant([text])).to_list() == [original.encode(text)]


def test_texts_that_spell_special_pieces_are_texts(ids: Any, glm: Tokenizer, original: Any) -> None:
    around = {*glm.special, *range(original.vocab_size(), glm.size)}
    for text, found in zip(SPELT, ids(tf.constant(SPELT)).to_list(), strict=True):
        assert found and not around & {*found}
        assert original.decode(found) == text


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_piece_of_text_may_be_spelt_like_a_special_one(kind: str, tmp_path: Path) -> None:
    model = trained_vocabulary(model_type=kind)
    pieces = _sentence_piece.pieces(model)
    best = max(piece.score for piece in pieces if piece.kind == _sentence_piece.NORMAL) + 1
    more = [piece for piece in (Piece("op", best), Piece("sop", best), Piece("eop", best))
            if piece.text not in {one.text for one in pieces}]
    model = _sentence_piece.with_pieces(model, [*pieces, *more])
    tokenizer = vocabulary.read(folder(tmp_path / "m", model))
    original = sentencepiece.SentencePieceProcessor(model_proto=model)
    wanted = [original.encode(text) for text in ("asop", "eop", "x sop eop")]
    assert {original.piece_to_id("sop"), original.piece_to_id("eop")} <= {*sum(wanted, [])}
    assert TokenIds(tokenizer)(tf.constant(["asop", "eop", "x sop eop"])).to_list() == wanted
    vocabulary.save(tokenizer, tmp_path / "saved")
    assert vocabulary.load(tmp_path / "saved") == tokenizer


def test_pairs_follow_one_another_and_end(ids: Any, glm: Tokenizer, original: Any) -> None:
    firsts, seconds = ["好", "", "a long text that gives way", ""], ["good film", "b", "c", ""]
    both = ids(tf.constant(firsts)), ids(tf.constant(seconds))
    wanted = [[*glm.start, *original.encode(a), *original.encode(b), original.eos_id()]
              for a, b in zip(firsts, seconds, strict=True)]
    assert rows(pack(both, glm, 100)[0], glm.pad) == wanted
    assert lengths(both, glm).numpy().tolist() == list(map(len, wanted))
    assert special(glm) == 2 and special(glm, pair=True) == 3
    for row in rows(pack(both, glm, 6)[0], glm.pad):
        assert row[:2] == [*glm.start] and row[-1:] == [*glm.pair_end] and len(row) <= 6
    with pytest.raises(OptionError, match="`max_length` is 3"):
        pack(both, glm, 3)


def test_what_is_cut_keeps_what_stands_before(ids: Any, glm: Tokenizer, original: Any) -> None:
    texts = ["the quick brown fox jumps over the lazy dog", "好", ""]
    found, encoded = ids(tf.constant(texts)), [original.encode(text) for text in texts]
    assert len(encoded[0]) > 12
    head = [[*glm.start, *one[:6]] for one in encoded]
    assert rows(pack(found, glm, 8)[0], glm.pad) == head
    both_ends = [[*glm.start, *(one if len(one) <= 6 else one[:3] + one[-3:])] for one in encoded]
    assert rows(pack(found, glm, 8, "head+tail")[0], glm.pad) == both_ends
    tokens, owners = pack(found, glm, 8, "chunks")
    windows = rows(tokens, glm.pad)
    for i, one in enumerate(encoded):
        mine = [row for row, owner in zip(windows, owners.numpy(), strict=True) if owner == i]
        assert mine and all(row[:2] == [*glm.start] and len(row) <= 8 for row in mine)
        assert sum((row[2:] for row in mine), []) == one
    assert lengths(found, glm).numpy().tolist() == [2 + len(one) for one in encoded]
    assert pack(ids(tf.constant([""])), glm, 8)[0].numpy().tolist() == [[*glm.start]]


def test_saved_and_read_again(glm: Tokenizer, tmp_path: Path) -> None:
    vocabulary.save(glm, tmp_path)
    again = vocabulary.load(tmp_path)
    assert again == glm and again.fingerprint == glm.fingerprint
    others = [replace(glm, **{name: (7,)}).fingerprint for name in ("start", "end", "between", "pair_end")]
    assert len({glm.fingerprint, replace(glm, pair_end=None).fingerprint, *others}) == 6


@pytest.mark.slow
def test_a_saved_model_gives_the_same_ids(glm: Tokenizer, tmp_path: Path) -> None:
    module = Packed(glm)
    wanted = module.packed(tf.constant(TEXTS))
    tf.saved_model.save(module, tmp_path)
    assert tf.reduce_all(tf.saved_model.load(tmp_path).packed(tf.constant(TEXTS)) == wanted)


def test_the_reference_gives_the_same_ids(glm: Tokenizer, ids: Any, tmp_path: Path) -> None:
    vocabulary.save(glm, tmp_path)
    for text, row in zip(TEXTS, rows(pack(ids(tf.constant(TEXTS)), glm, 50)[0], glm.pad), strict=True):
        assert reference_tokenizer.tokens(tmp_path, text, length=50) == row + [glm.pad] * (50 - len(row)), text
    both = pack((ids(tf.constant(["好 film"])), ids(tf.constant(["a much longer one"]))), glm, 12)[0]
    assert [reference_tokenizer.tokens(tmp_path, "好 film", "a much longer one", 12)] == both.numpy().tolist()


def test_made_vocabulary() -> None:
    tokenizer = synthetic("glm", 400)
    assert tokenizer == synthetic("glm", 400) and tokenizer.size == 359
    assert [tokenizer.pieces[i] for i in tokenizer.start] == ["[gMASK]", "sop"]
    found = TokenIds(tokenizer)(tf.constant(["Az!", "好"])).to_list()
    assert [tokenizer.pieces[i] for i in found[0]] == ["▁", "A", "z", "!"]
    assert [tokenizer.pieces[i] for i in found[1]] == ["▁", "<0xE5>", "<0xA5>", "<0xBD>"]
    with pytest.raises(OptionError, match="359 for glm"):
        synthetic("glm", 358)


@pytest.mark.parametrize(("wrong", "said"), [
    ("missing", "no tokenizer.model"), ("text", "not a SentencePiece model"), ("cut", "not a SentencePiece model"),
    ("empty", "not a SentencePiece model"), ("no fallback", "mistaken for padding"),
    ("a byte less", "mistaken for padding"), ("no flag", "mistaken for padding"), ("no end", "it lacks '</s>'"),
    ("added word", "added words, such as 'covid'")])
def test_errors_of_folders(wrong: str, said: str, model: bytes, tmp_path: Path) -> None:
    pieces = _sentence_piece.pieces(model)
    given = {"missing": None, "text": b"version https://git-lfs.github.com/spec/v1\n", "cut": model[:500], "empty": b"",
             "no fallback": trained_vocabulary(byte_fallback=False),
             "a byte less": _sentence_piece.with_pieces(model, [one for one in pieces if one.text != "<0x80>"]),
             "no flag": _sentence_piece.unigram(pieces, b""),
             "no end": _sentence_piece.with_pieces(model, [one for one in pieces if one.text != "</s>"]),
             }.get(wrong, model)
    about = {"added_tokens_decoder": {"900": {"content": "covid", "special": False}}} if wrong == "added word" else {}
    with pytest.raises(WeightsError, match=re.escape(said)) as caught:
        vocabulary.read(folder(tmp_path, given, **about))
    assert str(tmp_path) in str(caught.value) and len(str(caught.value).splitlines()) == 3


def test_a_folder_is_known_by_its_config_or_its_tokenizers_class(model: bytes, glm: Tokenizer, tmp_path: Path) -> None:
    for name, config, about in (("a", {"model_type": "glm"}, {"tokenizer_class": None}),
                                ("b", {}, {"tokenizer_class": "ChatGLMTokenizer"})):
        assert vocabulary.read(folder(tmp_path / name, model, config, **about)) == glm
