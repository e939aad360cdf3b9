"""CoNLL-U, the format of Universal Dependencies (https://universaldependencies.org/format.html), read and written."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kerastl.errors import DataError, one_line
from kerastl.tokens.lines import blocks
from kerastl.tokens.sentences import Sentence

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
OPTIONAL = ("feats", "misc")  # where `_` is a value: a word without features
TAG_COLUMNS = ("upos", "xpos", "feats", "lemma", "deprel", "misc")
ID, FORM, HEAD, RELATION = 0, 1, 6, 7
EMPTY = "_"
EXPECTED = "a word as ten columns, separated by tabs: " + ", ".join(COLUMNS)
_ID = re.compile(r"([1-9]\d*)(?:-([1-9]\d*))?|(\d+)\.([1-9]\d*)")


def read(path: Path, column: str = "upos") -> Iterator[Sentence]:
    """The sentences of a file. column: where the tags come from, one of TAG_COLUMNS; a sentence without any has none.

    Raises DataError that names file and line, for a file that is no CoNLL-U.
    """
    place = COLUMNS.index(column)
    for number, lines in blocks(path):
        comments = tuple(line for line in lines if line.startswith("#"))
        first = number + len(comments)
        if any(line.startswith("#") for line in lines[len(comments):]):
            raise DataError(f"{path}, line {number}: a comment inside a sentence", "comments before its first word",
                            "move it")
        if not lines[len(comments):]:
            continue
        rows = tuple(_row(path, first + i, line) for i, line in enumerate(lines[len(comments):]))
        words = _words(path, first, rows)
        tags = tuple(row[place] for row in words)
        heads = _heads(path, first, rows, words)
        yield Sentence(
            tuple(row[FORM] for row in words), () if set(tags) == {EMPTY} and column not in OPTIONAL else tags, heads,
            tuple(row[RELATION] for row in words) if heads else (), f"{path.name}:{first}", comments, rows)


def write(sentences: Iterable[Sentence], column: str = "upos") -> str:
    """Sentences as CoNLL-U. Rows and comments that were read are written back; the words' tags go into `column`, and
    their heads and relations into their own columns, where there are any."""
    return "".join(f"{line}\n" for sentence in sentences for line in (*_lines(sentence, column), ""))


def _lines(sentence: Sentence, column: str) -> Iterator[str]:
    yield from sentence.comments if sentence.rows else (f"# text = {' '.join(sentence.words)}",)
    rows = sentence.rows or tuple((str(i + 1), word, *[EMPTY] * 8) for i, word in enumerate(sentence.words))
    word = 0
    for row in rows:
        cells = list(row)
        if cells[ID].isdecimal():
            if sentence.tags:
                cells[COLUMNS.index(column)] = sentence.tags[word]
            if sentence.heads:
                cells[HEAD], cells[RELATION] = str(sentence.heads[word]), sentence.relations[word]
            word += 1
        yield "\t".join(cells)


def _row(path: Path, number: int, line: str) -> tuple[str, ...]:
    cells = tuple(line.split("\t"))
    if len(cells) != len(COLUMNS):
        raise DataError(f"{path}, line {number}: {len(cells)} column{'s' * (len(cells) != 1)} in {one_line(line)}",
                        EXPECTED, "correct the line, or give a file of two columns another ending than .conllu")
    if not all(cells):
        raise DataError(f"{path}, line {number}: the column {COLUMNS[cells.index('')]} is empty", f"{EMPTY} where "
                        "nothing is known", "correct the line")
    return cells


def _words(path: Path, first: int, rows: tuple[tuple[str, ...], ...]) -> list[tuple[str, ...]]:
    """The rows of words. Raises DataError unless they are counted from 1, with ranges before their first word and empty
    nodes behind the word that they follow."""
    words: list[tuple[str, ...]] = []
    end = 0  # of the last range
    for number, row in enumerate(rows, first):
        match = _ID.fullmatch(row[ID])
        start, last, after = (int(match[i]) if match and match[i] else None for i in (1, 2, 3))
        right = match is not None and (
            after == len(words) if after is not None else start == len(words) + 1 and
            (last is None or (last > len(words) and len(words) >= end)))
        if not right:
            raise DataError(f"{path}, line {number}: the id {row[ID]!r} after word {len(words)}",
                            f"{len(words) + 1}, or a range or an empty node there", "number the words from 1")
        if last is not None:
            end = last
        elif after is None:
            words.append(row)
    if end > len(words) or not words:
        got = f"a range up to {end}, but {len(words)} words" if words else "no words"
        raise DataError(f"{path}, line {first}: a sentence with {got}", "a row for each word", "correct the sentence")
    return words


def _heads(path: Path, first: int, rows: tuple[tuple[str, ...], ...], words: list[tuple[str, ...]]
           ) -> tuple[int, ...]:
    """The head of each word; empty where the column has none."""
    cells = [row[HEAD] for row in words]
    if set(cells) == {EMPTY}:
        return ()
    for word, cell in enumerate(cells, 1):
        if not (cell.isdecimal() and int(cell) <= len(words) and int(cell) != word):
            number = first + next(i for i, row in enumerate(rows) if row[ID] == str(word))
            raise DataError(f"{path}, line {number}: the head of word {word} is {cell!r}",
                            f"the number of another word, up to {len(words)}, or 0 for the root", "correct the tree")
    return tuple(map(int, cells))
