"""`kerastl doctor`: what is commonly wrong in a transfer-learning model, found and named."""

from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional

from kerastl.data.examples import Examples
from kerastl.doctor import Diagnosis, not_looked_at
from kerastl.errors import DataError, KerastlError, OptionError
from kerastl.modality import TEXT
from kerastl.shell.recipes import load_recipe, recipes
from kerastl.shell.terminal import table

ROWS, BATCH = 200, 32
VERDICT = {True: "ok", False: "WRONG", None: "cannot tell"}


@dataclass(frozen=True)
class DoctorConfig:
    """Finds and names what is commonly wrong in a model, or in what a recipe builds. Exits with 1 if something is."""

    patient: Positional[str]  # saved_models/NAME, a version folder, or a recipe by name or path
    data: str | None = None  # labelled data, as for training; of a model default: those it was made from
    backbone: str | None = None  # of a recipe, in the place of its own
    weights: str | None = None  # of a recipe's backbone: bundled, imagenet, preset, none (random) or a path
    head: str | None = None  # of a recipe, in the place of its own
    text_column: str | None = None  # where a table's texts are; default: as in training, else found by name
    label_column: str | None = None  # where a table's labels are
    data_dir: str | None = None  # where TFDS data sets lie
    cache_dir: str | None = None  # default: the user's cache directory
    json: bool = False  # print one JSON document


@dataclass(frozen=True)
class Patient:
    """model: spliced. examples: up to 200 rows, or why there are none. fingerprint: of the backbone's own tokenizer,
    where that is known. trained: whether the head is."""

    model: Any
    source: Any  # kerastl.inputs.Input
    examples: Examples | str
    multi_label: bool
    trained: bool
    fingerprint: str | None = None


@dataclass(frozen=True)
class _Rows:
    """values: of the first rows, at most 32, as the network takes them; of all rows the features, logits and targets,
    which are [rows] class numbers, or [rows, classes] of 0 and 1."""

    values: NDArray[Any]
    features: NDArray[np.float32]
    raw: NDArray[Any] | None  # what the head is given of the raw inputs, where it looks at them
    logits: NDArray[np.float32]
    targets: NDArray[np.int64]
    one_hot: NDArray[np.float32]
    classes: tuple[str, ...]


def doctor(config: DoctorConfig) -> dict[str, Any]:
    """Every finding, and the names of those that are wrong. A check that lacks data says so."""
    path = Path(config.patient)
    is_recipe = not path.is_dir() and (path.suffix == ".py" or config.patient in recipes())
    patient = _of_recipe(config) if is_recipe else _of_model(config)
    findings = examine(patient)
    return {"patient": config.patient, "kind": "recipe" if is_recipe else "model",
            "rows": 0 if isinstance(patient.examples, str) else len(patient.examples),
            "findings": [asdict(one) for one in findings],
            "wrong": [one.name for one in findings if one.ok is False]}


def show_doctor(result: dict[str, Any]) -> str:
    """A line a finding, and the verdict."""
    rows = [("check", "", "finding", "do")]
    rows += [(one["name"], VERDICT[one["ok"]], one["word"], one["do"]) for one in result["findings"]]
    verdict = f"wrong: {', '.join(result['wrong'])}" if result["wrong"] else "nothing wrong found"
    return f"{table(rows)}\n\n{result['patient']}: {verdict}"


def examine(patient: Patient) -> list[Diagnosis]:
    """All checks of one patient, in the order of the data's way through it."""
    from kerastl.doctor import network
    from kerastl.doctor import predictions as answers
    from kerastl.doctor.inputs import RANGE, TOKENS, input_range, input_tokens
    from kerastl.model import parts_of

    backbone, head, _ = parts_of(patient.model)
    rows = patient.examples if isinstance(patient.examples, str) else _rows(patient)
    values = _drawn(patient) if isinstance(rows, str) else rows.values
    targets = np.eye(patient.model.output_shape[-1], dtype=np.float32)[np.arange(len(values)) % head.output_shape[-1]]
    step = network.one_step(patient.model, values, targets if isinstance(rows, str) else rows.one_hot[:len(values)])
    text = patient.source.modality is TEXT
    if isinstance(rows, str):
        entrance = not_looked_at(TOKENS if text else RANGE, rows)
        last = [not_looked_at(answers.LABELS, rows), not_looked_at(answers.LEARNS, rows)]
    else:
        entrance = (input_tokens(backbone, values, patient.source.tokenizer, patient.fingerprint,
                                 patient.source.max_length) if text else input_range(backbone, values))
        last = [answers.shifted(rows.logits, rows.targets, rows.classes) if patient.trained else
                not_looked_at(answers.LABELS, "a recipe has no trained model; ask again of what it wrote"),
                answers.learns(head, rows.features, rows.one_hot, several=patient.multi_label, raw=rows.raw)]
    return [entrance, network.batch_norm(backbone, step), network.frozen(backbone, step),
            network.steady(patient.model, values), network.precision(patient.model), *last]


def _rows(patient: Patient) -> _Rows:
    """The rows that decode. Raises DataError when there are none."""
    from kerastl.inputs import floats
    from kerastl.model import parts_of

    examples = patient.examples
    assert not isinstance(examples, str)
    parts = parts_of(patient.model)
    backbone = parts.backbone
    refused: dict[int, str] = {}
    n, most = len(examples), getattr(patient.source, "max_length", 0)
    features = np.zeros((n, *_row_shape(backbone, most)), np.float32)
    raw = None if parts.entrance is None else np.zeros((n, *_row_shape(parts.entrance, most)), np.int32)
    for batch in patient.source.batches(examples.items, BATCH, refused):
        rows = batch.merged(np.asarray(backbone(floats(batch.values), training=False), np.float32))
        features[batch.places, :rows.shape[1]] = rows  # token states of a short batch are fewer
        if raw is not None:
            beside = np.asarray(parts.entrance(floats(batch.values), training=False))
            raw[batch.places, :beside.shape[1]] = beside
    kept = [row for row in range(len(examples)) if row not in refused]
    if not kept:
        raise DataError(f"no image of {examples.source} decodes ({next(iter(refused.values()))})",
                        "JPEG, PNG, GIF, BMP or WebP images", "see kerastl check")
    whole = examples.take(kept)
    first = next(patient.source.single().batches(whole.take(range(min(BATCH, len(kept)))).items, BATCH, {},
                                                 in_order=True)).values
    given: Any = features[kept] if raw is None else [features[kept], raw[kept]]
    return _Rows(first, features[kept], None if raw is None else raw[kept],
                 np.asarray(parts.head(given, training=False), np.float32), whole.targets, whole.one_hot(),
                 whole.classes)


def _row_shape(part: Any, most: int) -> tuple[int, ...]:
    """Of one row of what a part of the model gives, of texts as long as they can be."""
    return tuple(most if size is None else size for size in part.output_shape[1:])


def _drawn(patient: Patient) -> NDArray[Any]:
    """Values where there are no data: noise, for checks that any input serves."""
    generator = np.random.default_rng(0)
    if patient.source.modality is TEXT:
        length = min(16, patient.source.max_length)
        tokenizer = patient.source.tokenizer
        drawn = generator.integers(0, tokenizer.size - 1, (BATCH, length))
        return (drawn + (drawn >= tokenizer.pad)).astype(np.int32)  # any but padding
    size = patient.source.size
    return generator.integers(0, 256, (BATCH, size, size, 3)).astype(np.uint8)


def _of_model(config: DoctorConfig) -> Patient:
    from kerastl.inputs import restored
    from kerastl.versions.folder import find_version, read_json
    from kerastl.versions.restore import as_the_model_knows, keras_model

    for name in ("backbone", "weights", "head"):
        if getattr(config, name) is not None:
            raise OptionError(f"--{name} for a model", f"a model has its own; recipes take --{name}", "leave it out")
    folder = find_version(config.patient)
    run = read_json(folder, "run.json")
    if run.get("large"):
        raise OptionError(f"{config.patient}, whose backbone ({run['backbone']}) stays apart",
                          "a model that is exported whole", "see that its head answers alike: kerastl verify")
    used = run["config"]
    examples: Examples | str
    try:
        found = _read(config, run["kind"], config.data or used["data"], used)
        examples = _few(as_the_model_knows(found, run))
    except DataError as error:
        if config.data is not None:
            raise
        examples = f"no data ({error.got}); give --data"
    fingerprint = _fingerprint(run) if run["kind"] == "text" else None
    return Patient(keras_model(folder, run["kind"]), restored(run, folder), examples, run["multi_label"], True,
                    fingerprint)


def _fingerprint(run: dict[str, Any]) -> str | None:
    """Of the tokenizer that the model's backbone comes with, if the backbone is still at hand."""
    from kerastl import backbones

    try:
        backbone: Any = backbones.load(run["backbone"], run["weights"], layer=run["tap"], pooling=run["pooling"],
                                      pickles=run["config"].get("pickles", False))
    except KerastlError:
        return None  # the finding says that there was nothing to compare with
    return str(backbone.input.tokenizer.fingerprint) if backbone.weights_hash == run["weights_hash"] else None


def _of_recipe(config: DoctorConfig) -> Patient:
    """Of what a recipe builds: its backbone, frozen, and a new head."""
    from kerastl import backbones
    from kerastl.features.lengths import fit_length
    from kerastl.heads import head_of
    from kerastl.model import pooling_for, raw_of, splice

    if config.data is None:
        raise OptionError(f"{config.patient} without data", "--data SOURCE, as for training", "give it")
    recipe = load_recipe(config.patient)
    own = {one.name: one.default for one in fields(recipe.Config) if one.default is not MISSING}
    if not {"backbone", "head"} <= own.keys():
        raise OptionError(f"{config.patient} says no backbone and head", "a Config with a default of both",
                          "start from one of ours: kerastl recipes --copy NAME")
    asked = config.head or own["head"]
    backbone = backbones.load(config.backbone or own["backbone"], config.weights or own.get("weights"),
                              layer=own.get("tap", "top"), pooling=pooling_for(asked, own.get("pooling", "mean")))
    if backbone.large:
        raise OptionError(f"{backbone.name}, which stays apart from its head", "a backbone that is exported whole",
                          "choose a smaller one: --backbone")
    kind = backbone.spec.modality.name
    examples = _few(_read(config, kind, config.data, own))
    if kind == "text":
        backbone = fit_length(backbone, examples, own.get("max_length"), own.get("long", "head"))
    wanted = head_of(asked).on(backbone.parts)
    head = wanted.made(backbone.shape, len(examples.classes), raw_of(backbone) if wanted.side else None)
    tokenizer = getattr(backbone.input, "tokenizer", None)
    return Patient(splice(backbone, head), backbone.input, examples, examples.multi_label, False,
                    tokenizer.fingerprint if tokenizer else None)


def _read(config: DoctorConfig, kind: str, source: str, used: dict[str, Any]) -> Examples:
    from kerastl.data.read import read_labelled
    from kerastl.features.cache import chosen_dir

    return read_labelled(kind, source, text_column=config.text_column or used.get("text_column"),
                         label_column=config.label_column or used.get("label_column"),
                         data_dir=config.data_dir or used.get("data_dir"), cache_dir=chosen_dir(config.cache_dir))


def _few(examples: Examples) -> Examples:
    """At most 200 rows, drawn at random, the same each time."""
    rows = np.random.default_rng(0).permutation(len(examples))[:ROWS]
    return examples.take(rows.tolist())
