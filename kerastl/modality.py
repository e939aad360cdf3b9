"""Modalities: image and text. A record holds what differs between them: nouns, the reader of sources, the bundled
backbone, what a client sends, and the TFLite files. Other modules ask the record instead of comparing its name."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kerastl.errors import OptionError, unknown


@dataclass(frozen=True)
class FineTuningRule:
    """How a backbone is fine-tuned by default; see `training/fine_tuning/plan.py` for the sources. rows_seen: training
    rows that a run sees, in 2 to `most_epochs` epochs. learning_rate: the peak. layer_decay: from block to block
    towards the input."""

    rows_seen: int
    most_epochs: int
    schedule: str
    learning_rate: float
    layer_decay: float
    weight_decay: float


@dataclass(frozen=True)
class Modality:
    """The properties of a kind of input.

    reader: the module with `read_labelled` and `read_unlabelled`. input_module: the module with `input_of_backbone`,
    `restore_input`, `describe_input` and `client_content`. baseline: the module with `plain_features`, from which the
    baseline without transfer learns. near_duplicates: the module with `read_contents`, which compares inputs.
    explanation: the module with `explainer`. All are imported when first used.
    """

    name: str  # as in run.json
    noun: str  # of one input
    nouns: str
    items: str  # what a source contains: files, texts
    readable: str  # what can be decoded, for messages
    weights: str  # how the weights of a backbone are stored: in a file or in a folder
    bundled_backbone: str  # its weights come with a package
    raw_input: str  # the name of the serving signature's input
    values: str  # the name of the decoded input
    unit: str  # of the size of a backbone's input
    tflite_kinds: tuple[str, ...]  # what `tflite="all"` stands for
    reader: str
    input_module: str
    fine_tuning: FineTuningRule
    poolings: tuple[str, ...]  # how maps or token states can be pooled to one vector
    baseline: str = field(kw_only=True)
    near_duplicates: str = field(kw_only=True)
    explanation: str = field(kw_only=True)
    layer_modules: tuple[str, ...] = ()  # importing them registers the Keras layers of its networks
    serving_modules: tuple[str, ...] = ()  # imported before a SavedModel loads: they register its operations
    has_length: bool = False  # whether inputs are sequences whose maximum length is chosen from the data
    in_files: bool = False  # whether an item is the path of a file, which may not be decodable
    line_is_input: bool = False  # whether a line on standard input is an input itself; otherwise it names one
    preview: str = "text"  # how the report shows an input: thumbnail or text
    augments: bool = False  # whether fine-tuning flips, rotates and mixes the inputs

    def __repr__(self) -> str:
        return f"Modality({self.name})"

    def load(self, module: str, name: str) -> Callable[..., Any]:
        """A function of the reader, of the input module or of the baseline's."""
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return function


TFLITE_KINDS = ("fp32", "fp16", "dynamic", "int8")

IMAGE = Modality(
    "image", "image", "images", "files", "JPEG, PNG, GIF, BMP or WebP images", "file", "efficientnet_lite0",
    "image_bytes", "images", "pixels", TFLITE_KINDS, "kerastl.data.images", "kerastl.inputs.pixels",
    FineTuningRule(80_000, 8, "cosine", 3e-5, 1.0, 4e-3), ("mean", "none"),
    baseline="kerastl.evaluation.image_histograms", near_duplicates="kerastl.data.near_duplicates.images",
    explanation="kerastl.explanation.images",
    augments=True, preview="thumbnail", in_files=True)
# Full int8 is not accurate enough for BERT and its relatives: MiniLM's features then have a cosine similarity of 0.3.
TEXT = Modality(
    "text", "text", "texts", "texts", "texts", "folder", "minilm",
    "text", "tokens", "tokens", TFLITE_KINDS[:3], "kerastl.data.texts", "kerastl.inputs.texts",
    FineTuningRule(40_000, 4, "linear", 5e-5, 0.9, 1e-2), ("mean", "cls", "pooled", "last", "none"),
    baseline="kerastl.evaluation.word_counts", near_duplicates="kerastl.data.near_duplicates.texts",
    explanation="kerastl.explanation.texts",
    has_length=True, line_is_input=True,
    serving_modules=("tensorflow_text",), layer_modules=("keras_hub", "kerastl.backbones._glm.network"))

MODALITIES = {modality.name: modality for modality in (IMAGE, TEXT)}


def modality_named(name: str) -> Modality:
    """The modality of a name. Raises OptionError for an unknown name."""
    if name not in MODALITIES:
        raise unknown("modality", name, MODALITIES)
    return MODALITIES[name]


def parse_kinds(text: str, modality: Modality = IMAGE) -> tuple[str, ...]:
    """The kinds of TFLite files in `fp32,int8`. `all`: those that serve this modality well; `none`: no file.

    Raises OptionError for unknown kinds.
    """
    if text in ("all", "none", ""):
        return modality.tflite_kinds if text == "all" else ()
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    wrong = [kind for kind in kinds if kind not in TFLITE_KINDS]
    if wrong:
        raise OptionError(f"`tflite` must list some of {', '.join(TFLITE_KINDS)}, separated by commas, or be all "
                          f"or none (got {text}; there is no {wrong[0]})")
    return kinds
