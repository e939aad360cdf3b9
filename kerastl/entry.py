"""Runs a main from the shell: flags, messages, exit codes and `--json`. Nothing heavy is imported before the work.

Exit codes: 0 done; 1 the work failed a check of its own; 2 bad use or bad input; 130 stopped by Ctrl-C.
"""

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

from kerastl.errors import KerastlError, OptionError
from kerastl.runtime import KEPT, MIXES, PRECISIONS, SCHEDULES, XLA, import_tensorflow_quietly

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The flags that every recipe has."""

    name: str  # the model's name: it is written to OUT/NAME/VERSION
    out: str = "saved_models"  # where models are written to
    head: str = "linear"  # see `kerastl heads`; with settings: mlp:hidden=256,dropout=0.3
    search: int = 0  # try N settings on validation rows, of the head, of some (linear,mlp), or of all: --head auto
    tap: str = "top"  # where in the backbone the features are taken; see `kerastl backbones`
    split: str = "auto"  # auto, cv or holdout; a split that the data bring is honoured
    min_per_class: int = 10  # smaller classes are left out
    epochs: int | None = None  # at most so many; default: early stopping decides
    schedule: str = "auto"  # of the rate when fine-tuning: cosine, linear or one-cycle; auto: by kind and rows
    rate: float | None = None  # the highest when fine-tuning; default: by kind
    find_rate: bool = False  # look for that rate by a ramp on training rows
    gradual: bool = False  # when fine-tuning, one more block from the top each epoch
    layer_decay: float | None = None  # when fine-tuning, the rate of a block over that of the block above it
    average: int = 1  # when fine-tuning, average the weights of the last N epochs, and keep that if it is better
    class_weights: str = "auto"  # auto (when the largest class has 10 times the smallest), balanced or none
    label_smoothing: float = 0.0  # in [0, 1)
    seed: int = 0  # of training; never moves a row to another side
    precision: str = "auto"  # auto, float32, mixed_bfloat16 or mixed_float16
    xla: str = "auto"  # auto, on or off
    tflite: str = "all"  # some of fp32,fp16,dynamic,int8; all (of texts all but int8) or none
    limit: int | None = None  # use at most N rows
    cache_dir: str | None = None  # default: the user's cache directory
    data_dir: str | None = None  # where TFDS data sets lie
    json: bool = False  # print one JSON document on standard output, and nothing else there


@dataclass(frozen=True, kw_only=True)
class ImageConfig(RunConfig):
    """The flags that every recipe for pictures has."""

    data: str  # DIR/<class>/**/<picture>, a .csv/.jsonl/.parquet of path,label, or tfds:NAME[:split]
    weights: str | None = None  # bundled, imagenet, none (random, for tests) or a file; default: what the backbone has
    unfreeze: str = "0"  # train the last N blocks of the backbone too (or all), and keep that if validation improves
    mix: str = "auto"  # when fine-tuning: mixup, cutmix or none; auto: mixup from 20,000 pictures on
    batch_size: int = 32  # pictures at a time


@dataclass(frozen=True, kw_only=True)
class TextConfig(RunConfig):
    """The flags that every recipe for texts has."""

    data: str  # a .csv/.tsv/.jsonl/.parquet, DIR/<class>/*.txt, or tfds:NAME[:split]
    text_column: str | None = None  # where the texts are, two for pairs: a,b; default: found by name and content
    label_column: str | None = None  # where the labels are; default: found by name and content
    weights: str | None = None  # bundled, preset, none (random, for tests) or a folder, as published or saved
    pickles: bool = False  # of a large backbone, also read weights that are pickles, admitting tensors only
    pooling: str = "mean"  # how token states become features: mean, cls, last or pooled (BERT's trained pooler)
    max_length: int | None = None  # tokens a text; default: what holds 99 in 100 texts
    long: str = "head"  # of longer texts: head, head+tail, or chunks (windows, averaged)
    unfreeze: str = "auto"  # auto (few labels: fine-tune by contrast), 0, or train the last N blocks, or all, as well
    lora: int = 0  # when fine-tuning, train a low-rank change of the attention's kernels, of this rank
    batch_size: int = 32  # texts at a time


def run(main: Callable[[C], dict[str, Any]], config: type[C], argv: list[str] | None = None,
        show: Callable[[dict[str, Any]], str] | None = None, prog: str | None = None) -> int:
    """Parse flags into a `config`, call `main`, print what it returns. Returns the exit code."""
    return finish(main, lambda: parse(config, argv, main.__module__, prog), show or summary)


def parse(config: type[C], argv: list[str] | None, module: str = "", prog: str | None = None) -> C:
    """Flags to a `config`; its line comments are the help. Exits with 2 on bad use, with 0 after help."""
    import tyro

    text = (sys.modules[module].__doc__ or "") if module in sys.modules else config.__doc__ or ""
    description = text.partition("\n")[0]
    return tyro.cli(config, args=argv, prog=prog, description=description, config=(tyro.conf.FlagCreatePairsOff,))


def finish(main: Callable[[C], dict[str, Any]], get: Callable[[], C], show: Callable[[dict[str, Any]], str],
           heavy: bool = True) -> int:
    """Call `main` with what `get` gives; messages and exit codes as the module says. `heavy` work uses TensorFlow."""
    try:
        config = get()
        if isinstance(config, RunConfig):
            check_flags(config)
        as_json = bool(getattr(config, "json", False))
        with stdout_to_stderr() as stdout:
            if heavy:
                import_tensorflow_quietly()
            result = main(config)
            print(json.dumps(result, ensure_ascii=False) if as_json else show(result), file=stdout, flush=True)
        breaches = result.get("breaches") or []
        if breaches:
            print(f"error: {', '.join(breaches)} broke the bound of the parity gate and was not written",
                  file=sys.stderr)
        return 1 if breaches or result.get("wrong") else 0
    except KerastlError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped; what was computed is kept in the cache, no model was written", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read our output has gone
        return 0
    except Exception as error:
        said = _of_the_system(error)
        if said is None:
            raise
        return _fail(said, 2)


def _of_the_system(error: Exception) -> str | None:
    """What to say of memory, a disk or a path that does not play along; None for any other error."""
    number, place = getattr(error, "errno", None), getattr(error, "filename", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):  # TensorFlow and HDF5 say so
        return (f"no space left on disk ({place or 'while writing'})\n  wanted: room for the model and the feature "
                "cache\n  do: free some, or give --out and --cache-dir on another disk")
    if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's, which is not imported here
        return (f"memory ran out: {' '.join(str(error).split())[:160]}\n  wanted: memory for the weights and a batch"
                "\n  do: give a smaller --batch-size, or choose a smaller backbone")
    if number in (errno.EACCES, errno.EROFS, errno.EPERM):
        return (f"{os.strerror(number)}: {place}\n  wanted: leave to read or write it\n  do: change its permissions, "
                "or choose another place")
    if number == errno.ENAMETOOLONG:
        return f"a name is too long: {str(place)[:60]}...\n  wanted: a path that the disk can hold\n  do: shorten it"
    return None


def check_flags(config: RunConfig) -> None:
    """Raises one OptionError that lists every flag whose value cannot be, before any work is done."""
    from kerastl.data.split import MODES, UNFREEZE
    from kerastl.heads import CLASS_WEIGHTS, head_of
    from kerastl.heads._several import AUTO, parted, to_search

    given: dict[str, Any] = dict(vars(config))
    large, precisions = is_large(given.get("backbone")), precisions_of(given.get("backbone"))
    faults = [f"--{name.replace('_', '-')} {given[name]}: {what}" for name, what, right in (
        ("limit", "1 or more", lambda n: n is None or n >= 1), ("epochs", "1 or more", lambda n: n is None or n >= 1),
        ("batch_size", "1 or more", lambda n: n >= 1), ("min_per_class", "1 or more", lambda n: n >= 1),
        ("search", "0 or more", lambda n: n >= 0), ("average", "1 or more", lambda n: n >= 1),
        ("rate", "above 0", lambda x: x is None or 0 < x < 1), ("lora", "0 or more", lambda n: n >= 0),
        ("layer_decay", "above 0, at most 1", lambda x: x is None or 0 < x <= 1),
        ("schedule", f"one of {', '.join(SCHEDULES)}", lambda word: word in SCHEDULES),
        ("mix", f"one of {', '.join(MIXES)}", lambda word: word in MIXES),
        ("seed", "from 0 to 4294967295", lambda n: 0 <= n < 2**32),
        ("label_smoothing", "a share in [0, 1)", lambda x: 0 <= x < 1),
        ("class_weights", f"one of {', '.join(CLASS_WEIGHTS)}", lambda word: word in CLASS_WEIGHTS),
        ("precision", f"one of {', '.join(precisions)}", lambda word: word in precisions),
        ("xla", f"one of {', '.join(XLA)}", lambda word: word in XLA),
        ("split", f"one of {', '.join(MODES)}", lambda word: word in MODES),
        ("unfreeze", f"a number of blocks, or {', '.join(UNFREEZE)}", lambda n: n in UNFREEZE or n.isdecimal()),
    ) if name in given and not right(given[name])]
    if large and given.get("unfreeze", "0") not in ("auto", "0"):
        faults.append(f"--unfreeze {given['unfreeze']} on {given['backbone']}: 0, its weights stay as they are")
    if config.search > 0 and config.split == "cv":
        faults.append("--search with --split cv: give --split holdout; validation rows choose the settings")
    try:
        if config.search > 0:
            to_search(config.head, config.search)
        elif config.head == AUTO or len(parted(config.head)) > 1:
            faults.append(f"--head {config.head}: one head, or --search N to choose among several")
        elif head_of(config.head).side and large:
            faults.append(f"--head {config.head} on {given['backbone']}: a head that takes features alone")
    except OptionError as error:
        faults.append(str(error).replace("\n ", ";"))
    if faults:
        raise OptionError("\n".join(faults), "flags as said", "see the recipe's --help")


def precisions_of(*backbones: str | None) -> tuple[str, ...]:
    """What --precision may be: where one of the backbones is large, also what its weights may be kept in."""
    large = [is_large(name) for name in backbones]
    return PRECISIONS if not any(large) else ("auto", *KEPT) if all(large) else (*PRECISIONS, *KEPT[1:])


def is_large(backbone: str | None) -> bool:
    """Whether a backbone may stay apart from its head. One that is not known is not: it is told when it is loaded."""
    from kerastl.backbones import specs

    return backbone in specs() and specs()[backbone].large


def tuning(config: RunConfig) -> Any:
    """What the flags say of fine-tuning, as `train` takes it: a `training.schedule.Tuning`."""
    from kerastl.training.schedule import Tuning

    return Tuning(config.schedule, config.rate, config.find_rate, config.gradual, config.layer_decay,
                  getattr(config, "lora", 0), getattr(config, "mix", "auto"), config.average)


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return code


@contextmanager
def stdout_to_stderr() -> Iterator[TextIO]:
    """Within, whatever prints to standard output (libraries do) goes to standard error; yields the real one."""
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # captured, as in tests: there is no file to turn
        real, sys.stdout = sys.stdout, sys.stderr
        try:
            yield real
        finally:
            sys.stdout = real
        return
    kept = os.dup(number)
    with os.fdopen(kept, "w", encoding="utf-8", errors="replace") as real:
        os.dup2(sys.stderr.fileno(), number)
        try:
            yield real
            real.flush()
        finally:
            sys.stdout.flush()
            os.dup2(kept, number)


class Clock:
    """Seconds since it was made, for a recipe's own record."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def __call__(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start


def summary(result: dict[str, Any]) -> str:
    """A run in a few lines, for the terminal."""
    test, low_high = result["test"], result["test"]["accuracy_ci95"]
    how = {"cv": "5-fold cross-validation, every row held out once", "holdout": "hold-out 80/10/10",
           "given": "the source's own split"}[result["split"]]
    lines = []
    if result["random_weights"]:
        lines.append("RANDOM WEIGHTS: this backbone was never trained; the figures say nothing about transfer learning")
    if result["random_parts"]:
        lines.append(f"RANDOM PART: {', '.join(result['random_parts'])} was never trained; the figures say nothing of "
                     "what two trained networks are worth together")
    lines += [
        f"{result['backbone']} + {result['head']}: {len(result['classes'])} classes, {result['n_train']} rows to train "
        f"on, {result['n_test']} held out",
        f"accuracy   {test['accuracy']:.3f}  (95% {low_high[0]:.3f} to {low_high[1]:.3f}; {test['interval']})",
        f"macro F1   {test['macro_f1']:.3f}",
        f"log loss   {test['log_loss']:.3f}, calibrated {test['log_loss_calibrated']:.3f}",
        f"ECE        {test['ece']:.3f}, calibrated {test['ece_calibrated']:.3f}",
        f"judged by  {how} ({result['split_reason']})",
    ]
    if result["search"]:
        first = result["search"][0]
        least = min(one["log_loss"] for one in result["search"] if one["log_loss"] is not None)
        plain = "none" if first["log_loss"] is None else f"{first['log_loss']:.4f}"
        lines.append(f"searched   {len(result['search'])} settings: log loss {least:.4f} on validation rows, "
                     f"{plain} with {first['head']} as it is")
    lines += [f"data       {note}" for note in result["notes"]]
    if result["kind"] == "text" and result["input"]["lengths"]:
        about, lengths = result["input"], result["input"]["lengths"]
        lines.append(f"lengths    {lengths['median']} tokens in the middle, {lengths['longest']} at most; "
                     f"{lengths['cut']} of {lengths['rows']} texts cut at {about['max_length']} ({about['long']})")
    if result["baseline"]:
        lines.append(f"transfer   {result['baseline']['word']}")
    if result["unfrozen"]:
        tuned = result["unfrozen"]
        lines.append(f"tuned      by contrast, {tuned['blocks']} blocks, for the labels are few; frozen it reached "
                     f"{tuned['frozen_accuracy']:.3f}" if tuned["how"] == "contrast" else
                     f"unfrozen   last {tuned['blocks']} blocks: validation loss {tuned['loss_before']:.4f} -> "
                     f"{tuned['loss_after']:.4f}; " + ("kept" if tuned["kept"] else "not kept, the frozen model ships"))
    if result["ablation"]:
        lines += ["", ablation_table(result["ablation"]), ""]
    if result["distilled"]:
        lines.append(f"teacher    {result['distilled']['teacher']}\n\n{sides_table(result['distilled']['sides'])}\n")
    if result["large"]:
        lines.append(f"ships      {result['large']['ships']}")
    if result["left_out"]:
        lines.append(f"left out   {len(result['left_out'])} (see the report)")
    lines += ["", parity_table(result["parity"]), "", f"written    {result['path']}"]
    return "\n".join(lines)


def ablation_table(ablation: dict[str, Any]) -> str:
    """What each part of a blend is worth, with the words on it."""
    rows = [("part", "accuracy", "over the seeds")]
    rows += [(one["name"], f"{sum(one['accuracies']) / len(one['accuracies']):.3f}",
              f"{min(one['accuracies']):.3f} to {max(one['accuracies']):.3f}") for one in ablation["arms"]]
    return "\n".join([table(rows), *(one["word"] for one in ablation["contrasts"])])


def sides_table(sides: list[dict[str, Any]]) -> str:
    """Teacher and student, each in every form, as a table."""
    rows = [("", "form", "accuracy", "size", "latency")]
    rows += [(one["who"], one["form"], f"{one['accuracy']:.3f}", f"{one['bytes'] / 1e6:.1f} MB",
              f"{one['milliseconds']:.1f} ms") for one in sides]
    return table(rows)


def parity_table(parity: list[dict[str, Any]]) -> str:
    """The parity gate's findings as a table."""
    rows = [("artifact", "max diff", "same label", "accuracy", "size", "latency", "bound", "")]
    rows += [(one["kind"], f"{one['max_difference']:.1e}", f"{one['agreement']:.1%}",
              f"{100 * one['accuracy_change']:+.1f} pt", f"{one['bytes'] / 1e6:.1f} MB",
              f"{one['milliseconds']:.1f} ms", one["bound"], "ok" if one["kept"] else "BROKEN, not written")
             for one in parity]
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first the heading, as aligned text."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in rows)


def check_path(path: str, option: str) -> Path:
    """A path whose folder exists, to write a file to. Raises OptionError where it does not."""
    found = Path(path)
    if not found.parent.is_dir():
        raise OptionError(f"{option} {path}: there is no folder {found.parent}", "a path in a folder that exists",
                          "make the folder first")
    return found
