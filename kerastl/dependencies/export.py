"""A parser as a SavedModel that returns scores, compared with the scores that were evaluated before it is written.

Trees are decoded outside of the graph, by `decoding.best_tree`: a maximum spanning tree is no tensor operation.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerastl.data.examples import TEST
from kerastl.dependencies.fit import FittedParser
from kerastl.errors import CheckFailed
from kerastl.export.compact import compact
from kerastl.export.parity import ROWS, TIMED
from kerastl.tokens.fit import run_of
from kerastl.tokens.sentences import TokenExamples
from kerastl.tokens.served import Read, SentenceReader
from kerastl.tokens.states import TokenEncoder, TokenStates
from kerastl.versions.sections import Parity

SIGNATURES = ("serving_default", "words")
MOST = 1e-3  # largest difference of scores, which go up to some tens
BOUND = f"max score error <= {MOST:g}, and the same tree for every sentence"


class ParserModule(tf.Module):
    """What is saved. `serving_default`: texts, whose words are separated by whitespace, [batch] string -> `tokens`, the
    words, [batch, n] string; `arcs`, [batch, n, n + 1] float32, the score of each head of each word, with the root as
    column 0; `relations`, [batch, n, n + 1, relations] float32, of each relation if that were the head. Beyond a
    sentence's end tokens are "" and scores mean nothing. `words`: the same for words, [batch, n] string."""

    def __init__(self, encoder: TokenEncoder, fitted: FittedParser) -> None:
        super().__init__(name="kerastl")
        parser = fitted.fit.model
        self.reader = SentenceReader(encoder)
        self.weights = [variable.value for variable in parser.variables]

        def scored(read: Read) -> dict[str, tf.Tensor]:
            arcs, relations = parser([read.states, read.mask], training=False)
            return {"tokens": read.words, "arcs": arcs, "relations": relations}

        def function(run: Any, spec: tf.TensorSpec) -> Any:
            return tf.function(run, input_signature=[spec], autograph=False)

        self.serve = function(lambda text: scored(self.reader.of_texts(text)),
                              tf.TensorSpec([None], tf.string, name="text"))
        self.words = function(lambda words: scored(self.reader.of_words(words)),
                              tf.TensorSpec([None, None], tf.string, name="words"))


def save(folder: Path, encoder: TokenEncoder, fitted: FittedParser) -> None:
    """Write saved_model.pb and variables/."""
    module = ParserModule(encoder, fitted)
    tf.saved_model.save(module, str(folder), signatures=dict(
        zip(SIGNATURES, (module.serve, module.words), strict=True)))
    compact(folder)


def check_saved_model(folder: Path, fitted: FittedParser, examples: TokenExamples, states: TokenStates) -> Parity:
    """Compare the reloaded SavedModel, given words as strings, with the scores of the cached states: of at most 256
    test sentences, always the same for the same data. Raises CheckFailed where scores differ by more than allowed, or
    where a tree differs."""
    rows = sorted(examples.part(TEST), key=lambda row: examples.sentences[row].id)[:ROWS]
    run, reference = tf.saved_model.load(str(folder)).signatures["words"], run_of(
        fitted.fit.model, states.encoder.shape)
    largest, same, head_changes, total = 0.0, [], 0, 0
    for row in rows:
        sentence = examples.sentences[row]
        wanted = [np.asarray(value)[0] for value in reference(*states.batch([row]))]
        answer = run(words=tf.constant([[*sentence.words]]))
        got = [answer[name].numpy()[0] for name in ("arcs", "relations")]
        off_own = ~np.eye(len(sentence), len(sentence) + 1, 1, dtype=bool)  # no word is its own head
        largest = max(largest, *(float(np.abs(a - b)[off_own].max()) for a, b in zip(wanted, got, strict=True)))
        trees = [fitted.relations.tree(sentence, *scores) for scores in (wanted, got)]
        same.append(trees[0] == trees[1])
        correct = [np.array(tree.heads) == np.array(sentence.heads) for tree in trees]
        head_changes += int(correct[1].sum() - correct[0].sum())
        total += len(sentence)
    largest = largest if np.isfinite(largest) else float("inf")
    parity = Parity("saved_model", len(rows), largest, float(np.mean(same)), head_changes / total,
                    sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
                    _milliseconds(run, [examples.sentences[row].words for row in rows[:TIMED]]), BOUND,
                    largest <= MOST and all(same))
    if not parity.kept:
        raise CheckFailed(f"the SavedModel differs from Keras: scores by up to {largest:.2g}, the same tree for "
                          f"{sum(same)} of {len(same)} sentences", BOUND,
                          "no version was written; please report this as a bug")
    return parity


def _milliseconds(run: Any, sentences: Sequence[Sequence[str]]) -> float:
    """The median time of one sentence by itself."""
    took = []
    for words in sentences:
        start = time.perf_counter()
        run(words=tf.constant([[*words]]))
        took.append(time.perf_counter() - start)
    return float(np.median(took)) * 1000
