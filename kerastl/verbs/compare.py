"""`kerastl compare`: backbones, heads and depths of unfreezing on the same rows, in one honest table."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tyro.conf import Positional

from kerastl.backbones import Backbone, spec_of
from kerastl.data.examples import TEST, Examples
from kerastl.data.split import UNFREEZE
from kerastl.errors import DataError, KerastlError, OptionError
from kerastl.heads import head_of
from kerastl.heads._several import parted
from kerastl.runtime import XLA, Runtime, Stopwatch
from kerastl.shell.checks import is_large, precisions_of
from kerastl.shell.terminal import table

if TYPE_CHECKING:
    from kerastl.evaluation.paired import Verdict
    from kerastl.studies.compare import Combination, How, Taken


@dataclass(frozen=True)
class CompareConfig:
    """Compares backbones, heads and unfreezing on the same rows, and recommends the simplest within noise."""

    source: Positional[str]  # labelled data, as for training
    backbones: str  # some of `kerastl backbones`, with commas between; all for images, or all for texts
    heads: str = "linear"  # some of `kerastl heads`, with commas between; settings: linear,mlp:hidden=64,dropout=0.2
    unfreeze: str = "0"  # numbers of blocks, all or contrast, with commas between
    seeds: int = 3  # each holds out another fold and starts training elsewhere
    out: str = "comparison"  # the folder of rows.csv, report.html, and rows.jsonl, from which a killed run goes on
    weights: str | None = None  # one for all backbones, or one each with commas between; default: what a backbone has
    text_column: str | None = None  # where a table's texts are; default: found by name and content
    label_column: str | None = None  # where a table's labels are
    min_per_class: int = 10  # smaller classes are left out
    limit: int | None = None  # use at most N rows
    epochs: int | None = None  # at most so many; default: early stopping decides
    batch_size: int = 32  # images or texts at a time
    precision: str = "auto"  # auto: float32, as the export computes; mixed_...; large: bfloat16, int8, int4
    pickles: bool = False  # of a large backbone, also read weights that are pickles, admitting tensors only
    xla: str = "auto"  # auto, on or off
    data_dir: str | None = None  # where TFDS data sets lie
    cache_dir: str | None = None  # default: the user's cache directory
    json: bool = False  # print one JSON document


def compare(config: CompareConfig) -> dict[str, Any]:
    """The table, the paired tests, and the test accuracy of the one that is recommended."""
    clock = Stopwatch()
    combinations, kind = asked(config)
    from kerastl import runtime
    from kerastl.evaluation.paired import LEVEL
    from kerastl.features.cache import chosen_dir
    from kerastl.report.comparison import write_comparison
    from kerastl.studies import compare as work
    from kerastl.studies.journal import Cells

    folder = _folder(config.out)
    chosen = runtime.apply(config.precision, config.xla)
    how = work.How(_plain(chosen), chosen_dir(config.cache_dir), config.epochs, config.batch_size)
    examples = work.set_aside(_read(kind, config, how.cache_dir))
    if examples.multi_label and "contrast" in config.unfreeze.split(","):
        raise OptionError("--unfreeze contrast where a row has several labels", "0, a number of blocks, or all",
                          "leave contrast out")
    taken, rest = _take(combinations, config, work.without_test(examples), how)
    cells = Cells(folder / "rows.jsonl")
    records = [[work.cell(taken[_place(one)], one, seed, how, cells, _right) for seed in range(config.seeds)]
               for one in combinations]
    resumed = cells.found
    costs = [work.cost(taken[_place(one)], one.head, how, cells) for one in combinations]
    verdict, n_validation = _verdict(rest, records, costs)
    rows = [_row(*one) for one in zip(combinations, records, costs, verdict.tests, strict=True)]
    rows[verdict.chosen]["recommended"] = True
    result = {
        "source": config.source, "kind": kind, "rows": len(rest), "classes": list(rest.classes), "seeds": config.seeds,
        "split_reason": examples.split.reason if examples.split else "", "n_validation": n_validation, "level": LEVEL,
        "table": rows, "best": _named(combinations[verdict.best]),
        "recommended": _named(combinations[verdict.chosen]), "word": _word(rows, verdict),
        **_tested(examples, combinations[verdict.chosen], taken, how, cells),
        "kept": {one.backbone.name: one.backbone.large.kept for one in taken.values() if one.backbone.large},
        "random_weights": sorted({one.backbone.name for one in taken.values() if one.backbone.random}),
        "cells": len(combinations) * config.seeds, "resumed": resumed, "out": str(folder), "machine": runtime.machine(),
        "seconds": clock(),
    }
    write_comparison(folder, result)
    return result


def asked(config: CompareConfig) -> tuple[list["Combination"], str]:
    """Every combination, and whether they are for images or texts. Raises one OptionError that lists all faults."""
    faults: list[str] = []

    def noted(check: Callable[[str], Any], one: str) -> Any:
        try:
            return check(one)
        except KerastlError as error:
            faults.append(str(error).replace("\n ", ";"))

    backbones, heads, unfreeze = config.backbones.split(","), parted(config.heads), config.unfreeze.split(",")
    specs = [spec for spec in (noted(lambda one: spec_of(one)[0], one) for one in backbones) if spec]
    kinds = {spec.modality.name for spec in specs}
    if len(kinds) > 1:
        said = "; ".join(f"{spec.name} is for {spec.modality.nouns}" for spec in specs)
        faults.append(f"--backbones {config.backbones}: {said}: all for one")
    built = {head: found for head in heads if (found := noted(head_of, head))}
    for name, given in (("backbones", backbones), ("heads", heads), ("unfreeze", unfreeze)):
        if len(set(given)) < len(given):
            faults.append(f"--{name} {','.join(given)}: each once")
    words = [word for word in UNFREEZE if word != "auto"]  # what that does depends on the rows
    faults += [f"--unfreeze {one}: a number of blocks, or {', '.join(words)}" for one in unfreeze
               if not (one in words or one.isdecimal())]
    if large := [name for name in backbones if is_large(name)]:
        if unfreeze != ["0"]:
            faults.append(f"--unfreeze {config.unfreeze} with {', '.join(large)}: 0, its weights stay as they are")
        faults += [f"--heads {head} with {', '.join(large)}: heads that take features alone"
                   for head, one in built.items() if one.side]
    if config.weights and len(config.weights.split(",")) not in (1, len(backbones)):
        faults.append(f"--weights {config.weights}: one for all, or one for each of {len(backbones)} backbones")
    faults += [f"--{name.replace('_', '-')} {value}: 1 or more" for name in
               ("seeds", "limit", "epochs", "batch_size", "min_per_class")
               if (value := getattr(config, name)) is not None and value < 1]
    faults += [f"--{name} {value}: one of {', '.join(known)}" for name, value, known in
               (("precision", config.precision, precisions_of(*backbones)), ("xla", config.xla, XLA))
               if value not in known]
    if faults:
        raise OptionError("\n".join(faults), "flags as said", "see kerastl compare --help")
    from kerastl.studies.compare import Combination

    return [Combination(*one) for one in product(backbones, heads, unfreeze)], kinds.pop()


def _folder(out: str) -> Path:
    path = Path(out)
    if path.exists() and not path.is_dir():
        raise OptionError(f"--out {out} is a file", "a folder", "choose another")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _plain(runtime: Runtime) -> Runtime:
    """Float32 unless asked for otherwise: every row judges in turn, and the export computes in float32."""
    if runtime.explicit_precision:
        return runtime
    return replace(runtime, precision="float32", precision_reason="every row judges, and the export computes in it")


def _read(kind: str, config: CompareConfig, cache: Path) -> Examples:
    more: dict[str, Any] = {"min_per_class": config.min_per_class, "limit": config.limit, "data_dir": config.data_dir,
                            "cache_dir": cache}
    if kind == "text":
        from kerastl.data.texts import read_texts

        return read_texts(config.source, text_column=config.text_column, label_column=config.label_column, **more)
    from kerastl.data.images import read_images

    return read_images(config.source, **more)


def _place(one: "Combination") -> tuple[str, str]:
    from kerastl.model import pooling_for

    return one.backbone, pooling_for(one.head)


def _loaded(places: list[tuple[str, str]], config: CompareConfig) -> list[Backbone]:
    """The backbones, pooled as asked. A large one is read once, and kept in one way for all its heads."""
    from kerastl.backbones import NO_POOLING, load, repooled

    backbones, weights = config.backbones.split(","), (config.weights or "").split(",")
    of = dict(zip(backbones, weights if len(weights) > 1 else weights * len(backbones), strict=True))

    def read(name: str, pooling: str) -> Backbone:
        return load(name, of[name] or None, pooling=pooling, pickles=config.pickles and is_large(name),
                    precision=config.precision if config.precision in precisions_of(name) else "auto")

    whole = {name: read(name, NO_POOLING) for name in backbones if is_large(name)
             and len([one for one, _ in places if one == name]) > 1}
    return [read(name, pooling) if name not in whole else whole[name] if pooling == NO_POOLING else
            repooled(whole[name], pooling) for name, pooling in places]


def _take(combinations: list["Combination"], config: CompareConfig, rest: Examples, how: "How"
          ) -> tuple[dict[tuple[str, str], "Taken"], Examples]:
    """Each backbone, pooled as its heads take it, with features; all weights are there before the first pass."""
    from kerastl.model import blocks
    from kerastl.studies.compare import take_features

    backbones, depths = config.backbones.split(","), config.unfreeze.split(",")
    places = sorted({_place(one) for one in combinations}, key=lambda place: (backbones.index(place[0]), place[1]))
    loaded = _loaded(places, config)
    most = max((int(one) for one in depths if one.isdecimal()), default=0)
    if most and (few := [f"{one.name} has {len(blocks(one))}" for one in loaded if len(blocks(one)) < most]):
        raise OptionError(f"--unfreeze {most}", f"at most the blocks there are: {', '.join(few)}", "unfreeze fewer")
    taken, rest = take_features(rest, loaded, how)
    return dict(zip(places, taken, strict=True)), rest


def _right(examples: Examples, fitted: Any) -> Any:
    from kerastl.evaluation.metrics import evaluate

    return np.array(evaluate(examples, fitted.held_out, fitted.validation).right)


def _verdict(rest: Examples, records: list[list[dict[str, Any]]], costs: list[dict[str, Any]]
             ) -> tuple["Verdict", int]:
    """The paired tests on the rows that were judged, and how many these are."""
    from kerastl.evaluation.paired import simplest_within_noise
    from kerastl.studies.compare import held_out

    times, right = np.zeros(len(rest)), np.zeros((len(records), len(rest)))
    for seed in range(len(records[0])):
        split = held_out(rest, seed).split
        assert split is not None
        times[split.held_out] += 1
        for place, some in enumerate(records):
            right[place, split.held_out] += np.array(list(some[seed]["right"]), dtype=float)
    judged = np.flatnonzero(times)
    simple = [simplicity(max(one["blocks"] for one in some), cost) for some, cost in zip(records, costs, strict=True)]
    return simplest_within_noise(list(right[:, judged] / times[judged]), simple,
                                 [rest.groups[row] for row in judged]), len(judged)


def simplicity(blocks: int, cost: dict[str, Any]) -> tuple[float, ...]:
    """Less is simpler: blocks unfrozen, then parameters, where 1% is no difference; then a head that is solved, and
    so has one answer; then milliseconds. cost: as `studies.compare.cost` tells."""
    from kerastl.heads import head_of

    size = round(math.log(max(1, cost["parameters"])) / 0.01)
    return blocks, size, not head_of(cost["head"]).convex, cost["milliseconds"]


def _row(one: "Combination", cells: list[dict[str, Any]], cost: dict[str, Any], test: Any) -> dict[str, Any]:
    from kerastl.evaluation.paired import LEVEL

    accuracies, seconds = [cell["accuracy"] for cell in cells], [cell["seconds"] for cell in cells]
    return {**_named(one), "accuracy": float(np.mean(accuracies)), "accuracy_min": min(accuracies),
            "accuracy_max": max(accuracies), "head_seconds": float(np.mean(seconds)), "parameters": cost["parameters"],
            "megabytes": cost["parameters"] * 4 / 1e6, "milliseconds": cost["milliseconds"],
            "blocks": max(cell["blocks"] for cell in cells), "behind_best": test.gain if test else 0.0,
            "behind_best_ci95": list(test.gain_ci95) if test else None, "p": test.p if test else None,
            "within_noise": not test or test.p >= LEVEL, "recommended": False}


def _named(one: "Combination") -> dict[str, str]:
    return {"backbone": one.backbone, "head": one.head, "unfreeze": one.unfreeze}


def _said(row: dict[str, Any]) -> str:
    return f"{row['backbone']} + {row['head']}" + (f" (unfreeze {row['unfreeze']})" if row["unfreeze"] != "0" else "")


def _word(rows: list[dict[str, Any]], verdict: "Verdict") -> str:
    """What is recommended, and why, in words."""
    best, chosen = rows[verdict.best], rows[verdict.chosen]
    if len(rows) == 1:
        return f"{_said(chosen)} was compared with nothing."
    if best is not chosen:
        return (f"{_said(best)} answered best ({best['accuracy']:.3f}), but {_said(chosen)} is simpler and not told "
                f"from it: {100 * chosen['behind_best']:.1f} points behind on the same rows, p {chosen['p']:.2f}.")
    beaten = sum(not row["within_noise"] for row in rows)
    if beaten == len(rows) - 1:
        return f"{_said(best)} answered better than all others, by more than chance."
    return (f"{_said(best)} answered best; it is told from {beaten} of the {len(rows) - 1} others, and of those that "
            "are as good within noise none is simpler.")


def _tested(examples: Examples, one: "Combination", taken: dict[tuple[str, str], "Taken"], how: "How", cells: Any
            ) -> dict[str, Any]:
    """The recommended one's figures on the test rows, trained anew on all others."""
    from kerastl.evaluation.metrics import evaluate
    from kerastl.studies.compare import final, final_key

    key = final_key(examples, taken[_place(one)], one, how)
    record = cells.get(key)
    if record is None:
        print(f"{_said(_named(one))}: on all rows that do not test, then on the test rows", flush=True)
        features, trained = final(examples, taken[_place(one)], one, how)
        split = features.examples.split
        assert split is not None
        if not len(split.rows(TEST)):
            raise DataError("no test row could be read", "test rows", "look at what is left out: kerastl check")
        found = evaluate(features.examples, trained.fitted.held_out, trained.fitted.validation)
        record = cells.add(key, {**_named(one), "test": {
            "n": found.n, "accuracy": found.accuracy, "accuracy_ci95": list(found.accuracy_ci95),
            "interval": found.interval, "macro_f1": found.macro_f1, "log_loss": found.log_loss_calibrated}})
    return {"test": record["test"], "n_test": record["test"]["n"]}


def show_compare(result: dict[str, Any]) -> str:
    """The table, what is recommended, and its test accuracy."""
    rows = [("backbone", "head", "unfreeze", "validation", "over seeds", "behind", "p", "trains", "size", "a row")]
    rows += [(one["backbone"], one["head"], one["unfreeze"], f"{one['accuracy']:.3f}",
              f"{one['accuracy_min']:.3f} to {one['accuracy_max']:.3f}",
              "best" if one["p"] is None else f"{100 * one['behind_best']:.1f} pt",
              "" if one["p"] is None else f"{one['p']:.3f}", f"{one['head_seconds']:.1f} s",
              f"{one['megabytes']:.1f} MB", f"{one['milliseconds']:.1f} ms" + " *" * one["recommended"])
             for one in result["table"]]
    test, lines = result["test"], []
    if result["random_weights"]:
        lines.append(f"RANDOM WEIGHTS: {', '.join(result['random_weights'])}: the figures say nothing of transfer")
    lines += [f"{name} is kept in {kept}" for name, kept in result["kept"].items()]
    if result["resumed"]:
        lines.append(f"{result['resumed']} of {result['cells']} were done before, and taken from {result['out']}")
    return "\n".join([*lines, table(rows), "", result["word"],
                      f"test accuracy of {_said(result['recommended'])}: {test['accuracy']:.3f}  (95% "
                      f"{test['accuracy_ci95'][0]:.3f} to {test['accuracy_ci95'][1]:.3f}; {test['interval']})",
                      f"written    {result['out']}/rows.csv, report.html"])
