"""What the text backbones share: KerasHub's networks, from a preset, from a folder, or random at their true size."""

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kerastl.backbones import TOP, Network, Spec, Tap, Wanted, Weights, _hugging_face, first_line
from kerastl.backbones._text_network import longest, network
from kerastl.backbones._weight_files import read_config
from kerastl.errors import WeightsError, unknown
from kerastl.modality import TEXT


@dataclass(frozen=True)
class Family:
    """A family of text networks. Its name in `FAMILIES` is the "model_type" of Hugging Face's folders."""

    network: str  # KerasHub's classes are named after it
    folder: str  # of its presets, at Kaggle
    tokens: str  # kind of vocabulary
    layer: str = "transformer_layer_{}"  # of its blocks' names, counted from 0


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
    """A network's sizes. inner: of the dense layers within a block."""

    layers: int
    heads: int
    dim: int
    inner: int
    vocabulary: int


def text_spec(name: str, summary: str, family: str, sizes: Sizes, parameters: int, *, preset: str = "",
              licence: str = "", bundled: Weights | None = None, folder: Callable[[], Path] | None = None,
              size: int = POSITIONS) -> Spec:
    """The spec of a text backbone. preset: KerasHub's name for its weights. bundled: weights that come with a package,
    and folder: gives the folder they are in. size: the most tokens of a text."""
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
        taps=tuple(Tap(f"layer_{number + 1}", FAMILIES[family].layer.format(number), (None, sizes.dim))
                   for number in range(sizes.layers - 1)),
    )


def build(wanted: Wanted, *, name: str, family: str, sizes: Sizes, preset: str,
          folder: Callable[[], Path] | None) -> Network:
    """tokens: [batch, length] int32 -> features: [batch, dim] float32, and the tokenizer that the tokens come from.

    Raises WeightsError when the weights cannot be had, OptionError for a pooling that they do not admit.
    """
    from kerastl.inputs import vocabulary

    if wanted.weights == "none":
        backbone, pooler = _random(FAMILIES[family], sizes), True
        tokenizer = vocabulary.made(FAMILIES[family].tokens, sizes.vocabulary)
    elif wanted.weights == "preset":
        backbone, tokenizer = _preset(FAMILIES[family], preset)
        pooler = True
    else:
        path = folder() if wanted.weights == "bundled" and folder else Path(wanted.weights)
        backbone, rows, pooler = _folder(path, family)
        tokenizer = vocabulary.read(path)
        vocabulary.check_size(tokenizer, rows, str(path))
    segments = "segment_ids" in backbone.input  # BERT: only it tells a pair's texts apart, and only it has a pooler
    layer = "" if wanted.tap == TOP else FAMILIES[family].layer.format(int(wanted.tap.removeprefix("layer_")) - 1)
    if layer and layer not in (found := [one.name for one in backbone.layers]):  # a folder's blocks may be fewer
        blocks = sum(bool(re.fullmatch(FAMILIES[family].layer.format(r"\d+"), one)) for one in found)
        raise unknown("tap", wanted.tap, [TOP, *(f"layer_{n}" for n in range(1, blocks))], "kerastl backbones")
    model = network(backbone, pad=tokenizer.pad, separator=tokenizer.end[0] if segments else None,
                    pooling=wanted.pooling, pooler=pooler and segments, name=name, layer=layer)
    return Network(model, tokenizer, longest(model))


def handle_of(family: Family, preset: str) -> str:
    """Where Kaggle keeps a preset: owner, model, framework, variation, version."""
    return f"keras/{family.folder}/keras/{preset}/3"


def in_kaggle_cache(handle: str) -> Path | None:
    """The weights file of a preset that KerasHub has downloaded before, or None."""
    variation, _, version = handle.rpartition("/")
    cache = Path(os.environ.get("KAGGLEHUB_CACHE", Path.home() / ".cache/kagglehub")) / "models" / variation
    path = cache / version / "model.weights.h5"
    whole = cache / ".complete" / version / "model.weights.h5.complete"  # it is written after the last byte
    return path if path.is_file() and whole.is_file() else None


def _random(family: Family, sizes: Sizes) -> Any:
    import keras_hub

    return getattr(keras_hub.models, f"{family.network}Backbone")(
        vocabulary_size=sizes.vocabulary, num_layers=sizes.layers, num_heads=sizes.heads, hidden_dim=sizes.dim,
        intermediate_dim=sizes.inner, max_sequence_length=POSITIONS)


def _preset(family: Family, preset: str) -> tuple[Any, Any]:
    """KerasHub's download of a preset, or what it downloaded before."""
    import keras_hub

    from kerastl.inputs import vocabulary

    try:
        backbone = getattr(keras_hub.models, f"{family.network}Backbone").from_preset(preset)
        tokenizer = getattr(keras_hub.models, f"{family.network}Tokenizer").from_preset(preset)
    except Exception as error:  # a failed download comes as any of a dozen kinds, from KerasHub, kagglehub and requests
        raise WeightsError(
            f"KerasHub could not get the preset {preset} (kaggle://{handle_of(family, preset)}): {first_line(error)}",
            "a network, to download it once",
            "fetch it elsewhere and give --weights DIR, a folder that KerasHub or Hugging Face's transformers saved, "
            "or choose --backbone minilm, whose weights come with a package") from error
    return backbone, vocabulary.of_keras_hub(tokenizer)


def _folder(path: Path, family: str) -> tuple[Any, int, bool]:
    """The network of a KerasHub or Hugging Face folder, the rows of its table of tokens, whether it has a pooler."""
    config = read_config(path)
    if "registered_name" in config:
        backbone = _keras_hub_folder(path, FAMILIES[family], str(config["registered_name"]))
        return backbone, backbone.vocabulary_size, True
    if "model_type" not in config:
        raise WeightsError(f"{path / 'config.json'} has neither registered_name nor model_type",
                           "a folder that KerasHub or Hugging Face's transformers saved", "check the folder")
    if family not in _hugging_face.LAYOUTS:
        raise WeightsError(f"{path} is a Hugging Face folder (model_type {config['model_type']!r})",
                           f"a KerasHub preset folder: of {FAMILIES[family].network} no others are read",
                           "fetch KerasHub's preset, or choose another backbone: kerastl backbones")
    loaded = _hugging_face.load(path, family)
    return loaded.backbone, loaded.rows, loaded.pooler


def _keras_hub_folder(path: Path, family: Family, registered: str) -> Any:
    import keras_hub

    wanted = f"{family.network}Backbone"
    if registered.rpartition(">")[2] != wanted:  # checked before anything in the folder is built
        raise WeightsError(f"{path} is of the family {registered}", wanted,
                           "choose a backbone of its own family: kerastl backbones")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that it leaves random
            return getattr(keras_hub.models, wanted).from_preset(str(path.absolute()))
    except (OSError, ValueError, KeyError, TypeError, UserWarning) as error:
        raise WeightsError(f"{path} does not load: {first_line(error)}", f"a whole KerasHub preset of {wanted}",
                           "fetch it again") from error
