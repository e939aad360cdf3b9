"""Sentences: CoNLL-U and files of two columns, read, written and split."""

from pathlib import Path

import numpy as np
import pytest

from kerastl.data.examples import TEST, TRAIN, VALIDATION
from kerastl.errors import DataError, OptionError
from kerastl.tokens import conllu, two_column
from kerastl.tokens.inputs import read_inputs
from kerastl.tokens.read import limited, read_sentences, with_tags, with_trees
from kerastl.tokens.sentences import Sentence, TokenExamples, words_of
from kerastl.tokens.split import split_sentences

TREEBANK = """\
# sent_id = 1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_
4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\tSpaceAfter=No
5.1\tir\tir\tVERB\t_\t_\t_\t_\t_\t_

1\tSí\tsí\tINTJ\t_\t_\t0\troot\t_\t_

"""


def word(n: object, form: str = "a", head: object = 0) -> str:
    return f"{n}\t{form}\t_\tX\t_\t_\t{head}\tdep\t_\t_\n"


def test_conllu_is_read_and_written_back_with_its_multi_word_tokens_and_empty_nodes(tmp_path: Path) -> None:
    path = tmp_path / "t.conllu"
    path.write_bytes(b"\xef\xbb\xbf" + TREEBANK.replace("\n", "\r\n").encode())
    sentences = list(conllu.read(path))
    first = sentences[0]
    assert first.words == ("vamos", "nos", "a", "el", "mar") and first.tags == ("VERB", "PRON", "ADP", "DET", "NOUN")
    assert first.heads == (0, 1, 5, 5, 1) and first.relations[0] == "root" and first.origin == "t.conllu:3"
    assert conllu.write(sentences) == TREEBANK
    changed = conllu.write([first.with_tags("ABCDE").with_tree([2, 0, 2, 2, 2], ["x"] * 5)]).splitlines()
    assert changed[2].startswith("1-2\tvámonos") and changed[3] == "1\tvamos\tir\tA\t_\t_\t2\tx\t_\t_"
    assert changed[-2] == "5.1\tir\tir\tVERB\t_\t_\t_\t_\t_\t_" and changed[:2] == TREEBANK.splitlines()[:2]


def test_words_without_rows_are_written_as_conllu(tmp_path: Path) -> None:
    path = tmp_path / "t.conllu"
    path.write_text(conllu.write([Sentence(("a", "b"), ("X", "Y"))]), encoding="utf-8")
    assert [(s.words, s.tags, s.heads) for s in conllu.read(path)] == [(("a", "b"), ("X", "Y"), ())]


@pytest.mark.parametrize(("text", "got", "line"), [
    (word(1) + "2\tb\n", "2 columns", 2),
    (word(1) + word(3), "the id '3' after word 1", 2),
    (word(1) + word("4-5"), "the id '4-5' after word 1", 2),
    (word(1) + word("2.1"), "the id '2.1' after word 1", 2),
    (word("1-3") + word(1, head=2) + word(2), "a range up to 3, but 2 words", 1),
    ("# c\n" + word(1, head=7), "the head of word 1 is '7'", 2),
    (word(1, head=1), "the head of word 1 is '1'", 1),
    (word(1) + "# late\n", "a comment inside", 1),
    (word(1, form=""), "the column form is empty", 1),
])
def test_errors_in_conllu_name_file_and_line(tmp_path: Path, text: str, got: str, line: int) -> None:
    path = tmp_path / "bad.conllu"
    path.write_text("\n\n" + text, encoding="utf-8")
    with pytest.raises(DataError) as raised:
        list(conllu.read(path))
    assert got in raised.value.got and f"{path}, line {line + 2}" in raised.value.got and raised.value.expected


def test_two_columns_are_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "ner.tsv"
    path.write_text("-DOCSTART-\tO\n\nNew  B-LOC\nYork I-LOC\n\n\nof course\tO\n", encoding="utf-8")
    sentences = list(two_column.read(path))
    assert [(s.words, s.tags) for s in sentences] == [(("New", "York"), ("B-LOC", "I-LOC")), (("of course",), ("O",))]
    path.write_text(two_column.write(sentences), encoding="utf-8")
    assert [s.tags for s in two_column.read(path)] == [s.tags for s in sentences]
    for content in (b"a\tb\tc\n", b"\na\n", b"a\tO\n\xff\tO\n"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"{path.name}, line [12]: "):
            list(two_column.read(path))


def folder(path: Path, names: dict[str, int]) -> Path:
    path.mkdir()
    start = 0
    for name, n in names.items():
        (path / name).write_text("".join(f"w{start + i}\tX\nb\tY\n\n" for i in range(n)), encoding="utf-8")
        start += n
    return path


def test_the_files_of_a_treebank_are_its_split_and_duplicates_of_held_out_sentences_are_skipped(tmp_path: Path) -> None:
    path = folder(tmp_path / "UD", {"x-train.tsv": 9, "x-dev.tsv": 3, "x-test.tsv": 2})
    with (path / "x-train.tsv").open("a", encoding="utf-8") as file:
        file.write("w13\tZ\nb\tZ\n")  # the words of a test sentence, tagged otherwise
    made = split_sentences(read_sentences(path))
    assert [len(made.part(number)) for number in (TRAIN, VALIDATION, TEST)] == [9, 3, 2]
    assert [skipped.origin for skipped in made.skipped] == ["x-train.tsv:28"]
    (path / "extra.tsv").write_text("a\tX\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"extra\.tsv does not say which part"):
        read_sentences(path)


def test_one_file_is_split_by_the_hash_of_its_sentences(tmp_path: Path) -> None:
    path = folder(tmp_path / "one", {"data.tsv": 200})
    made = split_sentences(read_sentences(path / "data.tsv"))
    part = {sentence.id: made.split.part[i] for i, sentence in enumerate(made.sentences)}  # type: ignore[union-attr]
    lines = (path / "data.tsv").read_text(encoding="utf-8")
    (path / "data.tsv").write_text("new\tX\n\n" + lines + lines, encoding="utf-8")
    again = split_sentences(read_sentences(path / "data.tsv"))
    assert len(again) == 401 and 10 < len(made.part(TEST)) < 32
    for i, sentence in enumerate(again.sentences[1:], 1):  # neither more data nor duplicates move a sentence
        assert again.split.part[i] == part[sentence.id]  # type: ignore[union-attr]
    some = limited(made, 50)
    assert len(some) == 50 == len(some.split.part) and limited(made, 50).sentences == some.sentences  # type: ignore[union-attr]
    assert np.array_equal(some.part(TEST), [i for i, s in enumerate(some.sentences) if part[s.id] == TEST])


def test_sources_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_sentences(tmp_path / "none.tsv")
    with pytest.raises(OptionError, match="`column` is form"):
        read_sentences(tmp_path, "form")
    (tmp_path / "a.conllu").write_text("1\ta\t_\t_\t_\t_\t_\t_\t_\t_\n", encoding="utf-8")
    bare = read_sentences(tmp_path / "a.conllu")
    for check in (with_tags, with_trees):
        with pytest.raises(DataError, match=r"a\.conllu:1"):
            check(bare)


def test_tags_may_be_empty_only_where_nothing_is_a_value(tmp_path: Path) -> None:
    rows = word(1) + word(2, head=1).replace("\tX\t_\t_\t", "\t_\t_\tCase=Nom\t") + "\n" + word(1)
    (tmp_path / "a.conllu").write_text(rows, encoding="utf-8")
    features = with_tags(read_sentences(tmp_path / "a.conllu", "feats"))
    assert [sentence.tags for sentence in features.sentences] == [("_", "Case=Nom"), ("_",)]
    with pytest.raises(DataError, match=r"the column upos of a\.conllu:1 has words without a tag"):
        with_tags(read_sentences(tmp_path / "a.conllu"))


@pytest.mark.parametrize(("heads", "relations", "message"), [
    ((0, 3, 2), "abc", "word 2 does not reach the root"),
    ((2, 3, 1, 0), "abcd", "word 1 does not reach the root"),
    ((0, 1), "a_", "word 2 has a head, but no relation"),
    ((), "", "no heads"),
])
def test_what_is_no_tree_is_refused(heads: tuple[int, ...], relations: str, message: str) -> None:
    sentence = Sentence(tuple("abcd"[:max(1, len(heads))]), heads=heads, relations=tuple(relations), origin="t:1")
    with pytest.raises(DataError, match=f"t:1.*{message}"):
        with_trees(TokenExamples("t", (sentence,), "conllu"))
    tree = Sentence(tuple("abcd"), heads=(2, 0, 0, 3), relations=tuple("abcd"))  # two roots, as in some treebanks
    assert with_trees(TokenExamples("t", (tree,), "conllu")).sentences == (tree,)


def test_the_inputs_of_predict_are_texts_lines_or_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa b\r\n\r\nc\xe2\x80\xa8d\re\n")
    words = [one.words for one in read_inputs([str(tmp_path / "a.txt"), "-"], ["nofile.txt"], b"\xef\xbb\xbff\xff g\n")]
    assert words == [("a", "b"), ("c", "d"), ("e",), ("f\ufffd", "g"), ("nofile.txt",)]
    long = "word " * 200  # longer than a path may be
    assert read_inputs([long, "a\udcffb"])[0].words == ("word",) * 200
    assert read_inputs(["a\udcffb"])[0].words == ("a\ufffdb",)  # bytes of the command line that are not UTF-8
    for missing in ("none.conllu", "none.tsv", "none.txt", "no/such"):
        with pytest.raises(DataError, match=f"no such file: {missing}"):
            read_inputs([missing])
    with pytest.raises(DataError, match="nothing to predict for"):
        read_inputs([""])
    with pytest.raises(DataError, match="is a folder"):
        read_inputs([str(tmp_path)])


@pytest.mark.parametrize("text", ["a b", "x\u00a0y\u3000z", "a\u2028b\x85c", "a\x01b\x1fc", "\u200b \ufeffd",
                                  "", " \t"])
def test_the_graph_divides_a_text_into_the_same_words(text: str) -> None:
    import tensorflow as tf

    from kerastl.tokens.served import split_words

    graph = [word.decode() for word in split_words(tf.constant([text])).values.numpy()]
    assert tuple(graph) == words_of(text)
