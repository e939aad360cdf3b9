"""Texts as a network's input: tokenized in the graph, truncated to a maximum length, and padded per batch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kerastl.compact import Hashes
from kerastl.errors import DataError, one_line
from kerastl.inputs import Batch, Text, TokenLengths, vocabulary
from kerastl.inputs.by_length import by_length
from kerastl.inputs.packing import lengths, pack, rest, special
from kerastl.inputs.tokenizer import TokenIds, Tokenizer
from kerastl.modality import TEXT, Modality

VERSION = "1"  # part of the cache's key: increase it when the same text would give other tokens
LONG = ("head", "head+tail", "chunks")
MOST_WINDOWS = 64  # of a text in chunks; the rest is truncated
BLOCK = 1024  # texts whose tokens are counted at a time
STEP = 32  # tokens: lengths are padded to a multiple of this for compiled graphs
PUBLIC_WORDS = ("a", "the", "of", "and", "not", "is", "was", "good", "bad", "house", "water", "music", "quickly", "red",
                "seven", "people", "never", "always", "story", "light", "old", "new", "money", "river", "it", "they")
SORTED = 16  # batches of training texts that are sorted by length together


@dataclass(frozen=True)
class Texts:
    """Texts, or pairs of texts. Values: [batch, length] int32 ids of `tokenizer`, with length at most `max_length`, or
    more where `beyond` is set.

    long: how a longer text is handled: `head` or `head+tail` are kept, or it is split into `chunks`, windows whose
    features are averaged. multiple: lengths are padded to a multiple of this, for graphs compiled for each length.
    beyond: for a head that also looks at tokens that the network does not take: at most so many follow those that it
    takes. Where no text of a batch is truncated, the values are the same as without.
    """

    tokenizer: Tokenizer
    max_length: int
    long: str = "head"
    pair: bool = False
    multiple: int = 1
    beyond: int = 0
    measured: TokenLengths | None = field(default=None, compare=False)
    modality: Modality = TEXT
    raw_name: str = TEXT.raw_input
    values_name: str = TEXT.values

    def __repr__(self) -> str:
        pairs = "pairs of texts" if self.pair else "texts"
        return f"Texts({pairs}, at most {self.max_length} tokens, {self.long}; {self.tokenizer!r})"

    @property
    def version(self) -> str:
        """The tokenizer and the rules. How a text was truncated is part of its own key (see `keys`)."""
        return f"tokenizer {self.tokenizer.fingerprint} {VERSION}"

    @property
    def raw_spec(self) -> tf.TensorSpec:
        """[batch] string in UTF-8, or [batch, 2] of pairs."""
        return tf.TensorSpec([None, 2] if self.pair else [None], tf.string, name=self.raw_name)

    @property
    def spec(self) -> tf.TensorSpec:
        """[batch, length] int32."""
        return tf.TensorSpec([None, None], tf.int32, name=self.values_name)

    @property
    def single_spec(self) -> tf.TensorSpec | None:
        """[1, max_length + beyond] int32; None for chunks."""
        if self.long == "chunks":
            return None
        return tf.TensorSpec([1, self.max_length + self.beyond], tf.int32, name=self.values_name)

    @property
    def network_length(self) -> int | None:
        """See `Input`."""
        return self.max_length if self.beyond else None

    @cached_property
    def _ids(self) -> TokenIds:
        with tf.init_scope():  # otherwise its vocabulary would belong to the first graph that uses it
            return TokenIds(self.tokenizer)

    def tables(self) -> TokenIds:
        """The tokenizer's operations and vocabulary."""
        return self._ids

    def contents(self, items: Sequence[Text]) -> list[Any]:
        """The texts in UTF-8."""
        return [[_bytes(part) for part in item] if isinstance(item, tuple) else _bytes(item) for item in items]

    def decode(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """[batch] or [batch, 2] string -> [pieces, length] int32, and for chunks the owners of the pieces."""
        ids = self._tokens(raw)
        if self.long == "chunks":
            ids = ids[:, : MOST_WINDOWS * (self.max_length - special(self.tokenizer))]
        tokens, owners = pack(ids, self.tokenizer, self.max_length, self.long)
        if self.beyond:  # where a text has a rest, `tokens` are as many as the network takes
            tokens = tf.concat([tokens, rest(ids, self.tokenizer, self.max_length, self.long, self.beyond)], 1)
        if self.multiple > 1:
            more = -tf.shape(tokens)[1] % self.multiple
            tokens = tf.pad(tokens, [[0, 0], [0, more]], constant_values=self.tokenizer.pad)
        return tokens, owners if self.long == "chunks" else None

    def _tokens(self, raw: tf.Tensor) -> Any:
        return (self._ids(raw[:, 0]), self._ids(raw[:, 1])) if self.pair else self._ids(raw)

    @cached_property
    def _decode(self) -> Any:
        return tf.function(self.decode, input_signature=[self.raw_spec], autograph=False)

    @cached_property
    def _count(self) -> Any:
        def count(raw: tf.Tensor) -> tf.Tensor:
            return lengths(self._tokens(raw), self.tokenizer)

        return tf.function(count, input_signature=[self.raw_spec], autograph=False)

    def counts(self, items: Sequence[Text]) -> NDArray[np.int32]:
        """The tokens of each text before truncation, special ones included. [len(items)]."""
        parts = [self._count(tf.constant(self.contents(_block(items, start, BLOCK)))).numpy()
                 for start in range(0, len(items), BLOCK)]
        return np.concatenate(parts).astype(np.int32) if parts else np.zeros(0, np.int32)

    def batches(self, items: Sequence[Text], batch_size: int, refused: dict[int, str],
                progress: Callable[[int], object] = lambda n: None, *, in_order: bool = False,
                ids: Sequence[str] = ()) -> Iterator[Batch]:
        """Texts of similar length together, the longest first, which keeps padding small; each is padded to a length
        that the others of its batch do not change (see `by_length`), unless they are taken in order. No text is
        refused, and none can have changed since it was read."""
        order = np.arange(len(items)) if in_order else np.argsort(-_sizes(items), kind="stable")

        def decoded() -> Iterator[Batch]:
            for start in range(0, len(order), batch_size):
                places: list[int] = order[start:start + batch_size].tolist()
                yield replace(self.decoded(self.contents([items[place] for place in places]), refused), places=places)
                progress(len(places))

        if in_order or self.beyond:  # tokens beyond the network's are at a fixed place
            return decoded()
        if self.multiple > 1:
            return by_length(decoded(), batch_size, self.tokenizer.pad, self.multiple)
        return by_length(decoded(), batch_size, self.tokenizer.pad, most=self.max_length)

    def decoded(self, contents: Sequence[Any], refused: dict[int, str]) -> Batch:
        """The tokens of texts in UTF-8, of which none is refused."""
        if not contents:
            return Batch([], np.zeros((0, 0), np.int32))
        tokens, owners = self._decode(tf.constant(list(contents)))
        return Batch([*range(len(contents))], tokens.numpy(), None if owners is None else owners.numpy())

    def single(self) -> "Texts":
        """The same, but with only the first chunk of a text."""
        return replace(self, long="head") if self.long == "chunks" else self

    def for_network(self) -> "Texts":
        """The same without the tokens that the network does not take."""
        return replace(self, beyond=0) if self.beyond else self

    def stepped(self) -> "Texts":
        """The same with lengths padded to a multiple of 32."""
        return replace(self, multiple=STEP)

    def shuffled(self, items: Sequence[Text], batch_size: int, generator: np.random.Generator) -> NDArray[np.intp]:
        """A random order in which texts of similar length share a batch: every 16 batches are sorted by length."""
        sizes = _sizes(items)
        order = generator.permutation(len(items))
        blocks = [order[i:i + SORTED * batch_size] for i in range(0, len(order), SORTED * batch_size)]
        order = np.concatenate([block[np.argsort(sizes[block], kind="stable")] for block in blocks])
        whole = len(order) // batch_size
        batches = order[: whole * batch_size].reshape(whole, batch_size)[generator.permutation(whole)]
        return np.concatenate([batches.ravel(), order[whole * batch_size:]])

    def keys(self, ids: Sequence[str], items: Sequence[Text]) -> Sequence[str]:
        """The ids; for truncated texts a hash of the id and of how it was truncated."""
        cut = np.flatnonzero(self.counts(items) > self.max_length)
        if not len(cut):
            return ids
        return Hashes.of(ids).replaced(
            cut, (f"{content} {self.long} {self.max_length}" for content in Hashes.of(ids).take(cut)))

    def fixed(self, values: NDArray[np.int32]) -> NDArray[np.int32]:
        """[length] -> [1, max_length + beyond], padded."""
        more = self.max_length + self.beyond - len(values)
        return np.pad(values, (0, more), constant_values=self.tokenizer.pad)[np.newaxis].astype(np.int32)

    def changed(self, items: Sequence[Any]) -> Sequence[int]:
        """None: every version tokenizes alike."""
        return ()

    def provenance(self) -> dict[str, Any]:
        """Nothing more: the tokenizer is saved."""
        return {}

    def record(self) -> dict[str, Any]:
        """The maximum length, how longer texts are handled, the measured lengths, and, where there are any, how many
        tokens beyond the maximum length the head takes."""
        return {"max_length": self.max_length, "long": self.long, "pair": self.pair,
                "lengths": self.measured.to_dict() if self.measured else None,
                **({"beyond": self.beyond} if self.beyond else {})}

    def save(self, folder: Path) -> None:
        """Write the vocabulary into `folder/tokenizer`."""
        vocabulary.save(self.tokenizer, folder / "tokenizer")

    def client_modules(self) -> dict[str, str]:
        """The reference tokenizer."""
        return {"tokenize_text.py": "kerastl.export.reference_tokenizer"}


def input_of_backbone(name: str, model: Any, tokenizer: Tokenizer, max_length: int) -> Texts:
    """The input of a text network that takes at most `max_length` tokens."""
    return Texts(tokenizer, max_length)


def restore_input(record: dict[str, Any], folder: Path) -> Texts:
    """The input of an exported version, from what `Texts.record` and `Texts.save` stored."""
    measured = TokenLengths.from_dict(record["lengths"]) if record["lengths"] else None
    return Texts(vocabulary.load(folder / "tokenizer"), record["max_length"], record["long"], record["pair"],
                 beyond=record.get("beyond", 0), measured=measured)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a lone surrogate, as JSON can contain; the graph replaces it


def _block(items: Sequence[Text], start: int, size: int) -> list[Text]:
    return [items[i] for i in range(start, min(start + size, len(items)))]


def _sizes(items: Sequence[Text]) -> NDArray[np.int64]:
    """Characters or bytes of each text, which are close enough to its tokens for sorting."""
    if (known := getattr(items, "sizes", None)) is not None:  # a column on disk has them
        return np.asarray(known, np.int64)
    return np.fromiter((sum(map(len, item)) if isinstance(item, tuple) else len(item) for item in items), np.int64,
                       len(items))


def describe_input(record: dict[str, Any]) -> str:
    """What a model takes, in words. record: as `Texts.record` gives it."""
    length, texts = record["max_length"], "pairs of UTF-8 texts" if record["pair"] else "UTF-8 text"
    more = f"; n-grams also use up to {n} further tokens of a longer text" if (n := record.get("beyond", 0)) else ""
    return texts + {"head": f"; only the first {length} tokens are used",
                    "head+tail": f"; of a longer text the first and last tokens are used, {length} in total",
                    "chunks": f"; a longer text is split into windows of {length} tokens, whose features are averaged",
                    }[record["long"]] + more


def client_content(item: Any, record: dict[str, Any]) -> bytes | list[bytes]:
    """What a client sends of a text: its UTF-8 bytes, or those of both texts of a pair. Raises DataError for an item
    that is not a str (or for a model of pairs, two of them)."""
    several = isinstance(item, Iterable) and not isinstance(item, str | bytes)
    parts, expected = list(item) if several else [item], 2 if record.get("pair") else 1
    if len(parts) != expected or not all(isinstance(part, str | bytes) for part in parts):
        raise DataError(f"an input is {one_line(item)}", "two texts each" if expected == 2 else "one text each, a "
                        "str", "use the type of input that the model was trained on")
    contents = [part if isinstance(part, bytes) else _bytes(part) for part in parts]
    return contents if expected == 2 else contents[0]


def public_items(source: Texts, folder: Path, n: int) -> list[Text]:
    """Texts, or pairs of texts, that are made up, always the same, to compare artifacts on without the data. Nothing is
    written into the folder."""
    generator = np.random.default_rng(0)

    def made() -> str:
        return " ".join(generator.choice(PUBLIC_WORDS, size=int(generator.integers(1, 40)))) + "."

    return [(made(), made()) if source.pair else made() for _ in range(n)]
