"""Checks before any work is done: every fault of a recipe's flags in one error, and whether the paths exist.

Nothing here imports TensorFlow, so that a typo is reported at once.
"""

from pathlib import Path
from typing import Any

from kerastl.devices import DEVICES_TEXT, is_devices
from kerastl.errors import KerastlError, OptionError, Rule, all_of, at_least, broken, one_of
from kerastl.files import is_remote
from kerastl.modality import parse_kinds
from kerastl.runtime import ENGINES, XLA
from kerastl.shell.flags import RunConfig


def check_flags(config: RunConfig) -> None:
    """Raises one OptionError that lists every flag whose value cannot be used."""
    from kerastl.backbones import is_large, precisions_of
    from kerastl.data.options import MULTI_LABEL
    from kerastl.data.split import MODES, UNFREEZE_TEXT, is_unfreeze
    from kerastl.evaluation.rejection import MODES as REJECT
    from kerastl.evaluation.targets import DecisionTarget
    from kerastl.heads import AUTO, parted, resolve_head, to_search
    from kerastl.inputs.isolation import MODES as ISOLATE
    from kerastl.training.fine_tuning.plan import MIXING, SCHEDULES
    from kerastl.training.options import CLASS_WEIGHTS

    values: dict[str, Any] = dict(vars(config))
    backbone, head = values.get("backbone"), config.head
    large = is_large(backbone)
    rules: tuple[Rule, ...] = (
        *at_least(1, "limit", "epochs", "batch_size", "min_per_class", "average_epochs"),
        *at_least(0, "search", "lora", "workers"),
        ("learning_rate", "above 0 and at most 1", lambda x: x is None or 0 < x <= 1),
        ("layer_decay", "above 0 and at most 1", lambda x: x is None or 0 < x <= 1),
        ("seed", "from 0 to 4294967295", lambda n: 0 <= n < 2**32),
        ("label_smoothing", "in [0, 1)", lambda x: 0 <= x < 1),
        ("coverage", "between 0 and 1, such as 0.95", lambda x: 0 < x < 1),
        ("unfreeze", UNFREEZE_TEXT, is_unfreeze),
        ("devices", DEVICES_TEXT, is_devices),
        *(one_of(name, names) for name, names in (
            ("schedule", SCHEDULES), ("mixing", MIXING), ("class_weights", CLASS_WEIGHTS), ("xla", XLA),
            ("engine", ENGINES), ("precision", precisions_of(backbone)), ("split", MODES), ("reject", REJECT),
            ("drift_reference", REJECT), ("isolate", ISOLATE),
            ("multi_label", MULTI_LABEL))),
    )
    faults: list[KerastlError] = broken(rules, values)
    try:
        parse_kinds(config.tflite)
    except OptionError as error:
        faults.append(error)
    if large and values.get("unfreeze", "0") not in ("auto", "0"):
        faults.append(OptionError(f"`unfreeze` must be 0 for {backbone}, whose weights stay frozen"))
    if config.search > 0 and config.split == "cv":
        faults.append(OptionError("`search` needs validation rows, which `split=cv` does not have", "",
                                  "use `split=holdout`"))
    try:
        if config.target is not None:
            DecisionTarget.parse(config.target)
    except OptionError as error:
        faults.append(error)
    try:
        if config.search > 0:
            to_search(head, config.search)
        elif head == AUTO or len(parted(head)) > 1:
            faults.append(OptionError(f"`head={head}` names several heads, and only a search can choose among them", "",
                                      "set `search`, or name one head"))
        elif (spec := resolve_head(head).spec).takes_raw and not spec.chooses and large:
            faults.append(OptionError(f"`head={head}` also takes the raw input, and {backbone} is not exported with "
                                      "its head", "a head that takes only features"))
    except OptionError as error:
        faults.append(error)
    if faults:
        raise all_of(faults)


def check_paths(config: Any) -> None:
    """Raises DataError or ModelError for a source or a model that does not exist, by the names that flags have."""
    from kerastl.data.folders import no_source
    from kerastl.data.options import NONE
    from kerastl.data.relabel import corrections_file
    from kerastl.shell.recipes import is_recipe, no_such_model_or_recipe
    from kerastl.versions.folder import locate_version, version_beside

    for name in ("data", "source"):
        source = getattr(config, name, None)
        if source in (None, NONE) or source.startswith("tfds:") or is_remote(source):  # which is looked for when read
            continue
        if not Path(source).exists():
            raise no_source(source)
    if (table := getattr(config, "relabel", None)) is not None:
        corrections_file(table)
    for name in ("model", "teacher", "patient"):
        model = getattr(config, name, None)
        if name == "patient" and model is not None and not is_remote(model) and not Path(model).exists():
            if not is_recipe(model):
                raise no_such_model_or_recipe(model)
        elif model is not None and not (name == "patient" and is_recipe(model)):
            folder = locate_version(model)
            if (against := getattr(config, "against", None)) is not None:
                version_beside(folder, against)
