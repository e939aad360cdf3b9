"""What the page needs to run a version's TFLite file in the browser, or the reason why it cannot."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerastl.files import read_text
from kerastl.modality import TFLITE_KINDS
from kerastl.server.page.web_runtime import WebRuntime
from kerastl.versions.damage import file_of
from kerastl.versions.record import RunRecord

VOCABULARY, RULES = Path("tokenizer/vocab.txt"), Path("tokenizer/about.json")
LARGEST = 2**30  # bytes: a page has 4 GiB of memory for LiteRT, which holds a file more than once
WORDPIECE = "wordpiece"


def tflite_file(folder: Path) -> Path | None:
    """The TFLite file of a version that the page runs: the first of its kinds, float32 before the smaller ones."""
    paths = (file_of(folder, f"tflite/model_{kind}.tflite") for kind in TFLITE_KINDS)
    return next((path for path in paths if path is not None), None)


def in_browser(folder: Path, record: RunRecord, runtime: WebRuntime | None) -> dict[str, Any]:
    """For the page: `refused`, the reason why a version cannot be run there, or "", and if it can, its file and what
    the file takes."""
    path, about_input = tflite_file(folder), record.input
    if runtime is None:
        return _refused("LiteRT for browsers is not installed on this server: see “Run the model in the browser” in "
                        "docs/how-to/serve.md.")
    if path is None:
        return _refused("This version has no TFLite file.")
    if path.stat().st_size > LARGEST:
        return _refused(f"{path.name} is larger than 1 GiB, too large for a browser.")
    if "size" in about_input:
        taken: dict[str, Any] = {"size": about_input["size"]}
    else:
        try:
            tokenizer = _tokenizer(folder)
        except (OSError, ValueError) as error:
            return _refused(f"{RULES} of this version cannot be read ({error}); see kerastl verify.")
        if reason := _text_refused(about_input, tokenizer):
            return _refused(f"Only the server answers texts of this model: {reason}.")
        taken = {"tokenizer": {**tokenizer, "max_length": about_input["max_length"],
                               "beyond": about_input.get("beyond", 0)}}
    return {"refused": "", "file": path.name, "bytes": path.stat().st_size, "runtime": runtime.version, "input": taken}


def _refused(reason: str) -> dict[str, Any]:
    return {"refused": reason}


def _tokenizer(folder: Path) -> dict[str, Any]:
    """Its rules; empty where a version has none. Raises OSError or ValueError where they cannot be read."""
    path = file_of(folder, RULES)
    rules = json.loads(read_text(path)) if path is not None else {}
    if not isinstance(rules, dict):
        raise ValueError("it is no JSON object")
    return rules


def _text_refused(about_input: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> str:
    if not tokenizer:
        return "this version has no tokenizer files"
    if tokenizer.get("kind") != WORDPIECE:
        return "the page has a WordPiece tokenizer, and the model another one"
    if about_input.get("pair"):
        return "the model takes pairs of texts"
    if about_input.get("long", "head") != "head":
        return "it takes more than the beginning of a long text"
    return ""
