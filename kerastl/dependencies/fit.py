"""Fits the parser on the states of a frozen encoder, and predicts trees with it.

Settings are those of Dozat and Manning (2017), see `tokens.fit.FitOptions`; the loss of relations is at the given
heads. Training stops when the LAS on validation sentences has not risen for ten epochs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import TRAIN, VALIDATION
from kerastl.dependencies.decoding import best_tree
from kerastl.dependencies.network import ARC, DROPOUT, RELATION, BiaffineParser, loss_of_words
from kerastl.dependencies.scorer import LAS, WORDS, sentence_counts
from kerastl.runtime import Runtime
from kerastl.tokens.fit import FitOptions, Run, TokenFit, batches, check_options, fit_head, run_of
from kerastl.tokens.read import with_trees
from kerastl.tokens.sentences import Sentence, TokenExamples
from kerastl.tokens.states import TokenStates

DECODED = 2_000  # words whose scores are in memory at a time, since those of relations are large
HALF = "mixed_bfloat16"


@dataclass(frozen=True)
class ParserSizes:
    """The widths of a parser's layers, for arcs and for relations, and the share of units that training drops."""

    arc: int = ARC
    relation: int = RELATION
    dropout: float = DROPOUT


@dataclass(frozen=True)
class Relations:
    """The relations that training has, sorted; and of each, whether words have it that depend on the root, and whether
    others have it. A word gets only those that its place allows."""

    names: tuple[str, ...]
    of_root: tuple[bool, ...]
    of_others: tuple[bool, ...]

    @classmethod
    def of(cls, sentences: Sequence[Sentence]) -> "Relations":
        """Those of trees."""
        pairs = {(head == 0, relation) for sentence in sentences
                 for head, relation in zip(sentence.heads, sentence.relations, strict=True)}
        names = tuple(sorted({relation for _, relation in pairs}))
        root, others = (tuple((place, name) in pairs for name in names) for place in (True, False))
        return cls(names, root, others)

    def tree(self, sentence: Sentence, arcs: NDArray[np.float32], scores: NDArray[np.float32]) -> Sentence:
        """The sentence in the best tree with one root, with the best relation at each arc. arcs: [n, n + 1]; scores:
        [n, n + 1, relations]; n may be more than the words, for padding."""
        n = len(sentence)
        heads = best_tree(arcs[:n, :n + 1])
        allowed = np.where((heads == 0)[:, None], np.array(self.of_root), np.array(self.of_others))
        chosen = np.where(allowed, scores[np.arange(n), heads], -np.inf).argmax(1)
        return sentence.with_tree(heads.tolist(), (self.names[number] for number in chosen.tolist()))

    def numbers(self, sentence: Sentence) -> list[int]:
        """The place of each word's relation. Raises KeyError for one that training does not have."""
        place = {name: number for number, name in enumerate(self.names)}
        return [place[name] for name in sentence.relations]


@dataclass(frozen=True)
class FittedParser:
    """A trained parser, which computes in float32. precision: the Keras policy that it was trained in."""

    relations: Relations
    sizes: ParserSizes
    fit: TokenFit
    precision: str

    def predict(self, states: TokenStates, rows: Sequence[int]) -> list[Sentence]:
        """These sentences in their predicted trees."""
        return predicted(run_of(self.fit.model, states.encoder.shape), self.relations, states, rows)


def predicted(run: Run, relations: Relations, states: TokenStates, rows: Sequence[int]) -> list[Sentence]:
    """Some sentences in their predicted trees, in the order of `rows`. run: a `BiaffineParser` as a graph."""
    lengths = np.array([len(states.sentences[row]) for row in rows])
    found: dict[int, Sentence] = {}
    for batch in batches(rows, lengths, DECODED):
        arcs, of_relations = (np.asarray(value) for value in run(*states.batch(batch)))
        for place, row in enumerate(batch):
            found[row] = relations.tree(states.sentences[row], arcs[place], of_relations[place])
    return [found[row] for row in rows]


def fit_parser(examples: TokenExamples, states: TokenStates, runtime: Runtime, *, options: FitOptions | None = None,
               sizes: ParserSizes | None = None) -> FittedParser:
    """Train a parser, with early stopping by the LAS on the validation sentences. It is trained in bfloat16 where the
    runtime says so, and computes in float32 afterwards. The seed is the runtime's. Raises DataError for a sentence
    without a tree, OptionError for options that cannot be used."""
    sizes, sentences = sizes or ParserSizes(), examples.sentences
    check_parser(examples, options)
    train, validation = examples.part(TRAIN), examples.part(VALIDATION)
    relations, gold = Relations.of([sentences[row] for row in train]), [sentences[row] for row in validation]
    precision = HALF if runtime.precision == HALF else "float32"
    moments = _moments(states, train)

    def build(policy: str) -> BiaffineParser:
        parser = BiaffineParser(len(relations.names), sizes.arc, sizes.relation, sizes.dropout, dtype=policy)
        parser.build([(None, None, *moments[0].shape), (None, None)])
        parser.start(*moments)
        return parser

    def targets(rows: Sequence[int], longest: int) -> tuple[NDArray[Any], ...]:
        made = np.zeros((2, len(rows), longest), np.int32)
        for place, row in enumerate(rows):
            made[0, place, :len(sentences[row])] = sentences[row].heads
            made[1, place, :len(sentences[row])] = relations.numbers(sentences[row])
        return made[0], made[1]

    def score(run: Run) -> float:
        counts = sentence_counts(gold, predicted(run, relations, states, validation)).sum(0)
        return float(counts[LAS] / counts[WORDS])

    fit = fit_head(lambda: build(precision), states, train, targets, loss_of_words, score, options=options,
                   seed=runtime.seed, description=f"parser{' (untrained encoder)' * states.encoder.untrained}")
    served = build("float32")
    served.set_weights(fit.model.get_weights())
    return FittedParser(relations, sizes, replace(fit, model=served), precision)


def check_parser(examples: TokenExamples, options: FitOptions | None = None) -> None:
    """Call it before states are computed, which takes minutes. Raises OptionError for options that cannot be used,
    DataError for a sentence without a tree, see `tokens.read.with_trees`."""
    check_options(options or FitOptions())
    with_trees(examples)


def _moments(states: TokenStates, rows: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of the states of some sentences' words, [layers, dim] each."""
    shape = states.encoder.shape
    total, squares, n = np.zeros(shape), np.zeros(shape), 0
    for row in rows:
        words = states[row].astype(np.float64)
        total, squares, n = total + words.sum(0), squares + (words**2).sum(0), n + len(words)
    mean = total / n
    deviation = np.sqrt(np.maximum(squares / n - mean**2, 0))
    return mean.astype(np.float32), np.where(deviation < 1e-6, 1.0, deviation).astype(np.float32)
