"""Using a model or a backbone on data: `kerastl predict`, `evaluate`, `features`."""

import csv
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from kerastl.data.examples import Examples, Skipped
from kerastl.data.rows import printable
from kerastl.errors import DataError, OptionError
from kerastl.shell.process import check_path
from kerastl.shell.terminal import table

TABLES_OUT = (".csv", ".parquet")


@dataclass(frozen=True)
class PredictConfig:
    """Answers for files, folders, tables and texts with an exported model."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    inputs: Positional[tuple[str, ...]]  # images or texts, folders, tables; - for one a line on standard input
    out: str | None = None  # write the answers to this .csv or .parquet
    text_column: str | None = None  # where a table's texts are; default: as in training, else found by name
    weights: str | None = None  # of a backbone that stays apart: where its folder is now, if it moved
    json: bool = False  # print one JSON document


def predict(config: PredictConfig) -> dict[str, Any]:
    """Answers in input order. An input that does not decode has an `error` and no label."""
    from kerastl.serving.classifier import load

    if not config.inputs:
        raise OptionError("nothing to predict on", "files, folders, tables, texts, or - for one a line on standard "
                          "input", "name some")
    out = _table_path(config.out)
    classifier = load(config.model, config.weights)
    inputs = _inputs(config, classifier)
    found = classifier.predict_each(inputs)
    if all(one.error for one in found):
        wanted = "JPEG, PNG, GIF, BMP or WebP images" if classifier.kind == "image" else "texts"
        raise DataError(f"none of {len(found)} inputs decodes ({found[0].error})" if found else "no inputs there",
                        wanted, "check the files")
    answers = [{"input": _shown(given), "label": one.label, "score": None if one.error else one.score,
                "error": one.error,
                "top": [{"label": label, "score": score} for label, score in one.top]}
               for given, one in zip(inputs, found, strict=True)]
    if out:
        _write_table(out, ["input", "label", "score", "error"],
                     [[one[name] for name in ("input", "label", "score", "error")] for one in answers])
    return {"model": str(classifier.folder), "out": config.out, "failed": sum(bool(one["error"]) for one in answers),
            "predictions": answers}


def show_predict(result: dict[str, Any]) -> str:
    """A line an input, or where the table is."""
    if result["out"]:
        return f"{len(result['predictions'])} answers written to {result['out']}, {result['failed']} of them errors"
    rows = [("input", "label", "score")]
    return table(rows + [(_short(one["input"]), f"({one['error']})", "") if one["error"] else
                         (_short(one["input"]), one["label"] or "(none)", f"{one['score']:.3f}")
                         for one in result["predictions"]])


def _inputs(config: PredictConfig, classifier: Any) -> Sequence[Any]:
    """What to answer for: paths of images, or texts. A line on standard input is a path, or is the text itself."""
    from kerastl.data.sources import read_unlabelled
    from kerastl.data.texts import read_unlabelled_texts

    if classifier.kind == "image":
        return read_unlabelled([one for given in config.inputs for one in (_lines() if given == "-" else [given])])
    column = config.text_column or classifier.run["config"].get("text_column")
    found: list[Any] = []
    for given in config.inputs:
        found += _lines() if given == "-" else read_unlabelled_texts([given], text_column=column)
    return found


def _lines() -> list[str]:
    return [line.rstrip("\n") for line in sys.stdin if line.strip()]


def _shown(given: Any) -> str:
    return printable("\t".join(given) if isinstance(given, tuple) else str(given))


def _short(text: str, most: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[:most - 1] + "…"


@dataclass(frozen=True)
class EvaluateConfig:
    """Judges an exported model on new labelled data, with the figures that training printed."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    source: Positional[str]  # labelled data, as for training
    text_column: str | None = None  # where a table's texts are; default: as in training, else found by name
    label_column: str | None = None  # where a table's labels are
    weights: str | None = None  # of a backbone that stays apart: where its folder is now, if it moved
    data_dir: str | None = None  # where TFDS data sets lie
    cache_dir: str | None = None  # default: the user's cache directory
    json: bool = False  # print one JSON document


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """The model's own SavedModel on the raw rows; says how many of them it was trained on."""
    from kerastl.data.read import read_labelled
    from kerastl.evaluation.metrics import evaluate_probabilities
    from kerastl.features.cache import chosen_dir
    from kerastl.serving.classifier import load
    from kerastl.versions.restore import as_the_model_knows, split_of

    classifier = load(config.model, config.weights)
    used = classifier.run["config"]
    examples = read_labelled(classifier.kind, config.source, text_column=config.text_column or used.get("text_column"),
                             label_column=config.label_column or used.get("label_column"), data_dir=config.data_dir,
                             cache_dir=chosen_dir(config.cache_dir))
    examples = as_the_model_knows(examples, classifier.run)
    found = _probabilities(classifier, examples)
    good = [row for row, one in enumerate(found) if not isinstance(one, str)]
    if not good:
        raise DataError(f"no image of {config.source} decodes ({found[0]})", "images", "see kerastl check")
    bad = tuple(Skipped(examples.origins[row], one) for row, one in enumerate(found) if isinstance(one, str))
    kept = replace(examples.take(good), skipped=examples.skipped + bad)
    seen = split_of(classifier.folder)
    trained_on = sum(seen.get(one, "test") != "test" for one in kept.ids)
    evaluation = evaluate_probabilities(kept, np.stack([found[row] for row in good]), classifier.run["thresholds"])
    return {"model": str(classifier.folder), "trained_on": trained_on, "test": evaluation.to_dict(),
            "left_out": [asdict(one) for one in kept.skipped]}


def _probabilities(classifier: Any, examples: Examples) -> list[Any]:
    """Each row's probabilities [classes], or the reason why it has none."""
    import tensorflow as tf

    found: list[Any] = []
    batch = classifier.at_once
    for start in range(0, len(examples), batch):
        files = classifier.contents([examples.items[i] for i in range(start, min(start + batch, len(examples)))])
        try:
            found += list(classifier.probabilities(files))
        except tf.errors.InvalidArgumentError:  # one of them does not decode: ask for each
            for file in files:
                one = classifier.predict_each([file])[0]
                found.append(one.error or classifier.probabilities([file])[0])
    return found


def show_evaluate(result: dict[str, Any]) -> str:
    """The figures in a few lines."""
    test, (low, high) = result["test"], result["test"]["accuracy_ci95"]
    lines = [f"{result['model']} on {test['n']} rows",
             f"accuracy   {test['accuracy']:.3f}  (95% {low:.3f} to {high:.3f}; {test['interval']})",
             f"macro F1   {test['macro_f1']:.3f}",
             f"log loss   {test['log_loss']:.3f}",
             f"ECE        {test['ece']:.3f}"]
    if result["trained_on"]:
        lines.append(f"NOT HELD OUT: {result['trained_on']} of these rows fitted the model; the figures flatter it")
    if result["left_out"]:
        lines.append(f"left out   {len(result['left_out'])}: {result['left_out'][0]['reason']} ...")
    rows = [("class", "precision", "recall", "F1", "rows")]
    rows += [(one["name"], f"{one['precision']:.3f}", f"{one['recall']:.3f}", f"{one['f1']:.3f}", str(one["support"]))
             for one in test["classes"]]
    return "\n".join([*lines, "", table(rows)])


@dataclass(frozen=True)
class FeaturesConfig:
    """Writes a backbone's features of a source, in input order."""

    source: Positional[str]  # a folder of images or texts (labelled or not), a table, or tfds:NAME
    out: str  # a .parquet or .npz
    backbone: str = "efficientnet_lite0"  # see `kerastl backbones`
    weights: str | None = None  # bundled, imagenet, preset, none (random), a weights file, or a folder for texts
    pooling: str = "mean"  # of texts: mean, cls, last or pooled
    max_length: int | None = None  # of texts, in tokens; default: what holds 99 in 100
    long: str = "head"  # of longer texts: head, head+tail or chunks
    text_column: str | None = None  # where a table's texts are; default: found by name and content
    batch_size: int = 32  # images or texts at a time
    precision: str = "auto"  # auto, float32, mixed_bfloat16, mixed_float16; large: float32, bfloat16, int8, int4
    pickles: bool = False  # of a large backbone, also read weights that are pickles, admitting tensors only
    xla: str = "auto"  # auto, on or off
    data_dir: str | None = None  # where TFDS data sets lie
    cache_dir: str | None = None  # default: the user's cache directory
    json: bool = False  # print one JSON document


def features(config: FeaturesConfig) -> dict[str, Any]:
    """Features with content hashes and names; what does not decode is left out, and listed."""
    from kerastl import backbones, runtime
    from kerastl.data.read import read_unlabelled
    from kerastl.features.cache import chosen_dir
    from kerastl.features.compute import compute_features

    out = check_path(config.out, "--out")
    if out.suffix not in (".parquet", ".npz"):
        raise OptionError(f"--out {config.out}", "a .parquet or .npz", "change its ending")
    cache = chosen_dir(config.cache_dir)
    kind = backbones.spec_of(config.backbone)[0].modality.name
    examples = read_unlabelled(kind, config.source, text_column=config.text_column, data_dir=config.data_dir,
                               cache_dir=cache)
    backbone = backbones.load(config.backbone, config.weights, pooling=config.pooling, precision=config.precision,
                              pickles=config.pickles)
    if kind == "text":
        from kerastl.features.lengths import fit_length

        backbone = fit_length(backbone, examples, config.max_length, config.long)
    found = compute_features(examples, backbone, runtime.apply(config.precision, config.xla), cache_dir=cache,
                             batch_size=config.batch_size)
    with _partial(out) as partial:
        (_write_npz if out.suffix == ".npz" else _write_parquet)(partial, found)
    return {"out": config.out, "rows": len(found.examples), "dim": found.dim, "backbone": backbone.name,
            "random_weights": backbone.random, "compute": found.compute, "word": found.reason,
            "computed": found.computed, "left_out": [asdict(one) for one in found.examples.skipped]}


def show_features(result: dict[str, Any]) -> str:
    """In a line or two."""
    lines = [f"{result['rows']} rows of {result['dim']} features written to {result['out']} ({result['word']})"]
    if result["random_weights"]:
        lines.append("RANDOM WEIGHTS: these features come from a network that was never trained")
    return "\n".join(lines + [f"left out: {one['origin']}: {one['reason']}" for one in result["left_out"]])


def _write_npz(path: Path, found: Any) -> None:
    with path.open("wb") as file:
        np.savez(file, ids=np.array(found.examples.ids), names=np.array(found.examples.origins),
                 features=found.rows(np.arange(len(found.examples))))


def _write_parquet(path: Path, found: Any) -> None:
    """Block by block, so that memory does not grow with the rows."""
    import pyarrow as pa
    import pyarrow.parquet

    schema = pa.schema([("id", pa.string()), ("name", pa.string()), ("features", pa.list_(pa.float32(), found.dim))])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, len(found.examples), 4096):
            rows = np.arange(start, min(start + 4096, len(found.examples)))
            values = pa.FixedSizeListArray.from_arrays(pa.array(found.rows(rows).ravel()), found.dim)
            names = [pa.array([column[i] for i in rows]) for column in (found.examples.ids, found.examples.origins)]
            writer.write_batch(pa.record_batch([*names, values], schema=schema))


def _table_path(out: str | None) -> Path | None:
    if out is None:
        return None
    path = check_path(out, "--out")
    if path.suffix not in TABLES_OUT:
        raise OptionError(f"--out {out}", f"a {' or '.join(TABLES_OUT)}", "change its ending")
    return path


def _write_table(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    def as_csv(partial: Path) -> None:
        with partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([names, *rows])

    def as_parquet(partial: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet

        columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
        pyarrow.parquet.write_table(pa.table(columns), partial)

    write: Callable[[Path], None] = as_csv if path.suffix == ".csv" else as_parquet
    with _partial(path) as partial:
        write(partial)


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place when the block ends well, and goes when it does not."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
