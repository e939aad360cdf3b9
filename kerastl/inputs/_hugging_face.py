"""The tokenizer in the folder of a Hugging Face model, from the classic files or from tokenizer.json alone.

tokenizer.json can describe any kind of tokenizer. Those that kerastl cannot reproduce exactly are an error.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kerastl.errors import WeightsError
from kerastl.files import read_bytes, read_text
from kerastl.inputs import _glm, _sentence_piece
from kerastl.inputs._build import BERT, FAIRSEQ, by_id, byte_pairs, deberta, extended, fairseq, sentence_pieces
from kerastl.inputs._build import word_pieces as build_word_pieces
from kerastl.inputs._sentence_piece import CONTROL, NORMAL, UNKNOWN, Piece
from kerastl.inputs.tokenizer import MOST, Tokenizer

FOLDER = "the folder of a BERT, DistilBERT, RoBERTa, XLM-R, DeBERTa v3, ChatGLM2, ChatGLM3 or GLM-4 model"
FILES = "vocab.txt, vocab.json with merges.txt, sentencepiece.bpe.model, spm.model or tokenizer.json"

Json = Mapping[str, Any]


def read(folder: Path) -> Tokenizer:
    """The tokenizer of a folder. The classic files take precedence over tokenizer.json, because they are the originals.

    Raises WeightsError, OSError, ValueError, LookupError or TypeError.
    """
    described = read_json(folder / "tokenizer.json")
    settings = {**read_json(folder / "special_tokens_map.json"), **read_json(folder / "tokenizer_config.json")}
    glm = _glm.is_glm(read_json(folder / "config.json"), settings)
    added = _added(folder, described, settings, _glm.SPECIAL if glm else ())
    if glm:
        named = {*added.values(), *_texts(settings.get("additional_special_tokens", []))}
        return _glm.read(folder, described, added, named)
    leading_space = settings.get("add_prefix_space", (described.get("pre_tokenizer") or {}).get("add_prefix_space"))
    if (folder / "vocab.txt").exists():
        return _word_pieces(extended(read_lines(folder / "vocab.txt"), added), settings, described)
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        vocabulary = {**read_json(folder / "vocab.json"), **{text: i for i, text in added.items()}}
        return byte_pairs(vocabulary, read_merges(folder / "merges.txt"), _names(settings, FAIRSEQ),
                          leading_space=bool(leading_space))
    if (folder / "sentencepiece.bpe.model").exists():
        model = fairseq(read_bytes(folder / "sentencepiece.bpe.model"))
        return sentence_pieces(model, _names(settings, FAIRSEQ), added)
    if (folder / "spm.model").exists():
        if settings.get("split_by_punct"):
            raise _other(folder, "splits at punctuation before SentencePiece")
        return sentence_pieces(deberta(read_bytes(folder / "spm.model")), _names(settings, BERT), added,
                               lowercase=bool(settings.get("do_lower_case")))
    if not described:
        raise WeightsError(f"{folder} has no vocabulary", FILES, "add the model's tokenizer files to it")
    model = described["model"]
    kind = model.get("type") or ("BPE" if "merges" in model else "Unigram" if "unk_id" in model else "WordPiece")
    if kind == "WordPiece":
        _check_word_pieces(folder, described)
        return _word_pieces(extended(by_id(model["vocab"]), added), settings, described)
    if kind == "BPE":
        _check_byte_pairs(folder, described)
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        vocabulary = {**model["vocab"], **{text: i for i, text in added.items()}}
        return byte_pairs(vocabulary, merges, _names(settings, FAIRSEQ), leading_space=bool(leading_space))
    if kind == "Unigram":
        charsmap = _charsmap(folder, described)
        pieces = [Piece(text, score, UNKNOWN if i == model["unk_id"] else CONTROL if i in added else NORMAL)
                  for i, (text, score) in enumerate(model["vocab"])]
        convention = FAIRSEQ if any(piece.text == FAIRSEQ["sep_token"] for piece in pieces) else BERT
        return sentence_pieces(_sentence_piece.unigram(pieces, charsmap), _names(settings, convention), added)
    raise _other(folder, f"is of the type {kind}")


def read_json(path: Path) -> Json:
    """The JSON object in a file; empty if there is no such file."""
    if not path.exists():
        return {}
    content = json.loads(read_text(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is not a JSON object")
    return content


def read_lines(path: Path) -> list[str]:
    """The lines of a file, without the empty one after a final line end."""
    lines = read_text(path).split("\n")
    return lines[:-1] if not lines[-1] else lines


def read_merges(path: Path) -> list[str]:
    """The lines of merges.txt except its header."""
    return [line for line in read_lines(path) if line and not line.startswith("#version")]


def _word_pieces(pieces: list[str], settings: Json, described: Json) -> Tokenizer:
    rules = described.get("normalizer") or {}
    strip = settings.get("strip_accents")
    return build_word_pieces(
        pieces, _names(settings, BERT), lowercase=bool(settings.get("do_lower_case", rules.get("lowercase", True))),
        strip_accents=rules.get("strip_accents") if strip is None else strip,
        ideographs=bool(settings.get("tokenize_chinese_chars", rules.get("handle_chinese_chars", True))))


def _check_word_pieces(folder: Path, described: Json) -> None:
    model, normalizer, splitter = described["model"], described["normalizer"] or {}, described["pre_tokenizer"] or {}
    if (normalizer.get("type"), splitter.get("type"), normalizer.get("clean_text", True)) != (
            "BertNormalizer", "BertPreTokenizer", True):
        raise _other(folder, "splits words differently than BERT")
    if model["continuing_subword_prefix"] != "##" or model["max_input_chars_per_word"] != MOST:
        raise _other(folder, "marks word continuations or limits word length differently than BERT")


def _check_byte_pairs(folder: Path, described: Json) -> None:
    model, splitter = described["model"], described["pre_tokenizer"] or {}
    if described["normalizer"] or splitter.get("type") != "ByteLevel" or not splitter.get("use_regex", True):
        raise _other(folder, "splits words differently than RoBERTa")
    if any(model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback",
                                        "ignore_merges")):
        raise _other(folder, "merges pairs differently than RoBERTa")


def _charsmap(folder: Path, described: Json) -> bytes:
    """The normalization rules in XLM-R's tokenizer.json; its other steps are those that SentencePiece does anyway."""
    normalizer, splitter, model = described["normalizer"] or {}, described["pre_tokenizer"] or {}, described["model"]
    steps = normalizer["normalizers"] if normalizer.get("type") == "Sequence" else [normalizer]
    rules = [step for step in steps if step.get("type") == "Precompiled"]
    others = [step for step in steps if step.get("type") not in ("Precompiled", "Strip")
              and step.get("pattern") != {"Regex": " {2,}"}]
    splitters = splitter["pretokenizers"] if splitter.get("type") == "Sequence" else [splitter]
    last = splitters[-1]
    spaced = last.get("prepend_scheme") or ("always" if last.get("add_prefix_space", True) else "never")
    if (len(rules) != 1 or others or [step["type"] for step in splitters[:-1]] not in ([], ["WhitespaceSplit"])
            or (last.get("type"), last.get("replacement"), spaced) != ("Metaspace", "▁", "always")):
        raise _other(folder, "normalizes or splits text differently than XLM-R")
    if model.get("byte_fallback"):
        raise _other(folder, "uses byte fallback")
    return base64.b64decode(rules[0]["precompiled_charsmap"])


def _names(settings: Json, default: Mapping[str, str]) -> dict[str, str]:
    """The special pieces in the folder's settings."""
    values = {name: settings.get(name) or default[name] for name in default}
    return {name: value["content"] if isinstance(value, dict) else value for name, value in values.items()}


def _added(folder: Path, described: Json, settings: Json, more: Iterable[str] = ()) -> dict[int, str]:
    """The special tokens that were added to the vocabulary, by id. Raises WeightsError for added words, which the
    original tokenizer finds before anything else. more: further special tokens, which the settings may not mark."""
    special, added = {*BERT.values(), *FAIRSEQ.values(), *more}, {}
    for name, value in settings.items():
        if name.endswith(("_token", "_special_tokens")):
            special.update(_texts(value))
    tokens = [*described.get("added_tokens", ()),
              *({"id": int(i), **token} for i, token in settings.get("added_tokens_decoder", {}).items()),
              *({"id": i, "content": text} for text, i in read_json(folder / "added_tokens.json").items())]
    for token in tokens:
        if not token.get("special") and token["content"] not in special:
            raise WeightsError(f"the tokenizer in {folder} has added words, such as {token['content']!r}",
                               "the vocabulary of the pretrained model", "use the model that this one was derived from")
        added[int(token["id"])] = str(token["content"])
    return added


def _texts(value: Any) -> list[str]:
    """The pieces in a setting: a piece, a list or a table of pieces, each as text or with its properties."""
    if isinstance(value, dict) and "content" not in value:
        value = list(value.values())
    if isinstance(value, list):
        return [text for piece in value for text in _texts(piece)]
    return [str(value["content"] if isinstance(value, dict) else value)]


def _other(folder: Path, difference: str) -> WeightsError:
    return WeightsError(f"the tokenizer in {folder} {difference}", FOLDER, "choose a model of one of these families")
