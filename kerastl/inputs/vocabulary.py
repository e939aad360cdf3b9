"""Tokenizers from folders of Hugging Face and KerasHub, from KerasHub objects, from our own folders, or synthetic.

What a tokenizer does is read from its files. A tokenizer that cannot be reproduced exactly is an error.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kerastl.errors import ModelError, OptionError, WeightsError
from kerastl.files import read_bytes, read_text, write_file
from kerastl.inputs import _hugging_face, _sentence_piece
from kerastl.inputs._build import BERT, FAIRSEQ, byte_pairs, deberta, fairseq, sentence_pieces, word_pieces
from kerastl.inputs._glm import CHAT_GLM, chat_glm
from kerastl.inputs._sentence_piece import BYTE, CONTROL, NORMAL, UNKNOWN, Piece
from kerastl.inputs.tokenizer import Tokenizer

FAULTS = (OSError, ValueError, LookupError, TypeError, AttributeError)  # what reading damaged files raises
IDS = {"start", "end", "between", "pair_end", "whole"}
ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


def read(folder: Path) -> Tokenizer:
    """The tokenizer of a model's folder as Hugging Face or KerasHub writes it.

    Raises WeightsError for a folder without a vocabulary, for a damaged one, and for an unsupported tokenizer.
    """
    with _described(folder):
        described = _hugging_face.read_json(folder / "tokenizer.json")
        if "registered_name" in described:
            return _read_keras_hub(folder / "assets" / "tokenizer", described)
        return _hugging_face.read(folder)


def of_keras_hub(tokenizer: Any) -> Tokenizer:
    """A tokenizer with the vocabulary of a KerasHub tokenizer. It strips accents if it lowercases, as BERT does but
    KerasHub does not. Raises WeightsError for an unsupported family."""
    family = type(tokenizer).__name__.removesuffix("Tokenizer")
    with _described(f"KerasHub's {family}Tokenizer"):
        vocabulary = tokenizer.proto if hasattr(tokenizer, "proto") else tokenizer.vocabulary
        return _of_family(family, tokenizer.get_config(), vocabulary, getattr(tokenizer, "merges", ()))


def check_size(tokenizer: Tokenizer, embedding_rows: int, where: str) -> None:
    """Raises WeightsError if the network lacks an embedding for some of the tokenizer's ids."""
    if tokenizer.size > embedding_rows:
        raise WeightsError(f"{where}: the vocabulary has {tokenizer.size} pieces, but the network has {embedding_rows} "
                           "embeddings", "vocabulary and weights of the same model", "take both from the same folder")


def synthetic(kind: str, size: int) -> Tokenizer:
    """A vocabulary for networks with random weights, always the same: printable ASCII letter by letter, or bytes.

    Raises OptionError if it does not fit in `size` ids, or for an unknown kind.
    """
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    special = [FAIRSEQ[name] for name in ("cls_token", "pad_token", "sep_token", "unk_token", "mask_token")]
    pieces = {"wordpiece": [*BERT.values(), *letters, *(f"##{letter}" for letter in letters)],
              "bpe": [*special, *_sentence_piece.byte_characters()],
              "sentencepiece": [*special, "▁", *letters],
              "glm": ["<unk>", "<s>", "</s>", *_sentence_piece.byte_pieces(), "▁", *letters]}.get(kind, [])
    least = len(pieces) + (len(CHAT_GLM) if kind == "glm" else 0)
    if not pieces or size < least:
        raise OptionError(f"a vocabulary of the kind {kind} with at most {size} pieces",
                          "at least 193 pieces for wordpiece, 261 for bpe, 100 for sentencepiece, 359 for glm",
                          "use another kind or size")
    if kind == "wordpiece":
        return word_pieces(pieces, BERT, lowercase=True)
    if kind == "bpe":
        return byte_pairs({piece: i for i, piece in enumerate(pieces)}, (), FAIRSEQ)
    if kind == "glm":
        kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * (1 + len(letters))]
        model = [Piece(piece, -1.0 if kind == NORMAL else 0.0, kind) for piece, kind in zip(pieces, kinds, strict=True)]
        return chat_glm(_sentence_piece.unigram(model, b"", byte_fallback=True))
    kinds = [UNKNOWN if piece == FAIRSEQ["unk_token"] else CONTROL for piece in special]
    model = [Piece(piece, kind=kind) for piece, kind in zip(special, kinds, strict=True)]
    model += [Piece(piece, -1.0) for piece in pieces[len(special):]]
    return sentence_pieces(_sentence_piece.unigram(model, b""), FAIRSEQ)


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the tokenizer as plain files: about.json, vocab.txt (one piece per line in the order of ids, with \\n for a
    line end), and merges.txt or model.spm if it has them."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = asdict(tokenizer) | {"size": tokenizer.size}
    for name in ("pieces", "merges", "model"):
        del fields[name]
    write_file(folder / "about.json", json.dumps(fields, indent=1) + "\n")
    lines = ["".join(ESCAPES.get(letter, letter) for letter in piece) for piece in tokenizer.pieces]
    write_file(folder / "vocab.txt", "".join(f"{line}\n" for line in lines).encode())
    if tokenizer.merges:
        write_file(folder / "merges.txt", "".join(f"{merge}\n" for merge in tokenizer.merges).encode())
    if tokenizer.model:
        write_file(folder / "model.spm", tokenizer.model)


def load(folder: Path) -> Tokenizer:
    """The tokenizer that `save` wrote. Raises ModelError if it is missing or damaged."""
    unescaped = {escape: letter for letter, escape in ESCAPES.items()}
    try:
        about = json.loads(read_text(folder / "about.json"))
        size = about.pop("size")
        for name in IDS & about.keys():  # earlier versions stored one id for `start` and `end`
            ids = about[name]
            about[name] = (ids,) if isinstance(ids, int) else None if ids is None else tuple(ids)
        lines = read_bytes(folder / "vocab.txt").decode().split("\n")[:-1]
        pieces = tuple(re.sub(r"\\.", lambda match: unescaped[match[0]], line) for line in lines)
        merges, model = folder / "merges.txt", folder / "model.spm"
        tokenizer = Tokenizer(
            pieces=pieces, **about,
            merges=tuple(read_bytes(merges).decode().split("\n")[:-1]) if merges.exists() else (),
            model=read_bytes(model) if model.exists() else b"")
        if size != tokenizer.size or (tokenizer.kind == "sentencepiece" and pieces != tuple(
                piece.text for piece in _sentence_piece.pieces(tokenizer.model))):
            raise ValueError("its files belong to different vocabularies")
    except FAULTS as error:
        raise ModelError(f"the tokenizer in {folder} cannot be loaded: {error}", "the folder as it was exported",
                         "copy the version folder again") from error
    return tokenizer


@contextmanager
def _described(where: Path | str) -> Iterator[None]:
    """Converts the errors that damaged files cause into a WeightsError that names the place."""
    try:
        yield
    except FAULTS as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise WeightsError(f"the vocabulary in {where} cannot be read: {reason}", _hugging_face.FOLDER,
                           "download it again, or choose another model") from error


def _read_keras_hub(assets: Path, described: Mapping[str, Any]) -> Tokenizer:
    family = described["registered_name"].split(">")[-1].removesuffix("Tokenizer")
    if (assets / "vocabulary.spm").exists():
        return _of_family(family, described["config"], read_bytes(assets / "vocabulary.spm"))
    if (assets / "vocabulary.json").exists():
        vocabulary = _hugging_face.read_json(assets / "vocabulary.json")
        return _of_family(family, described["config"], vocabulary, _hugging_face.read_merges(assets / "merges.txt"))
    if (assets / "vocabulary.txt").exists():
        return _of_family(family, described["config"], _hugging_face.read_lines(assets / "vocabulary.txt"))
    raise WeightsError(f"{assets} has no vocabulary", "vocabulary.txt, vocabulary.json with merges.txt, or "
                       "vocabulary.spm", "save the preset again with its tokenizer")


def _of_family(family: str, config: Mapping[str, Any], vocabulary: Any, merges: Iterable[str] = ()) -> Tokenizer:
    """The tokenizer of a family. vocabulary: pieces, pieces with ids, or the bytes of a SentencePiece model."""
    if family in ("Bert", "DistilBert"):
        return word_pieces(vocabulary, BERT, lowercase=bool(config.get("lowercase")),
                           strip_accents=bool(config.get("lowercase") or config.get("strip_accents")))
    if family == "Roberta":
        return byte_pairs(vocabulary, [merge for merge in merges if not merge.startswith("#version")], FAIRSEQ,
                          leading_space=bool(config.get("add_prefix_space")))
    if family == "XLMRoberta":
        return sentence_pieces(fairseq(vocabulary), FAIRSEQ)
    if family == "DebertaV3":
        return sentence_pieces(deberta(vocabulary), BERT)
    raise WeightsError(f"KerasHub's {family}Tokenizer is not supported",
                       "the tokenizer of BERT, DistilBERT, RoBERTa, XLM-R or DeBERTa v3",
                       "choose a preset of one of these families")
