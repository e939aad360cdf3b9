"""Explanations of texts: by leaving out whole words, one after the other, and asking the model again."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.explanation.exact import plain_part
from kerastl.explanation.explainer import Explained, Span
from kerastl.explanation.network import Array, Network
from kerastl.explanation.record import LEFT_OUT
from kerastl.inputs import Batch, Input, Text
from kerastl.inputs.texts import MOST_WINDOWS, Texts
from kerastl.model import Parts

BATCH = 32
FINE, COARSE = 100, 16  # units of a text at most; a longer one has units of several words
_SCRIPTS = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # written without spaces: each character is a word
_WORD = re.compile(rf"[{_SCRIPTS}]|[^\s{_SCRIPTS}]+")


def explainer(parts: Parts, source: Input, fine: bool) -> "TextExplainer":
    """See `explainer.explainer_for`."""
    return TextExplainer(Network(parts, source), FINE if fine else COARSE)


class TextExplainer:
    """See `explainer.Explainer`. A row is a text or a pair; its parts are units: words, or groups of neighbouring
    words in a text of more than `most` words."""

    noun = "words"

    def __init__(self, network: Network, most: int) -> None:
        self.network, self.most = network, most

    def method(self, head: Any) -> tuple[str, bool]:
        """See `Explainer`."""
        return LEFT_OUT, False

    def read(self, items: Sequence[Any], refused: dict[int, str]) -> list[Text]:
        """See `Explainer`. No text is refused."""
        return list(items)

    def logits(self, rows: Sequence[Text], head: Any) -> Array:
        """See `Explainer`."""
        return self._logits(rows, (head,))[0]

    def _logits(self, rows: Sequence[Text], heads: Sequence[Any]) -> list[Array]:
        blocks = [self.network.logits(self._batch(rows[i:i + BATCH]), *heads) for i in range(0, len(rows), BATCH)]
        return [np.concatenate([block[number] for block in blocks]) for number in range(len(heads))]

    def _batch(self, rows: Sequence[Text]) -> Batch:
        source = self.network.source
        return source.decoded(source.contents(rows), {})

    def explain(self, rows: Sequence[Text], places: Sequence[int], *heads: Any) -> list[list[Explained]]:
        """See `Explainer`."""
        explained: list[list[Explained]] = [[] for _ in heads]
        for text, place in zip(rows, places, strict=True):
            spans = units(text, self.most, self._longest)
            copies = [text, *(left_out(text, [span]) for span in spans)]
            for head, own, logits in zip(heads, explained, self._logits(copies, heads), strict=True):
                plain = plain_part(head)
                added = None if plain is None else float(
                    self.network.plain_logits(plain, self._batch([text]).values)[0, place])
                own.append(Explained(logits[0], place, logits[0, place] - logits[1:, place], spans=spans, plain=added))
        return explained

    @property
    def _longest(self) -> int | None:
        """How many words from the start the model can take at most; None where it also takes words from the end."""
        source = self.network.source
        if not isinstance(source, Texts) or source.long == "head+tail":
            return None
        return source.max_length * (MOST_WINDOWS if source.long == "chunks" else 1) + source.beyond

    def without(self, row: Text, explained: Explained, chosen: NDArray[np.intp]) -> Text:
        """See `Explainer`."""
        return left_out(row, [explained.spans[unit] for unit in sorted(chosen.tolist())])

    def elsewhere(self, explained: Explained, chosen: NDArray[np.intp], generator: np.random.Generator
                  ) -> NDArray[np.intp]:
        """See `Explainer`."""
        return np.asarray(generator.permutation(len(explained.spans))[:len(chosen)])


def units(text: Text, most: int, longest: int | None = None) -> tuple[Span, ...]:
    """The words of a text or a pair: at most `most` units, of neighbouring words where there are more. longest: only so
    many words of each text are looked at."""
    words = [(part, match.start(), match.end()) for part, own in enumerate(_parts(text))
             for match in [*_WORD.finditer(own)][:longest]]
    size = -(-len(words) // most)
    grouped: list[Span] = []
    for part, own in groupby(words, key=lambda word: word[0]):
        spans = list(own)
        grouped += [(part, spans[i][1], spans[min(i + size, len(spans)) - 1][2]) for i in range(0, len(spans), size)]
    return tuple(grouped)


def left_out(text: Text, spans: Sequence[Span]) -> Text:
    """The text without these units and the blanks after them. spans: ascending."""
    parts = []
    for number, own in enumerate(_parts(text)):
        pieces, start = [], 0
        for _, first, end in (span for span in spans if span[0] == number):
            pieces.append(own[start:first])
            start = end + len(own[end:]) - len(own[end:].lstrip())
        parts.append("".join([*pieces, own[start:]]))
    return (parts[0], parts[1]) if isinstance(text, tuple) else parts[0]


def _parts(text: Text) -> tuple[str, ...]:
    return text if isinstance(text, tuple) else (text,)
