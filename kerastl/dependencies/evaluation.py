"""A parser on held-out sentences, beside trees that need no training of an encoder."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kerastl.data.examples import TEST, TRAIN
from kerastl.dependencies.fit import FittedParser, fit_parser
from kerastl.dependencies.scorer import CONTENT, ParseFigures, correct_words, score, universal
from kerastl.fields import Section
from kerastl.runtime import Runtime
from kerastl.stats import paired_difference, verdict_sentence
from kerastl.tokens.fit import FitOptions
from kerastl.tokens.sentences import Sentence, TokenExamples, commonest
from kerastl.tokens.states import TokenStates, compute_states, untrained

Interval = tuple[float, float]
PREVIOUS, NEXT, UNTRAINED = "previous", "next", "untrained"
FUNCTION = frozenset("aux cop mark det clf case cc punct".split())  # the other relations of Universal Dependencies
NAMES = {PREVIOUS: "every word depends on the one before it", NEXT: "every word depends on the one after it",
         UNTRAINED: "the same parser on the states of an untrained encoder"}


@dataclass(frozen=True)
class ParserGain(Section):
    """A parser against other trees of the same words. name: `previous`, `next` or `untrained`. gain: the LAS of the
    parser minus this LAS. p: of Fisher's randomisation test over sentences."""

    name: str
    what: str
    uas: float
    las: float
    las_ci95: Interval
    gain: float
    gain_ci95: Interval
    p: float
    sentence: str


@dataclass(frozen=True)
class RelationFigures(Section):
    """Words with a relation: how many, and which shares of them have the correct head, and the correct head and
    relation."""

    relation: str
    n: int
    uas: float
    las: float


@dataclass(frozen=True)
class ParserEvaluation:
    """A parser on the test sentences. gold, predicted: these sentences, in their given and their predicted trees.
    notes: what the figures suppose, in words."""

    figures: ParseFigures
    relations: tuple[RelationFigures, ...]
    gains: tuple[ParserGain, ...]
    gold: tuple[Sentence, ...]
    predicted: tuple[Sentence, ...]
    notes: tuple[str, ...]
    seconds: float

    def __repr__(self) -> str:
        return f"ParserEvaluation({self.figures.n:,} sentences, LAS {self.figures.las:.3f})"


def evaluate_parser(fitted: FittedParser, examples: TokenExamples, states: TokenStates, runtime: Runtime, *,
                    with_untrained: bool = True, options: FitOptions | None = None,
                    cache_dir: str | Path | None = None) -> ParserEvaluation:
    """Evaluate a parser on the test sentences, on which nothing was chosen, beside trees in which every word depends on
    its neighbour.

    with_untrained: whether the same parser is also trained on the states of the same network with weights drawn at
    random, which shows what pretraining is worth; that takes as long again. options: those of the parser.
    """
    begun, rows = time.perf_counter(), examples.part(TEST)
    training, gold = ([examples.sentences[row] for row in part] for part in (examples.part(TRAIN), rows))
    predicted = fitted.predict(states, rows)
    others = {PREVIOUS: list(map(chained(training, -1), gold)), NEXT: list(map(chained(training, 1), gold))}
    if with_untrained:
        random = compute_states(examples, untrained(states.encoder, runtime.seed), runtime, cache_dir=cache_dir)
        others[UNTRAINED] = fit_parser(examples, random, runtime, options=options, sizes=fitted.sizes).predict(
            random, rows)
    return ParserEvaluation(
        score(gold, predicted), by_relation(gold, predicted),
        tuple(_gain(name, gold, predicted, trees) for name, trees in others.items()), tuple(gold), tuple(predicted),
        _notes(gold), time.perf_counter() - begun)


def chained(training: Sequence[Sentence], step: int) -> Callable[[Sentence], Sentence]:
    """The baseline without a parser: every word depends on the one before it (`step` -1) or after it (1), the first or
    the last on the root; with the most frequent relation of that word, or of all words where training has it not."""
    by_word: dict[str, Counter[str]] = {}
    overall, root = Counter[str](), Counter[str]()
    for sentence in training:
        for word, head, relation in zip(sentence.words, sentence.heads, sentence.relations, strict=True):
            (root if head == 0 else overall)[relation] += 1
            if head:
                by_word.setdefault(word, Counter())[relation] += 1

    def chain(sentence: Sentence) -> Sentence:
        n = len(sentence)
        heads = [place if step < 0 else (place + 2 if place + 1 < n else 0) for place in range(n)]
        return sentence.with_tree(heads, (
            commonest(by_word.get(word, overall) if head else root) for word, head in
            zip(sentence.words, heads, strict=True)))

    return chain


def by_relation(gold: Sequence[Sentence], predicted: Sequence[Sentence]) -> tuple[RelationFigures, ...]:
    """The accuracy on the words of each given relation, the most frequent first; subtypes count as their relation."""
    counts: dict[str, list[int]] = {}
    for given, found in zip(gold, predicted, strict=True):
        heads, both = correct_words(given, found)
        for relation, head, correct in zip(given.relations, heads.tolist(), both.tolist(), strict=True):
            entry = counts.setdefault(universal(relation), [0, 0, 0])
            for place, value in enumerate((1, head, correct)):
                entry[place] += int(value)
    order = sorted(counts.items(), key=lambda item: (-item[1][0], item[0]))
    return tuple(RelationFigures(relation, n, heads / n, both / n) for relation, (n, heads, both) in order)


def _gain(name: str, gold: Sequence[Sentence], predicted: Sequence[Sentence], other: Sequence[Sentence]) -> ParserGain:
    theirs = score(gold, other)
    ours, others = (np.concatenate([correct_words(*pair)[1] for pair in zip(gold, trees, strict=True)])
                    for trees in (predicted, other))
    paired = paired_difference(ours, others, [sentence.id for sentence in gold for _ in sentence.words])
    what = NAMES[name]
    return ParserGain(name, what, theirs.uas, theirs.las, theirs.las_ci95, paired.gain, paired.gain_ci95, paired.p,
                      verdict_sentence(paired.gain, paired.gain_ci95, **_sentences(name, theirs.las)))


def _sentences(name: str, las: float) -> dict[str, str]:
    """What a gain means: for `stats.verdict_sentence`."""
    if name == UNTRAINED:
        return {"helped": f"Pretraining helps: the LAS is {{points}} above that of the same parser on an untrained "
                          f"encoder ({las:.3f}).",
                "hurt": f"Pretraining hurts: the LAS is {{points}} below that of the same parser on an untrained "
                        f"encoder ({las:.3f}).",
                "unclear": f"Whether pretraining helps is unclear: {{points}} against the same parser on an untrained "
                           f"encoder (LAS {las:.3f})."}
    what = f"that of trees in which {NAMES[name]} ({las:.3f})"
    return {"helped": f"The LAS is {{points}} above {what}.", "hurt": f"The LAS is {{points}} BELOW {what}.",
            "unclear": f"The LAS is not clearly different from {what}: {{points}}."}


def _notes(gold: Sequence[Sentence]) -> tuple[str, ...]:
    relations = [universal(relation) for sentence in gold for relation in sentence.relations]
    foreign, several = sorted(set(relations) - CONTENT - FUNCTION), sum(one.heads.count(0) > 1 for one in gold)
    notes = (f"{several:,} of {len(gold):,} test sentences have several words that depend on the root, of which the "
             "parser can find one",) * bool(several)
    if not foreign:
        return notes
    n, content = sum(relation in foreign for relation in relations), sum(relation in CONTENT for relation in relations)
    return (*notes, f"{n:,} of {len(relations):,} test words have relations that Universal Dependencies do not have "
            f"({', '.join(foreign[:8])}{', ...' * (len(foreign) > 8)}); CLAS counts the {content:,} words whose "
            "relation is one of its content relations",)
