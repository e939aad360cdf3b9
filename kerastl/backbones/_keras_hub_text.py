"""What the text backbones share: KerasHub's networks, from a preset, from a folder, or with random weights."""

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kerastl.backbones import (
    JOINED,
    TOP,
    BuildOptions,
    FeatureLayer,
    Network,
    Spec,
    Weights,
    _hugging_face,
    first_line,
)
from kerastl.backbones._text_network import longest, network
from kerastl.backbones._weight_files import read_config
from kerastl.errors import WeightsError, unknown
from kerastl.files import in_home
from kerastl.modality import TEXT


@dataclass(frozen=True)
class Family:
    """A family of text networks. Its key in `FAMILIES` is the "model_type" of Hugging Face folders."""

    network: str  # the names of its KerasHub classes begin with this
    folder: str  # of its presets on Kaggle
    tokens: str  # the kind of vocabulary
    layer: str = "transformer_layer_{}"  # name of its blocks, counted from 0


FAMILIES = {
    "bert": Family("Bert", "bert", "wordpiece"),
    "roberta": Family("Roberta", "roberta", "bpe"),
    "xlm-roberta": Family("XLMRoberta", "xlm_roberta", "sentencepiece"),
    "distilbert": Family("DistilBert", "distil_bert", "wordpiece"),
    "deberta-v2": Family("DebertaV3", "deberta_v3", "sentencepiece", "disentangled_attention_encoder_layer_{}"),
}
PREPROCESSING = {"wordpiece": "lower-cased wordpieces", "bpe": "byte pairs", "sentencepiece": "sentencepieces"}
POSITIONS = 512


@dataclass(frozen=True)
class Sizes:
    """The sizes of a network. inner: of the feed-forward layer within a block."""

    layers: int
    heads: int
    dim: int
    inner: int
    vocabulary: int


def text_spec(name: str, summary: str, family: str, sizes: Sizes, parameters: int, *, preset: str = "",
              licence: str = "", bundled: Weights | None = None, folder: Callable[[], Path] | None = None,
              size: int = POSITIONS) -> Spec:
    """The spec of a text backbone. preset: KerasHub's name of its weights. bundled: weights that come with a package.
    folder: returns the folder of the bundled weights. size: the maximum number of tokens."""
    weights = [bundled] if bundled else []
    if preset:
        handle = handle_of(FAMILIES[family], preset)
        weights.append(Weights("preset", f"KerasHub preset {preset} (kaggle.com/models/{handle})", licence,
                               partial(in_kaggle_cache, handle)))
    return Spec(
        name=name, summary=summary, size=size, dim=sizes.dim, parameters=parameters, weights=tuple(weights),
        build=partial(build, name=name, family=family, sizes=sizes, preset=preset, folder=folder),
        blocks=FAMILIES[family].layer.format(r"\d+"), preprocessing=PREPROCESSING[FAMILIES[family].tokens],
        modality=TEXT,
        feature_layers=tuple(
            FeatureLayer(f"layer_{number + 1}", FAMILIES[family].layer.format(number), (None, sizes.dim))
            for number in range(sizes.layers - 1)),
    )


def build(options: BuildOptions, *, name: str, family: str, sizes: Sizes, preset: str,
          folder: Callable[[], Path] | None) -> Network:
    """tokens: [batch, length] int32 -> features: [batch, dim] float32, with the tokenizer that makes the tokens.

    Raises WeightsError if the weights cannot be loaded, OptionError for a pooling that they do not allow.
    """
    from kerastl.inputs import vocabulary

    if options.weights == "none":
        backbone, pooler = _random(FAMILIES[family], sizes), True
        tokenizer = vocabulary.synthetic(FAMILIES[family].tokens, sizes.vocabulary)
    elif options.weights == "preset":
        backbone, tokenizer = _preset(FAMILIES[family], preset)
        pooler = True
    else:
        path = folder() if options.weights == "bundled" and folder else Path(options.weights)
        backbone, rows, pooler = _folder(path, family)
        tokenizer = vocabulary.read(path)
        vocabulary.check_size(tokenizer, rows, str(path))
    segments = "segment_ids" in backbone.input  # only BERT distinguishes the two texts of a pair, and has a pooler
    pattern = FAMILIES[family].layer
    names = [layer.name for layer in backbone.layers]
    blocks = sum(bool(re.fullmatch(pattern.format(r"\d+"), name)) for name in names)
    block_of = {TOP: "", **{f"layer_{n}": pattern.format(n - 1) for n in range(1, blocks)}}
    parts = options.layer.split(JOINED)
    for part in parts:  # a folder's network may have fewer blocks
        if part not in block_of:
            raise unknown("layer", part, [*block_of], "kerastl backbones")
    model = network(backbone, pad=tokenizer.pad, separator=tokenizer.end[0] if segments else None,
                    pooling=options.pooling, pooler=pooler and segments, name=name,
                    layers=[block_of[part] for part in parts])
    return Network(model, tokenizer, longest(model))


def handle_of(family: Family, preset: str) -> str:
    """The Kaggle handle of a preset: owner, model, framework, variation, version."""
    return f"keras/{family.folder}/keras/{preset}/3"


def in_kaggle_cache(handle: str) -> Path | None:
    """The weights file of a preset that KerasHub has downloaded before, or None."""
    variation, _, version = handle.rpartition("/")
    home = in_home(lambda: os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache/kagglehub")
    if home is None:
        return None
    cache = home / "models" / variation
    path = cache / version / "model.weights.h5"
    complete = cache / ".complete" / version / "model.weights.h5.complete"  # written after the last byte
    return path if path.is_file() and complete.is_file() else None


def _random(family: Family, sizes: Sizes) -> Any:
    import keras_hub

    return getattr(keras_hub.models, f"{family.network}Backbone")(
        vocabulary_size=sizes.vocabulary, num_layers=sizes.layers, num_heads=sizes.heads, hidden_dim=sizes.dim,
        intermediate_dim=sizes.inner, max_sequence_length=POSITIONS)


def _preset(family: Family, preset: str) -> tuple[Any, Any]:
    """The network and tokenizer of a preset, which KerasHub downloads unless it did so before."""
    import keras_hub

    from kerastl.inputs import vocabulary

    try:
        backbone = getattr(keras_hub.models, f"{family.network}Backbone").from_preset(preset)
        tokenizer = getattr(keras_hub.models, f"{family.network}Tokenizer").from_preset(preset)
    except Exception as error:  # a failed download raises any of a dozen types, from KerasHub, kagglehub and requests
        raise WeightsError(
            f"KerasHub could not get the preset {preset} (kaggle://{handle_of(family, preset)}): {first_line(error)}",
            "a network connection, to download it once",
            "download it on another machine and pass as `weights` the folder that KerasHub or Hugging Face's "
            "transformers saved, or use the backbone minilm, whose weights come with a package") from error
    return backbone, vocabulary.of_keras_hub(tokenizer)


def _folder(path: Path, family: str) -> tuple[Any, int, bool]:
    """The network of a KerasHub or Hugging Face folder, the rows of its token embedding, whether it has a pooler."""
    config = read_config(path)
    if "registered_name" in config:
        backbone = _keras_hub_folder(path, FAMILIES[family], str(config["registered_name"]))
        return backbone, backbone.vocabulary_size, True
    if "model_type" not in config:
        raise WeightsError(f"{path / 'config.json'} has neither registered_name nor model_type",
                           "a folder that KerasHub or Hugging Face's transformers saved", "check the folder")
    if family not in _hugging_face.LAYOUTS:
        raise WeightsError(f"{path} is a Hugging Face folder (model_type {config['model_type']!r})",
                           f"a KerasHub preset folder, the only format supported for {FAMILIES[family].network}",
                           "download KerasHub's preset, or choose another backbone: kerastl backbones")
    loaded = _hugging_face.load(path, family)
    return loaded.backbone, loaded.rows, loaded.pooler


def _keras_hub_folder(path: Path, family: Family, registered: str) -> Any:
    import keras_hub

    expected = f"{family.network}Backbone"
    if registered.rpartition(">")[2] != expected:  # checked before anything in the folder is built
        raise WeightsError(f"{path} is a preset of {registered}", f"a preset of {expected}",
                           "choose a backbone of that family: kerastl backbones")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns about layers that it leaves random
            return getattr(keras_hub.models, expected).from_preset(str(path.absolute()))
    except (OSError, ValueError, KeyError, TypeError, UserWarning) as error:
        raise WeightsError(f"{path} cannot be loaded: {first_line(error)}", f"a complete KerasHub preset of {expected}",
                           "download it again") from error
