"""Evaluating a tagger on test sentences, beside the most frequent tag of each word and the same head on states of the
same network with random weights."""

import time
from dataclasses import dataclass
from pathlib import Path

from kerastl.data.examples import TEST, TRAIN
from kerastl.runtime import Runtime
from kerastl.tagging.figures import Gain, Interval, TaggingFigures, compare, figures, most_frequent
from kerastl.tagging.fit import FittedTagger, fit_tagger
from kerastl.tokens.fit import FitOptions
from kerastl.tokens.sentences import TokenExamples
from kerastl.tokens.states import TokenStates, compute_states, untrained

BASELINE = "most frequent tag of each word"


@dataclass(frozen=True)
class TaggingEvaluation:
    """What a tagger is worth on test sentences. predicted: the tags of each of them, in the order of `part(TEST)`.
    untrained: None where that was not measured."""

    figures: TaggingFigures
    predicted: tuple[tuple[str, ...], ...]
    baseline: Gain
    untrained: Gain | None
    seconds: float


def evaluate_tagger(fitted: FittedTagger, examples: TokenExamples, states: TokenStates, runtime: Runtime, *,
                    with_untrained: bool = True, options: FitOptions | None = None,
                    cache_dir: str | Path | None = None) -> TaggingEvaluation:
    """The figures of a tagger on the test sentences, on which nothing was chosen.

    with_untrained: whether the same head is also trained on the states of the same network with weights drawn at
    random, which shows what pretraining is worth; that takes as long again. options: those of the head.
    """
    start = time.perf_counter()
    train = [examples.sentences[row] for row in examples.part(TRAIN)]
    rows = examples.part(TEST)
    test, predicted = [examples.sentences[row] for row in rows], fitted.predict(states, rows)
    known = {word for sentence in train for word in sentence.words}
    tag = most_frequent(train)
    baseline = compare(BASELINE, test, predicted, [tag(sentence) for sentence in test], known, _over_baseline)
    other = None
    if with_untrained:
        random = compute_states(examples, untrained(states.encoder, runtime.seed), runtime, cache_dir=cache_dir)
        head = fit_tagger(examples, random, fitted.head, options=options, seed=runtime.seed)
        other = compare("untrained network", test, predicted, head.predict(random, rows), known, _over_untrained)
    return TaggingEvaluation(figures(test, predicted, known), tuple(predicted), baseline, other,
                             time.perf_counter() - start)


def _over_baseline(gain: float, interval: Interval) -> str:
    return _sentence("the tagger is", "than the most frequent tag of each word", gain, interval)


def _over_untrained(gain: float, interval: Interval) -> str:
    return _sentence("with pretrained weights the tagger is", "than with random ones", gain, interval)


def _sentence(subject: str, other: str, gain: float, interval: Interval) -> str:
    low, high = (100 * end for end in interval)
    if low <= 0 <= high:
        return (f"{subject} not significantly better or worse {other} ({100 * gain:+.1f} points, 95% CI {low:+.1f} to "
                f"{high:+.1f}).")
    if gain < 0:
        low, high = -high, -low
    word = "more" if gain > 0 else "less"
    return f"{subject} {abs(100 * gain):.1f} points {word} accurate {other} (95% CI {low:.1f} to {high:.1f})."
