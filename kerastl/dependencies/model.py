"""An exported parser, loaded for use: its SavedModel gives the scores, from which trees are decoded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerastl.dependencies.record import ParsingRecord
from kerastl.display import visible_cell
from kerastl.errors import DataError
from kerastl.files import output_file
from kerastl.tokens.fit import batches
from kerastl.tokens.inputs import CONLLU, padded, read_inputs, words_given, write_sentences
from kerastl.tokens.sentences import Sentence
from kerastl.versions.folder import find_version
from kerastl.versions.saved_graph import load_token_model

BATCH_WORDS = 1_000  # of a batch, padding included


class Parser:
    """A version's SavedModel with its run record. `kerastl.load` makes one."""

    def __init__(self, folder: Path, trust: bool = False) -> None:
        self.folder, self.record = folder, ParsingRecord.read(folder)
        self._model = load_token_model(folder, trust)
        self._scores = self._model.signatures["words"]

    @property
    def relations(self) -> tuple[str, ...]:
        """The relations that the model knows, in the order of its scores."""
        return self.record.relations

    def __repr__(self) -> str:
        return f"Parser({str(self.folder)!r}: {len(self.relations)} relations, LAS {self.record.test.las:.3f})"

    def predict(self, sentences: Iterable[str | Sequence[str] | Sentence] | str) -> list[Sentence]:
        """Parse sentences: each a text whose words are separated by whitespace, a list of words, or a `Sentence`, whose
        tree is replaced. A single str stands for a list of one. Returns sentences with heads and relations, in the same
        order. Raises DataError for what is none of these, has no word or an empty one, or has more words than the
        encoder takes tokens: those would have no state, while memory grows with the square of the words."""
        items = [sentences] if isinstance(sentences, str) else list(sentences)
        given = [_sentence(place, item) for place, item in enumerate(items)]
        for place, sentence in enumerate(given):
            if len(sentence) > self.record.max_length:
                raise DataError(f"sentence {place}{f' ({sentence.origin})' * bool(sentence.origin)} has "
                                f"{len(sentence):,} words", f"at most {self.record.max_length:,}, the tokens that the "
                                "encoder takes", "divide the text into sentences, one a line")
        found: dict[int, Sentence] = {}
        for batch in batches(range(len(given)), np.array([*map(len, given)]), BATCH_WORDS) if given else ():
            found.update(zip(batch, self._parsed([given[place] for place in batch]), strict=True))
        return [found[place] for place in range(len(given))]

    def _parsed(self, batch: Sequence[Sentence]) -> list[Sentence]:
        decoder, answer = self.record.decoder, self._scores(words=tf.constant(padded([one.words for one in batch])))
        scores = zip(batch, answer["arcs"].numpy(), answer["relations"].numpy(), strict=True)
        return [decoder.tree(*each) for each in scores]


def _sentence(place: int, item: Any) -> Sentence:
    words = words_given(place, item.words if isinstance(item, Sentence) else item)
    return item if isinstance(item, Sentence) else Sentence(words)


def load_model(folder: Path, trust: bool = False) -> Parser:
    """The parser of a version folder."""
    return Parser(folder, trust)


@dataclass(frozen=True)
class ParseResult:
    """Parsed sentences in the order of the inputs. out: the file that was written, or None."""

    model: str
    sentences: tuple[Sentence, ...]
    out: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As `kerastl predict --json` prints it."""
        return {"model": self.model, "out": self.out, "total": len(self.sentences), "predictions": [
            {"tokens": list(one.words), "heads": list(one.heads), "relations": list(one.relations)}
            for one in self.sentences]}

    @property
    def shown(self) -> str:
        """The trees, a line for each word with its head and relation, or where they were written."""
        if self.out:
            return f"{len(self.sentences)} sentences written to {self.out}"
        return "\n\n".join("\n".join(
            f"{n:>3}  {visible_cell(word):<20} {head:>3}  {visible_cell(relation)}" for n, (word, head, relation)
            in enumerate(zip(one.words, one.heads, one.relations, strict=True), 1)) for one in self.sentences)


def predict_files(model: str, inputs: Sequence[str], *, lines: bytes = b"", text: Sequence[str] = (),
                  out: str | None = None, trust: bool = False) -> ParseResult:
    """Parse texts and files, see `tokens.inputs.read_inputs`. out: also write the trees to this .conllu file; what a
    CoNLL-U file of the inputs holds beside heads and relations stays. Raises OptionError for another ending."""
    path = None if out is None else output_file(out, (CONLLU,), inputs)
    parser = Parser(find_version(model), trust)
    parsed = parser.predict(read_inputs(inputs, text, lines))
    if path is not None:
        write_sentences(path, parsed)
    return ParseResult(model, tuple(parsed), out)
