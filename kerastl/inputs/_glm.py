"""The tokenizers of the GLM family: SentencePiece with byte fallback for ChatGLM2 and ChatGLM3, byte pairs for GLM-4.

A text becomes [gMASK] sop and its pieces, with nothing after them. A pair becomes the pieces of both texts in sequence,
for ChatGLM followed by </s>. The special pieces are not in the model files; their ids follow the last one in the file.
ChatGLM pads with <unk>, GLM-4 with <|endoftext|>. The networks recognize padding by its id, so no text may produce it.
Source: the tokenizers published with the models (https://huggingface.co/THUDM/chatglm2-6b, .../chatglm3-6b,
.../glm-4-9b, .../glm-4-9b-hf), whose Python code is not run.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kerastl.errors import WeightsError
from kerastl.files import read_bytes
from kerastl.inputs import _sentence_piece
from kerastl.inputs._build import by_id, extended, of_text
from kerastl.inputs._sentence_piece import CONTROL, Piece
from kerastl.inputs.tokenizer import Tokenizer

CHAT_GLM = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")  # ChatGLM3 has these in addition
GLM4 = ("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", *ROLES, "<|begin_of_image|>",
        "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>")
SPECIAL = {*CHAT_GLM, *GLM4}
LONGEST = 255  # most bytes of a word in the graph's trie, with the mark before it
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
MODEL = "the tokenizer.model of ChatGLM2, ChatGLM3 or GLM-4, or GLM-4's tokenizer.json"


def is_glm(config: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a folder belongs to the family, according to config.json or tokenizer_config.json."""
    return config.get("model_type") in ("chatglm", "glm") or str(settings.get("tokenizer_class")).startswith("ChatGLM")


def read(folder: Path, described: Mapping[str, Any], added: Mapping[int, str], named: Iterable[str]) -> Tokenizer:
    """The tokenizer of a folder. described: tokenizer.json. added, named: the special pieces in its settings, by id and
    by name only.

    Raises WeightsError, OSError, ValueError, LookupError or TypeError.
    """
    path = folder / "tokenizer.model"
    if not path.exists():
        if described:
            return _of_json(folder, described, added)
        raise WeightsError(f"{folder} has no tokenizer.model", MODEL, "add the model's tokenizer files to it")
    content = read_bytes(path)
    if re.match(rb"[A-Za-z0-9+/]+=* \d+\s", content):
        return _of_ranks(content, added, str(path))
    try:
        _sentence_piece.pieces(content)
    except ValueError as error:
        raise WeightsError(f"{path} is not a SentencePiece model: {error}", MODEL,
                           "download it again, or choose another model") from error
    return chat_glm(content, roles=not {*ROLES}.isdisjoint(named), where=str(path))


def chat_glm(model: bytes, *, roles: bool = False, where: str = "the model") -> Tokenizer:
    """The tokenizer of a SentencePiece model. Raises WeightsError if some characters would be unknown to it.

    roles: whether it has ids for the roles in a conversation, as in ChatGLM3.
    """
    pieces = _sentence_piece.pieces(model)
    if not _sentence_piece.has_all_bytes(model):
        raise _no_bytes(where, "<0x00> to <0xFF>")
    places = {piece.text: i for i, piece in enumerate(pieces)}
    unknown, end = places["<unk>"], places["</s>"]
    pieces[end] = replace(pieces[end], kind=CONTROL)
    # A special piece that is spelled like a piece of text is renamed, because SentencePiece would confuse the two.
    more = [Piece(name if name not in places else f"{name} {i}", kind=CONTROL)
            for i, name in enumerate(CHAT_GLM + (ROLES if roles else ()), len(pieces))]
    start = tuple(len(pieces) + CHAT_GLM.index(name) for name in ("[gMASK]", "sop"))
    return Tokenizer("sentencepiece", tuple(piece.text for piece in pieces + more), pad=unknown, start=start, end=(),
                     unknown=unknown, between=(), pair_end=(end,),
                     model=_sentence_piece.with_pieces(model, pieces + more))


def _of_ranks(content: bytes, added: Mapping[int, str], where: str) -> Tokenizer:
    """The tokenizer of tiktoken's file, whose lines are a piece in base64 and its rank, which is also its id."""
    characters, ranks = _sentence_piece.byte_characters(), {}
    for line in content.split(b"\n"):
        if line.strip():
            piece, rank = line.split()
            ranks["".join(characters[byte] for byte in base64.b64decode(piece, validate=True))] = int(rank)
    special = added if "[gMASK]" in added.values() else dict(enumerate(GLM4, len(ranks)))
    merges, unreachable = _sentence_piece.merges_of(ranks)
    return _byte_pairs(ranks, merges, special, where, unreachable)


def _of_json(folder: Path, described: Mapping[str, Any], added: Mapping[int, str]) -> Tokenizer:
    """The tokenizer of the tokenizer.json that transformers writes for GLM-4."""
    model, splitter = described["model"], described["pre_tokenizer"] or {}
    steps = splitter.get("pretokenizers", [])
    rules = [(step.get("pattern"), step.get("behavior"), step.get("invert")) if step.get("type") == "Split" else
            (step.get("type"), bool(step.get("add_prefix_space", True)), bool(step.get("use_regex", True)))
            for step in steps]
    if described["normalizer"] or len(rules) != 2 or rules[1] != ("ByteLevel", False, False) or rules[0] not in (
            ({"Regex": CL100K}, "Isolated", False), ({"Regex": CL100K}, "Removed", True)):
        raise WeightsError(f"the tokenizer in {folder} splits words differently than GLM-4", MODEL,
                           "choose a model of this family")
    if "merges" not in model or any(model.get(name) for name in (
            "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "dropout")):
        raise WeightsError(f"the tokenizer in {folder} merges pairs differently than GLM-4", MODEL,
                           "choose a model of this family")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    unreachable = _sentence_piece.unreachable(model["vocab"], merges) if model.get("ignore_merges") else []
    return _byte_pairs(model["vocab"], merges, added, str(folder), unreachable)


def _byte_pairs(vocabulary: Mapping[str, int], merges: Iterable[str], special: Mapping[int, str], where: str,
                unreachable: Iterable[str]) -> Tokenizer:
    """unreachable: pieces that no merges produce, used only for whole words."""
    if not {*_sentence_piece.byte_characters()} <= vocabulary.keys():
        raise _no_bytes(where, "that GPT-2 represents bytes with")
    merges = of_text(merges, vocabulary, special.values())
    whole = [piece for piece in unreachable if vocabulary[piece] not in special and _is_text(piece)]
    if any(len(piece) > LONGEST for piece in whole):
        raise ValueError(f"it has pieces of more than {LONGEST} bytes that no merges produce")
    pieces = extended(by_id(vocabulary), special)
    ids = {piece: i for i, piece in special.items()}
    pad = ids["<|endoftext|>"]
    return Tokenizer("bpe", tuple(pieces), pad=pad, start=(ids["[gMASK]"], ids["<sop>"]), end=(), unknown=pad,
                     between=(), merges=tuple(merges), pattern="cl100k",
                     whole=tuple(vocabulary[piece] for piece in whole))


def _is_text(piece: str) -> bool:
    """Whether the bytes of a piece are valid UTF-8, like those of a word."""
    try:
        return bool(_sentence_piece.from_characters(piece).decode())
    except (UnicodeDecodeError, KeyError):
        return False


def _no_bytes(where: str, pieces: str) -> WeightsError:
    return WeightsError(f"{where} lacks pieces for some bytes, so unknown characters would be mistaken for padding",
                        f"the 256 pieces {pieces}, which the published models have",
                        "use the tokenizer in the model's own folder")
