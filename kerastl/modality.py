"""Modalities: what an input is. A record knows its nouns, its reader, the backbone that comes with a package, what a
client sends, and which TFLite files serve. No module compares a modality's name: it asks the record."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kerastl.errors import unknown


@dataclass(frozen=True)
class Modality:
    """What is known of a kind of input.

    reader: the module with `read_labelled`, `read_unlabelled` and `read_inputs`. input_module: the module with
    `input_of_backbone` and `restore_input`. baseline: the module with `plain_features`, from which the
    baseline without transfer learns. All are imported when first used.
    """

    name: str  # as run.json and `Examples.modality` have it
    noun: str  # of one input
    nouns: str
    items: str  # what a source is made of: files, texts
    readable: str  # what can be decoded, for messages
    weights: str  # what the weights of a backbone lie in: a file, a folder
    bundled_backbone: str  # its weights come with a package
    raw_input: str  # the name of a serving signature's input
    values: str  # the name of the decoded input
    unit: str  # of a backbone's input size
    tflite_kinds: tuple[str, ...]  # what `tflite="all"` stands for
    reader: str
    input_module: str
    baseline: str = field(kw_only=True)
    has_length: bool = False  # whether an input is a sequence whose length is chosen from the data
    augments: bool = False  # whether training on raw inputs flips, rotates and mixes them

    def load(self, module: str, name: str) -> Callable[..., Any]:
        """A function of the reader, of the input module or of the baseline's."""
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return function


TFLITE_KINDS = ("fp32", "fp16", "dynamic", "int8")

IMAGE = Modality(
    "image", "image", "images", "files", "JPEG, PNG, GIF, BMP or WebP images", "file", "efficientnet_lite0",
    "image_bytes", "images", "pixels", TFLITE_KINDS, "kerastl.data.images", "kerastl.inputs.pixels",
    baseline="kerastl.evaluation.image_histograms", augments=True)
# Full int8 keeps too little of BERT and its relatives: MiniLM's features then have a cosine of 0.3 to the float ones.
TEXT = Modality(
    "text", "text", "texts", "texts", "texts", "folder", "minilm",
    "text", "tokens", "tokens", TFLITE_KINDS[:3], "kerastl.data.texts", "kerastl.inputs.texts",
    baseline="kerastl.evaluation.word_counts", has_length=True)

MODALITIES = {modality.name: modality for modality in (IMAGE, TEXT)}


def modality_named(name: str) -> Modality:
    """The modality of a name. Raises OptionError for one that is not known."""
    if name not in MODALITIES:
        raise unknown("modality", name, MODALITIES)
    return MODALITIES[name]
