"""The accuracy of trees, as the scorer of the CoNLL 2018 shared task counts it (Zeman et al. 2018,
https://aclanthology.org/K18-2001/), with intervals.

Words are the lines of a sentence with a whole number: a multi-word token (`1-2`) is scored by its words, and an empty
node (`1.1`) is no word. Every word counts, punctuation and the root among them. Subtypes of relations are ignored
(`nmod:poss` is `nmod`). Words are given here, so that the F1 of UAS and LAS is the share of correct words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kerastl.errors import DataError
from kerastl.fields import Section
from kerastl.tokens.bootstrap import METHOD, f1, ratio, sentence_interval
from kerastl.tokens.sentences import Sentence

CONTENT = frozenset("""
    nsubj obj iobj csubj ccomp xcomp obl vocative expl dislocated advcl advmod discourse nmod appos nummod acl amod conj
    fixed flat compound list parataxis orphan goeswith reparandum root dep
""".split())  # relations of content words in Universal Dependencies; CLAS counts no others
WORDS, UAS, LAS, CLAS, GOLD, PREDICTED = range(6)  # columns of counts


@dataclass(frozen=True)
class ParseFigures(Section):
    """Accuracies in [0, 1] on `n` sentences with `words` words, and their 95% intervals.

    uas: words with the correct head. las: and with the correct relation. clas: F1 of that among the content words of
    Universal Dependencies, of which the given trees have `content_words`; None where neither tree has any.
    """

    n: int
    words: int
    content_words: int
    uas: float
    uas_ci95: tuple[float, float]
    las: float
    las_ci95: tuple[float, float]
    clas: float | None
    clas_ci95: tuple[float, float] | None
    interval: str


def score(gold: Sequence[Sentence], predicted: Sequence[Sentence]) -> ParseFigures:
    """Compare predicted trees with the given ones, sentence by sentence. In the bootstrap, sentences of the same words
    are drawn together. Raises DataError for no sentences, and for a pair of different lengths."""
    counts = sentence_counts(gold, predicted)
    ids, total = [sentence.id for sentence in gold], counts.sum(0)

    def figure(columns: Sequence[int], of: Callable[[NDArray[np.float64]], NDArray[np.float64]]
               ) -> tuple[float, tuple[float, float]]:
        part = counts[:, columns]
        return float(of(part.sum(0, keepdims=True).astype(np.float64))[0]), sentence_interval(part, of, ids)

    (uas, uas_ci95), (las, las_ci95) = figure([UAS, WORDS], ratio), figure([LAS, WORDS], ratio)
    has_content = bool(total[GOLD] + total[PREDICTED])
    clas, clas_ci95 = figure([CLAS, PREDICTED, GOLD], f1) if has_content else (None, None)
    return ParseFigures(len(counts), int(total[WORDS]), int(total[GOLD]), uas, uas_ci95, las, las_ci95, clas, clas_ci95,
                        METHOD)


def sentence_counts(gold: Sequence[Sentence], predicted: Sequence[Sentence]) -> NDArray[np.int64]:
    """For each sentence: words, correct heads, correct heads with relation, those of content words, and the content
    words of the given and of the predicted tree: [sentences, 6]."""
    if not gold:
        raise DataError("there are no sentences to score", "at least one", "check the test data")
    return np.array([_counts(*pair) for pair in zip(gold, predicted, strict=True)], np.int64)


def _counts(gold: Sentence, predicted: Sentence) -> tuple[int, ...]:
    n = len(gold)
    if len(predicted.heads) != n:
        raise DataError(f"a predicted tree has {len(predicted.heads)} words", f"{n}, as the given tree",
                        "score trees of the same words")
    head, both = correct_words(gold, predicted)
    given, found = ([universal(relation) for relation in sentence.relations] for sentence in (gold, predicted))
    content = np.array([relation in CONTENT for relation in given], bool)
    return (n, int(head.sum()), int(both.sum()), int((both & content).sum()), int(content.sum()),
            sum(relation in CONTENT for relation in found))


def correct_words(gold: Sentence, predicted: Sentence) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which words have the correct head, and which the correct head and relation: [n] each."""
    head = np.array(gold.heads) == np.array(predicted.heads)
    relation = np.array([universal(a) == universal(b) for a, b in
                         zip(gold.relations, predicted.relations, strict=True)], bool)
    return head, head & relation


def universal(relation: str) -> str:
    """A relation without its subtype: `nmod` of `nmod:poss`."""
    return relation.partition(":")[0]
