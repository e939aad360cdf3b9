"""Training a tagger on cached states, and its predictions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import TRAIN, VALIDATION
from kerastl.errors import DataError
from kerastl.tagging.entities import is_bio, spans
from kerastl.tagging.heads import build_head, check_head
from kerastl.tokens.fit import FitOptions, Run, TokenFit, check_options, fit_head, outputs, run_of
from kerastl.tokens.read import with_tags
from kerastl.tokens.sentences import Sentence, TokenExamples
from kerastl.tokens.states import TokenStates

UNKNOWN_TAG = -1  # of a word whose tag no training sentence has


@dataclass(frozen=True)
class FittedTagger:
    """A trained head and the tags that it knows, in the order of its logits. temperature: by which logits are divided
    before softmax, fitted on validation words."""

    head: str
    tags: tuple[str, ...]
    fit: TokenFit
    temperature: float

    @cached_property
    def run(self) -> Run:
        """The head in one graph."""
        return run_of(self.fit.model, self.fit.model.inputs[0].shape[2:])

    @cached_property
    def names(self) -> NDArray[np.object_]:
        """The tags as an array."""
        return np.array(self.tags, object)

    def logits(self, states: TokenStates, rows: Sequence[int]) -> list[NDArray[np.float32]]:
        """[words, tags] float32 for each of these sentences."""
        return outputs(self.run, states, rows)

    def predict(self, states: TokenStates, rows: Sequence[int]) -> list[tuple[str, ...]]:
        """The tags of each of these sentences."""
        return [tuple(self.names[scores.argmax(1)]) for scores in self.logits(states, rows)]


def fit_tagger(examples: TokenExamples, states: TokenStates, head: str = "bilstm", *,
               options: FitOptions | None = None, seed: int = 0) -> FittedTagger:
    """Train a head to tag words, with early stopping on the validation sentences: by the F1 of entities where the tags
    are BIO, otherwise by accuracy.

    head: `linear`, `bilstm` or `transformer`. Raises what `check_tagger` does.
    """
    tags = check_tagger(examples, head)
    train, validation = examples.part(TRAIN), examples.part(VALIDATION)
    number = {tag: i for i, tag in enumerate(tags)}
    numbers = [np.array([number.get(tag, UNKNOWN_TAG) for tag in sentence.tags], np.int32)
               for sentence in examples.sentences]
    given = [examples.sentences[row] for row in validation]
    spanned, names = is_bio(tags), np.array(tags, object)

    def targets(rows: Sequence[int], longest: int) -> tuple[NDArray[Any], ...]:
        made = np.zeros((len(rows), longest), np.int32)
        for place, row in enumerate(rows):
            made[place, :len(numbers[row])] = numbers[row]
        return (made,)

    def score(run: Run) -> float:
        predicted = [tuple(names[logits.argmax(1)]) for logits in outputs(run, states, validation)]
        return _entity_f1(given, predicted) if spanned else _accuracy(given, predicted)

    fit = fit_head(lambda: build_head(head, states.encoder.shape, len(tags)), states, train, targets, _loss, score,
                   options=options, seed=seed, description=f"tagger ({head}{', untrained' * states.encoder.untrained})")
    made = FittedTagger(head, tags, fit, 1.0)
    logits = np.concatenate(made.logits(states, validation))
    wanted = np.concatenate([numbers[row] for row in validation])
    return replace(made, temperature=_temperature(logits, wanted))


def check_tagger(examples: TokenExamples, head: str = "bilstm", options: FitOptions | None = None
                 ) -> tuple[str, ...]:
    """The tags of the training sentences, sorted. Call it before states are computed, which takes minutes. Raises
    OptionError for an unknown head and for options that cannot be used; DataError where a word has no tag, and where
    there is one tag only."""
    check_head(head)
    check_options(options or FitOptions())
    with_tags(examples)
    tags = tuple(sorted({tag for row in examples.part(TRAIN) for tag in examples.sentences[row].tags}))
    if len(tags) < 2:
        raise DataError(f"{examples.source} has one tag: {', '.join(tags)}", "at least two tags", "choose another "
                        "`column`" if examples.column else "use data with several tags")
    return tags


def _loss(logits: Any, mask: Any, targets: Any) -> Any:
    """Mean cross-entropy over words."""
    import tensorflow as tf

    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, tf.cast(logits, tf.float32))
    return tf.reduce_sum(losses * mask) / tf.reduce_sum(mask)


def _accuracy(given: Sequence[Sentence], predicted: Sequence[Sequence[str]]) -> float:
    return float(np.mean([a == b for sentence, tags in zip(given, predicted, strict=True)
                          for a, b in zip(sentence.tags, tags, strict=True)]))


def _entity_f1(given: Sequence[Sentence], predicted: Sequence[Sequence[str]]) -> float:
    pairs = [(spans(sentence.tags), spans(tags)) for sentence, tags in zip(given, predicted, strict=True)]
    return 2 * sum(len(a & b) for a, b in pairs) / max(1, sum(len(a) + len(b) for a, b in pairs))


def _temperature(logits: NDArray[np.float32], targets: NDArray[np.int32]) -> float:
    """Temperature scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599): the temperature with the least log loss
    on validation words, in [0.05, 20]."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    known = targets >= 0
    if not known.any():  # no validation word has a tag that training has
        return 1.0
    rows, wanted = logits[known].astype(np.float64), targets[known]

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(rows / np.exp(log_temperature), axis=1)[np.arange(len(rows)), wanted].mean())

    best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(best.x))
