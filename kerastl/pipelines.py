"""The main job in one call: labelled images or texts in, a version of a model out.

Each function is the steps of a recipe, in order; its arguments are the recipe's flags. To change a step, start from a
file with the steps spelled out: `kerastl recipes --copy NAME` writes one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerastl.modality import IMAGE, TEXT, Modality
from kerastl.runtime import Stopwatch, apply

if TYPE_CHECKING:
    from kerastl.features.compute import Features
    from kerastl.heads import HeadLike
    from kerastl.report.version import Target
    from kerastl.training.options import TrainingOptions
    from kerastl.versions.record import RunRecord


def classify_images(
    data: str | Path, *, name: str, out: str | Path = "saved_models", backbone: str = "efficientnet_lite0",
    weights: str | None = None, layer: str = "top", head: "HeadLike" = "best", search: int = 0, split: str = "auto",
    min_per_class: int = 10, limit: int | None = None, unfreeze: int | str = 0, epochs: int | None = None,
    batch_size: int = 32, class_weights: str = "auto", label_smoothing: float = 0.0, schedule: str = "auto",
    learning_rate: float | None = None, find_learning_rate: bool = False, gradual: bool = False,
    layer_decay: float | None = None, mixing: str = "auto", average_epochs: int = 1, tflite: str = "all", seed: int = 0,
    label_column: str | None = None, path_column: str | None = None,
    group_column: str | None = None, split_column: str | None = None, multi_label: str = "auto",
    no_label: str | None = None, strict: bool = False, accept_truncated: bool = False,
    engine: str = "auto", workers: int = 0, precision: str = "auto", xla: str = "auto",
    devices: int | str = "auto", cache_dir: str | Path | None = None,
    data_dir: str | None = None, near_duplicates: str = "auto", mirrored: bool = False, relabel: str | None = None,
    target: str | None = None, allow_baseline: bool = False, coverage: float = 0.95, reject: str = "off",
    loss: str = "auto", augment: str = "auto", drift_reference: str = "on", if_better: bool = False,
    private: str | None = None, classes: str | None = None,
) -> "RunRecord":
    """Train, evaluate and export an image classifier. Returns the run record; its `path` is the version's folder.

    data: `DIR/<class>/**/<image>`, a table of path and label, or `tfds:NAME`. name: the model is written to
    `out/name/VERSION`. backbone, weights, layer: see `load_backbone`. head: a name as `kerastl heads` lists it, a
    keras.Model, a callable or a file; see `train`. search: number of trials over the head's hyperparameters. unfreeze:
    how many blocks of the backbone are fine-tuned, or `all`. tflite: which TFLite files are written. label_column to
    strict, relabel: how the data are read, see `ReadOptions`. accept_truncated: see `load_backbone`. near_duplicates,
    mirrored: see `find_near_duplicates`. target: what predictions are to reach, see `evaluate`. allow_baseline, loss:
    see `TrainingOptions`. augment: what is done to images in fine-tuning, see `TuningOptions`. coverage, reject: see
    `detect_unknown`. drift_reference: see `write_version`. if_better: see `target`. private: a privacy budget, such as
    `epsilon=1,delta=auto`; classes: all of them, which are public then; see `fit_private`. devices: which GPUs share
    the work, see `apply_runtime`. The other arguments are explained by `kerastl run efficientnet_lite_images
    --help-all`.

    Raises KerastlError, with what was received, what was expected and how to fix it, for data, weights or arguments
    that cannot be used; CheckFailed, if the model is not better and `if_better` is set. Nothing is half-written.
    """
    arguments = dict(locals())
    from kerastl.backbones import load
    from kerastl.data.images import read_images
    from kerastl.data.near_duplicates.search import find_near_duplicates
    from kerastl.data.options import ReadOptions
    from kerastl.data.split import split as split_rows
    from kerastl.evaluation.targets import check_target
    from kerastl.features.cache import chosen_dir
    from kerastl.features.compute import compute_features
    from kerastl.model import pooling_for
    from kerastl.report.version import target as target_of

    if private is not None:
        return privately(IMAGE, arguments)
    options = _options(arguments)
    stopwatch, cache = Stopwatch(), chosen_dir(None if cache_dir is None else str(cache_dir))
    destination = target_of(str(out), name, tflite, modality="image", if_better=if_better)
    runtime = apply(precision, xla, seed, engine, workers, devices)
    examples = read_images(str(data), options=ReadOptions.of(arguments), min_per_class=min_per_class, limit=limit,
                           data_dir=data_dir, cache_dir=cache)
    examples = find_near_duplicates(examples, near_duplicates, mirrored=mirrored, cache_dir=cache)
    check_target(examples, target)
    examples = split_rows(examples, split, unfreeze=unfreeze, search=search)

    network = load(backbone, weights, modality="image", layer=layer, pooling=pooling_for(head),
                   accept_truncated=accept_truncated)
    features = compute_features(examples, network, runtime, cache_dir=cache, batch_size=batch_size)
    return _train_and_write(destination, features, head, search, unfreeze, options, stopwatch, arguments)


def classify_texts(
    data: str | Path, *, name: str, out: str | Path = "saved_models", backbone: str = "minilm",
    weights: str | None = None, layer: str = "top", pooling: str = "mean", head: "HeadLike" = "best", search: int = 0,
    text_column: str | None = None, label_column: str | None = None, max_length: int | None = None, long: str = "head",
    split: str = "auto", min_per_class: int = 10, limit: int | None = None, unfreeze: int | str = "auto",
    epochs: int | None = None, batch_size: int = 32, class_weights: str = "auto", label_smoothing: float = 0.0,
    schedule: str = "auto", learning_rate: float | None = None, find_learning_rate: bool = False, gradual: bool = False,
    layer_decay: float | None = None, lora: int = 0, average_epochs: int = 1, tflite: str = "all", seed: int = 0,
    engine: str = "auto", workers: int = 0, precision: str = "auto", xla: str = "auto", pickles: bool = False,
    devices: int | str = "auto", cache_dir: str | Path | None = None, group_column: str | None = None,
    split_column: str | None = None, multi_label: str = "auto", no_label: str | None = None, strict: bool = False,
    data_dir: str | None = None, near_duplicates: str = "auto", relabel: str | None = None, target: str | None = None,
    allow_baseline: bool = False, coverage: float = 0.95, reject: str = "off", loss: str = "auto",
    drift_reference: str = "on", if_better: bool = False, private: str | None = None, classes: str | None = None,
) -> "RunRecord":
    """Train, evaluate and export a text classifier. Returns the run record; its `path` is the version's folder.

    data: a table of text and label, `DIR/<class>/*.txt`, or `tfds:NAME`. text_column, label_column: names of the
    table's columns, found by name and content if not given. max_length, long: see `fit_length`. unfreeze: `auto`
    fine-tunes with a contrastive loss if there are few labels. The other arguments are as in `classify_images`, and
    explained by `kerastl run minilm_text --help-all`.

    Raises KerastlError, with what was received, what was expected and how to fix it, for data, weights or arguments
    that cannot be used. Nothing is half-written.
    """
    arguments = dict(locals())
    from kerastl.backbones import load
    from kerastl.data.near_duplicates.search import find_near_duplicates
    from kerastl.data.options import ReadOptions
    from kerastl.data.split import split as split_rows
    from kerastl.data.texts import read_texts
    from kerastl.evaluation.targets import check_target
    from kerastl.features.cache import chosen_dir
    from kerastl.features.compute import compute_features
    from kerastl.features.lengths import fit_length
    from kerastl.model import pooling_for
    from kerastl.report.version import target as target_of

    if private is not None:
        return privately(TEXT, arguments)
    options = _options(arguments)
    stopwatch, cache = Stopwatch(), chosen_dir(None if cache_dir is None else str(cache_dir))
    destination = target_of(str(out), name, tflite, modality="text", if_better=if_better)
    runtime = apply(precision, xla, seed, engine, workers, devices)
    examples = read_texts(str(data), options=ReadOptions.of(arguments), min_per_class=min_per_class, limit=limit,
                          data_dir=data_dir, cache_dir=cache)
    examples = find_near_duplicates(examples, near_duplicates, cache_dir=cache)
    check_target(examples, target)
    examples = split_rows(examples, split, unfreeze=unfreeze, search=search)

    network = load(backbone, weights, modality="text", layer=layer, pooling=pooling_for(head, pooling),
                   precision=precision, pickles=pickles)
    network = fit_length(network, examples, max_length, long)
    features = compute_features(examples, network, runtime, cache_dir=cache, batch_size=batch_size)
    return _train_and_write(destination, features, head, search, unfreeze, options, stopwatch, arguments)


def _train_and_write(destination: "Target", features: "Features", head: "HeadLike", search: int, unfreeze: int | str,
                     options: "TrainingOptions", stopwatch: Stopwatch, arguments: dict[str, Any]) -> "RunRecord":
    """The steps after the features, which are the same for every modality."""
    from kerastl.errors import OptionError
    from kerastl.evaluation.baseline import baseline
    from kerastl.evaluation.metrics import evaluate
    from kerastl.evaluation.rejection import ON, rejection_faults
    from kerastl.report.version import write_version
    from kerastl.studies.near_duplicates import near_duplicate_effect
    from kerastl.studies.rejection import detect_unknown
    from kerastl.studies.search import best_head, search_heads
    from kerastl.training.train import train

    if faults := rejection_faults(arguments["coverage"], arguments["reject"], features.examples.classes):
        raise OptionError("\n".join(faults))  # before the work
    trials = search_heads(features, head, search, options=options)
    trained = train(features, best_head(trials, head), unfreeze=unfreeze, options=options)
    evaluation = evaluate(features.examples, trained.fitted, target=arguments["target"])
    return write_version(destination, trained, features=features, evaluation=evaluation,
                         baseline=baseline(features.examples, evaluation), trials=trials, clock=stopwatch,
                         config={**_recordable(arguments), **_made_by(features)},
                         near_duplicates=near_duplicate_effect(features, trained, evaluation, options=options),
                         rejection=detect_unknown(features, trained, coverage=arguments["coverage"],
                                                  reject=arguments["reject"]),
                         drift_reference=arguments["drift_reference"] == ON)


def privately(modality: Modality, arguments: Mapping[str, Any], *, entropy: Callable[[int], bytes] | None = None
              ) -> "RunRecord":
    """The steps with `private`. arguments: of the pipeline for this modality. entropy: for tests, see `fit_private`.

    Only `fit_private` sees features and labels together; `write_private_version` gets what it released. Raises one
    OptionError that lists every argument that is closed.
    """
    from kerastl.data.split import split_by_hash
    from kerastl.features.cache import chosen_dir
    from kerastl.features.compute import compute_features
    from kerastl.privacy.fit import fit_private, needed_line, with_classes
    from kerastl.privacy.noise import SYSTEM
    from kerastl.privacy.options import private_kinds, private_options
    from kerastl.privacy.source import private_backbone, read_privately
    from kerastl.report.private_version import write_private_version
    from kerastl.report.version import target as target_of

    options = private_options(arguments)
    cache = chosen_dir(None if arguments["cache_dir"] is None else str(arguments["cache_dir"]))
    destination = target_of(str(arguments["out"]), arguments["name"], private_kinds(arguments["tflite"]),
                            modality=modality.name)
    engine = "tensorflow" if arguments["engine"] == "auto" else arguments["engine"]
    runtime = apply("float32", arguments["xla"], arguments["seed"], engine, arguments.get("workers", 0),
                    arguments.get("devices", "auto"))
    network = private_backbone(modality, arguments)
    examples = with_classes(read_privately(modality, arguments, cache), options.classes)
    print(needed_line(options, examples), flush=True)
    features = compute_features(split_by_hash(examples), network, runtime, cache_dir=cache,
                                batch_size=arguments["batch_size"])
    fitted = fit_private(features, options, arguments["head"], entropy=entropy or SYSTEM)
    return write_private_version(destination, fitted, network, runtime, config=_recordable(dict(arguments)))


def _options(arguments: dict[str, Any]) -> "TrainingOptions":
    """Of a pipeline's arguments, those of training. Raises one OptionError that lists all that cannot be used."""
    from dataclasses import fields

    from kerastl.errors import OptionError
    from kerastl.evaluation.rejection import on_or_off, rejection_faults
    from kerastl.training.fine_tuning.plan import TuningOptions, tuning_faults
    from kerastl.training.options import TrainingOptions, option_faults

    tuning = {field.name: arguments[field.name] for field in fields(TuningOptions) if field.name in arguments}
    options = TrainingOptions(arguments["epochs"], arguments["batch_size"], arguments["class_weights"],
                              arguments["label_smoothing"], TuningOptions(**tuning),
                              allow_baseline=arguments["allow_baseline"], loss=arguments["loss"])
    if faults := [*option_faults(options), *tuning_faults(options.fine_tuning),
                  *rejection_faults(arguments["coverage"], arguments["reject"]),
                  *on_or_off("drift_reference", arguments["drift_reference"])]:
        raise OptionError("\n".join(faults))
    return options


def _made_by(features: "Features") -> dict[str, Any]:
    """Which pipeline this is, for the record."""
    from kerastl.versions.reproduction import MADE_BY

    return {MADE_BY: {"pipeline": f"classify_{features.examples.modality.nouns}"}}


def _recordable(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments as the run record holds them: what JSON cannot hold, such as a model, by its name."""
    plain = (str, int, float, bool, type(None))
    return {name: value if isinstance(value, plain) else str(value) if isinstance(value, Path) else
            getattr(value, "name", None) or getattr(value, "__name__", type(value).__name__)
            for name, value in arguments.items()}
