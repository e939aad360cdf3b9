"""Texts to token ids in the TensorFlow graph, for WordPiece, byte-level BPE and SentencePiece vocabularies.

The ids are those of the original tokenizers (Hugging Face's `tokenizers`; SentencePiece itself) on cleaned text, with
one deliberate exception: a special token that is spelled out in a text ("[SEP]", "</s>", "<mask>") is treated as text,
so users cannot inject special tokens by typing them. Only operations of TensorFlow and TF.Text are used, which are also
linked into TF Serving, and no memory grows with use.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

import tensorflow as tf
from tensorflow.saved_model.experimental import TrackableResource

from kerastl.inputs import _sentence_piece
from kerastl.inputs.text_ops import gen_sentencepiece_tokenizer, tf_text

RULES = 1  # part of the fingerprint: increase it when the same vocabulary would give other ids
LATER = {"pair_end": None, "pattern": "gpt2", "whole": ()}  # fields added later, with defaults that change nothing
MOST = 100  # characters of a word beyond which WordPiece maps it to unknown
MARK = "\x01"  # separates words; it cannot occur in cleaned text
WHITESPACE = r"\t\n\v\f\r\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"  # but " "
# The ranges that Hugging Face's BertNormalizer treats as ideographs; one boundary differs from Google's.
IDEOGRAPHS = (r"\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{20000}-\x{2a6df}\x{2a700}-\x{2b81f}"
              r"\x{2b920}-\x{2ceaf}\x{2f800}-\x{2fa1f}")


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary, and how text is split with it. Plain data; ids are in [0, size)."""

    kind: str  # wordpiece | bpe (byte-level, of GPT-2, RoBERTa and GLM-4) | sentencepiece
    pieces: tuple[str, ...]  # by id; "" where an id has none; for bpe in GPT-2's byte characters
    pad: int
    start: tuple[int, ...]  # ids before a text or pair
    end: tuple[int, ...]  # ids after it
    unknown: int
    between: tuple[int, ...]  # ids between the two texts of a pair
    merges: tuple[str, ...] = ()  # bpe: "left right", in order of priority
    model: bytes = b""  # sentencepiece: the model, with the ids of `pieces`
    lowercase: bool = False  # wordpiece and sentencepiece
    strip_accents: bool = False  # wordpiece
    ideographs: bool = True  # wordpiece: each ideograph is a word
    leading_space: bool = False  # bpe: whether a space is put before the first word
    pair_end: tuple[int, ...] | None = None  # ids after a pair, if they differ from `end`
    pattern: str = "gpt2"  # bpe: how a text is split into words, gpt2 | cl100k
    whole: tuple[int, ...] = ()  # bpe: pieces that no merges produce, used only for whole words

    def __repr__(self) -> str:
        return f"Tokenizer({self.kind}, {self.size:,} pieces)"

    @property
    def size(self) -> int:
        """The number of rows that an embedding needs."""
        return len(self.pieces)

    @property
    def special(self) -> frozenset[int]:
        """The special ids, which text never produces."""
        return frozenset((self.pad, *self.start, *self.end, *self.between, *(self.pair_end or ())))

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with everything that determines the ids."""
        fields = asdict(self) | {"model": hashlib.blake2b(self.model).hexdigest(), "rules": RULES}
        # As before `start` and `end` were tuples and later fields existed, so that cached features stay valid.
        fields |= {name: ids[0] for name in ("start", "end") if len(ids := fields[name]) == 1}
        fields = {name: value for name, value in fields.items() if (name, value) not in LATER.items()}
        return hashlib.blake2b(json.dumps(fields, sort_keys=True).encode(), digest_size=16).hexdigest()


def clean(texts: tf.Tensor) -> tf.Tensor:
    """Convert any bytes to text that every tokenizer handles alike. texts: string [...] -> the same shape.

    Bytes that are not UTF-8 become U+FFFD, as with Python's errors="replace"; NUL and control characters except tab and
    line ends become spaces. Nothing else changes, because each kind of tokenizer has its own definition of a space.
    """
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace", replacement_char=0xFFFD)
    return tf.strings.regex_replace(texts, r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]", " ")


class TokenIds(tf.Module):
    """The tokenizer as part of a graph. It must be an attribute of the object that is saved."""

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
            raise ValueError(f"unknown kind of tokenizer: {tokenizer.kind}")

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """texts: [n] string, any bytes -> [n, None] int32 in [0, size), without start, end and padding."""
        words = self._words(clean(texts), self.tokenizer)  # [n, None] string
        unique, places = tf.unique(words.values)  # at most half of them; without this, byte pairs take twice as long
        ids = tf.gather(self._ids(unique), places)  # [words, None]
        splits = tf.gather(ids.row_splits, words.row_splits)
        return tf.RaggedTensor.from_row_splits(ids.values, splits, validate=False)

    def _ids(self, words: tf.Tensor) -> tf.RaggedTensor:
        """[n] -> [n, None] int32."""
        if self._whole is None:
            return self._pieces.tokenize(words)
        place = tf.squeeze(self._whole.tokenize(tf.strings.join([MARK, words])).to_tensor(shape=[None, 1]), 1)
        known = place > 0  # 0 means not found
        whole = tf.RaggedTensor.from_row_lengths(
            tf.gather([*self.tokenizer.whole], tf.boolean_mask(place, known) - 1), tf.cast(known, tf.int64))
        return tf.concat([whole, self._pieces.tokenize(tf.where(known, "", words))], 1)


def _whole_words(tokenizer: Tokenizer) -> tf_text.FastWordpieceTokenizer:
    """Maps a word to its position in `tokenizer.whole`, from 1, or to 0 if it is not there. This is a trie, which needs
    no lookup table; the mark before each word prevents matches inside other words."""
    words = [_sentence_piece.from_characters(tokenizer.pieces[i]).decode() for i in tokenizer.whole]
    return tf_text.FastWordpieceTokenizer(
        [MARK * 2, *(MARK + word for word in words)], unknown_token=MARK * 2, token_out_type=tf.int32,
        max_bytes_per_word=1 + max(len(word.encode()) for word in words), no_pretokenization=True)


def _word_pieces(tokenizer: Tokenizer) -> tf_text.FastWordpieceTokenizer:
    # Words never contain "[", so that missing, duplicate and special pieces in this spelling are never found in a text.
    special = tokenizer.special
    last = {piece: i for i, piece in enumerate(tokenizer.pieces)}
    pieces = [piece if piece and last[piece] == i and i not in special else f"[{i}]"
              for i, piece in enumerate(tokenizer.pieces)]
    return tf_text.FastWordpieceTokenizer(pieces, unknown_token=pieces[tokenizer.unknown], token_out_type=tf.int32,
                                          max_bytes_per_word=4 * MOST, no_pretokenization=True)


class _SentencePieces(TrackableResource):
    """A SentencePiece model as a TensorFlow resource, named after its content.

    TF.Text's own class gives it no name. Such a resource belongs to the operation that created it and disappears with
    it, which happens when a seed is set; and two of them in one loaded file would both be the first.
    """

    def __init__(self, model: bytes) -> None:
        super().__init__()
        self._model, self._name = model, f"sentencepiece_{hashlib.blake2b(model, digest_size=16).hexdigest()}"
        _ = self.resource_handle  # accessing it creates it

    def _create_resource(self) -> tf.Tensor:
        return gen_sentencepiece_tokenizer.sentencepiece_op(model=self._model, shared_name=self._name)

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """[n] string -> [n, None] int32, without sampling."""
        values, splits = gen_sentencepiece_tokenizer.sentencepiece_tokenize_op(
            self.resource_handle, texts, nbest_size=0, alpha=1.0, add_bos=False, add_eos=False, reverse=False,
            out_type=tf.int32, return_nbest=False)
        return tf.RaggedTensor.from_row_splits(values, splits, validate=False)


def _bert_words(texts: tf.Tensor, tokenizer: Tokenizer) -> tf.RaggedTensor:
    """[n] -> [n, None], normalized and split in the order of BertNormalizer and BertPreTokenizer.

    TF.Text's own normalizer differs: it folds compatibility forms (U+FB01 to "fi", "ß" to "ss").
    """
    replace = tf.strings.regex_replace
    texts = replace(texts, r"[\p{Cf}\p{Co}\x{fffd}]", "")
    texts = replace(texts, f"[{WHITESPACE}]", " ")
    if tokenizer.ideographs:
        texts = replace(texts, f"[{IDEOGRAPHS}]", r" \0 ")
    if tokenizer.strip_accents:
        texts = replace(tf_text.normalize_utf8(texts, "NFD"), r"\p{Mn}", "")
    if tokenizer.lowercase:
        texts = tf.strings.lower(replace(texts, "Σ", "σ"), encoding="utf-8")  # ICU would turn a final one into ς
    texts = replace(texts, r"[\p{P}!-/:-@\[-`{-~]", r" \0 ")
    return tf.strings.split(replace(texts, f"[^ ]{{{MOST + 1},}}", MARK))  # a word that no vocabulary contains


def _gpt2_words(texts: tf.Tensor, tokenizer: Tokenizer) -> tf.RaggedTensor:
    r"""[n] -> [n, None], split like the pattern of GPT-2's encoder.py, in which \s and the rest are Unicode classes:

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

    RE2 has no lookahead. Instead, marks are inserted, at which the text is then split: before each run of whitespace
    longer than one space; before the last character of such a run if a word follows; and before each word, including
    the space that belongs to it.
    """
    replace = tf.strings.regex_replace
    if tokenizer.leading_space:
        texts = replace(texts, "^[^ ]", r" \0")
    texts = replace(texts, rf"[ {WHITESPACE}]{{2,}}|[{WHITESPACE}]| \z", rf"{MARK}\0")
    texts = replace(texts, rf"[{WHITESPACE}][^ {WHITESPACE}]", rf"{MARK}\0")
    word = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^ {MARK}{WHITESPACE}\p{{L}}\p{{N}}]+"
    return tf.strings.split(replace(texts, word, rf"{MARK}\0"), MARK)


def _cl100k_words(texts: tf.Tensor, tokenizer: Tokenizer) -> tf.RaggedTensor:
    r"""[n] -> [n, None], split like the pattern of tiktoken's cl100k_base, which is `CL100K` in `_glm.py`.

    RE2 has no lookahead. Instead, a mark is inserted before the last of several whitespace characters that are followed
    by something, unless it is a line end, which never belongs to the next word. Then the pattern itself marks the
    words. Letters and numbers are those of Unicode 15, which RE2 supports; newer ones are treated as symbols.
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
