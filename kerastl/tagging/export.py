"""A tagger as SavedModel and TFLite files, each compared with the logits that were evaluated before it is written."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from kerastl.data.examples import TEST, TRAIN
from kerastl.decision import Calibration
from kerastl.errors import CheckFailed, OptionError
from kerastl.export.compact import compact
from kerastl.export.parity import ACCURACY, AGREEMENT, LOGITS, RELATIVE, ROWS, TIMED
from kerastl.export.tflite import Interpreter, convert
from kerastl.files import write_file
from kerastl.tagging.fit import FittedTagger
from kerastl.tasks import task_of_targets
from kerastl.tokens.sentences import Sentence, TokenExamples
from kerastl.tokens.served import Read, SentenceReader
from kerastl.tokens.states import TokenEncoder, TokenStates
from kerastl.versions.sections import Parity

STEP = 32  # tokens: the length of TFLite files is a multiple of this
SIGNATURES = ("serving_default", "words", "tensor")


class TaggerModule(tf.Module):
    """What is saved. `serving_default`: texts, whose words are separated by whitespace, [batch] string -> `tokens`, the
    words, and `tags`, [batch, longest] string, and `scores`, [batch, longest] float32, the calibrated probability of
    each tag; "" and 0 beyond a sentence's end. `words`: the same for words, [batch, longest] string. `tensor`: token
    ids and owners, see `tokens.align.Encoded` -> `logits` [batch, longest, tags]."""

    def __init__(self, encoder: TokenEncoder, fitted: FittedTagger) -> None:
        super().__init__(name="kerastl")
        head = fitted.fit.model
        self.reader = SentenceReader(encoder)
        self.weights = [variable.value for variable in head.variables]
        names = tf.constant(list(fitted.tags), name="tags")

        def logits_of(states: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
            return tf.cast(head([states, mask], training=False), tf.float32)

        def tagged(read: Read) -> dict[str, tf.Tensor]:
            p = tf.nn.softmax(logits_of(read.states, read.mask) / fitted.temperature)
            tags = tf.where(read.mask > 0, tf.gather(names, tf.argmax(p, 2)), "")
            return {"tokens": read.words, "tags": tags, "scores": tf.reduce_max(p, 2) * read.mask}

        def of_ids(tokens: tf.Tensor, owners: tf.Tensor) -> dict[str, tf.Tensor]:
            owners = tf.where(owners < encoder.max_length, owners, -1)  # a larger number would take as much memory
            lengths = tf.reduce_max(owners, axis=1) + 1
            longest = tf.maximum(tf.reduce_max(lengths), 1)
            mask = tf.sequence_mask(lengths, longest, tf.float32)
            return {"logits": logits_of(self.reader.states(tokens, owners, longest), mask)}

        def function(run: Any, *specs: tf.TensorSpec) -> Any:
            return tf.function(run, input_signature=specs, autograph=False)

        ids = [tf.TensorSpec([None, None], tf.int32, name=name) for name in ("tokens", "owners")]
        self.serve = function(lambda text: tagged(self.reader.of_texts(text)),
                              tf.TensorSpec([None], tf.string, name="text"))
        self.words = function(lambda words: tagged(self.reader.of_words(words)),
                              tf.TensorSpec([None, None], tf.string, name="words"))
        self.tensor = function(of_ids, *ids)


def save(folder: Path, encoder: TokenEncoder, fitted: FittedTagger) -> None:
    """Write saved_model.pb and variables/."""
    module = TaggerModule(encoder, fitted)
    tf.saved_model.save(module, str(folder), signatures=dict(
        zip(SIGNATURES, (module.serve, module.words, module.tensor), strict=True)))
    compact(folder)


def compared_rows(examples: TokenExamples) -> list[int]:
    """The test sentences to compare on: at most 256, always the same for the same data."""
    return sorted(examples.part(TEST), key=lambda row: examples.sentences[row].id)[:ROWS]


def check_saved_model(folder: Path, fitted: FittedTagger, examples: TokenExamples, states: TokenStates) -> Parity:
    """Compare the reloaded SavedModel with the evaluated logits on test sentences: the logits of token ids, and the
    tags of words as strings, which must all be the same. Raises CheckFailed where it differs by more than allowed."""
    rows = compared_rows(examples)
    loaded = tf.saved_model.load(str(folder))
    tensor, words = (loaded.signatures[name] for name in ("tensor", "words"))
    wanted = fitted.logits(states, rows)
    got, agree = [], []
    for row, expected in zip(rows, wanted, strict=True):
        sentence = examples.sentences[row]
        tokens, owners = states.encoder.encode([sentence])
        logits = tensor(tokens=tf.constant(tokens), owners=tf.constant(owners))["logits"][0].numpy()
        got.append(np.pad(logits, ((0, len(sentence) - len(logits)), (0, 0)), constant_values=np.nan))
        tags = words(words=tf.constant([[*sentence.words]]))["tags"][0].numpy()
        agree.append(_same(tags, expected, fitted))
    known = ~np.isnan(np.concatenate(got)).any(axis=1)  # the last words of a sentence that was cut have no token
    parity = _compared("saved_model", np.concatenate(wanted)[known], np.concatenate(got)[known],
                       np.concatenate([_numbers(examples.sentences[row], fitted) for row in rows])[known], len(rows),
                       sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
                       _milliseconds(lambda row: words(words=tf.constant([[*examples.sentences[row].words]])), rows))
    if not parity.kept or not all(agree):
        raise CheckFailed(f"the SavedModel differs from Keras: logits by up to {parity.max_difference:.2g}, the same "
                          f"tags in {sum(agree)} of {len(agree)} sentences", parity.bound,
                          "no version was written; please report this as a bug")
    return parity


def write_tflite(folder: Path, fitted: FittedTagger, examples: TokenExamples, states: TokenStates,
                 kinds: Sequence[str]) -> tuple[list[Parity], str]:
    """Write TFLite files of the kinds that are within their bounds, and return how each compares; and why there are
    none, where the model has no such form.

    A file takes `tokens`, [1, length] int32, and returns `logits` and `probabilities`, [1, length, tags], of which
    those at the first piece of each word count.
    """
    encoder = states.encoder
    if not kinds:
        return [], ""
    if fitted.head != "linear" or encoder.pieces != "first":
        return [], ("There is no TFLite file: it gives the scores of token ids, and this head needs to know which of "
                    "them form words. The head linear with the first piece of a word has TFLite files.")
    rows = compared_rows(examples)
    length = _length(encoder, examples)
    rows = [row for row in rows if encoder.encode([examples.sentences[row]])[0].shape[1] <= length]
    wanted = fitted.logits(states, rows)
    truth = np.concatenate([_numbers(examples.sentences[row], fitted) for row in rows])
    target = folder / "tflite"
    target.mkdir()
    made = []
    task = task_of_targets(np.zeros(1, np.int64))
    with tqdm(total=len(kinds), desc="TFLite", unit=" files") as bar:
        for kind, content in convert(_by_token(encoder, fitted), tf.TensorSpec([1, length], tf.int32, name="tokens"),
                                     Calibration(fitted.temperature), task.activation, kinds, []):
            run, got = Interpreter(content, threads=2), []
            for row in rows:
                tokens, owners = (_padded(values, length, pad) for values, pad in zip(
                    encoder.encode([examples.sentences[row]]), (encoder.tokenizer.pad, -1), strict=True))
                logits, own = run(tokens)["logits"], owners[0]
                got.append(logits[own >= 0])
                if len(got[-1]) != len(examples.sentences[row]):  # words without a token get the logits of no state
                    full = wanted[len(got) - 1].copy()
                    full[own[own >= 0]] = got[-1]
                    got[-1] = full
            parity = _compared(kind, np.concatenate(wanted), np.concatenate(got), truth, len(rows), len(content),
                               _milliseconds(lambda row, run=run: run(_padded(
                                   encoder.encode([examples.sentences[row]])[0], length, encoder.tokenizer.pad)), rows))
            if parity.kept:
                write_file(target / f"model_{kind}.tflite", content)
            made.append(parity)
            bar.update()
    return made, ""


def _by_token(encoder: TokenEncoder, fitted: FittedTagger) -> Any:
    """tokens [batch, length] int32 -> logits of every token [batch, length, tags]: a head that sees each word by itself
    can tag each token by itself."""
    import keras
    from keras import ops

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    states = encoder.backbone.model(tokens)
    states = keras.layers.Reshape((-1, *encoder.shape))(states)
    mask = ops.ones_like(states[:, :, 0, 0])
    return keras.Model(tokens, fitted.fit.model([states, mask]))


def _length(encoder: TokenEncoder, examples: TokenExamples) -> int:
    """The tokens of the longest training sentence, rounded up to a multiple of 32, as far as the encoder goes."""
    train = [examples.sentences[row] for row in examples.part(TRAIN)]
    longest = max(encoder.encode(train[start:start + 512])[0].shape[1] for start in range(0, len(train), 512))
    return min(-(-longest // STEP) * STEP, encoder.max_length)


def _padded(values: NDArray[np.int32], length: int, pad: int) -> NDArray[np.int32]:
    return np.pad(values, ((0, 0), (0, length - values.shape[1])), constant_values=pad).astype(np.int32)


def _numbers(sentence: Sentence, fitted: FittedTagger) -> NDArray[np.int64]:
    place = {tag: i for i, tag in enumerate(fitted.tags)}
    return np.array([place.get(tag, -1) for tag in sentence.tags], np.int64)


def _same(tags: NDArray[Any], expected: NDArray[np.float32], fitted: FittedTagger) -> bool:
    """Whether the served tags are those of the highest logits; of logits that are equal but for rounding, any is."""
    place = {tag: i for i, tag in enumerate(fitted.tags)}
    own = np.array([place[tag.decode()] for tag in tags])
    return bool((expected[np.arange(len(own)), own] >= expected.max(1) - LOGITS["saved_model"]).all())


def _milliseconds(run: Any, rows: Sequence[int]) -> float:
    """The median time of one sentence by itself."""
    took = []
    for row in rows[:TIMED]:
        start = time.perf_counter()
        run(row)
        took.append(time.perf_counter() - start)
    return float(np.median(took)) * 1000


def _compared(kind: str, wanted: NDArray[np.float32], got: NDArray[np.float32], truth: NDArray[np.int64], rows: int,
              size: int, milliseconds: float) -> Parity:
    """One artifact's logits of words, [words, tags], beside those that were evaluated, with the bounds of other
    models."""
    if kind not in {*LOGITS, *RELATIVE, *AGREEMENT}:
        raise OptionError(f"`tflite` is {kind}", "fp32, fp16 or dynamic", "choose another kind")
    difference = float(np.abs(wanted - got).max()) if np.isfinite(got).all() else float("inf")
    agreement = float((wanted.argmax(1) == got.argmax(1)).mean())
    change = float((got.argmax(1) == truth).mean() - (wanted.argmax(1) == truth).mean())
    if kind in RELATIVE:
        largest = max(1.0, float(np.abs(wanted).max()))
        bound, kept = f"max logit error <= {RELATIVE[kind]:.0%} of the largest logit ({largest:.1f})", \
            difference <= RELATIVE[kind] * largest
    elif kind in LOGITS:
        bound, kept = f"max logit error <= {LOGITS[kind]:g}", difference <= LOGITS[kind]
    else:
        bound = f"same tag for {AGREEMENT[kind]:.0%} of words, accuracy within {ACCURACY * 100:g} point"
        kept = agreement >= AGREEMENT[kind] and abs(change) <= ACCURACY + 1e-9
    return Parity(kind, rows, difference, agreement, change, size, milliseconds, bound, kept)
