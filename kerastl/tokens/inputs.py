"""What models on tokens predict for: texts, files of texts, and files of sentences."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.text_inputs import looks_like_path
from kerastl.errors import DataError, OptionError, one_line
from kerastl.files import is_remote, read_bytes, source_path, write_atomically
from kerastl.tokens import conllu, two_column
from kerastl.tokens.sentences import Sentence, words_of

CONLLU, COLUMNS = ".conllu", (".tsv", ".conll", ".bio", ".iob", ".iob2")
READABLE = f"texts, text files with a sentence in each line, or sentences as {CONLLU} or {', '.join(COLUMNS)}"


def read_inputs(inputs: Sequence[str], text: Sequence[str] = (), lines: bytes | Iterable[str] = b"") -> list[Sentence]:
    """The sentences to predict for. inputs: a path or a URL of a file, `-` for `lines`, or else a text. A file that
    ends in .conllu is CoNLL-U, one of .tsv, .conll, .bio or .iob holds a word and a tag in each line, and any other
    file holds a sentence in each line, its words separated by whitespace. text: texts as they are, whatever they look
    like.

    Raises DataError for a file that cannot be read, for a path of no file, and where there is nothing to predict for.
    """
    found: list[Sentence] = []
    for name in inputs:
        remote = is_remote(name) and not any(map(str.isspace, name))
        path = source_path(name) if remote else Path(name)
        if name == "-":
            piped = _lines(lines.decode("utf-8-sig", "replace")) if isinstance(lines, bytes) else lines
            found += _of_lines(piped, "standard input")
        elif not remote and not os.path.exists(name):  # also of a text that is too long for a path, and of an empty one
            if looks_like_path(name) or (path.suffix.lower() in (CONLLU, *COLUMNS) and len(name.split()) == 1):
                raise DataError(f"no such file: {name}", READABLE, "check the path; if it is a text, pass it in `text`")
            found += _of_lines([name], "text")
        elif path.is_dir():
            raise DataError(f"{name} is a folder", READABLE, "pass its files")
        elif path.suffix.lower() == CONLLU:
            found += conllu.read(path)
        elif path.suffix.lower() in COLUMNS:
            found += two_column.read(path)
        else:
            try:
                found += _of_lines(_lines(read_bytes(path).decode("utf-8-sig")), path.name)
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"{path} cannot be read: {one_line(error)}", "text in UTF-8", "check the file") \
                    from error
    found += [sentence for one in text for sentence in _of_lines([one], "text")]
    if not found:
        raise DataError("there is nothing to predict for", READABLE, "pass a text or a file")
    return found


def words_given(place: int, item: Any) -> tuple[str, ...]:
    """The words of what was given to predict for: a text, whose words are separated by whitespace, or a list of words.
    Raises DataError, which names the place, for what is neither, or has no word or an empty one."""
    words = words_of(item) if isinstance(item, str) else tuple(item)
    if not words or not all(isinstance(word, str) and word for word in words):
        raise DataError(f"sentence {place}: {one_line(item)}", "a text, or a list of words", "omit it")
    return words


def padded(sentences: Sequence[Sequence[str]]) -> NDArray[Any]:
    """Words in UTF-8, as the signature `words` takes them: [sentences, longest], empty beyond a sentence's end."""
    longest = max(map(len, sentences))
    return np.array([[*(word.encode("utf-8", "surrogatepass") for word in words), *[b""] * (longest - len(words))]
                     for words in sentences], object)


def output_form(out: str) -> str:
    """The ending of the file to write, .conllu or .tsv. Raises OptionError for another one."""
    ending = Path(out).suffix.lower()
    if ending not in (CONLLU, ".tsv"):
        raise OptionError(f"`out` is {out}", "a path that ends in .conllu, or in .tsv for a word and its tag in each "
                          "line", "choose another path")
    return ending


def write_sentences(path: Path, sentences: Sequence[Sentence], column: str = "upos") -> None:
    """Write sentences in the form that the ending of the path stands for."""
    form = output_form(str(path))
    write_atomically(path, conllu.write(sentences, column) if form == CONLLU else two_column.write(sentences))


def _lines(text: str) -> list[str]:
    """Not splitlines: U+2028 and its like may be inside a sentence."""
    return re.split(r"\r\n|\n|\r", text)


def _of_lines(lines: Iterable[str], origin: str) -> list[Sentence]:
    split = [(number, words_of(line)) for number, line in enumerate(lines, 1)]
    return [Sentence(words, origin=f"{origin}:{number}") for number, words in split if words]
