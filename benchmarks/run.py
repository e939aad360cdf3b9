"""Measures ratios in one run and prints them with the machine.

python benchmarks/run.py [--write] [NAME ...]

NAME is one or more of the benchmarks below; without one, all run but glm-full, which writes 12 GB to a temporary
folder, setfit, which takes over an hour, and rows, which reads ten million. `--write` puts their figures into
benchmarks/README.md, each with the machine it came from. Figures against torch, stock OpenVINO and SetFit need other
environments:
KERASTL_TORCH=ITS_PYTHON, KERASTL_SETFIT=ITS_PYTHON, see benchmarks/README.md.
"""

import os
import sys
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.figure import Figure  # noqa: E402

README = Path(__file__).parent / "README.md"
HUGE = {"glm-full", "rows", "setfit"}  # run only when named


def benchmarks() -> dict[str, Callable[[], list[Figure]]]:
    """Every benchmark by name, in the order they run: what imports TensorFlow last."""
    from benchmarks import (
        against,
        best,
        bits,
        calibration,
        compare,
        drift,
        explanations,
        export,
        few_labels,
        few_rows,
        glm,
        glm_full,
        heads,
        in_browser,
        isolated_tables,
        isolation,
        label_errors,
        label_next,
        learning_curve,
        maps,
        memory,
        near_duplicates,
        parsing,
        passes,
        peers,
        predict,
        private,
        rejection,
        rows,
        serve,
        setfit,
        sizes,
        startup,
        texts,
        training,
    )

    return {"startup": startup.commands, "sizes": sizes.saved_models, "export": export.in_four_kinds,
            "predict": passes.over_predict, "decoding": passes.with_decoding,
            "isolation": isolation.of_decoding,
            "isolation-tables": isolated_tables.of_reading, "bulk": predict.in_bulk,
            "peers": peers.passes, "memory": memory.growth, "training": training.from_cache,
            "accuracy": training.on_the_samples, "calibration": calibration.on_the_samples,
            "rejection": rejection.on_the_samples, "drift": drift.on_the_samples, "heads": heads.linear,
            "heads-accuracy": heads.stamps, "best": best.over_each, "texts": texts.over_predict,
            "bits": bits.of_features,
            "text-training": texts.from_cache, "text-memory": texts.memory, "few-labels": few_labels.table,
            "setfit": setfit.table, "few-rows": few_rows.beside_linear, "near-duplicates": near_duplicates.search,
            "label-errors": label_errors.speed, "label-next": label_next.on_the_samples,
            "learning-curve": learning_curve.on_the_samples, "explanations": explanations.of_a_run,
            "against": against.of_a_run, "compare": compare.cached, "parsing": parsing.over_fit, "maps": maps.growth,
            "private": private.speed, "serve": serve.throughput,
            "serve-capacity": serve.capacity, "serve-soak": serve.soak, "in-browser": in_browser.beside_the_server,
            "glm": glm.speed, "glm-run": glm.whole_run, "glm-full": glm_full.memory,
            "rows": rows.table}


def table(figures: list[Figure]) -> str:
    """Figures as a Markdown table."""
    verdict = {True: "met", False: "missed", None: ""}
    lines = ["| what | ratio | goal | |", "|---|---|---|---|"]
    lines += [f"| {one.what} | {one.value} | {one.goal} | {verdict[one.met]} |" for one in figures]
    return "\n".join(lines) + "\n"


def the_machine() -> str:
    """What the figures depend on, in a line."""
    from kerastl.runtime import machine

    here = machine()
    bfloat16 = "with" if here["bfloat16"] else "without"
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "keras-hub"))
    return (f"{here['processor']}, {here['cores']} cores, {bfloat16} bfloat16 instructions; {here['system']}, "
            f"Python {here['python']}, {packages}; {date.today()}")


def written(text: str, name: str, block: str) -> str:
    """The README with a benchmark's block anew, or added at the end."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    if start not in text:
        return f"{text.rstrip()}\n\n## {name}\n\n{start}{block}{end}"
    head, _, rest = text.partition(start)
    return f"{head}{start}{block}{end}{rest.partition(end)[2]}"


def main(words: list[str]) -> int:
    """Run what is named. Returns the exit code: 2 for a name that is not known."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    known = benchmarks()
    chosen = [word for word in words if word != "--write"] or [name for name in known if name not in HUGE]
    if set(chosen) - set(known):
        print(f"got {' '.join(words)}; wanted: --write, {', '.join(known)}", file=sys.stderr)
        return 2
    print(f"{the_machine()}\n", flush=True)
    for name in chosen:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = table(known[name]())
        print(found, flush=True)
        if "--write" in words:
            README.write_text(written(README.read_text(), name, f"{the_machine()}\n\n{found}"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
