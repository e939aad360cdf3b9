"""Modalities: image and text. A record holds what differs between them: nouns, the reader of sources, the bundled
backbone, what a client sends, and the TFLite files. Other modules ask the record instead of comparing its name."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kerastl.errors import unknown


@dataclass(frozen=True)
class Modality:
    """The properties of a kind of input.

    reader: the module with `read_labelled`, `read_unlabelled` and `read_inputs`. input_module: the module with
    `input_of_backbone` and `restore_input`. Both are imported when first used.
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
    poolings: tuple[str, ...]  # how maps or token states can become one row
    layer_modules: tuple[str, ...] = ()  # importing them registers the Keras layers of its networks
    has_length: bool = False  # whether inputs are sequences whose maximum length is chosen from the data
    augments: bool = False  # whether fine-tuning flips, rotates and mixes the inputs

    def load(self, module: str, name: str) -> Callable[..., Any]:
        """A function of the reader or of the input module."""
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return function


TFLITE_KINDS = ("fp32", "fp16", "dynamic", "int8")

IMAGE = Modality(
    "image", "image", "images", "files", "JPEG, PNG, GIF, BMP or WebP images", "file", "efficientnet_lite0",
    "image_bytes", "images", "pixels", TFLITE_KINDS, "kerastl.data.images", "kerastl.inputs.pixels", ("mean", "none"),
    augments=True)
# Full int8 is not accurate enough for BERT and its relatives: MiniLM's features then have a cosine similarity of 0.3.
TEXT = Modality(
    "text", "text", "texts", "texts", "texts", "folder", "minilm",
    "text", "tokens", "tokens", TFLITE_KINDS[:3], "kerastl.data.texts", "kerastl.inputs.texts",
    ("mean", "cls", "pooled", "last", "none"), ("keras_hub", "kerastl.backbones._glm.network"), has_length=True)

MODALITIES = {modality.name: modality for modality in (IMAGE, TEXT)}


def modality_named(name: str) -> Modality:
    """The modality of a name. Raises OptionError for an unknown name."""
    if name not in MODALITIES:
        raise unknown("modality", name, MODALITIES)
    return MODALITIES[name]
