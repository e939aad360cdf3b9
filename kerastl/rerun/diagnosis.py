"""`kerastl doctor`: examines a model, or what a recipe builds."""

from dataclasses import MISSING, fields

from kerastl import backbones
from kerastl.data.options import READ_AS_USUAL, ReadOptions
from kerastl.data.read import read_labelled
from kerastl.doctor.examine import Examination, examine, examine_model
from kerastl.doctor.patient import Patient, sample
from kerastl.errors import OptionError
from kerastl.features.cache import chosen_dir
from kerastl.features.lengths import fit_length
from kerastl.files import model_path
from kerastl.heads import resolve_head
from kerastl.model import pooling_for, raw_of, splice
from kerastl.shell.recipes import is_recipe, load_recipe, no_such_model_or_recipe


def diagnose(patient: str, *, data: str | None = None, backbone: str | None = None, weights: str | None = None,
             head: str | None = None, text_column: str | None = None, label_column: str | None = None,
             options: ReadOptions = READ_AS_USUAL, data_dir: str | None = None, cache_dir: str | None = None
             ) -> Examination:
    """Examine an exported model, or what a recipe builds.

    patient: as `examine_model` takes a model, or the name or path of a recipe. data: labelled data; a recipe needs
    them. text_column, label_column, options: of reading them. backbone, weights, head: instead of the recipe's own.
    Raises OptionError for arguments that do not fit the patient, ModelError if it does not exist, DataError
    when the data cannot be read.
    """
    path = model_path(patient)
    options = options.with_columns(text_column=text_column, label_column=label_column)
    if not path.is_dir() and is_recipe(patient):
        return examine_recipe(patient, data, backbone=backbone, weights=weights, head=head, options=options,
                              data_dir=data_dir, cache_dir=cache_dir)
    if not path.exists():
        raise no_such_model_or_recipe(patient)
    for name, value in (("backbone", backbone), ("weights", weights), ("head", head)):
        if value is not None:
            raise OptionError(f"`{name}` is {value!r}, but {patient} is a model", "a recipe, whose parts can be "
                              "replaced", f"omit `{name}`")
    return examine_model(patient, data=data, options=options, data_dir=data_dir, cache_dir=cache_dir)


def examine_recipe(recipe: str, data: str | None, *, backbone: str | None = None, weights: str | None = None,
                   head: str | None = None, options: ReadOptions = READ_AS_USUAL, data_dir: str | None = None,
                   cache_dir: str | None = None) -> Examination:
    """Examine what a recipe builds: its backbone, frozen, and a new head."""
    if data is None:
        raise OptionError(f"`data` is missing: {recipe} is a recipe", "labelled data, as for training", "set `data`")
    defaults = {field.name: field.default for field in fields(load_recipe(recipe).Config)
                if field.default is not MISSING}
    if not {"backbone", "head"} <= defaults.keys():
        raise OptionError(f"{recipe} has no default backbone and head", "a Config with defaults for both",
                          "start from a recipe of kerastl: kerastl recipes --copy NAME")
    head = head or str(defaults["head"])
    network = backbones.load(backbone or defaults["backbone"], weights or defaults.get("weights"),
                             layer=defaults.get("layer", "top"),
                             pooling=pooling_for(head, defaults.get("pooling", "mean")))
    if network.large:
        raise OptionError(f"`backbone` is {network.name}, which is not exported with its head",
                          "a backbone that is exported with its head", "set `backbone` to a smaller one")
    modality = network.spec.modality
    examples = sample(read_labelled(
        modality.name, data, options=options.over(ReadOptions.of(defaults)),
        data_dir=data_dir or defaults.get("data_dir"), cache_dir=chosen_dir(cache_dir)))
    if modality.has_length:
        network = fit_length(network, examples, defaults.get("max_length"), defaults.get("long", "head"))
    configured = resolve_head(head, network.parts)
    model = splice(network, configured.build(network.shape, len(examples.classes),
                                             raw_of(network) if configured.spec.takes_raw else None))
    tokenizer = getattr(network.input, "tokenizer", None)
    patient = Patient(model, network.input, examples, examples.task, False,
                      tokenizer.fingerprint if tokenizer else None)
    return Examination(recipe, "recipe", len(examples), tuple(examine(patient)))
