"""An exported parser, loaded for use: its SavedModel gives the scores, from which trees are decoded."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.dependencies.record import ParsingRecord
from kerastl.errors import DataError, one_line
from kerastl.tokens.sentences import Sentence

BATCH_WORDS = 1_000  # of a batch, padding included


class Parser:
    """A version's SavedModel with its run record. `kerastl.load` makes one."""

    def __init__(self, folder: Path, saved_model: Any) -> None:
        self.folder, self.record = folder, ParsingRecord.read(folder)
        self._scores = saved_model.signatures["words"]

    @property
    def relations(self) -> tuple[str, ...]:
        """The relations that the model knows, in the order of its scores."""
        return self.record.relations

    def __repr__(self) -> str:
        return f"Parser({str(self.folder)!r}: {len(self.relations)} relations, LAS {self.record.test.las:.3f})"

    def predict(self, sentences: Iterable[str | Sequence[str] | Sentence]) -> list[Sentence]:
        """Parse sentences: each a text whose words are separated by white space, a list of words, or a `Sentence`,
        whose tree is replaced. Returns sentences with heads and relations, in the same order. Raises DataError for one
        without words."""
        import tensorflow as tf

        given = [_sentence(place, item) for place, item in enumerate(sentences)]
        found: dict[int, Sentence] = {}
        for batch in _batches([*map(len, given)]):
            longest = max(len(given[place]) for place in batch)
            words = [[*given[place].words, *[""] * (longest - len(given[place]))] for place in batch]
            answer = self._scores(words=tf.constant(words))
            arcs, relations = (np.asarray(answer[name]) for name in ("arcs", "relations"))
            for row, place in enumerate(batch):
                found[place] = self.record.decoder.tree(given[place], arcs[row], relations[row])
        return [found[place] for place in range(len(given))]


def _sentence(place: int, item: Any) -> Sentence:
    if isinstance(item, str):
        item = item.split()
    sentence = item if isinstance(item, Sentence) else Sentence(tuple(item))
    if not len(sentence) or not all(isinstance(word, str) and word for word in sentence.words):
        raise DataError(f"sentence {place} is {one_line(item)}", "at least one word, none of them empty",
                        "omit this sentence")
    return sentence


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Sentences of like length together."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        if batch and lengths[place] * (len(batch) + 1) > BATCH_WORDS:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
