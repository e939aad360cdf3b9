"""Texts to token ids in the TensorFlow graph, for WordPiece, byte-level BPE and SentencePiece vocabularies.

The ids are those of the original tokenizers (Hugging Face's `tokenizers`; SentencePiece itself) on cleaned text, with
one exception on purpose: a special token written out in a text ("[SEP]", "</s>", "<mask>") is text like any other, so
nobody can put one into a model by typing it. Only operations of TensorFlow and TF.Text are used, which TF Serving
links too, and nothing grows with use.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow.saved_model.experimental import TrackableResource
from tensorflow_text.python.ops.sentencepiece_tokenizer import gen_sentencepiece_tokenizer

from kerastl.inputs import _sentence_piece

RULES = 1  # part of the fingerprint: raise it when the same vocabulary would give other ids
LATER = {"pair_end": None, "pattern": "gpt2", "whole": ()}  # came later; these change nothing
MOST = 100  # characters a word may have before WordPiece takes it for unknown
MARK = "\x01"  # put between words: cannot be in cleaned text
WHITESPACE = r"\t\n\v\f\r\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"  # but " "
# The ranges that Hugging Face's BertNormalizer sets apart as ideographs; one of its borders differs from Google's.
IDEOGRAPHS = (r"\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{20000}-\x{2a6df}\x{2a700}-\x{2b81f}"
              r"\x{2b920}-\x{2ceaf}\x{2f800}-\x{2fa1f}")


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary and how text is split by it: plain data. Ids lie in [0, size)."""

    kind: str  # wordpiece | bpe (byte-level, of GPT-2, RoBERTa and GLM-4) | sentencepiece
    pieces: tuple[str, ...]  # id -> piece; "" where there is none; of bpe in GPT-2's characters for bytes
    pad: int
    start: tuple[int, ...]  # what stands before a text, or a pair
    end: tuple[int, ...]  # and after it
    unknown: int
    between: tuple[int, ...]  # what stands between the two texts of a pair
    merges: tuple[str, ...] = ()  # bpe: "left right", the first goes first
    model: bytes = b""  # sentencepiece: the model, whose ids are ours
    lowercase: bool = False  # wordpiece and sentencepiece
    strip_accents: bool = False  # wordpiece
    ideographs: bool = True  # wordpiece: each ideograph is a word
    leading_space: bool = False  # bpe: the first word is written as any other, with a space before it
    pair_end: tuple[int, ...] | None = None  # what stands after a pair; None for the same as after a text
    pattern: str = "gpt2"  # bpe: gpt2 | cl100k, by which a text is split into words
    whole: tuple[int, ...] = ()  # bpe: pieces that no merges make, found where they are a whole word

    @property
    def size(self) -> int:
        """How many rows an embedding needs."""
        return len(self.pieces)

    @property
    def special(self) -> frozenset[int]:
        """The ids that stand around texts, and are never found in one."""
        return frozenset((self.pad, *self.start, *self.end, *self.between, *(self.pair_end or ())))

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with whatever decides the ids."""
        about = asdict(self) | {"model": hashlib.blake2b(self.model).hexdigest(), "rules": RULES}
        # Written as when `start` and `end` were one id each and later fields were not there: what is cached stays good.
        about |= {name: ids[0] for name in ("start", "end") if len(ids := about[name]) == 1}
        about = {name: value for name, value in about.items() if (name, value) not in LATER.items()}
        return hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).hexdigest()


def clean(texts: tf.Tensor) -> tf.Tensor:
    """Any bytes to text that every tokenizer agrees on. texts: string [...], the same shape out.

    What is not UTF-8 becomes U+FFFD, as Python's errors="replace" does; NUL and the control characters become spaces,
    but for tab and line ends. All else stays: what counts as a space is each kind's own rule.
    """
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace", replacement_char=0xFFFD)
    return tf.strings.regex_replace(texts, r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]", " ")


class TokenIds(tf.Module):
    """The tokenizer as a part of a graph, to be kept as an attribute of what is saved."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self._whole = _whole_words(tokenizer) if tokenizer.whole else None
        if tokenizer.kind == "wordpiece":
            self._words, self._pieces = _bert_words, _word_pieces(tokenizer)
        elif tokenizer.kind == "bpe":
            model = _sentence_piece.byte_pairs(tokenizer.pieces, tokenizer.merges, tokenizer.special,
                                               tokenizer.unknown)
            self._words, self._pieces = BYTE_WORDS[tokenizer.pattern], _SentencePieces(model)
        elif tokenizer.kind == "sentencepiece":
            self._words, self._pieces = _one_word, _SentencePieces(tokenizer.model)
        else:
            raise ValueError(f"no tokenizer of kind {tokenizer.kind}")

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """texts: [n] string, any bytes -> [n, None] int32, in [0, size), no start, end or padding among them."""
        words = self._words(clean(texts), self.tokenizer)  # [n, None] string
        different, places = tf.unique(words.values)  # half of them or less: byte pairs take twice as long without
        ids = tf.gather(self._ids(different), places)  # [words, None]
        splits = tf.gather(ids.row_splits, words.row_splits)
        return tf.RaggedTensor.from_row_splits(ids.values, splits, validate=False)

    def _ids(self, words: tf.Tensor) -> tf.RaggedTensor:
        """[n] -> [n, None] int32."""
        if self._whole is None:
            return self._pieces.tokenize(words)
        found = tf.squeeze(self._whole.tokenize(tf.strings.join([MARK, words])).to_tensor(shape=[None, 1]), 1)
        known = found > 0  # place 0 is of what is not among them
        alone = tf.RaggedTensor.from_row_lengths(
            tf.gather([*self.tokenizer.whole], tf.boolean_mask(found, known) - 1), tf.cast(known, tf.int64))
        return tf.concat([alone, self._pieces.tokenize(tf.where(known, "", words))], 1)


def _whole_words(tokenizer: Tokenizer) -> tf_text.FastWordpieceTokenizer:
    """Finds the place, from 1, of a word in `tokenizer.whole`, and 0 where it is not there. It is a trie, which needs
    no table; with a mark before them words are not taken for the inside of others."""
    words = [_sentence_piece.from_characters(tokenizer.pieces[i]).decode() for i in tokenizer.whole]
    return tf_text.FastWordpieceTokenizer(
        [MARK * 2, *(MARK + word for word in words)], unknown_token=MARK * 2, token_out_type=tf.int32,
        max_bytes_per_word=1 + max(len(word.encode()) for word in words), no_pretokenization=True)


def _word_pieces(tokenizer: Tokenizer) -> tf_text.FastWordpieceTokenizer:
    # Words have no "[", so neither gaps and repeated pieces nor special tokens, written thus, are found in a text.
    apart = tokenizer.special
    last = {piece: i for i, piece in enumerate(tokenizer.pieces)}
    pieces = [piece if piece and last[piece] == i and i not in apart else f"[{i}]"
              for i, piece in enumerate(tokenizer.pieces)]
    return tf_text.FastWordpieceTokenizer(pieces, unknown_token=pieces[tokenizer.unknown], token_out_type=tf.int32,
                                          max_bytes_per_word=4 * MOST, no_pretokenization=True)


class _SentencePieces(TrackableResource):
    """A SentencePiece model in TensorFlow's memory, under a name that follows from its content.

    TF.Text's own class gives it none. Then it belongs to the operation that read it, and is gone when TensorFlow drops
    that, which setting a seed does; and two in a loaded file would both be the first.
    """

    def __init__(self, model: bytes) -> None:
        super().__init__()
        self._model, self._name = model, f"sentencepiece_{hashlib.blake2b(model, digest_size=16).hexdigest()}"
        _ = self.resource_handle  # asking for it makes it

    def _create_resource(self) -> tf.Tensor:
        return gen_sentencepiece_tokenizer.sentencepiece_op(model=self._model, shared_name=self._name)

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """[n] string -> [n, None] int32, without sampling."""
        values, splits = gen_sentencepiece_tokenizer.sentencepiece_tokenize_op(
            self.resource_handle, texts, nbest_size=0, alpha=1.0, add_bos=False, add_eos=False, reverse=False,
            out_type=tf.int32, return_nbest=False)
        return tf.RaggedTensor.from_row_splits(values, splits, validate=False)


def _bert_words(texts: tf.Tensor, tokenizer: Tokenizer) -> tf.RaggedTensor:
    """[n] -> [n, None], normalised and split in the order of BertNormalizer and BertPreTokenizer.

    TF.Text's own normaliser is another: it folds compatibility forms (U+FB01 to "fi", "ß" to "ss").
    """
    replace = tf.strings.regex_replace
    texts = replace(texts, r"[\p{Cf}\p{Co}\x{fffd}]", "")
    texts = replace(texts, f"[{WHITESPACE}]", " ")
    if tokenizer.ideographs:
        texts = replace(texts, f"[{IDEOGRAPHS}]", r" \0 ")
    if tokenizer.strip_accents:
        texts = replace(tf_text.normalize_utf8(texts, "NFD"), r"\p{Mn}", "")
    if tokenizer.lowercase:
        texts = tf.strings.lower(replace(texts, "Σ", "σ"), encoding="utf-8")  # ICU alone would write a last one ς
    texts = replace(texts, r"[\p{P}!-/:-@\[-`{-~]", r" \0 ")
    return tf.strings.split(replace(texts, f"[^ ]{{{MOST + 1},}}", MARK))  # a word that is in no vocabulary


def _gpt2_words(texts: tf.Tensor, tokenizer: Tokenizer) -> tf.RaggedTensor:
    r"""[n] -> [n, None], split as by the pattern of GPT-2's encoder.py, which is, with \s and the rest in Unicode:

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

    RE2 cannot look ahead. So: a mark before each stretch of whitespace that is more than one space; one before its last
    character where another word follows; one before each word, with the space that belongs to it. Marks split.
    """
    replace = tf.strings.regex_replace
    if tokenizer.leading_space:
        texts = replace(texts, "^[^ ]", r" \0")
    texts = replace(texts, rf"[ {WHITESPACE}]{{2,}}|[{WHITESPACE}]| \z", rf"{MARK}\0")
    texts = replace(texts, rf"[{WHITESPACE}][^ {WHITESPACE}]", rf"{MARK}\0")
    word = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^ {MARK}{WHITESPACE}\p{{L}}\p{{N}}]+"
    return tf.strings.split(replace(texts, word, rf"{MARK}\0"), MARK)


def _cl100k_words(texts: tf.Tensor, tokenizer: Tokenizer) -> tf.RaggedTensor:
    r"""[n] -> [n, None], split as by the pattern of tiktoken's cl100k_base, which is `CL100K` in `_glm.py`.

    RE2 cannot look ahead. So: a mark before the last of several whitespace characters that something follows, unless it
    is a line's end, which never goes with what comes after; then the pattern itself puts a mark before each word.
    Letters and numbers are those of Unicode 15, which RE2 knows; later ones are taken for signs.
    """
    replace = tf.strings.regex_replace
    spaces, lines = f" {WHITESPACE}", r"\r\n"
    inline = spaces.replace(r"\n", "").replace(r"\r", "")
    texts = replace(texts, rf"([{spaces}])([{inline}])([^{spaces}])", rf"\1{MARK}\2\3")
    word = (rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^{lines}{MARK}\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|"
            rf" ?[^{spaces}{MARK}\p{{L}}\p{{N}}]+[{lines}]*|[{spaces}]*[{lines}]+|[{spaces}]+")
    return tf.strings.split(replace(texts, word, rf"{MARK}\0"), MARK)


BYTE_WORDS = {"gpt2": _gpt2_words, "cl100k": _cl100k_words}


def _one_word(texts: tf.Tensor, tokenizer: Tokenizer) -> tf.RaggedTensor:
    """[n] -> [n, 1]: SentencePiece splits by itself."""
    if tokenizer.lowercase:
        texts = tf.strings.lower(texts, encoding="utf-8")
    return tf.RaggedTensor.from_row_splits(texts, tf.range(tf.size(texts, tf.int64) + 1), validate=False)
