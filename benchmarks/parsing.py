"""Dependency parsing: on cached states of a frozen encoder against plain Keras `fit` through the encoder, and against
fine-tuning the encoder; sentences per second."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kerastl as tl
from benchmarks.figure import Figure, at_least
from benchmarks.grammar import write
from kerastl.data.examples import TEST, TRAIN, VALIDATION
from kerastl.dependencies.fit import FittedParser, ParserSizes
from kerastl.dependencies.network import loss_of_words
from kerastl.dependencies.scorer import ParseFigures, score
from kerastl.runtime import apply
from kerastl.tokens.sentences import Sentence, TokenExamples
from kerastl.tokens.served import SentenceReader
from kerastl.tokens.states import TokenEncoder

TREEBANK = Path("samples/treebank")
EPOCHS, SENTENCES, BATCH = 20, 2000, 32  # of the comparison of speeds
TUNED, RATE = 4, 5e-5  # epochs and learning rate of fine-tuning


@dataclass(frozen=True)
class Batch:
    """Sentences as the network through the encoder takes them."""

    tokens: Any
    owners: Any
    mask: Any
    heads: Any
    relations: Any


class Through(keras.Model):
    """Tokens and their owners -> what the parser returns: the encoder and the parser as one network."""

    def __init__(self, encoder: TokenEncoder, fitted: FittedParser, tuned: bool) -> None:
        super().__init__()
        self.encoder, self.parser = encoder.backbone.model, fitted.fit.model
        self.encoder.trainable = tuned
        self.parser.trainable = True
        self._reader = SentenceReader(encoder)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Called by Keras."""
        tokens, owners, mask = inputs
        states = self._reader.states(tokens, owners, tf.shape(mask)[1])
        return self.parser([states, mask], training=training)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *more: Any, **others: Any) -> Any:
        """Called by Keras."""
        return loss_of_words(y_pred, x[2], *y)


def batches_of(examples: TokenExamples, encoder: TokenEncoder, fitted: FittedParser, rows: Sequence[int]
               ) -> list[Batch]:
    """Batches of 32 sentences of like length, tokenized before the clock starts."""
    order = sorted(rows, key=lambda row: len(examples.sentences[row]))
    return [batch_of([examples.sentences[row] for row in order[start:start + BATCH]], encoder, fitted)
            for start in range(0, len(order), BATCH)]


def batch_of(sentences: Sequence[Sentence], encoder: TokenEncoder, fitted: FittedParser) -> Batch:
    """One of them."""
    tokens, owners = encoder.encode(sentences)
    longest = max(map(len, sentences))
    mask, targets = np.zeros((len(sentences), longest), np.float32), np.zeros((2, len(sentences), longest), np.int32)
    for place, sentence in enumerate(sentences):
        n = len(sentence)
        mask[place, :n], targets[0, place, :n] = 1, sentence.heads
        targets[1, place, :n] = fitted.relations.numbers(sentence)
    return Batch(*map(tf.constant, (tokens, owners, mask, targets[0], targets[1])))


def dataset(batches: Sequence[Batch]) -> Any:
    """For `fit`."""
    def made() -> Any:
        for batch in batches:
            yield (batch.tokens, batch.owners, batch.mask), (batch.heads, batch.relations)

    numbers, some = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.float32)
    return tf.data.Dataset.from_generator(made, output_signature=((numbers, numbers, some), (numbers, numbers)))


def prepared(folder: Path, limit: int) -> tuple[TokenExamples, TokenEncoder]:
    """Sentences of the Turkish treebank, or of the artificial language where it is not here; and MiniLM."""
    source = TREEBANK
    if not source.exists():
        source = folder / "grammar.conllu"
        write(source, limit, 1)
    return tl.split_sentences(tl.read_sentences(source, limit=limit)), tl.load_encoder("minilm", "bundled")


def over_fit() -> list[Figure]:
    """Training sentences per second, of 20 epochs in batches of as many words, against Keras `fit` through the encoder;
    and parsing."""
    with tempfile.TemporaryDirectory() as name:
        folder, runtime = Path(name), apply()
        examples, encoder = prepared(folder, SENTENCES)
        train = examples.part(TRAIN)
        words = BATCH * sum(len(examples.sentences[row]) for row in train) // len(train)
        options = tl.FitOptions(epochs=EPOCHS, patience=EPOCHS, batch_words=words)
        warm = examples.take([*train[:40], *examples.part(VALIDATION)[:4], *examples.part(TEST)[:4]])
        tl.compute_states(warm, encoder, runtime, cache_dir=folder / "warm")
        begun = time.perf_counter()
        states = tl.compute_states(examples, encoder, runtime, cache_dir=folder / "cache")
        in_pass = time.perf_counter() - begun
        fitted = tl.fit_parser(examples, states, runtime, options=options)
        ours = time.perf_counter() - begun
        through = Through(encoder, fitted, tuned=False)
        through.compile(optimizer=keras.optimizers.Adam(2e-3, beta_1=0.9, beta_2=0.9))
        made = dataset(batches_of(examples, encoder, fitted, train))
        through.fit(made, epochs=1, verbose=0)  # traced
        begun = time.perf_counter()
        through.fit(made, epochs=2, verbose=0)
        theirs = (time.perf_counter() - begun) / 2 * EPOCHS
        begun = time.perf_counter()
        everything = list(range(len(examples)))
        fitted.predict(states, everything)
        parsed = len(everything) / (time.perf_counter() - begun)
        rows = len(train) * EPOCHS
        what = (f"dependency parser, {len(train)} sentences for {EPOCHS} epochs with the pass over all sentences "
                f"({in_pass:.0f} of {ours:.0f} s) and validation after each epoch, batches of {words} words, over "
                "plain Keras `fit` through the frozen encoder in float32 (two epochs measured, no validation; "
                f"sentences/s trained: {rows / ours:.0f} and {rows / theirs:.0f})")
        return [at_least(what, theirs / ours, 5.0),
                Figure("sentences parsed per second from cached states, decoding included", f"{parsed:.0f}")]


def fine_tuned(limit: int, folder: Path) -> list[tuple[str, ParseFigures, float]]:
    """The parser on frozen states, and the same network fine-tuned whole from there: name, figures on the test
    sentences, seconds of training."""
    runtime = apply()
    examples, encoder = prepared(folder, limit)
    states = tl.compute_states(examples, encoder, runtime, cache_dir=folder / "cache")
    fitted = tl.fit_parser(examples, states, runtime, options=tl.FitOptions(epochs=30, patience=6))
    rows = examples.part(TEST)
    gold = [examples.sentences[row] for row in rows]
    frozen = score(gold, fitted.predict(states, rows))
    begun = time.perf_counter()
    through = Through(encoder, fitted, tuned=True)
    through.compile(optimizer=keras.optimizers.Adam(RATE, beta_1=0.9, beta_2=0.999, global_clipnorm=1.0))
    through.fit(dataset(batches_of(examples, encoder, fitted, examples.part(TRAIN))), epochs=TUNED, verbose=0)
    seconds = time.perf_counter() - begun
    found = []
    for sentence in gold:
        batch = batch_of([replace(sentence, relations=(fitted.relations.names[0],) * len(sentence))], encoder, fitted)
        arcs, relations = through([batch.tokens, batch.owners, batch.mask], training=False)
        found.append(fitted.relations.tree(sentence, arcs[0].numpy(), relations[0].numpy()))
    return [("frozen", frozen, states.seconds + fitted.fit.seconds),
            (f"frozen, then all of it fine-tuned for {TUNED} epochs", score(gold, found),
             states.seconds + fitted.fit.seconds + seconds)]


def known_language(folder: Path, sentences: int = 1500) -> tuple[ParseFigures, ParseFigures, int]:
    """Figures on the artificial language, of MiniLM's states and of those of an untrained network; training
    sentences."""
    write(folder / "grammar.conllu", sentences, 1)
    runtime = apply()
    examples = tl.split_sentences(tl.read_sentences(folder / "grammar.conllu"))
    encoder = tl.load_encoder("minilm", "bundled", pieces="mean")
    options, rows, made = tl.FitOptions(epochs=40, patience=5), examples.part(TEST), []
    for network in (encoder, tl.untrained(encoder)):
        states = tl.compute_states(examples, network, runtime, cache_dir=folder / "cache")
        fitted = tl.fit_parser(examples, states, runtime, options=options, sizes=ParserSizes())
        made.append(score([examples.sentences[row] for row in rows], fitted.predict(states, rows)))
    return made[0], made[1], len(examples.part(TRAIN))
