"""Which backbone, head and depth of fine-tuning to use: all combinations on the same rows, and one recommendation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kerastl.data.examples import Examples, say
from kerastl.data.near_duplicates.search import find_near_duplicates
from kerastl.data.options import READ_AS_USUAL, ReadOptions
from kerastl.data.read import read_labelled
from kerastl.errors import OptionError, expect
from kerastl.features.cache import chosen_dir
from kerastl.files import local_only
from kerastl.runtime import Runtime, Stopwatch, apply, machine
from kerastl.stats import LEVEL
from kerastl.studies.compare.cells import measure
from kerastl.studies.compare.combinations import Combination, as_list, combinations_of
from kerastl.studies.compare.cost import measure_cost
from kerastl.studies.compare.final import FinalFigures, evaluate_on_test_rows
from kerastl.studies.compare.folds import set_aside, without_test
from kerastl.studies.compare.preparation import network_key, prepare
from kerastl.studies.compare.recommendation import ComparisonRow, recommend, sentence
from kerastl.studies.journal import Journal
from kerastl.training.fine_tuning.plan import tuning_faults
from kerastl.training.fit import OPTIONS
from kerastl.training.options import TrainingOptions, option_faults


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison. rows: without the test rows; n_validation: rows that were held out for some seed.

    best: the combination with the highest accuracy; recommended: the simplest that is not significantly worse. kept:
    what the weights of each large backbone are kept in. random_weights: backbones that were not pretrained. cells:
    combinations times seeds, of which `resumed` had been finished by an earlier run. out: the folder of the journal.
    """

    source: str
    modality: str
    rows: int
    classes: tuple[str, ...]
    seeds: int
    split_reason: str
    n_validation: int
    table: tuple[ComparisonRow, ...]
    best: Combination
    recommended: Combination
    sentence: str
    test: FinalFigures
    kept: dict[str, str]
    random_weights: tuple[str, ...]
    cells: int
    resumed: int
    out: str
    machine: dict[str, str | int | bool]
    seconds: float

    def __repr__(self) -> str:
        return (f"Comparison({self.source}: {len(self.table)} combinations, best {self.best}, recommended "
                f"{self.recommended}, test accuracy {self.test.accuracy:.3f} on {self.test.n} rows)")

    def to_dict(self) -> dict[str, Any]:
        """The document that `kerastl compare --json` prints."""
        return {
            "source": self.source, "kind": self.modality, "rows": self.rows, "classes": list(self.classes),
            "seeds": self.seeds, "split_reason": self.split_reason, "n_validation": self.n_validation, "level": LEVEL,
            "table": [row.to_dict() for row in self.table], "best": self.best.to_dict(),
            "recommended": self.recommended.to_dict(), "word": self.sentence,
            "test": self.test.to_dict(), "n_test": self.test.n,
            "kept": self.kept, "random_weights": list(self.random_weights), "cells": self.cells,
            "resumed": self.resumed, "out": self.out, "machine": self.machine, "seconds": self.seconds,
        }


def compare(source: str | Path | Examples, backbones: Sequence[str], heads: Sequence[str] = ("linear",),
            unfreeze: Sequence[str | int] = ("0",), *, seeds: int = 3, out: str = "comparison",
            weights: Sequence[str] = (), text_column: str | None = None, label_column: str | None = None,
            read_options: ReadOptions = READ_AS_USUAL,
            min_per_class: int = 10, limit: int | None = None, options: TrainingOptions | None = None,
            engine: str = "auto", precision: str = "auto", pickles: bool = False, xla: str = "auto",
            data_dir: str | None = None, cache_dir: str | None = None, near_duplicates: str = "auto") -> Comparison:
    """Compare every combination of backbones, heads and depths of fine-tuning on the same rows.

    source: labelled data, as for training, or examples that were read. text_column, label_column, read_options: of
    reading them. unfreeze: numbers of blocks, `all`, or
    `contrast`. seeds: each holds out another fold and trains with other initial weights. out: the folder of the journal
    `rows.jsonl`, from which a killed comparison resumes. weights: one for all backbones, or one for each. precision:
    default, float32, as the exported model computes; for large backbones, what their weights are kept in.
    near_duplicates: of a source that is read here, see `find_near_duplicates`.
    Raises OptionError for arguments that cannot be used, all at once, and DataError for too few rows.
    """
    stopwatch, options = Stopwatch(), options or TrainingOptions()
    expect((str, Path, Examples), "labelled data: a path, or examples that were read", source=source)
    expect(TrainingOptions, OPTIONS, options=options)
    backbones, heads = as_list("backbones", backbones), as_list("heads", heads)
    depths = [str(depth) for depth in as_list("unfreeze", unfreeze, (str, int))]
    combinations, modality = combinations_of(
        backbones, heads, depths, weights=weights, seeds=seeds, limit=limit, epochs=options.epochs,
        batch_size=options.batch_size, min_per_class=min_per_class, precision=precision, xla=xla, engine=engine)
    if faults := option_faults(options) + tuning_faults(options.fine_tuning, modality, options.epochs):
        raise OptionError("\n".join(faults))
    folder, cache = _folder(out), chosen_dir(cache_dir)
    runtime = _in_float32(apply(precision, xla, engine=engine))
    if not isinstance(source, Examples):
        columns = read_options.with_columns(text_column=text_column, label_column=label_column)
        source = say(read_labelled(modality.name, str(source), options=columns, min_per_class=min_per_class,
                                   limit=limit, data_dir=data_dir, cache_dir=cache))
        source = find_near_duplicates(source, near_duplicates, cache_dir=cache)
    examples = set_aside(source)
    if "contrast" in depths and not examples.task.exclusive:
        raise OptionError(f"`unfreeze=contrast` needs one label per row, and {examples.source} has "
                          f"{examples.task.noun}", "0, a number of blocks, or all")
    chosen = dict(zip(backbones, weights if len(weights) > 1 else [*weights, None][:1] * len(backbones), strict=True))
    pooled = prepare(combinations, chosen, without_test(examples), runtime, precision=precision, pickles=pickles,
                     batch_size=options.batch_size, cache_dir=cache)
    features = [pooled[network_key(combination)] for combination in combinations]
    rest, journal = features[0].examples, Journal(folder / "rows.jsonl")
    cells = [[measure(prepared, combination, seed, options, journal) for seed in range(seeds)]
             for prepared, combination in zip(features, combinations, strict=True)]
    resumed = journal.resumed
    costs = [measure_cost(prepared, combination.head, journal)
             for prepared, combination in zip(features, combinations, strict=True)]
    table, verdict, n_validation = recommend(rest, combinations, cells, costs)
    recommended = combinations[verdict.chosen]
    networks = [prepared.backbone for prepared in pooled.values()]
    return Comparison(
        source=examples.source, modality=modality.name, rows=len(rest), classes=tuple(rest.classes), seeds=seeds,
        split_reason=examples.split.reason if examples.split else "", n_validation=n_validation, table=table,
        best=combinations[verdict.best], recommended=recommended, sentence=sentence(table, verdict),
        test=evaluate_on_test_rows(examples, recommended, features[verdict.chosen], options, journal),
        kept={network.name: network.large.kept for network in networks if network.large},
        random_weights=tuple(sorted({network.name for network in networks if network.random})),
        cells=len(combinations) * seeds, resumed=resumed, out=str(folder), machine=machine(), seconds=stopwatch())


def _folder(out: str) -> Path:
    path = local_only(out, "out")
    if path.exists() and not path.is_dir():
        raise OptionError(f"`out` must be a folder ({out} is a file)", "", "choose another")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _in_float32(runtime: Runtime) -> Runtime:
    """Float32 unless another precision was requested: every row is held out in turn, and the exported model computes in
    float32."""
    if runtime.explicit_precision:
        return runtime
    return replace(runtime, precision="float32", precision_reason="to match the exported model")
