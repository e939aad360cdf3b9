"""Sentences and their annotation, as plain data."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kerastl.data.examples import Skipped, Split
from kerastl.errors import DataError

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # as in `inputs.tokenizer.clean`
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # from bytes that are not UTF-8


@dataclass(frozen=True)
class Sentence:
    """A sentence: its words, and what is known of each.

    tags: one for each word, or empty. heads: of each word the number of its head, counted from 1, and 0 for the root;
    or empty. relations: the label of each of these arcs, or empty. origin: file and line. comments, rows: of a CoNLL-U
    file, its comment lines, and all of its rows of ten columns, also those of multi-word tokens (`1-2`) and of empty
    nodes (`1.1`), which are not among the words and are written back.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...] = ()
    heads: tuple[int, ...] = ()
    relations: tuple[str, ...] = ()
    origin: str = ""
    comments: tuple[str, ...] = field(default=(), repr=False)
    rows: tuple[tuple[str, ...], ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.words)

    @property
    def id(self) -> str:
        """A hash of the words, 32 hexadecimal digits. Sentences of the same words have the same, whatever their
        annotation."""
        return hashlib.blake2b("\x1f".join(self.words).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def with_tags(self, tags: Iterable[str]) -> "Sentence":
        """The same words with other tags."""
        return replace(self, tags=tuple(tags))

    def with_tree(self, heads: Iterable[int], relations: Iterable[str]) -> "Sentence":
        """The same words in another tree."""
        return replace(self, heads=tuple(heads), relations=tuple(relations))


@dataclass(frozen=True, repr=False)
class TokenExamples:
    """The sentences of a source. form: the name of the format they were read in, `conllu` or `two_column`. column: of a
    CoNLL-U file, the one that the tags come from. source_split: of each sentence, the part that its file stands for
    ("train", "validation", "test"), or "". split: which sentences are used for what. skipped: sentences that are not
    used, and why."""

    source: str
    sentences: tuple[Sentence, ...]
    form: str
    column: str = ""
    source_split: tuple[str, ...] = ()
    split: Split | None = None
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sentences)

    def __repr__(self) -> str:
        parts = f", split: {self.split!r}" if self.split else ""
        return f"TokenExamples({len(self):,} sentences, {self.words:,} words, {self.source}{parts})"

    @property
    def words(self) -> int:
        """The number of words in all sentences."""
        return sum(map(len, self.sentences))

    def part(self, *parts: int) -> list[int]:
        """The numbers of the sentences in any of these parts (TRAIN, VALIDATION, TEST of `data.examples`), ascending.
        Raises DataError where the sentences are not split."""
        if self.split is None:
            raise DataError(f"the sentences of {self.source} are not split", "training, validation and test sentences",
                            "examples = kerastl.split_sentences(examples)")
        return [int(row) for row in self.split.rows(*parts)]

    def take(self, rows: Iterable[int]) -> "TokenExamples":
        """The same for these sentences only."""
        kept = list(rows)

        def pick(column: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(column[row] for row in kept)

        split = self.split and replace(self.split, part=self.split.part[np.array(kept, np.intp)])
        return replace(self, sentences=pick(self.sentences), source_split=pick(self.source_split), split=split)


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, as the exported model divides it: at white space of any kind and at control characters. What
    is not UTF-8 becomes U+FFFD."""
    return tuple(_CONTROL.sub(" ", _SURROGATE.sub("\ufffd", text)).split())


def commonest(counts: Mapping[str, int]) -> str:
    """The name with the highest count, of several the first in the order of names. counts: not empty."""
    return min(counts, key=lambda name: (-counts[name], name))
