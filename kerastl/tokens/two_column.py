"""Files with a word and its tag in each line, and an empty line between sentences, as for named entities in BIO."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from kerastl.errors import DataError, one_line
from kerastl.tokens.lines import blocks
from kerastl.tokens.sentences import Sentence

DOCUMENT = "-DOCSTART-"  # begins a document in CoNLL's shared tasks; it is no word


def read(path: Path) -> Iterator[Sentence]:
    """The sentences of a file. Word and tag are separated by a tab, or else by spaces. Raises DataError that names file
    and line, for a line of another number of columns."""
    for first, lines in blocks(path):
        pairs = [_pair(path, first + i, line) for i, line in enumerate(lines) if not line.startswith(DOCUMENT)]
        if pairs:
            words, tags = zip(*pairs, strict=True)
            yield Sentence(words, tags, origin=f"{path.name}:{first}")


def write(sentences: Iterable[Sentence]) -> str:
    """Sentences as lines of a word, a tab and its tag, with an empty line after each sentence."""
    return "".join("".join(f"{word}\t{tag}\n" for word, tag in zip(sentence.words, sentence.tags, strict=True)) + "\n"
                   for sentence in sentences)


def _pair(path: Path, number: int, line: str) -> tuple[str, str]:
    cells = [cell.strip(" ") for cell in line.split("\t")] if "\t" in line else line.split()
    if len(cells) != 2 or not all(cells):
        raise DataError(f"{path}, line {number}: {len(cells)} column{'s' * (len(cells) != 1)} in {one_line(line)}",
                        "two: a word and its tag, separated by a tab or by spaces",
                        "correct the line, or give a CoNLL-U file the ending .conllu")
    return cells[0], cells[1]
