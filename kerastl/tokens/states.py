"""The states of words in a frozen encoder, computed once and kept in the feature cache: a row for each word."""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.backbones import JOINED, NO_POOLING, TOP, Backbone, Spec, load, spec_of, weights_hash
from kerastl.data.examples import TEST
from kerastl.errors import OptionError
from kerastl.features.cache import Space, SpaceKey, chosen_dir
from kerastl.features.engines.choose import allowed, choose_engine
from kerastl.features.engines.engine import Arithmetic
from kerastl.features.engines.tensorflow import plain_engine
from kerastl.features.fill import fill, missing
from kerastl.features.housekeeping import DEFAULT_LIMIT, evict
from kerastl.inputs.tokenizer import Tokenizer
from kerastl.modality import TEXT
from kerastl.runtime import Runtime
from kerastl.tokens.align import PIECES, Aligner, word_states
from kerastl.tokens.sentences import Sentence, TokenExamples

VERSION = "1"  # part of the cache's key: increase it when the same words would get other states
TOKENS, MOST, STEP = 8192, 128, 8  # tokens and sentences of a batch; lengths are padded to a multiple of STEP
KEPT = 2_000_000_000  # bytes of states that stay in memory
AUTO = "auto"


@dataclass(frozen=True)
class TokenEncoder:
    """A frozen encoder of sentences. backbone: without pooling; its features are the states of several layers side by
    side. layers: their names, from input to output. pieces: what stands for a word, see `align`."""

    backbone: Backbone
    layers: tuple[str, ...]
    pieces: str
    max_length: int
    untrained: bool = False  # weights drawn at random, to compare with

    def __repr__(self) -> str:
        return f"TokenEncoder({self.backbone.name}, {JOINED.join(self.layers)}, {self.pieces} piece of a word)"

    @property
    def tokenizer(self) -> Tokenizer:
        """The encoder's tokenizer."""
        tokenizer: Tokenizer = self.backbone.input.tokenizer  # type: ignore[attr-defined]
        return tokenizer

    @property
    def dim(self) -> int:
        """The size of a state in one layer."""
        return self.backbone.dim // len(self.layers)

    @property
    def shape(self) -> tuple[int, int]:
        """Of a word's states: (layers, dim)."""
        return len(self.layers), self.dim

    @property
    def version(self) -> str:
        """Identifies how words become tokens; part of the cache's key."""
        return (f"words by {self.pieces} piece, at most {self.max_length}, tokenizer {self.tokenizer.fingerprint} "
                f"{VERSION}")

    @cached_property
    def aligner(self) -> Aligner:
        """Words to tokens, in the graph."""
        with tf.init_scope():
            return Aligner(self.tokenizer, self.max_length, self.pieces)

    @cached_property
    def encode(self) -> Callable[[Sequence[Sentence]], tuple[NDArray[np.int32], NDArray[np.int32]]]:
        """Sentences -> tokens and owners, [n, length] int32 each, see `align.Encoded`."""
        aligner = self.aligner

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int64)],
                     autograph=False)
        def run(words: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            encoded = aligner(tf.RaggedTensor.from_row_lengths(words, lengths))
            return encoded.tokens, encoded.owners

        def encode(sentences: Sequence[Sentence]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
            words = [word.encode("utf-8", "surrogatepass") for sentence in sentences for word in sentence.words]
            tokens, owners = run(tf.constant(words, tf.string), tf.constant([*map(len, sentences)], tf.int64))
            return tokens.numpy(), owners.numpy()

        return encode


def load_encoder(name: str = "minilm", weights: str | Path | None = None, *, layers: str = AUTO, pieces: str = "first",
                 max_length: int | None = None) -> TokenEncoder:
    """Load a text backbone as an encoder of words.

    layers: the feature layers whose states a head mixes, joined by `+`, as in `layer_2+layer_4+top`; `auto`: a third
    and two thirds of the way to the top, and the top, as syntax is found in middle layers (Tenney et al. 2019,
    https://arxiv.org/abs/1905.05950). pieces: `first`, a word's state is that of its first piece; `mean`, the mean over
    its pieces. max_length: tokens of a sentence, special ones included; default: as many as the encoder takes.

    Raises OptionError for another layer or length, and for a backbone that is not for texts; WeightsError if the
    weights cannot be loaded.
    """
    spec = spec_of(name)[0]
    if spec.large:
        raise OptionError(f"the backbone {name} is too large to be exported with a head on tokens",
                          "another backbone for texts", "choose one of these: kerastl backbones")
    if pieces not in PIECES:
        raise OptionError(f"`pieces` is {pieces}", f"one of {', '.join(PIECES)}", "omit `pieces` for first")
    if layers == AUTO:
        blocks = _blocks(name, weights, spec)
        names = [f"layer_{round(blocks * part / 3)}" for part in (1, 2)] if blocks > 2 else []
        layers = JOINED.join([*dict.fromkeys(names), TOP])
    parts = layers.split(JOINED)
    if len(set(parts)) < len(parts):
        raise OptionError(f"`layers` is {layers}", "each layer once", "omit the repeated one")
    backbone = load(name, weights, modality=TEXT.name, pooling=NO_POOLING, layer=layers)
    most = int(backbone.input.max_length)  # type: ignore[attr-defined]
    least = len(backbone.input.tokenizer.start) + len(backbone.input.tokenizer.end) + 1  # type: ignore[attr-defined]
    if max_length is not None and not least <= max_length <= most:
        raise OptionError(f"`max_length` is {max_length}", f"{least} to {most}, the most that {name} takes",
                          "omit `max_length`")
    return TokenEncoder(backbone, tuple(parts), pieces, max_length or most)


def _blocks(name: str, weights: str | Path | None, spec: Spec) -> int:
    """The number of blocks of a network; a folder's or a preset's is known once it is loaded."""
    if spec.name[-1] != ":" and not (weights and Path(weights).is_dir()):
        return len(spec.feature_layers) + 1
    model = load(name, weights, modality=TEXT.name, pooling=NO_POOLING).model
    return len({layer.name for layer in model._flatten_layers() if re.fullmatch(spec.blocks, layer.name)})


def untrained(encoder: TokenEncoder, seed: int = 0) -> TokenEncoder:
    """The same network and tokenizer with weights drawn at random, to see what pretraining is worth."""
    import keras

    keras.utils.set_random_seed(seed)
    model = keras.models.clone_model(encoder.backbone.model, recursive=True)
    backbone = replace(encoder.backbone, model=model, weights_hash=weights_hash(model))
    return replace(encoder, backbone=backbone, untrained=True)


@dataclass(frozen=True)
class TokenStates:
    """The states of the words of sentences, on disk. cut: of sentences that are longer than the encoder takes, where
    they are and how many of their words have no state; these get zeros. held_out: float32 rows, computed as the
    exported model computes; of test sentences. compute, reason: the arithmetic, and why it was chosen."""

    sentences: tuple[Sentence, ...]
    encoder: TokenEncoder
    space: Space
    held_out_space: Space
    held_out: frozenset[int]
    keys: tuple[tuple[str, ...], ...]
    cut: dict[str, int]
    compute: str
    reason: str
    computed: int
    seconds: float
    kept: dict[int, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)  # in memory, as stored

    def __len__(self) -> int:
        return len(self.sentences)

    def __repr__(self) -> str:
        layers, dim = self.encoder.shape
        return f"TokenStates({len(self):,} sentences, {layers} layers of {dim}, {self.compute})"

    def __getitem__(self, sentence: int) -> NDArray[np.float32]:
        """[words, layers, dim] float32. What was read stays in memory, up to a limit, because every epoch reads it."""
        if sentence in self.kept:
            return self.kept[sentence].astype(np.float32)
        space = self.held_out_space if sentence in self.held_out else self.space
        rows = space.gather(self.keys[sentence])
        if len(self.kept) * 30 * space.key.row_bytes < KEPT:  # of sentences of a usual length
            self.kept[sentence] = rows.astype(space.key.dtype)
        return np.asarray(rows, np.float32)

    def batch(self, rows: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The states of some sentences, [n, longest, layers, dim] float32, zero beyond a sentence's end; and the mask,
        [n, longest] float32, 1 for a word."""
        longest = max(len(self.sentences[row]) for row in rows)
        states = np.zeros((len(rows), longest, *self.encoder.shape), np.float32)
        mask = np.zeros((len(rows), longest), np.float32)
        for place, row in enumerate(rows):
            own = self[row]
            states[place, :len(own)], mask[place, :len(own)] = own, 1
        return states, mask


def compute_states(examples: TokenExamples, encoder: TokenEncoder, runtime: Runtime, *,
                   cache_dir: str | Path | None = None, cache_limit: int = DEFAULT_LIMIT) -> TokenStates:
    """The states of every word, from the cache or computed. Test sentences are computed in float32 and stored so, as
    the exported model computes them; others in the fastest arithmetic, and stored in float16. Raises OptionError for
    the engine ray and for workers."""
    if runtime.shared:
        raise OptionError("`engine` is ray" if runtime.ray else f"`workers` is {runtime.workers}", "tensorflow, "
                          "openvino or auto, and no workers", "workers compute features of images and texts, not yet "
                          "the states of words")
    start, cache = time.perf_counter(), chosen_dir(cache_dir)
    test = frozenset(examples.part(TEST)) if examples.split else frozenset()
    keys = tuple(tuple(hashlib.blake2b(f"{sentence.id} {i}".encode(), digest_size=16).hexdigest()
                       for i in range(len(sentence))) for sentence in examples.sentences)
    cut: dict[str, int] = {}
    passes = []
    candidates, reason = allowed(runtime, False)
    for rows, arithmetics, dtype in (
            ([row for row in range(len(examples)) if row not in test], candidates, "float16"),
            (sorted(test), (Arithmetic("float32"),), "float32")):
        passes.append(_pass(examples, rows, keys, encoder, runtime, arithmetics, dtype, cache))
    for sentence, n in zip(examples.sentences, _without_tokens(encoder, examples.sentences), strict=True):
        if n:
            cut[sentence.origin] = n
    evict(cache, cache_limit)
    training, held_out = passes
    return TokenStates(
        examples.sentences, encoder, training.space, held_out.space, test, keys, cut, training.arithmetic.key,
        "; ".join(filter(None, [reason, training.reason])), training.computed + held_out.computed,
        time.perf_counter() - start)


@dataclass(frozen=True)
class _Pass:
    space: Space
    arithmetic: Arithmetic
    reason: str
    computed: int


@dataclass(frozen=True)
class _Nouns:
    nouns: str = "words"


@dataclass(frozen=True)
class _Words:
    """The words of sentences as items of the cache: of each, the sentence and the place in it."""

    places: tuple[tuple[int, int], ...]
    modality: _Nouns = _Nouns()

    def take(self, rows: Iterable[int]) -> "_Words":
        """The same for these rows only."""
        return _Words(tuple(self.places[row] for row in rows))


def _pass(examples: TokenExamples, rows: Sequence[int], keys: Sequence[Sequence[str]], encoder: TokenEncoder,
          runtime: Runtime, candidates: Sequence[Arithmetic], dtype: str, cache: Path) -> _Pass:
    """The states of these sentences, in the first of the arithmetics that the cache has all of, or else in the one that
    is chosen by speed."""
    words = _Words(tuple((row, i) for row in rows for i in range(len(examples.sentences[row]))))
    flat = [keys[row][i] for row, i in words.places]
    everything = range(len(flat))

    def space_of(arithmetic: Arithmetic) -> Space:
        backbone = encoder.backbone
        return Space(cache, SpaceKey(
            backbone.name, backbone.weights_hash, f"{backbone.spec.preprocessing}, {encoder.version}", backbone.layer,
            f"word, {encoder.pieces}", arithmetic.key, encoder.shape, dtype))

    for arithmetic in candidates:
        space = space_of(arithmetic)
        if not len(missing(space, flat, everything)):
            return _Pass(space, arithmetic, "all rows cached", 0)
    batches = _batches(encoder, [examples.sentences[row] for row in rows])
    choice = choose_engine(encoder.backbone, batches[0][1], candidates, len(rows), runtime, cache)
    engine = choice.engine if len(candidates) > 1 else plain_engine(encoder.backbone.model)
    space = space_of(engine.arithmetic)

    def computed(some: _Words, refused: dict[int, str], progress: Any) -> Iterator[tuple[list[int], NDArray[Any]]]:
        place = {word: i for i, word in enumerate(some.places)}
        wanted = sorted({row for row, _ in some.places})
        made = _batches(encoder, [examples.sentences[row] for row in wanted])
        for (numbers, _, owners), states in zip(made, engine.through(tokens for _, tokens, _ in made), strict=True):
            pooled = _pooled(states, owners, max(len(examples.sentences[wanted[number]]) for number in numbers))
            kept = [(i, (n, word)) for n, number in enumerate(numbers)
                    for word in range(len(examples.sentences[wanted[number]]))
                    if (i := place.get((wanted[number], word))) is not None]
            yield [i for i, _ in kept], np.stack([pooled[at] for _, at in kept]).reshape(-1, *encoder.shape)
            progress(len(kept))

    filled = fill(space, words, flat, everything, computed,
                  description=f"states ({encoder.backbone.name}{', untrained' * encoder.untrained})")
    return _Pass(space, engine.arithmetic, choice.reason, filled.computed)


@tf.function(reduce_retracing=True, autograph=False)
def _pooled_in_graph(states: tf.Tensor, owners: tf.Tensor, longest: tf.Tensor) -> tf.Tensor:
    return word_states(states, owners, longest)


def _pooled(states: NDArray[np.float32], owners: NDArray[np.int32], longest: int) -> NDArray[np.float32]:
    return np.asarray(_pooled_in_graph(tf.constant(states), tf.constant(owners), tf.constant(longest)))


Batch = tuple[list[int], NDArray[np.int32], NDArray[np.int32]]  # numbers of the sentences, tokens, owners


def _batches(encoder: TokenEncoder, sentences: Sequence[Sentence]) -> list[Batch]:
    """Sentences of like length together, the longest first. Each is padded to a length that the others do not
    change."""
    made: list[Batch] = []
    by_length: dict[int, list[tuple[int, NDArray[np.int32], NDArray[np.int32]]]] = {}
    pad = encoder.tokenizer.pad
    for start in range(0, len(sentences), 512):
        tokens, owners = encoder.encode(sentences[start:start + 512])
        sizes = (tokens != pad).sum(1)
        for i, size in enumerate(sizes.tolist()):
            length = min(-(-size // STEP) * STEP, encoder.max_length)
            row = [np.pad(values[i, :length], (0, max(0, length - values.shape[1])), constant_values=fill_value)
                   for values, fill_value in ((tokens, pad), (owners, -1))]
            by_length.setdefault(length, []).append((start + i, row[0], row[1]))
    for length in sorted(by_length, reverse=True):
        rows, size = by_length[length], max(1, min(MOST, TOKENS // length))
        for at in range(0, len(rows), size):
            part = rows[at:at + size]
            made.append(([number for number, _, _ in part], np.stack([row for _, row, _ in part]),
                         np.stack([row for _, _, row in part])))
    return made


def _without_tokens(encoder: TokenEncoder, sentences: Sequence[Sentence]) -> list[int]:
    """The words of each sentence that no token stands for."""
    counts: list[int] = []
    for start in range(0, len(sentences), 512):
        part = sentences[start:start + 512]
        _, owners = encoder.encode(part)
        counts += [len(sentence) - len(np.unique(row[row >= 0])) for sentence, row in zip(part, owners, strict=True)]
    return counts
