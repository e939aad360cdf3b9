"""Fits the parser on the states of a frozen encoder, and predicts trees with it.

Settings are those of Dozat and Manning (2017): Adam with a learning rate of 2e-3 and betas of 0.9, whose learning rate
falls to three quarters every 5,000 steps; about 5,000 words in a batch; the loss of relations is at the given heads.
Training stops when the LAS on validation sentences has not risen for ten epochs.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.dependencies.decoding import best_tree
from kerastl.dependencies.network import ARC, DROPOUT, RELATION, BiaffineParser
from kerastl.dependencies.scorer import LAS, WORDS, sentence_counts
from kerastl.errors import DataError
from kerastl.tokens.sentences import Sentence

BATCH_WORDS = 5_000
LEARNING_RATE, BETA, DECAY, DECAY_STEPS = 2e-3, 0.9, 0.75, 5_000
PATIENCE, MOST_EPOCHS = 10, 150
DECODED = 1_000  # words whose scores are in memory at a time, since those of relations are large


class States(Protocol):
    """What the parser needs of `tokens.states.TokenStates`."""

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """The sentences, with their trees."""

    def __getitem__(self, sentence: int) -> NDArray[np.float32]:
        """[words, layers, dim] of one sentence."""

    def batch(self, rows: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of some sentences [batch, n, layers, dim] and the mask [batch, n]."""


@dataclass(frozen=True)
class ParserOptions:
    """How a parser is built and trained. arc, relation: widths of its layers. batch_words: in a batch, about. patience:
    epochs without a better LAS after which training stops. epochs: at most."""

    arc: int = ARC
    relation: int = RELATION
    dropout: float = DROPOUT
    learning_rate: float = LEARNING_RATE
    batch_words: int = BATCH_WORDS
    patience: int = PATIENCE
    epochs: int = MOST_EPOCHS


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
        return cls(names, tuple((True, name) in pairs for name in names), tuple((False, name) in pairs
                                                                                 for name in names))

    def tree(self, sentence: Sentence, arcs: NDArray[np.float32], scores: NDArray[np.float32]) -> Sentence:
        """The sentence in the best tree with one root, with the best relation at each arc. arcs: [n, n + 1]; scores:
        [n, n + 1, relations]; n may be more than the words, for padding."""
        n = len(sentence)
        heads = best_tree(arcs[:n, :n + 1])
        allowed = np.where((heads == 0)[:, None], np.array(self.of_root), np.array(self.of_others))
        chosen = np.where(allowed, scores[np.arange(n), heads], -np.inf).argmax(1)
        return sentence.with_tree(heads.tolist(), (self.names[number] for number in chosen.tolist()))


@dataclass(frozen=True)
class FittedParser:
    """A parser. model: a `BiaffineParser`. curve: for each epoch its number, loss, and LAS on the validation sentences.
    epochs: of the weights that were kept."""

    model: Any
    relations: Relations
    curve: tuple[dict[str, float], ...]
    epochs: int
    seconds: float


Scores = Callable[[NDArray[np.float32], NDArray[np.float32]], dict[str, Any]]


def scores_of(model: Any) -> Scores:
    """A `BiaffineParser` as a graph: states and mask to `arcs` and `relations`."""
    shape = tuple(model.centre.shape)
    signature = [tf.TensorSpec([None, None, *shape], tf.float32), tf.TensorSpec([None, None], tf.float32)]
    graph: Scores = tf.function(model.call, input_signature=signature, autograph=False)
    return graph


def predict_trees(scores_of_batch: Scores, relations: Relations, states: States, rows: Sequence[int]
                  ) -> list[Sentence]:
    """Some sentences in their predicted trees, in the order of `rows`. scores_of_batch: see `scores_of`."""
    order = sorted(range(len(rows)), key=lambda place: len(states.sentences[rows[place]]))
    found: dict[int, Sentence] = {}
    for part in _cut(order, [len(states.sentences[row]) for row in rows], DECODED):
        batch = states.batch([rows[place] for place in part])
        scores = {name: np.asarray(value) for name, value in scores_of_batch(*batch).items()}
        for number, place in enumerate(part):
            found[place] = relations.tree(states.sentences[rows[place]], scores["arcs"][number],
                                          scores["relations"][number])
    return [found[place] for place in range(len(rows))]


def fit_parser(states: States, train: Sequence[int], validation: Sequence[int], options: ParserOptions, seed: int,
               precision: str = "float32") -> FittedParser:
    """Train on the sentences `train` and stop on `validation`, both numbers of sentences, which have trees. precision:
    the Keras policy of training; what is returned computes in float32, and so does validation. Raises DataError where
    one of the two is empty."""
    for name, rows in (("training", train), ("validation", validation)):
        if not len(rows):
            raise DataError(f"there are no {name} sentences", "at least one", "give more data, or another split")
    begun, sentences = time.perf_counter(), states.sentences
    relations = Relations.of([sentences[row] for row in train])
    keras.utils.set_random_seed(seed)
    trained, model = (
        BiaffineParser(len(relations.names), options.arc, options.relation, options.dropout, dtype=policy)
        for policy in (precision, "float32"))
    for parser in (trained, model):
        parser.build((None, None, *states[train[0]].shape[1:]), (None, None))
    trained.start(*_moments(states, train))
    step, run = _step(trained, options), scores_of(model)
    generator, curve = np.random.default_rng(seed), list[dict[str, float]]()
    best, kept, since = -1.0, trained.get_weights(), 0
    gold = [sentences[row] for row in validation]
    for epoch in range(1, options.epochs + 1):
        losses = [float(step(*states.batch(batch), *_targets([sentences[row] for row in batch], relations)))
                  for batch in _batches(train, [len(sentences[row]) for row in train], options.batch_words, generator)]
        model.set_weights(trained.get_weights())
        counts = sentence_counts(gold, predict_trees(run, relations, states, validation)).sum(0)
        las, since = float(counts[LAS] / counts[WORDS]), since + 1
        curve.append({"epoch": epoch, "loss": float(np.mean(losses)), "val_las": las})
        if las > best:
            best, kept, since = las, model.get_weights(), 0
        if since >= options.patience:
            break
    model.set_weights(kept)
    return FittedParser(model, relations, tuple(curve), len(curve) - since, time.perf_counter() - begun)


def _targets(sentences: Sequence[Sentence], relations: Relations) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Heads and numbers of relations, [batch, n] each, 0 at padding."""
    number = {name: place for place, name in enumerate(relations.names)}
    out = np.zeros((2, len(sentences), max(map(len, sentences))), np.int32)
    for place, sentence in enumerate(sentences):
        out[0, place, :len(sentence)] = sentence.heads
        out[1, place, :len(sentence)] = [number[name] for name in sentence.relations]
    return out[0], out[1]


def _moments(states: States, rows: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of the states of some sentences' words, [layers, dim] each."""
    shape = states[rows[0]].shape[1:]
    total, squares, n = np.zeros(shape), np.zeros(shape), 0
    for row in rows:
        words = states[row].astype(np.float64)
        total, squares, n = total + words.sum(0), squares + (words**2).sum(0), n + len(words)
    mean = total / n
    deviation = np.sqrt(np.maximum(squares / n - mean**2, 0))
    return mean.astype(np.float32), np.where(deviation < 1e-6, 1.0, deviation).astype(np.float32)


def _batches(rows: Sequence[int], lengths: Sequence[int], words: int, generator: np.random.Generator
             ) -> Iterator[list[int]]:
    """Sentences of similar lengths together, about `words` words, in random order."""
    order = np.lexsort((generator.random(len(rows)), lengths)).tolist()
    batches = list(_cut(order, lengths, words))
    for number in generator.permutation(len(batches)).tolist():
        yield [rows[place] for place in batches[number]]


def _cut(order: Sequence[int], lengths: Sequence[int], words: int) -> Iterator[list[int]]:
    """Consecutive parts of `order` with about `words` words, each of one sentence at least."""
    part: list[int] = []
    held = 0
    for place in order:
        part.append(place)
        held += lengths[place]
        if held >= words:
            yield part
            part, held = [], 0
    if part:
        yield part


def _step(model: BiaffineParser, options: ParserOptions) -> Any:
    """One step of training as a graph: states, mask, heads and relations -> the loss of a word."""
    rate = keras.optimizers.schedules.ExponentialDecay(options.learning_rate, DECAY_STEPS, DECAY)
    optimizer = keras.optimizers.Adam(rate, beta_1=BETA, beta_2=BETA)
    optimizer.build(model.trainable_variables)

    def step(values: Any, mask: Any, heads: Any, relations: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of_words(model, values, mask, heads, relations)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    some, numbers = tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None, None], tf.int32)
    states = tf.TensorSpec([None, None, *model.centre.shape], tf.float32)
    return tf.function(step, input_signature=[states, some, numbers, numbers], autograph=False)


def loss_of_words(model: BiaffineParser, values: Any, mask: Any, heads: Any, relations: Any) -> Any:
    """Cross-entropy of heads, and of relations at the given heads, for a word."""
    arc_dependents, arc_heads, dependents, candidates = model.parts(values, training=True)
    arcs = model.arc_scores(arc_dependents, arc_heads, mask)
    given = tf.one_hot(heads, tf.shape(candidates)[1])  # as a product, whose gradient is a product too
    scores = model.relation_scores(dependents, given @ candidates)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(heads, arcs) \
        + tf.nn.sparse_softmax_cross_entropy_with_logits(relations, scores)
    return tf.reduce_sum(losses * mask) / tf.reduce_sum(mask)
