"""The tokenizers of the GLM family: SentencePiece with byte fallback of ChatGLM2 and ChatGLM3.

A text is [gMASK] sop and its pieces; a pair both texts' pieces one after the other and </s>. The special pieces are not
in the model's file: they have the ids after its last. Padding is <unk>, which the network knows by its id.
Source: the tokenizers published with the models (https://huggingface.co/THUDM/chatglm2-6b, .../chatglm3-6b).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kerastl.errors import WeightsError
from kerastl.inputs import _sentence_piece
from kerastl.inputs._sentence_piece import CONTROL, Piece
from kerastl.inputs.tokenizer import Tokenizer

CHAT_GLM = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")  # ChatGLM3 has them after these
SPECIAL = {*CHAT_GLM, *ROLES}


def is_one(config: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether config.json or tokenizer_config.json says that a folder is of the family."""
    return config.get("model_type") in ("chatglm", "glm") or str(settings.get("tokenizer_class")).startswith("ChatGLM")


def read(folder: Path, named: set[str]) -> Tokenizer:
    """The tokenizer of a folder as ChatGLM2 and ChatGLM3 are published; its Python is not run.

    named: special pieces that its settings speak of.
    Raises WeightsError, OSError or ValueError.
    """
    path = folder / "tokenizer.model"
    if not path.exists():
        raise WeightsError(f"{folder} has no tokenizer.model", "the SentencePiece model of ChatGLM2 or ChatGLM3",
                           "add the files of the model's tokenizer to it")
    model = path.read_bytes()
    try:
        _sentence_piece.pieces(model)
    except ValueError as error:
        raise WeightsError(f"{path} is no SentencePiece model: {error}", "that of ChatGLM2 or ChatGLM3",
                           "download it again, whole, or choose another model") from error
    return chat_glm(model, roles=bool(named & {*ROLES}), where=str(path))


def chat_glm(model: bytes, *, roles: bool = False, where: str = "the model") -> Tokenizer:
    """From the SentencePiece model. Raises WeightsError when there are characters that it would not know.

    roles: whether there are ids for who speaks in a conversation, as ChatGLM3 has them.
    """
    pieces = _sentence_piece.pieces(model)
    if not _sentence_piece.has_all_bytes(model):
        raise WeightsError(f"{where} has no pieces for bytes (byte_fallback), so unknown characters would be taken for "
                           "padding", "the 256 pieces <0x00> to <0xFF>, as ChatGLM2 and ChatGLM3 have them",
                           "take the tokenizer.model of the model's own folder")
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
