"""Training a head on cached states: batches by words, Adam, and early stopping by a score on validation sentences."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from kerastl.errors import CheckFailed, all_of, at_least, broken
from kerastl.tokens.states import TokenStates

POOL = 16  # batches of sentences that are sorted by length together
BATCHES, FEWEST, MOST = 50, 100, 5000  # of an epoch, and words of a batch: at least, at most

# rows, words of the longest -> what the loss compares with, each [n, longest, ...]
Targets = Callable[[Sequence[int], int], tuple[NDArray[Any], ...]]
# outputs of the head, mask [n, longest], targets -> the mean loss
Loss = Callable[..., Any]
Run = Callable[[Any, Any], Any]  # states and mask -> the outputs of a head


@dataclass(frozen=True)
class FitOptions:
    """How a head on tokens is trained. batch_words: None, a fiftieth of the training words, from 100 to 5,000. The
    settings of Adam are those of Dozat and Manning 2017 (https://arxiv.org/abs/1611.01734)."""

    epochs: int = 100
    patience: int = 10
    batch_words: int | None = None
    learning_rate: float = 2e-3
    beta: float = 0.9
    decay: float = 0.75  # of the learning rate, every so many steps
    decay_steps: int = 5000


@dataclass(frozen=True)
class TokenFit:
    """A trained head. model: a keras.Model of [states, mask]. epoch: the one that was kept. curve: of each epoch its
    mean loss and the score on validation sentences."""

    model: Any
    epoch: int
    score: float
    curve: tuple[dict[str, float], ...]
    seconds: float


def fit_head(build: Callable[[], Any], states: TokenStates, train: Sequence[int], targets: Targets, loss: Loss,
             score: Callable[[Run], float], *, options: FitOptions | None = None, seed: int = 0,
             description: str = "head") -> TokenFit:
    """Train a head until its score has not improved for `patience` epochs, and keep the weights of the best one.

    build: makes the head, a keras.Model of [states [n, words, layers, dim], mask [n, words]]. train: the sentences to
    train on. score: of the head as `outputs` takes it, on validation sentences; higher is better. Equal seeds give
    equal heads. Raises OptionError for options that cannot be used, CheckFailed where the loss is not a number.
    """
    import keras

    from kerastl.optimizers import Adam

    options = options or FitOptions()
    check_options(options)
    start = time.perf_counter()
    keras.utils.set_random_seed(seed)
    model, generator = build(), np.random.default_rng(seed)
    run = run_of(model, states.encoder.shape)
    rate = keras.optimizers.schedules.ExponentialDecay(options.learning_rate, options.decay_steps, options.decay)
    optimizer = Adam(rate, beta_1=options.beta, beta_2=options.beta, global_clipnorm=5.0)
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True, autograph=False)
    def step(states: tf.Tensor, mask: tf.Tensor, *wanted: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(model([states, mask], training=True), mask, *wanted)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
        return value

    lengths = np.array([len(states.sentences[row]) for row in train])
    words = options.batch_words or int(np.clip(lengths.sum() // BATCHES, FEWEST, MOST))
    best, kept, weights, curve = -np.inf, 0, model.get_weights(), []
    with tqdm(total=options.epochs, desc=description, unit=" epochs") as bar:
        for epoch in range(1, options.epochs + 1):
            losses = [float(step(*map(tf.constant, (*states.batch(rows), *targets(rows, longest_of(states, rows))))))
                      for rows in batches(train, lengths, words, generator)]
            if not np.isfinite(losses).all():
                raise CheckFailed(f"the loss is not a number in epoch {epoch}", "a finite loss",
                                  "decrease `learning_rate`")
            value = score(run)
            curve.append({"epoch": float(epoch), "loss": float(np.mean(losses)), "score": value})
            bar.update()
            bar.set_postfix_str(f"score {value:.4f}", refresh=False)
            if value > best:
                best, kept, weights = value, epoch, model.get_weights()
            elif epoch - kept >= options.patience:
                break
    model.set_weights(weights)
    model.trainable = False
    return TokenFit(model, kept, float(best), tuple(curve), time.perf_counter() - start)


def check_options(options: FitOptions) -> None:
    """Raises OptionError that lists all options that cannot be used."""
    values = {"epochs": options.epochs, "patience": options.patience, "batch_words": options.batch_words or 1}
    if faults := broken(at_least(1, *values), values):
        raise all_of(faults)


def longest_of(states: TokenStates, rows: Sequence[int]) -> int:
    """The words of the longest of these sentences."""
    return max(len(states.sentences[row]) for row in rows)


def batches(rows: Sequence[int], lengths: NDArray[Any], words: int, generator: np.random.Generator | None = None
            ) -> Iterator[list[int]]:
    """Sentences in batches of at most `words` words, padding included, but at least one sentence each. Those of like
    length share a batch. generator: of a random order; without it, all are sorted by length."""
    numbers = np.array(rows)
    if generator is None:
        yield from _packed(np.argsort(lengths, kind="stable"), numbers, lengths, words)
        return
    order = generator.permutation(len(numbers))
    pool = max(1, round(POOL * words / max(1.0, float(lengths.mean()))))
    parts = [order[start:start + pool] for start in range(0, len(order), pool)]
    made = [batch for part in parts
            for batch in _packed(part[np.argsort(lengths[part], kind="stable")], numbers, lengths, words)]
    for place in generator.permutation(len(made)):
        yield made[place]


def _packed(order: NDArray[np.intp], numbers: NDArray[Any], lengths: NDArray[Any], words: int) -> Iterator[list[int]]:
    batch: list[int] = []
    for place in order.tolist():
        if batch and lengths[place] * (len(batch) + 1) > words:
            yield batch
            batch = []
        batch.append(int(numbers[place]))
    if batch:
        yield batch


def run_of(model: Any, shape: Sequence[int]) -> Run:
    """A head in one graph for sentences of any length. shape: of a word's states, (layers, dim)."""
    specs = [tf.TensorSpec([None, None, *shape], tf.float32), tf.TensorSpec([None, None], tf.float32)]
    run: Run = tf.function(lambda states, mask: model([states, mask], training=False), input_signature=specs,
                           autograph=False)
    return run


def outputs(run: Run, states: TokenStates, rows: Sequence[int], words: int = MOST) -> list[Any]:
    """What a head returns for some sentences, in the order of `rows`: for each its output, or the list of its outputs,
    without padding along the axis of words. run: see `run_of`."""
    lengths = np.array([len(states.sentences[row]) for row in rows])
    place = {row: i for i, row in enumerate(rows)}
    made: list[Any] = [None] * len(rows)
    for batch in batches(rows, lengths, words):
        result = run(*map(tf.constant, states.batch(batch)))
        parts = result if isinstance(result, list | tuple) else [result]
        for at, row in enumerate(batch):
            own = [part[at, :len(states.sentences[row])].numpy() for part in parts]
            made[place[row]] = own if len(own) > 1 else own[0]
    return made
