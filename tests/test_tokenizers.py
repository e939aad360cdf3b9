"""Tokenizers in the graph give the ids of the original ones, from every layout of files; packing; saved and read again.

The goldens are made by `golden/make_tokenizers.py`, which says how.
"""

import json
import random
import re
import shutil
import struct
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings

from kerastl.errors import ModelError, OptionError, WeightsError
from kerastl.inputs import _sentence_piece, vocabulary
from kerastl.inputs.packing import lengths, pack
from kerastl.inputs.tokenizer import TokenIds, Tokenizer, clean

GOLDEN = Path(__file__).parent / "golden/tokenizers"
IDS: dict[str, list[list[int]]] = json.loads((GOLDEN / "ids.json").read_text())
TEXTS = [bytes.fromhex(text[0]) if isinstance(text, list) else text.encode()
         for text in json.loads((GOLDEN / "strings.json").read_text())]
FOLDERS = ("bert-uncased", "bert-uncased-json", "bert-cased", "roberta", "roberta-json", "xlm-roberta",
           "xlm-roberta-json", "deberta")
TEXT_OPS = {"FastWordpieceTokenizeWithOffsets", "NormalizeUTF8", "SentencepieceOp", "SentencepieceTokenizeOp"}
KINDS = ("wordpiece", "bpe", "sentencepiece")
quick = settings(max_examples=60, deadline=None)


def ids_of(tokenizer: Tokenizer, texts: list[bytes]) -> list[list[int]]:
    return tf.function(TokenIds(tokenizer))(tf.constant(texts, tf.string)).to_list()


def copied(folder: str, to: Path, **files: Any) -> Path:
    """The golden folder with other files written over its own."""
    shutil.copytree(GOLDEN / folder, to, dirs_exist_ok=True)
    for name, content in files.items():
        (to / name.replace("__", ".")).write_text(json.dumps(content))
    return to


def assert_golden(tokenizer: Tokenizer, name: str) -> None:
    wanted = IDS[name]
    for text, got, ids in zip(TEXTS, ids_of(tokenizer, TEXTS[:len(wanted)]), wanted, strict=False):
        assert got == ids, f"{text!r}: {[tokenizer.pieces[i] for i in got]}, not {[tokenizer.pieces[i] for i in ids]}"


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_ids_are_the_originals(folder: str) -> None:
    tokenizer = vocabulary.read(GOLDEN / folder)
    assert_golden(tokenizer, folder.removesuffix("-json"))
    names = [tokenizer.pieces[i] for i in (tokenizer.pad, *tokenizer.start, *tokenizer.end, tokenizer.unknown)]
    if folder.startswith(("bert", "deberta")):
        assert names == ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
        assert tokenizer.between == tokenizer.end
    else:
        assert names == ["<pad>", "<s>", "</s>", "<unk>"]
        assert tokenizer.between == tokenizer.end * 2


@pytest.mark.slow
def test_settings_of_the_folder_are_honoured(tmp_path: Path) -> None:
    accents = {"do_lower_case": True, "strip_accents": False, "tokenize_chinese_chars": False}
    assert_golden(vocabulary.read(copied("bert-uncased", tmp_path / "a", tokenizer_config__json=accents)),
                  "bert-accents")
    assert_golden(vocabulary.read(copied("bert-uncased-json", tmp_path / "b", tokenizer_config__json=accents)),
                  "bert-accents")
    for folder in ("roberta", "roberta-json"):
        spaced = copied(folder, tmp_path / folder, tokenizer_config__json={"add_prefix_space": True})
        assert_golden(vocabulary.read(spaced), "roberta-spaced")
    # without tokenizer_config.json, tokenizer.json says whether it lowercases; without either, BERT does
    described = json.loads((GOLDEN / "bert-uncased-json/tokenizer.json").read_text())
    described["normalizer"]["lowercase"] = False
    cased = vocabulary.read(copied("bert-uncased", tmp_path / "c", tokenizer_config__json={},
                                   tokenizer__json=described))
    assert not cased.lowercase and not cased.strip_accents
    assert vocabulary.read(copied("bert-uncased", tmp_path / "d", tokenizer_config__json={})).strip_accents


@pytest.mark.slow
def test_special_tokens_of_other_names_and_added_ones(tmp_path: Path) -> None:
    added = {"600": {"content": "[ENT]", "special": True}, "602": {"content": "[REL]", "special": True}}
    config = {"do_lower_case": True, "sep_token": {"content": "[MASK]"}, "added_tokens_decoder": added,
              "extra_special_tokens": {"one": "[ONE]"}, "additional_special_tokens": [{"content": "[TWO]"}]}
    tokenizer = vocabulary.read(copied("bert-uncased", tmp_path, tokenizer_config__json=config,
                                       added_tokens__json={"[ONE]": 604, "[TWO]": 605}))
    assert (tokenizer.size, tokenizer.pieces[600], tokenizer.pieces[601]) == (606, "[ENT]", "")
    assert [tokenizer.pieces[i] for i in tokenizer.end] == ["[MASK]"]
    assert max(map(max, filter(None, ids_of(tokenizer, TEXTS)))) < 600


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["live", "preset"])
def test_keras_hub_tokenizers_read_as_the_originals(kind: str, tmp_path: Path) -> None:
    import keras_hub.models as hub

    merges = (GOLDEN / "roberta/merges.txt").read_text().splitlines()[1:]
    lines = (GOLDEN / "bert-uncased/vocab.txt").read_text().splitlines()
    made = {"bert-uncased": hub.BertTokenizer(vocabulary=lines, lowercase=True),
            "bert-accents": hub.DistilBertTokenizer(vocabulary=lines, lowercase=True),
            "roberta": hub.RobertaTokenizer(vocabulary=json.loads((GOLDEN / "roberta/vocab.json").read_text()),
                                            merges=merges),
            "xlm-roberta": hub.XLMRobertaTokenizer((GOLDEN / "xlm-roberta/sentencepiece.bpe.model").read_bytes()),
            "deberta": hub.DebertaV3Tokenizer((GOLDEN / "deberta/spm.model").read_bytes())}
    for name, tokenizer in made.items():
        if kind == "preset":
            tokenizer.save_to_preset(str(tmp_path / name))
            read = vocabulary.read(tmp_path / name)
        else:
            read = vocabulary.of_keras_hub(tokenizer)
        assert_golden(read, "bert-uncased" if name == "bert-accents" else name)
        assert read.size == tokenizer.vocabulary_size()
        assert (*read.start, *read.end, read.pad) == (tokenizer.start_token_id, tokenizer.end_token_id,
                                                      tokenizer.pad_token_id)


def reference(word: str, merges: list[str]) -> list[str]:
    """GPT-2's encoder.py: all pairs of the best rank, left to right, until none is listed."""
    ranks: dict[tuple[str, ...], int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(tuple(merge.split(" ")), rank)
    parts = list(word)
    while pairs := [pair for pair in zip(parts, parts[1:], strict=False) if pair in ranks]:
        best, done, i = min(pairs, key=ranks.__getitem__), [], 0
        while i < len(parts):
            whole = tuple(parts[i:i + 2]) == best
            done.append("".join(parts[i:i + 1 + whole]))
            i += 1 + whole
        parts = done
    return parts


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_byte_pairs_merge_as_gpt2_does_whatever_the_merges(seed: int) -> None:
    """Pieces that two pairs make, and pieces that no text ever reaches, are where scores alone would go wrong."""
    generator = random.Random(seed)
    base, merges = vocabulary.synthetic("bpe", 261), []
    known = list("abc")
    for _ in range(generator.randint(1, 25)):
        pair = generator.choice(known), generator.choice(known)
        if len("".join(pair)) < 9 and " ".join(pair) not in merges:
            merges.append(" ".join(pair))
            known.append("".join(pair))
    pieces = (*base.pieces, *sorted({*known} - {*base.pieces}))
    tokenizer = Tokenizer("bpe", pieces, base.pad, base.start, base.end, base.unknown, base.between, tuple(merges))
    words = ["".join(generator.choices("abc", k=generator.randint(1, 30))) for _ in range(200)]
    got = ids_of(tokenizer, [word.encode() for word in words])
    assert [[pieces[i] for i in ids] for ids in got] == [reference(word, merges) for word in words]


def test_cleaning_is_what_python_does() -> None:
    generator = random.Random(0)
    texts = TEXTS + [bytes(generator.choice((generator.randrange(256), generator.randrange(128, 256), 97))
                           for _ in range(generator.randrange(9))) for _ in range(5000)]
    wanted = [re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", " ", text.decode(errors="replace")) for text in texts]
    assert [text.decode() for text in clean(tf.constant(texts)).numpy()] == wanted


@pytest.fixture(scope="module")
def tiny() -> dict[str, tuple[Tokenizer, TokenIds]]:
    """A tokenizer of each kind, by folder."""
    read = {folder: vocabulary.read(GOLDEN / folder) for folder in ("bert-uncased", "roberta", "xlm-roberta")}
    return {folder: (tokenizer, TokenIds(tokenizer)) for folder, tokenizer in read.items()}


@pytest.mark.slow
def test_a_saved_model_gives_the_same_ids_with_ops_that_serving_links(
        tiny: dict[str, tuple[Tokenizer, TokenIds]], tmp_path: Path) -> None:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ids = [ids for _, ids in tiny.values()]

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def packed(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
            return {ids.tokenizer.kind: pack(ids(texts), ids.tokenizer, 16, "chunks")[0] for ids in self.ids}

    module = Module()
    wanted = module.packed(tf.constant(TEXTS))
    tf.saved_model.save(module, tmp_path)
    again = tf.saved_model.load(tmp_path)
    for seed in (1, 0):  # TensorFlow drops what belongs to its operations for another seed; see conftest
        tf.random.set_seed(seed)
    for some in (module, again):
        for kind, tokens in some.packed(tf.constant(TEXTS)).items():
            np.testing.assert_array_equal(tokens, wanted[kind])
    assert set(again.packed(tf.constant([], tf.string))) == set(KINDS)
    assert not module.variables

    graph = SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert {node.op for node in nodes if not hasattr(tf.raw_ops, node.op)} == TEXT_OPS
    assert not [node.op for node in nodes if "Table" in node.op]


any_text = st.one_of(st.text(max_size=40), st.sampled_from([text.decode(errors="replace") for text in TEXTS])).map(
    lambda text: text.encode("utf-8", "surrogatepass"))
any_bytes = st.one_of(any_text, st.binary(max_size=40))


@pytest.mark.slow
@quick
@given(texts=st.lists(any_bytes, min_size=1, max_size=8))
def test_any_bytes_give_ids_of_text(tiny: dict[str, tuple[Tokenizer, TokenIds]], texts: list[bytes]) -> None:
    for tokenizer, ids in tiny.values():
        found = ids(tf.constant(texts))
        assert found.dtype == tf.int32 and found.nrows() == len(texts)
        values = found.values.numpy()
        assert ((0 <= values) & (values < tokenizer.size)).all()
        assert not np.isin(values, [*tokenizer.special]).any()
        assert ids(clean(tf.constant(texts))).to_list() == found.to_list()


rows = st.lists(st.lists(st.integers(10, 99), max_size=30), min_size=1, max_size=6)
RAGGED = tf.RaggedTensorSpec([None, None], tf.int32, row_splits_dtype=tf.int64)
SOME = Tokenizer("wordpiece", tuple(map(str, range(100))), pad=0, start=(1,), end=(2,), unknown=3, between=(4, 5))


def ragged(lists: list[list[int]]) -> tf.RaggedTensor:
    return tf.RaggedTensor.from_row_lengths(tf.constant(sum(lists, []), tf.int32), list(map(len, lists)))


@cache
def packing(pair: bool, most: int, long: str) -> Any:
    """`pack` as a graph of its own: texts or pairs -> tokens, owners."""
    return tf.function(lambda ids: pack(ids, SOME, most, long), autograph=False,
                       input_signature=[(RAGGED, RAGGED) if pair else RAGGED])


def bodies(tokens: tf.Tensor) -> list[list[int]]:
    """Rows without padding, start and end, which are looked at."""
    found = []
    for row in tokens.numpy().tolist():
        size = row.index(2) + 1
        assert row[0] == 1 and not any(row[size:])
        found.append(row[1:size - 1])
    return found


@pytest.mark.slow
@quick
@given(texts=rows, most=st.sampled_from([3, 4, 9]))
def test_packing_of_texts(texts: list[list[int]], most: int) -> None:
    room = most - 2
    for long in ("head", "head+tail", "chunks"):
        tokens, owners = packing(False, most, long)(ragged(texts))
        assert tokens.dtype == owners.dtype == tf.int32 and tokens.shape[1] <= most
        assert tokens.shape[1] == max(len(row) for row in bodies(tokens)) + 2
        assert sorted(set(owners.numpy().tolist())) == list(range(len(texts))) and (np.diff(owners) >= 0).all()
        if long == "head":
            assert bodies(tokens) == [text[:room] for text in texts]
        elif long == "head+tail":
            head, tail = room - room // 2, room // 2
            assert bodies(tokens) == [text if len(text) <= room else text[:head] + text[len(text) - tail:]
                                      for text in texts]
        else:
            joined: list[list[int]] = [[] for _ in texts]
            for owner, row in zip(owners.numpy(), bodies(tokens), strict=True):
                joined[owner] += row
            assert joined == texts
            assert np.bincount(owners).tolist() == [max(1, -(-len(text) // room)) for text in texts]
    np.testing.assert_array_equal(lengths(ragged(texts), SOME), [len(text) + 2 for text in texts])


@pytest.mark.slow
@quick
@given(texts=rows, others=rows, most=st.sampled_from([5, 6, 13]), long=st.sampled_from(["head", "head+tail"]))
def test_packing_of_pairs(texts: list[list[int]], others: list[list[int]], most: int, long: str) -> None:
    pairs = list(zip(texts, others, strict=False))
    both = (ragged([a for a, _ in pairs]), ragged([b for _, b in pairs]))
    tokens, owners = packing(True, most, long)(both)
    assert tokens.shape[1] <= most and owners.numpy().tolist() == list(range(len(pairs)))
    np.testing.assert_array_equal(lengths(both, SOME), [len(a) + len(b) + 4 for a, b in pairs])
    for (a, b), row in zip(pairs, bodies(tokens), strict=True):
        at = row.index(4)
        first, second = row[:at], row[at + 2:]
        assert row[at + 1] == 5 and len(first) + len(second) == min(len(a) + len(b), most - 4)
        if long == "head":
            assert first == a[:len(first)] and second == b[:len(second)]
        # the longer one gives way first
        assert len(first) == len(a) or len(first) + 1 >= len(second)
        assert len(second) == len(b) or len(second) + 1 >= len(first)


@pytest.mark.slow
@pytest.mark.parametrize("pair", json.loads((GOLDEN / "pairs.json").read_text()),
                         ids=lambda pair: "-".join(map(str, (pair["of"], *map(len, pair["parts"]), pair["limit"]))))
def test_pairs_are_the_originals(tiny: dict[str, tuple[Tokenizer, TokenIds]], pair: dict[str, Any]) -> None:
    tokenizer, ids = tiny[pair["of"]]
    tokens, _ = pack((ids(tf.constant(pair["parts"][:1])), ids(tf.constant(pair["parts"][1:]))), tokenizer,
                     pair["limit"])
    assert tokens.numpy().tolist() == [pair["ids"]]


def test_packing_of_nothing_and_errors() -> None:
    tokens, owners = pack(ragged([[]]), SOME, 8, "chunks")
    assert tokens.numpy().tolist() == [[1, 2]] and owners.numpy().tolist() == [0]
    for long in ("head", "head+tail", "chunks"):
        tokens, owners = pack(tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), tf.zeros([0], tf.int64)),
                              SOME, 8, long)
        assert tokens.shape[0] == owners.shape[0] == 0
    for ids, most, long in ((ragged([[7]]), 2, "head"), ((ragged([[7]]), ragged([[7]])), 4, "head"),
                            ((ragged([[7]]), ragged([[7]])), 9, "chunks"), (ragged([[7]]), 9, "tail")):
        with pytest.raises(OptionError):
            pack(ids, SOME, most, long)


@pytest.mark.parametrize("folder", [*FOLDERS, *KINDS])
def test_what_is_saved_is_read_again(folder: str, tmp_path: Path) -> None:
    tokenizer = vocabulary.synthetic(folder, 300) if folder in KINDS else vocabulary.read(GOLDEN / folder)
    vocabulary.save(tokenizer, tmp_path / "deep/er")
    again = vocabulary.load(tmp_path / "deep/er")
    assert again == tokenizer and again.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize(("folder", "fingerprint"), [
    ("bert-uncased", "7408d029aef0f5f5b17baaf93a6014e0"), ("roberta", "4964238caf24b8fd610182489705afec"),
    ("xlm-roberta", "ba71846d3cdcd723c380436579df5ed2")])
def test_what_was_saved_and_cached_before_stays_good(folder: str, fingerprint: str, tmp_path: Path) -> None:
    """As version 0.1.0 wrote it: one id for the start, one for the end, and no field that came later."""
    tokenizer = vocabulary.read(GOLDEN / folder)
    vocabulary.save(tokenizer, tmp_path)
    about = json.loads((tmp_path / "about.json").read_text())
    old = {name: about[name] for name in ("kind", "pad", "unknown", "between", "lowercase", "strip_accents",
                                          "ideographs", "leading_space", "size")}
    old |= {name: about[name][0] for name in ("start", "end")}
    (tmp_path / "about.json").write_text(json.dumps(old))
    assert vocabulary.load(tmp_path) == tokenizer
    assert vocabulary.load(tmp_path).fingerprint == fingerprint


def test_odd_pieces_are_saved_and_never_found_in_a_text(tmp_path: Path) -> None:
    """Gaps, repeated pieces, special ones that look like words, line ends and backslashes."""
    pieces = ("[PAD]", "[UNK]", "cls", "[SEP]", "", "a", "a", "##", "\n", "\\n", "\\", "\r\u2028", "b", "##a")
    tokenizer = Tokenizer("wordpiece", pieces, 0, (2,), (3,), 1, (3,))
    vocabulary.save(tokenizer, tmp_path)
    assert vocabulary.load(tmp_path) == tokenizer
    assert ids_of(tokenizer, [b"a cls \\ ba", b"b\na"]) == [[6, 1, 10, 12, 13], [12, 6]]


def test_the_fingerprint_changes_with_all_that_decides_ids() -> None:
    one = vocabulary.read(GOLDEN / "bert-uncased")
    others = [vocabulary.read(GOLDEN / folder).fingerprint for folder in ("bert-cased", "roberta", "xlm-roberta")]
    changed = [replace(one, **{name: value}).fingerprint for name, value in (
        ("lowercase", False), ("strip_accents", False), ("ideographs", False), ("pad", 9), ("between", ()),
        ("pieces", one.pieces[:-1]))]
    assert len({one.fingerprint, *others, *changed}) == 10 and len(one.fingerprint) == 32
    assert one.fingerprint == vocabulary.read(GOLDEN / "bert-uncased-json").fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_made_vocabularies(kind: str) -> None:
    tokenizer = vocabulary.synthetic(kind, 300)
    assert tokenizer == vocabulary.synthetic(kind, 300) and tokenizer.size <= 300
    printable = bytes(range(33, 127))
    found = ids_of(tokenizer, [printable, printable.decode().replace("", " ").encode()])
    assert all(found) and not {tokenizer.unknown} & {*found[0], *found[1]}
    with pytest.raises(OptionError, match="pieces"):
        vocabulary.synthetic(kind, 90)
    with pytest.raises(OptionError, match="kind words"):
        vocabulary.synthetic("words", 900)


def test_check_size() -> None:
    tokenizer = vocabulary.synthetic("bpe", 261)
    vocabulary.check_size(tokenizer, 261, "here")
    with pytest.raises(WeightsError, match="here: the vocabulary has 261 pieces, but the network has 260 embeddings"):
        vocabulary.check_size(tokenizer, 260, "here")


def described(folder: str, **changes: Any) -> dict[str, Any]:
    """tokenizer.json of the golden folder with other values; a__b is b of a."""
    found = json.loads((GOLDEN / folder / "tokenizer.json").read_text())
    for name, value in changes.items():
        place = found
        *outer, last = name.split("__")
        for key in outer:
            place = place[key]
        place[last] = value
    return found


@pytest.mark.parametrize(("files", "said"), [
    ({}, "no vocabulary"),
    ({"tokenizer.json": "{"}, "vocabulary in"),
    ({"tokenizer.json": "[1]"}, "not a JSON object"),
    ({"tokenizer.json": {"version": "1.0"}}, "it lacks 'model'"),
    ({"tokenizer.json": described("bert-uncased-json", model__type="WordLevel")}, "of the type WordLevel"),
    ({"tokenizer.json": described("bert-uncased-json", pre_tokenizer__type="Whitespace")}, "differently than BERT"),
    ({"tokenizer.json": described("bert-uncased-json", model__max_input_chars_per_word=7)}, "differently than BERT"),
    ({"tokenizer.json": described("roberta-json", normalizer={"type": "NFC"})}, "differently than RoBERTa"),
    ({"tokenizer.json": described("roberta-json", model__ignore_merges=True)}, "differently than RoBERTa"),
    ({"tokenizer.json": described("roberta-json", model__merges=["x y z"])}, "not belong to the vocabulary"),
    ({"tokenizer.json": described("xlm-roberta-json", normalizer={"type": "NFC"})}, "differently than XLM-R"),
    ({"tokenizer.json": described("xlm-roberta-json", model__byte_fallback=True)}, "uses byte fallback"),
    ({"tokenizer.json": described("xlm-roberta-json", model__unk_id=7)}, "not the unknown piece of its model"),
    ({"vocab.txt": "a\nb\n"}, "it lacks '[SEP]'"),
    ({"vocab.json": {"a": 0, "b": 10**9}, "merges.txt": ""}, "far apart"),
    ({"vocab.json": {"a": 0}, "merges.txt": "#version: 0.2\na b\n"}, "not belong to the vocabulary"),
    ({"sentencepiece.bpe.model": b"\xff\xff\xff"}, "is truncated"),
    ({"sentencepiece.bpe.model": b""}, "no pieces"),
    ({"sentencepiece.bpe.model": (GOLDEN / "deberta/spm.model").read_bytes()}, "not begin with <unk>"),
    ({"sentencepiece.bpe.model": (GOLDEN / "xlm-roberta/sentencepiece.bpe.model").read_bytes()[:900]}, "is truncated"),
    ({"spm.model": b"x", "tokenizer_config.json": {"split_by_punct": True}}, "splits at punctuation"),
    ({"vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "added_tokens.json": {"covid": 4}}, "added words, such as"),
    ({"tokenizer.json": {"registered_name": "keras_hub>AlbertTokenizer", "config": {}},
      "assets/tokenizer/vocabulary.spm": b""}, "KerasHub's AlbertTokenizer"),
    ({"tokenizer.json": {"registered_name": "keras_hub>BertTokenizer", "config": {}}}, "no vocabulary"),
], ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "")
def test_errors_of_folders(files: dict[str, Any], said: str, tmp_path: Path) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode() if isinstance(content, str)
                         else json.dumps(content).encode())
    with pytest.raises(WeightsError, match=re.escape(said)) as caught:
        vocabulary.read(tmp_path)
    assert str(tmp_path) in str(caught.value) or "KerasHub" in said


def test_errors_of_our_own_folders_and_of_other_keras_hub_tokenizers(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="as it was exported"):
        vocabulary.load(tmp_path)
    for folder in ("bert-uncased", "xlm-roberta"):
        vocabulary.save(vocabulary.read(GOLDEN / folder), tmp_path)
        lines = (tmp_path / "vocab.txt").read_text().split("\n")
        (tmp_path / "vocab.txt").write_text("\n".join([*lines[:-2], ""] if folder[0] == "b" else ["x", *lines[1:]]))
        with pytest.raises(ModelError, match="belong to different vocabularies"):
            vocabulary.load(tmp_path)

    class AlbertTokenizer:
        proto = b""

        def get_config(self) -> dict[str, Any]:
            return {}

    with pytest.raises(WeightsError, match="KerasHub's AlbertTokenizer"):
        vocabulary.of_keras_hub(AlbertTokenizer())


def test_models_are_read_and_written_alike() -> None:
    model = (GOLDEN / "xlm-roberta/sentencepiece.bpe.model").read_bytes()
    pieces = _sentence_piece.pieces(model)
    assert _sentence_piece.pieces(_sentence_piece.with_pieces(model, pieces)) == pieces
    assert struct.pack("<f", pieces[9].score) in model and pieces[0].kind == _sentence_piece.UNKNOWN
