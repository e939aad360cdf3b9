"""Measures ratios in one run and prints them with the machine.

python benchmarks/run.py [--write] [NAME ...]

NAME is one or more of the benchmarks below; without one, all run. `--write` puts all figures into benchmarks/README.md.
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
MARK = "<!-- figures -->\n"


def benchmarks() -> dict[str, Callable[[], list[Figure]]]:
    """Every benchmark by name, in the order they run: what imports TensorFlow last."""
    from benchmarks import heads, memory, passes, sizes, startup, training

    return {"startup": startup.help_texts, "sizes": sizes.saved_models, "predict": passes.over_predict,
            "decoding": passes.with_decoding, "memory": memory.growth, "training": training.from_cache,
            "accuracy": training.on_the_samples, "heads": heads.linear}


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


def main(words: list[str]) -> int:
    """Run what is named. Returns the exit code: 2 for a name that is not known."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    known = benchmarks()
    chosen = [word for word in words if word != "--write"] or list(known)
    if set(chosen) - set(known) or ("--write" in words and len(chosen) < len(known)):
        print(f"got {' '.join(words)}; wanted: {', '.join(known)}, or --write alone", file=sys.stderr)
        return 2
    print(f"{the_machine()}\n", flush=True)
    figures = []
    for name in chosen:
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures += known[name]()
        print(table(figures[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(figures))
    if "--write" in words:
        head, _, _ = README.read_text().partition(MARK)
        README.write_text(f"{head}{MARK}{the_machine()}\n\n{table(figures)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
