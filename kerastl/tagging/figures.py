"""The figures of a tagger on held-out sentences: accuracy by tag, on unknown words, and of whole entities."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kerastl.fields import Section
from kerastl.stats import paired_difference
from kerastl.tagging.entities import is_bio, spans
from kerastl.tokens.bootstrap import METHOD, f1, ratio, sentence_interval
from kerastl.tokens.sentences import Sentence, commonest

Interval = tuple[float, float]
MOST_CONFUSIONS = 20
Predicted = Sequence[Sequence[str]]  # the tags of each sentence


@dataclass(frozen=True)
class TagFigures(Section):
    """A tag: how many words have it, and recall, precision and F1. recall_ci95: None where no word has it."""

    tag: str
    n: int
    recall: float
    recall_ci95: Interval | None
    precision: float
    f1: float


@dataclass(frozen=True)
class Confusion(Section):
    """How many words of a tag were predicted to have another."""

    tag: str
    predicted: str
    n: int


@dataclass(frozen=True)
class TaggingFigures(Section):
    """Figures on `n` words of `sentences` held-out sentences. unknown_accuracy: on words that no training sentence has;
    None where there are none. entity_f1: of spans that are exactly right, beginning, end and type; None where the tags
    are no BIO. interval: how intervals were computed."""

    n: int
    sentences: int
    accuracy: float
    accuracy_ci95: Interval
    n_unknown: int = 0
    unknown_accuracy: float | None = None
    unknown_accuracy_ci95: Interval | None = None
    entities: int = 0
    entity_precision: float | None = None
    entity_recall: float | None = None
    entity_f1: float | None = None
    entity_f1_ci95: Interval | None = None
    whole_sentences: float = 0.0
    tags: tuple[TagFigures, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    interval: str = METHOD


@dataclass(frozen=True)
class Gain(Section):
    """A tagger against another way of tagging, on the same words. p: of Fisher's randomisation test over sentences."""

    accuracy: float
    accuracy_ci95: Interval
    entity_f1: float | None
    gain: float
    gain_ci95: Interval
    p: float
    name: str
    sentence: str


def figures(sentences: Sequence[Sentence], predicted: Predicted, known: set[str]) -> TaggingFigures:
    """The figures of predicted tags. known: the words of the training sentences."""
    ids = [sentence.id for sentence in sentences]
    right = [np.array([a == b for a, b in zip(sentence.tags, tags, strict=True)])
             for sentence, tags in zip(sentences, predicted, strict=True)]
    new = [np.array([word not in known for word in sentence.words]) for sentence in sentences]
    words = np.array([[hits.sum(), len(hits)] for hits in right])
    unknown = np.array([[hits[fresh].sum(), fresh.sum()] for hits, fresh in zip(right, new, strict=True)])
    n_unknown = int(unknown[:, 1].sum())
    pairs = Counter((a, b) for sentence, tags in zip(sentences, predicted, strict=True)
                    for a, b in zip(sentence.tags, tags, strict=True))
    entities = _entities(sentences, predicted, ids)
    made = TaggingFigures(
        int(words[:, 1].sum()), len(sentences), _total(words), sentence_interval(words, ratio, ids),
        n_unknown, _total(unknown) if n_unknown else None,
        sentence_interval(unknown, ratio, ids) if n_unknown else None,
        whole_sentences=float(np.mean([hits.all() for hits in right])),
        tags=_by_tag(sentences, predicted, ids, pairs),
        confusions=tuple(Confusion(a, b, n) for (a, b), n in sorted(
            ((pair, n) for pair, n in pairs.items() if pair[0] != pair[1]), key=lambda item: (-item[1], item[0])
        )[:MOST_CONFUSIONS]))
    return replace(made, **entities)


def compare(name: str, sentences: Sequence[Sentence], predicted: Predicted, other: Predicted, known: set[str],
            describe: Callable[[float, Interval], str]) -> Gain:
    """How much more accurate a tagger is than another way of tagging. describe: the sentence, for the gain and its
    interval."""
    theirs = figures(sentences, other, known)
    groups = [sentence.id for sentence in sentences for _ in sentence.words]
    ours, others = (np.concatenate([np.equal(np.array(sentence.tags, object), np.array(tags, object)).astype(float)
                                    for sentence, tags in zip(sentences, each, strict=True)])
                    for each in (predicted, other))
    paired = paired_difference(ours, others, groups)
    return Gain(theirs.accuracy, theirs.accuracy_ci95, theirs.entity_f1, paired.gain, paired.gain_ci95, paired.p, name,
                describe(paired.gain, paired.gain_ci95))


def most_frequent(training: Iterable[Sentence]) -> Callable[[Sentence], tuple[str, ...]]:
    """The baseline without transfer: of each word its most frequent tag in the training sentences; of others the most
    frequent tag of all."""
    tags_of: dict[str, Counter[str]] = defaultdict(Counter)
    for sentence in training:
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            tags_of[word][tag] += 1
    most = {word: commonest(counts) for word, counts in tags_of.items()}
    overall = commonest(sum(tags_of.values(), Counter()))
    return lambda sentence: tuple(most.get(word, overall) for word in sentence.words)


def _total(counts: "np.typing.NDArray[np.int_]") -> float:
    return float(counts[:, 0].sum() / counts[:, 1].sum())


def _entities(sentences: Sequence[Sentence], predicted: Predicted, ids: Sequence[str]) -> dict[str, Any]:
    if not is_bio(tag for sentence in sentences for tag in sentence.tags):
        return {}
    pairs = [(spans(sentence.tags), spans(tags)) for sentence, tags in zip(sentences, predicted, strict=True)]
    counts = np.array([[len(given & found), len(found), len(given)] for given, found in pairs])
    hits, found, given = counts.sum(0).tolist()
    return {"entities": given, "entity_precision": hits / max(1, found), "entity_recall": hits / max(1, given),
            "entity_f1": float(f1(counts.sum(0, keepdims=True))[0]),
            "entity_f1_ci95": sentence_interval(counts, f1, ids)}


def _by_tag(sentences: Sequence[Sentence], predicted: Predicted, ids: Sequence[str], pairs: Counter[tuple[str, str]]
            ) -> tuple[TagFigures, ...]:
    rows = []
    for tag in sorted({name for pair in pairs for name in pair}):
        given = sum(n for (a, _), n in pairs.items() if a == tag)
        found = sum(n for (_, b), n in pairs.items() if b == tag)
        hits = pairs[tag, tag]
        counts = np.array([[sum(a == tag == b for a, b in zip(sentence.tags, tags, strict=True)),
                            sentence.tags.count(tag)] for sentence, tags in zip(sentences, predicted, strict=True)])
        interval = sentence_interval(counts, ratio, ids) if given else None
        rows.append(TagFigures(tag, given, hits / max(1, given), interval, hits / max(1, found),
                               2 * hits / max(1, given + found)))
    return tuple(sorted(rows, key=lambda row: (-row.n, row.tag)))
