"""The tokenizers of the GLM family: SentencePiece with byte fallback of ChatGLM2 and ChatGLM3, byte pairs of GLM-4.

A text is [gMASK] sop and its pieces, with nothing after them; a pair is both texts' pieces one after the other, and of
ChatGLM </s>. The special pieces are in no model file: they have the ids after its last. ChatGLM pads with <unk>, GLM-4
with <|endoftext|>; the networks know padding by its id, so no text may have it.
Source: the tokenizers published with the models (https://huggingface.co/THUDM/chatglm2-6b, .../chatglm3-6b,
.../glm-4-9b, .../glm-4-9b-hf), whose Python is not run.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kerastl.errors import WeightsError
from kerastl.inputs import _sentence_piece
from kerastl.inputs._build import by_id, extended, of_text
from kerastl.inputs._sentence_piece import CONTROL, Piece
from kerastl.inputs.tokenizer import Tokenizer

CHAT_GLM = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")  # ChatGLM3 has them after these
GLM4 = ("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", *ROLES, "<|begin_of_image|>",
        "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>")
SPECIAL = {*CHAT_GLM, *GLM4}
LONGEST = 255  # bytes that the graph's trie has room for in a word, a mark before it
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
MODEL = "the tokenizer.model of ChatGLM2, ChatGLM3 or GLM-4, or GLM-4's tokenizer.json"


def is_one(config: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether config.json or tokenizer_config.json says that a folder is of the family."""
    return config.get("model_type") in ("chatglm", "glm") or str(settings.get("tokenizer_class")).startswith("ChatGLM")


def read(folder: Path, described: Mapping[str, Any], added: Mapping[int, str], named: Iterable[str]) -> Tokenizer:
    """The tokenizer of a folder. described: tokenizer.json. added, named: special pieces that its settings speak of, by
    id and without.

    Raises WeightsError, OSError, ValueError, LookupError or TypeError.
    """
    path = folder / "tokenizer.model"
    if not path.exists():
        if described:
            return _of_json(folder, described, added)
        raise WeightsError(f"{folder} has no tokenizer.model", MODEL, "add the files of the model's tokenizer to it")
    content = path.read_bytes()
    if re.match(rb"[A-Za-z0-9+/]+=* \d+\s", content):
        return _of_ranks(content, added, str(path))
    try:
        _sentence_piece.pieces(content)
    except ValueError as error:
        raise WeightsError(f"{path} is no SentencePiece model: {error}", MODEL,
                           "download it again, whole, or choose another model") from error
    return chat_glm(content, roles=not {*ROLES}.isdisjoint(named), where=str(path))


def chat_glm(model: bytes, *, roles: bool = False, where: str = "the model") -> Tokenizer:
    """From the SentencePiece model. Raises WeightsError when there are characters that it would not know.

    roles: whether there are ids for who speaks in a conversation, as ChatGLM3 has them.
    """
    pieces = _sentence_piece.pieces(model)
    if not _sentence_piece.has_all_bytes(model):
        raise _padding(where, "<0x00> to <0xFF>")
    places = {piece.text: i for i, piece in enumerate(pieces)}
    unknown, end = places["<unk>"], places["</s>"]
    pieces[end] = replace(pieces[end], kind=CONTROL)
    # One that is spelt like a piece of text has another name here: SentencePiece would take the one for the other.
    more = [Piece(name if name not in places else f"{name} {i}", kind=CONTROL)
            for i, name in enumerate(CHAT_GLM + (ROLES if roles else ()), len(pieces))]
    start = tuple(len(pieces) + CHAT_GLM.index(name) for name in ("[gMASK]", "sop"))
    return Tokenizer("sentencepiece", tuple(piece.text for piece in pieces + more), pad=unknown, start=start, end=(),
                     unknown=unknown, between=(), pair_end=(end,),
                     model=_sentence_piece.with_pieces(model, pieces + more))


def _of_ranks(content: bytes, added: Mapping[int, str], where: str) -> Tokenizer:
    """From tiktoken's file, a line of which is a piece in base64 and its rank, which is its id."""
    characters, ranks = _sentence_piece.byte_characters(), {}
    for line in content.split(b"\n"):
        if line.strip():
            piece, rank = line.split()
            ranks["".join(characters[byte] for byte in base64.b64decode(piece, validate=True))] = int(rank)
    special = added if "[gMASK]" in added.values() else dict(enumerate(GLM4, len(ranks)))
    merges, unmade = _sentence_piece.merges_of(ranks)
    return _byte_pairs(ranks, merges, special, where, unmade)


def _of_json(folder: Path, described: Mapping[str, Any], added: Mapping[int, str]) -> Tokenizer:
    """From what transformers writes of GLM-4's."""
    model, splitter = described["model"], described["pre_tokenizer"] or {}
    steps = splitter.get("pretokenizers", [])
    ways = [(step.get("pattern"), step.get("behavior"), step.get("invert")) if step.get("type") == "Split" else
            (step.get("type"), bool(step.get("add_prefix_space", True)), bool(step.get("use_regex", True)))
            for step in steps]
    if described["normalizer"] or len(ways) != 2 or ways[1] != ("ByteLevel", False, False) or ways[0] not in (
            ({"Regex": CL100K}, "Isolated", False), ({"Regex": CL100K}, "Removed", True)):
        raise WeightsError(f"the tokenizer in {folder} splits words in another way than GLM-4", MODEL,
                           "choose a model of this family")
    if "merges" not in model or any(model.get(name) for name in (
            "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "dropout")):
        raise WeightsError(f"the tokenizer in {folder} merges pairs in another way than GLM-4", MODEL,
                           "choose a model of this family")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    unmade = _sentence_piece.unmade(model["vocab"], merges) if model.get("ignore_merges") else []
    return _byte_pairs(model["vocab"], merges, added, str(folder), unmade)


def _byte_pairs(vocabulary: Mapping[str, int], merges: Iterable[str], special: Mapping[int, str], where: str,
                unmade: Iterable[str]) -> Tokenizer:
    """unmade: pieces that merges do not make, found where they are a word."""
    if not {*_sentence_piece.byte_characters()} <= vocabulary.keys():
        raise _padding(where, "that GPT-2 writes bytes with")
    merges = of_text(merges, vocabulary, special.values())
    whole = [piece for piece in unmade if vocabulary[piece] not in special and _is_text(piece)]
    if any(len(piece) > LONGEST for piece in whole):
        raise ValueError(f"pieces of more than {LONGEST} bytes that no merges make")
    pieces = extended(by_id(vocabulary), special)
    ids = {piece: i for i, piece in special.items()}
    pad = ids["<|endoftext|>"]
    return Tokenizer("bpe", tuple(pieces), pad=pad, start=(ids["[gMASK]"], ids["<sop>"]), end=(), unknown=pad,
                     between=(), merges=tuple(merges), pattern="cl100k",
                     whole=tuple(vocabulary[piece] for piece in whole))


def _is_text(piece: str) -> bool:
    """Whether its bytes are UTF-8, as a word's are."""
    try:
        return bool(_sentence_piece.from_characters(piece).decode())
    except (UnicodeDecodeError, KeyError):
        return False


def _padding(where: str, which: str) -> WeightsError:
    return WeightsError(f"{where} has no pieces for all bytes, so unknown characters would be taken for padding",
                        f"the 256 pieces {which}, as the published models have them",
                        "take the tokenizer of the model's own folder")
