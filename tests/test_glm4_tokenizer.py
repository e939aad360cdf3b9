"""GLM-4's byte pairs in the graph give the ids of the originals: of Hugging Face's `tokenizers`, and of tiktoken's way
of merging by ranks, which is written down here."""

import base64
import json
import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import regex
import tensorflow as tf
import tokenizers
from hypothesis import example, given, settings
from tiny import Packed

from kerastl.errors import WeightsError
from kerastl.export import reference_tokenizer
from kerastl.inputs import _sentence_piece, vocabulary
from kerastl.inputs.packing import pack
from kerastl.inputs.tokenizer import BYTE_WORDS, TokenIds, Tokenizer

PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")
SPECIAL = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
           "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"]
TEXTS = [
    *map(str, json.loads((Path(__file__).parent / "golden/tokenizers/strings.json").read_text())), *SPECIAL,
    "a[gMASK]<sop>b", "IT'S it'ſ we'LL'VE don'T", "12345 1234567", "３４５６", "x  y", "x   y", "x \n y",
    "x\n \n  y", "x \r\n\r\n", "!!\n\n x", "!! \n", " !!", "  !!", "\t!!", "\t\ta", " \ta",
    "\u3000\u3000好", "a \u00a0b", " \n1", "  1", " 1", "\n\n\n", "今天天气很好，我们去公园散步吧。",
    "the quick brown " * 200, "x" * 1000, "   " * 100,
]
CORPUS = [*TEXTS, "the weather is fine and the dog doesn't mind 2023-06-25\n\n    return x  # ok\n",
          "机器学习很有意思。今天很好。"]
AWKWARD = st.sampled_from([*" \t\n\r\v\f'sStTſdmrevlL1٣½!-.,_a中é\u0301😀\u3000\u00a0\u2028\ufeff\u200b"])
# As Python knows Unicode: version 14. RE2 knows 15 and `tokenizers` 16, which has 5,004 letters and numbers more.
ASSIGNED = st.characters(exclude_categories=["Cs", "Cn"])
LEFT_ALONE = st.one_of(st.text(ASSIGNED, max_size=30), st.text(AWKWARD, max_size=30)).filter(
    lambda text: not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", text))


def cleaned(texts: list[str]) -> list[str]:
    """What `clean` leaves, for texts that tell more with what it does not."""
    return [re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", " ", text) for text in texts]


def trained() -> tokenizers.Tokenizer:
    """Byte pairs as GLM-4 has them, without special pieces, which a text would be searched for."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Split(tokenizers.Regex(PATTERN), "isolated"),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(CORPUS, tokenizers.trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=sorted(alphabet), show_progress=False))
    return made


def folder(path: Path, plain: tokenizers.Tokenizer, change: Any = lambda described: None) -> Path:
    """What transformers writes of GLM-4: the special pieces added, and a template that puts two of them before."""
    made = tokenizers.Tokenizer.from_str(plain.to_str())
    made.add_special_tokens(SPECIAL)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[gMASK] <sop> $A", pair="[gMASK] <sop> $A $B:1",
        special_tokens=[(name, made.token_to_id(name)) for name in ("[gMASK]", "<sop>")])
    described = json.loads(made.to_str())
    change(described)
    path.mkdir(parents=True, exist_ok=True)
    (path / "tokenizer.json").write_text(json.dumps(described))
    (path / "config.json").write_text(json.dumps({"model_type": "glm"}))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return path


@pytest.fixture(scope="module")
def original() -> tokenizers.Tokenizer:
    return trained()


@pytest.fixture(scope="module")
def glm4(original: tokenizers.Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return vocabulary.read(folder(tmp_path_factory.mktemp("glm4"), original))


def graph(tokenizer: Tokenizer) -> Any:
    return tf.function(TokenIds(tokenizer), input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)


@pytest.fixture(scope="module")
def ids(glm4: Tokenizer) -> Any:
    return graph(glm4)


@pytest.fixture(scope="module")
def words(glm4: Tokenizer) -> Any:
    """A text's words in the graph."""
    split = tf.function(lambda texts: BYTE_WORDS["cl100k"](texts, glm4).values,
                        input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    return lambda text: [word.decode() for word in split(tf.constant([text])).numpy().tolist() if word]


def assert_same(texts: list[str], found: list[list[int]], wanted: list[list[int]], pieces: tuple[str, ...]) -> None:
    for text, got, right in zip(texts, found, wanted, strict=True):
        assert got == right, f"{text!r}: {[pieces[i] for i in got]}, not {[pieces[i] for i in right]}"


def test_ids_are_those_of_tokenizers(ids: Any, glm4: Tokenizer, original: tokenizers.Tokenizer) -> None:
    texts = cleaned(TEXTS)
    assert_same(texts, ids(tf.constant(texts)).to_list(), [original.encode(text).ids for text in texts], glm4.pieces)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(text=LEFT_ALONE)
def test_ids_of_any_text_are_those_of_tokenizers(ids: Any, original: tokenizers.Tokenizer, text: str) -> None:
    assert ids(tf.constant([text])).to_list() == [original.encode(text).ids]


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(text=LEFT_ALONE)
@example(text="'Sally 'sally 'ſally 'LLama'VEx 'Ta")
def test_words_of_any_text_are_those_of_the_pattern(words: Any, text: str) -> None:
    """Words tell more than ids: few of a tiny vocabulary's pieces would reach over a wrong border."""
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(PATTERN), "isolated").pre_tokenize_str(text)
    assert words(text) == [word for word, _ in split]


@pytest.mark.slow
def test_words_with_each_character_are_those_of_the_pattern(words: Any) -> None:
    """Letters, numbers, whitespace and the rest, as the two libraries know them."""
    known = [chr(code) for code in (*range(0x20, 0x7F), *range(0xA0, 0x20000))
             if unicodedata.category(chr(code)) not in ("Cs", "Cn")]
    text = "".join(f"x{one}y  {one}{one} 1{one}1\n{one}'{one}" for one in known)
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(PATTERN), "isolated").pre_tokenize_str(text)
    assert words(text) == [word for word, _ in split]


def test_what_stands_around(ids: Any, glm4: Tokenizer, original: tokenizers.Tokenizer, tmp_path: Path) -> None:
    whole = tokenizers.Tokenizer.from_file(str(folder(tmp_path, original) / "tokenizer.json"))
    size = original.get_vocab_size()
    assert glm4.size == size + 14 and glm4.kind == "bpe" and glm4.pieces[size:] == tuple(SPECIAL)
    assert (glm4.start, glm4.end, glm4.between, glm4.pair_end) == ((size + 2, size + 4), (), (), None)
    assert glm4.pad == whole.token_to_id("<|endoftext|>") == size
    for text in ("the dog 好", ""):
        assert pack(ids(tf.constant([text])), glm4, 99)[0].numpy().tolist() == [whole.encode(text).ids]
    both = ids(tf.constant(["the dog"])), ids(tf.constant(["很好 12345"]))
    assert pack(both, glm4, 99)[0].numpy().tolist() == [whole.encode("the dog", "很好 12345").ids]
    whole.enable_truncation(8)
    assert pack(both, glm4, 8)[0].numpy().tolist() == [whole.encode("the dog", "很好 12345").ids]
    found = ids(tf.constant(SPECIAL)).to_list()
    assert all(found) and max(map(max, found)) < size  # spelt out they are text


def tiktoken(ranks: dict[bytes, int], text: str) -> list[int]:
    """What tiktoken does: a word that is a piece is that; else the two neighbours of lowest rank are merged, and so on.
    """
    found = []
    for word in regex.findall(PATTERN, text):
        parts = [word.encode()] if word.encode() in ranks else [bytes([byte]) for byte in word.encode()]
        while len(parts) > 1:
            best, at = min((ranks.get(parts[i] + parts[i + 1], 1 << 60), i) for i in range(len(parts) - 1))
            if best == 1 << 60:
                break
            parts[at:at + 2] = [parts[at] + parts[at + 1]]
        found += [ranks[part] for part in parts]
    return found


def tiktoken_file(path: Path, ranks: dict[bytes, int], **about: Any) -> Path:
    """GLM-4 as first published."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "tokenizer.model").write_bytes(b"".join(
        b"%s %d\n" % (base64.b64encode(piece), rank) for piece, rank in ranks.items()))
    (path / "config.json").write_text(json.dumps({"model_type": "chatglm"}))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ChatGLM4Tokenizer"} | about))
    return path


def ranks_of(original: tokenizers.Tokenizer, *more: bytes) -> dict[bytes, int]:
    known = sorted(original.get_vocab().items(), key=lambda entry: entry[1])
    pieces = [_sentence_piece.from_characters(piece) for piece, _ in known]
    return {piece: i for i, piece in enumerate([*pieces, *more])}


UNMADE = [" zebra", "zq9", "天下", "  \n\n", "##x", " 天下", "###", "'ſ"]


@pytest.mark.slow
def test_ids_of_tiktokens_file(original: tokenizers.Tokenizer, tmp_path: Path) -> None:
    ranks = ranks_of(original, *(word.encode() for word in UNMADE), "天下".encode()[:4])
    tokenizer = vocabulary.read(tiktoken_file(tmp_path, ranks))
    assert tokenizer.pieces[len(ranks):] == tuple(SPECIAL) and tokenizer.pad == len(ranks)
    assert {ranks[b" zebra"], ranks["天下".encode()]} <= {*tokenizer.whole}
    texts = cleaned([*TEXTS, *UNMADE, " zebras zebra", "天下 天下", "天下天下", "a##x ##x", "### x", "x \n\n天下"])
    wanted = [tiktoken(ranks, text) for text in texts]
    words = {ranks[word.encode()] for word in UNMADE if regex.fullmatch(PATTERN, word)}
    assert words <= {i for row in wanted for i in row} and len(words & {*tokenizer.whole}) > 4
    assert_same(texts, graph(tokenizer)(tf.constant(texts)).to_list(), wanted, tokenizer.pieces)
    named = {str(len(ranks) + i): {"content": name, "special": True} for i, name in enumerate(SPECIAL[:10])}
    assert vocabulary.read(tiktoken_file(tmp_path / "b", ranks, added_tokens_decoder=named)).size == len(ranks) + 10


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
@example(seed=0)
def test_any_ranks_merge_as_tiktoken_does(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Ranks in any order, where a piece may come before its parts, or be out of their reach."""
    generator = random.Random(seed)
    pieces = [bytes([byte]) for byte in range(256)]
    more = {"".join(generator.choices("abc", k=generator.randint(2, 5))).encode() for _ in range(25)}
    ranks = {piece: i for i, piece in enumerate([*pieces, *generator.sample(sorted(more), len(more))])}
    tokenizer = vocabulary.read(tiktoken_file(tmp_path_factory.mktemp("ranks"), ranks))
    words = ["".join(generator.choices("abc", k=generator.randint(1, 12))) for _ in range(200)]
    words += [piece.decode() for piece in more]
    assert_same(words, TokenIds(tokenizer)(tf.constant(words)).to_list(), [tiktoken(ranks, word) for word in words],
                tokenizer.pieces)


@pytest.mark.slow
def test_words_that_merges_do_not_make(original: tokenizers.Tokenizer, tmp_path: Path) -> None:
    """`ignore_merges` of tokenizer.json, which transformers writes for a vocabulary of tiktoken's."""
    described = json.loads(original.to_str())
    size = original.get_vocab_size()
    added = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    described["model"]["vocab"] |= {added.pre_tokenize_str(word)[0][0]: size + i for i, word in enumerate(UNMADE)}
    texts = cleaned([*TEXTS, *UNMADE, " zebras zebra", "天下 天下", "天下天下"])
    for ignore in (True, False):
        described["model"]["ignore_merges"] = ignore
        plain = tokenizers.Tokenizer.from_str(json.dumps(described))
        tokenizer = vocabulary.read(folder(tmp_path / str(ignore), plain))
        assert bool(tokenizer.whole) == ignore
        assert_same(texts, graph(tokenizer)(tf.constant(texts)).to_list(), [plain.encode(text).ids for text in texts],
                    tokenizer.pieces)
        vocabulary.save(tokenizer, tmp_path / "saved")
        again = vocabulary.load(tmp_path / "saved")
        assert again == tokenizer and again.fingerprint == tokenizer.fingerprint
        for text, row in zip(texts, graph(tokenizer)(tf.constant(texts)).to_list(), strict=True):
            assert reference_tokenizer.tokens(tmp_path / "saved", text) == [*tokenizer.start, *row], repr(text)


@pytest.mark.slow
def test_a_saved_model_gives_the_same_ids_without_tables(original: tokenizers.Tokenizer, tmp_path: Path) -> None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    tokenizer = vocabulary.read(tiktoken_file(tmp_path, ranks_of(original, *(word.encode() for word in UNMADE))))

    module, texts = Packed(tokenizer), tf.constant([*TEXTS, *UNMADE])
    wanted = module.packed(texts)
    tf.saved_model.save(module, tmp_path / "saved")
    assert tf.reduce_all(tf.saved_model.load(tmp_path / "saved").packed(texts) == wanted)
    meta = SavedModel.FromString((tmp_path / "saved/saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    nodes = [*meta.node, *(node for function in meta.library.function for node in function.node_def)]
    assert not [node.op for node in nodes if "Table" in node.op]


def test_padding_is_never_of_a_text(ids: Any, glm4: Tokenizer) -> None:
    values = ids(tf.constant([*TEXTS, *SPECIAL])).values.numpy()
    assert not {*values.tolist()} & glm4.special


@pytest.mark.parametrize(("change", "said"), [
    (lambda found: found.update(normalizer={"type": "NFC"}), "splits words differently than GLM-4"),
    (lambda found: found.update(pre_tokenizer={"type": "Whitespace"}), "splits words differently than GLM-4"),
    (lambda found: found["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex=r"\p{N}"), "splits words"),
    (lambda found: found["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"), "splits words differently"),
    (lambda found: found["pre_tokenizer"]["pretokenizers"][1].update(use_regex=True), "splits words differently"),
    (lambda found: found["model"].update(byte_fallback=True), "merges pairs differently than GLM-4"),
    (lambda found: found["model"].pop("merges"), "merges pairs differently than GLM-4"),
    (lambda found: found["model"]["merges"].append(["x", "no such piece"]), "not belong to the vocabulary"),
    (lambda found: found["model"]["vocab"].pop("!"), "mistaken for padding"),
    (lambda found: found["added_tokens"].pop(4), "it lacks '<sop>'"),
    (lambda found: found["added_tokens"].append({"id": 999, "content": "covid", "special": False}), "has added words"),
], ids=range(11))
def test_errors_of_tokenizer_json(change: Any, said: str, original: tokenizers.Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=re.escape(said)) as caught:
        vocabulary.read(folder(tmp_path, original, change))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("content", "said"), [
    (b"IQ== 0\nIg== x\n", "invalid literal"), (b"IQ== 0\nIg\n", "unpack"), (b"IQ== 0\nI?== 1\n", "base64"),
    (b"IQ== 0\n", "mistaken for padding"),
    (b"".join(b"%s %d\n" % (base64.b64encode(piece), i) for i, piece in enumerate(
        [*(bytes([byte]) for byte in range(256)), b"x" * 256])), "more than 255 bytes")], ids=range(5))
def test_errors_of_tiktokens_file(content: bytes, said: str, tmp_path: Path) -> None:
    path = tiktoken_file(tmp_path, {})
    (path / "tokenizer.model").write_bytes(content)
    with pytest.raises(WeightsError, match=said):
        vocabulary.read(path)
