"""Tokenizers from pieces, merges and models: the ids of special pieces, and the pieces that text never produces.

`names` maps the names in tokenizer_config.json to the special pieces. A special piece that is not in the vocabulary
raises KeyError.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kerastl.inputs import _sentence_piece
from kerastl.inputs._sentence_piece import CONTROL, UNKNOWN, Piece
from kerastl.inputs.tokenizer import Tokenizer

BERT = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
FAIRSEQ = {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}


def word_pieces(pieces: Sequence[str], names: Mapping[str, str], *, lowercase: bool = False,
                strip_accents: bool | None = None, ideographs: bool = True) -> Tokenizer:
    """A WordPiece tokenizer. By default it strips accents if it lowercases."""
    return Tokenizer("wordpiece", tuple(pieces), **_special(pieces, names), lowercase=lowercase,
                     strip_accents=lowercase if strip_accents is None else strip_accents, ideographs=ideographs)


def byte_pairs(vocabulary: Mapping[str, int], merges: Iterable[str], names: Mapping[str, str], *,
               leading_space: bool = False) -> Tokenizer:
    """A byte-level BPE tokenizer. Merges that would produce a special piece from text are removed."""
    merges = of_text(merges, vocabulary, names.values())
    pieces = by_id(vocabulary)
    return Tokenizer("bpe", tuple(pieces), **_special(pieces, names), merges=tuple(merges), leading_space=leading_space)


def of_text(merges: Iterable[str], vocabulary: Container[str], special: Iterable[str]) -> list[str]:
    """The merges that produce no special piece. Raises ValueError for merges that do not belong to the vocabulary."""
    special = {*special}
    merges = [merge for merge in merges if merge.replace(" ", "", 1) not in special]
    wrong = [merge for merge in merges if len(parts := merge.split(" ")) != 2 or not all(
        piece in vocabulary for piece in ("".join(parts), *parts))]
    if wrong:
        raise ValueError(f"it has merges that do not belong to the vocabulary, such as {wrong[0]!r}")
    return merges


def sentence_pieces(model: bytes, names: Mapping[str, str], added: Mapping[int, str] | None = None, *,
                    lowercase: bool = False) -> Tokenizer:
    """A SentencePiece tokenizer. added: special pieces by id, which the model may lack."""
    pieces = _sentence_piece.pieces(model)
    texts = extended([piece.text for piece in pieces], added or {})
    special = _special(texts, names)
    if special["unknown"] >= len(pieces) or pieces[special["unknown"]].kind != UNKNOWN:
        raise ValueError(f"{names['unk_token']} is not the unknown piece of its model")
    special_texts = {*names.values(), *(added or {}).values()}
    changed = [piece if piece.kind == UNKNOWN or piece.text not in special_texts else replace(piece, kind=CONTROL)
               for piece in pieces]
    more = [Piece(text or f"no piece {i}", kind=CONTROL) for i, text in enumerate(texts) if i >= len(pieces)]
    if changed + more != pieces:
        model = _sentence_piece.with_pieces(model, changed + more)
    return Tokenizer("sentencepiece", tuple(piece.text for piece in changed + more), **special, model=model,
                     lowercase=lowercase)


def fairseq(model: bytes) -> bytes:
    """XLM-R's model with the piece ids of fairseq: <pad> is inserted at 1, and <mask> appended."""
    pieces = _sentence_piece.pieces(model)
    if [piece.text for piece in pieces[:3]] != ["<unk>", "<s>", "</s>"]:
        raise ValueError("its SentencePiece model does not begin with <unk>, <s>, </s>, as XLM-R's does")
    unknown, start, end, *rest = pieces
    return _sentence_piece.with_pieces(model, [start, Piece("<pad>", kind=CONTROL), end, unknown, *rest,
                                               Piece("<mask>", kind=CONTROL)])


def deberta(model: bytes) -> bytes:
    """DeBERTa v3's model, with [MASK] appended unless it is there."""
    pieces = _sentence_piece.pieces(model)
    if any(piece.text == BERT["mask_token"] for piece in pieces):
        return model
    return _sentence_piece.with_pieces(model, [*pieces, Piece(BERT["mask_token"], kind=CONTROL)])


def by_id(vocabulary: Mapping[str, int]) -> list[str]:
    """The pieces of a vocabulary by id, "" where an id has none."""
    return extended([], {i: piece for piece, i in vocabulary.items()})


def extended(pieces: Sequence[str], added: Mapping[int, str]) -> list[str]:
    """The pieces, with `added` ones put at their ids."""
    size = max((len(pieces), *(i + 1 for i in added)))
    if size > 2 * (len(pieces) + len(added)) + 1000 or any(i < 0 for i in added):
        raise ValueError("its ids are too far apart")
    result = [*pieces, *[""] * (size - len(pieces))]
    for i, piece in added.items():
        result[i] = piece
    return result


def _special(pieces: Sequence[str], names: Mapping[str, str]) -> dict[str, Any]:
    ids = {piece: i for i, piece in enumerate(pieces)}
    end = ids[names["sep_token"]]
    return {"pad": ids[names["pad_token"]], "start": (ids[names["cls_token"]],), "end": (end,),
            "unknown": ids[names["unk_token"]],
            # models with RoBERTa's end token put two of them between the texts of a pair
            "between": (end, end) if names["sep_token"] == FAIRSEQ["sep_token"] else (end,)}
