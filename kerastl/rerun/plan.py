"""How a recorded run is run again: which function, with which arguments, and what only the user can give.

A record names files, and may come from anywhere. So nothing that it names is run as code: a recipe, a backbone or a
head of the user's own has to be given again, and must have the recorded content.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from kerastl.errors import ModelError, OptionError
from kerastl.files import file_sha256
from kerastl.modality import TFLITE_KINDS
from kerastl.pipelines import classify_images, classify_texts
from kerastl.runtime import Runtime, require_openvino
from kerastl.shell.flags import OLD_NAMES
from kerastl.shell.recipes import load_recipe, recipes
from kerastl.user_code import is_user_file
from kerastl.versions.location import is_path, located, source_of
from kerastl.versions.record import RunRecord
from kerastl.versions.reproduction import MadeBy
from kerastl.versions.restore import RELABEL_FILE

PIPELINES: Mapping[str, Callable[..., RunRecord]] = {
    "classify_images": classify_images, "classify_texts": classify_texts}
OWN = ("name", "out", "cache_dir", "json")  # arguments that say where a run writes, or how it prints
NEW_NAMES = {old: new for new, old in OLD_NAMES.items()}


@dataclass(frozen=True)
class Given:
    """What the user gives, because the record cannot or must not: see `reproduce`."""

    data: str | None = None
    data_dir: str | None = None
    weights: str | None = None
    recipe: str | None = None
    backbone: str | None = None
    head: Any = None
    teacher: str | None = None


@dataclass(frozen=True)
class Plan:
    """run: runs it and writes a version. notes: what was assumed, in sentences. what: the function or recipe."""

    run: Callable[[], RunRecord]
    what: str
    notes: tuple[str, ...]


def runtime_of(record: RunRecord) -> Runtime:
    """The runtime of a recorded run. Raises OptionError where its engine is not installed."""
    if record.engine == "openvino":
        require_openvino()
    made, explicit = record.reproduction, str(record.config.get("precision", "auto")) != "auto"
    return Runtime(record.precision, record.precision_reason, record.xla, record.xla_reason, record.seed,
                   made.explicit_precision if made else explicit, record.engine,
                   None if record.large else record.features.compute, devices=record.devices)


def plan_of(folder: Path, record: RunRecord, given: Given, out: str, cache_dir: str) -> Plan:
    """How to run a record again. out, cache_dir: where the run writes.

    Raises ModelError where the record lacks what is needed, OptionError where the user has to give it or gave something
    else than was recorded.
    """
    notes: list[str] = []
    function, form, what = _function(record, given, notes)
    recorded = {NEW_NAMES.get(name, name): value for name, value in record.config.items()}
    settings = {name: value for name, value in recorded.items() if name not in OWN}
    unknown = [name for name, value in settings.items() if name not in form and value is not None]
    if what in PIPELINES and unknown:
        raise ModelError(f"the record of {folder} has settings that {what} does not take: {', '.join(unknown)}",
                         "a record of this version of kerastl or an earlier one", "update kerastl")
    if unknown:
        notes.append(f"recorded settings that {what} does not take, and so did not get: {', '.join(unknown)}")
    settings = {name: value for name, value in settings.items() if name in form}
    if absent := [name for name in form if name not in settings and name not in OWN]:
        notes.append(f"not in the record, so today's defaults were used: {', '.join(absent)}")
    source = source_of(folder, record, given.data)  # fails before the work
    if record.data and "data" in form and is_path(source):
        settings["data"] = str(Path(source).absolute())
    settings |= {name: located(folder, record, value) for name in ("data_dir", "weights", "teacher")
                 if isinstance(value := settings.get(name), str)}
    settings |= _replaced(folder, record, given, settings, form)
    settings |= {"name": record.name or "model", "out": out, "cache_dir": cache_dir, "tflite": _kinds(record)}
    return Plan(lambda: function({name: value for name, value in settings.items() if name in form}), what, tuple(notes))


def _function(record: RunRecord, given: Given, notes: list[str]
              ) -> tuple[Callable[[dict[str, Any]], RunRecord], tuple[str, ...], str]:
    """What ran, as a function of its settings; their names; and its name."""
    made = record.reproduction.made_by if record.reproduction else _inferred(record, given, notes)
    if made.pipeline in PIPELINES and given.recipe is None:
        pipeline = PIPELINES[made.pipeline]
        return (lambda settings: pipeline(**settings)), tuple(inspect.signature(pipeline).parameters), made.pipeline
    if made.pipeline in PIPELINES:
        raise OptionError(f"`recipe` is {given.recipe!r}, but the model was made by kerastl.{made.pipeline}",
                          "a model of a recipe with steps of its own", "omit `recipe`")
    name = _recipe(made, given, notes)
    module = load_recipe(name)
    if not is_dataclass(module.Config):
        raise OptionError(f"the Config of {name} is no dataclass", "a recipe like those of kerastl", "")
    form = tuple(field.name for field in fields(module.Config))

    def run(settings: dict[str, Any]) -> RunRecord:
        record = module.main(module.Config(**settings))
        if not isinstance(record, RunRecord):
            raise OptionError(f"main of {name} returns {type(record).__name__}", "the run record of a version",
                              "reproduce models that `write_version` wrote")
        return record

    return run, form, Path(name).stem


def _inferred(record: RunRecord, given: Given, notes: list[str]) -> MadeBy:
    """What ran, for a record of an earlier version, which does not say it."""
    if given.recipe is not None:
        return MadeBy(recipe=given.recipe)
    name = f"classify_{record.modality.nouns}"
    parameters = set(inspect.signature(PIPELINES[name]).parameters)
    if {"data", "backbone", "head", "seed"} <= record.config.keys() <= parameters:
        notes.append(f"the record does not say what ran; its settings are those of kerastl.{name}, which was run")
        return MadeBy(pipeline=name)
    return MadeBy()


def _recipe(made: MadeBy, given: Given, notes: list[str]) -> str:
    """The recipe to load: a bundled one by its name, or the file that the user gave."""
    name = Path(made.recipe).stem
    bundled = recipes().get(name)
    ours = bundled is not None and (file_sha256(bundled) == made.sha256 or Path(made.recipe).parent.name == "recipes")
    if given.recipe is None and ours and bundled is not None:
        if file_sha256(bundled) != made.sha256:
            notes.append(f"the recipe {name} has changed since the model was made")
        return name
    if given.recipe is None:
        if not made.recipe:
            raise ModelError("the record does not say what ran: the steps were a user's own, or those of a recipe "
                             "of an earlier version", "a model that a pipeline or recipe of this version made",
                             "name the recipe: `recipe`")
        raise OptionError(f"`recipe` is missing: the model was made by the user's own {made.recipe}, and a file that a "
                          "record names is not run", f"a file with the SHA-256 {made.sha256}",
                          "read the file, then set `recipe` to its path")
    file = Path(given.recipe) if is_user_file(given.recipe) else recipes().get(given.recipe)
    if file is not None and made.sha256 and (now := file_sha256(file)) and now != made.sha256:
        raise OptionError(f"`recipe` is {given.recipe!r}, which has changed since the model was made (SHA-256 "
                          f"{now[:12]}...)", f"the recorded content, SHA-256 {made.sha256[:12]}...",
                          "restore the file as it was")
    return given.recipe


def _replaced(folder: Path, record: RunRecord, given: Given, settings: Mapping[str, Any], form: tuple[str, ...]
              ) -> dict[str, Any]:
    """The settings that are not as recorded: what the user gave, and the corrections that the version holds."""
    replaced: dict[str, Any] = {}
    for name, value in (("data", given.data), ("data_dir", given.data_dir), ("weights", given.weights),
                        ("teacher", given.teacher)):
        if value is not None and name not in form:
            raise OptionError(f"`{name}` is {value!r}, which the run of {folder} does not take", "", f"omit `{name}`")
        if value is not None:
            replaced[name] = value
    if record.relabel is not None:
        replaced["relabel"] = str(folder / RELABEL_FILE)
    if record.large is not None:
        replaced["precision"] = record.large.kept
    backbone = _own_file("backbone", str(settings.get("backbone") or ""), given.backbone, record.backbone_sha256 or "",
                         record.backbone_sha256 is not None)
    object_head = record.head.startswith("custom:")
    head = _own_file("head", str(settings.get("head") or ""), given.head,
                     "" if object_head else str(record.head_settings.get("head_sha256", "")), object_head)
    return replaced | {name: value for name, value in (("backbone", backbone), ("head", head)) if value is not None}


def _own_file(name: str, recorded: str, given: Any, sha256: str, own: bool) -> Any:
    """A backbone or head of the user's own as it is given again; None where the recorded one is kerastl's. own: whether
    it is the user's even if its name is no file. sha256: of the recorded file."""
    if not own and ".py" not in recorded:
        if given is not None:
            raise OptionError(f"`{name}` is {given!r}, but the model's is {recorded}, of kerastl",
                              f"a model whose {name} is the user's own", f"omit `{name}`")
        return None
    if given is None:
        raise OptionError(f"`{name}` is missing: the model's is the user's own, {recorded}, and code that a record "
                          "names is not run", f"the same {name} as in training" + f", SHA-256 {sha256}" * bool(sha256),
                          f"set `{name}` to it" + ", in Python" * (".py" not in recorded))
    if isinstance(given, str) and sha256:
        file = Path(given.partition(".py")[0] + ".py")
        if (now := file_sha256(file)) != sha256:
            raise OptionError(f"`{name}` is {given!r}, which " + (
                f"has changed since the model was made (SHA-256 {now[:12]}...)" if now else "does not exist"),
                f"the recorded content, SHA-256 {sha256[:12]}...", "restore the file as it was")
    return given


def _kinds(record: RunRecord) -> str:
    """The TFLite files that the version has or was refused: after `kerastl export` others than the settings say."""
    return ",".join(part.kind for part in record.parity if part.kind in TFLITE_KINDS) or "none"
