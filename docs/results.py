"""Measures what docs/results.md says, and writes it anew: heads, blends, fusion, unfreezing, distilling, few-shot.

python docs/results.py [PART ...]

PART is one or more of the parts below; without one, all are measured, which takes an hour or two. The data are the
samples of `make quickstart` and the weights those that packages carry. Validation figures come from rows that did not
train; test rows are looked at once, for what is recommended.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.run import the_machine, written  # noqa: E402

PAGE = ROOT / "docs/results.md"
KERASTL = Path(sys.executable).parent / "kerastl"
STAMPS = ("samples/stamps", "--backbones", "efficientnet_lite0")
SNIPPETS = ("samples/snippets.csv", "--backbones", "minilm", "--limit", "3000")


def told(*words: object) -> dict[str, Any]:
    """The JSON document of a kerastl command. Stops with its messages when it fails."""
    print("kerastl", *words, file=sys.stderr, flush=True)
    done = subprocess.run([KERASTL, *map(str, words), "--json"], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    if done.returncode:
        raise SystemExit(f"{words} ended with {done.returncode}:\n{done.stderr}")
    return dict(json.loads(done.stdout))


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Markdown."""
    head = list(head)
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def compared(source: tuple[str, ...], heads: str, unfreeze: str = "0", *more: str) -> str:
    """A comparison over 3 seeds, as a table and what it recommends."""
    with tempfile.TemporaryDirectory() as out:
        found = told("compare", *source, "--heads", heads, "--unfreeze", unfreeze, "--seeds", 3, "--out", out, *more)
    rows = [(one["head"], one["unfreeze"],
             f"{one['accuracy']:.3f} ({one['accuracy_min']:.3f} to {one['accuracy_max']:.3f})",
             "best" if one["p"] is None else f"{100 * one['behind_best']:.1f} points, p {one['p']:.3f}",
             f"{one['head_seconds']:.1f}", f"{one['megabytes']:.1f}", f"{one['milliseconds']:.1f}")
            for one in found["table"]]
    test = found["test"]
    return "\n".join([table(("head", "unfrozen", "validation accuracy (seeds)", "behind", "seconds", "MB", "ms a row"),
                            rows), found["word"], f"Recommended: {found['recommended']['head']}, unfrozen "
                      f"{found['recommended']['unfreeze']}. On {test['n']} test rows, looked at for it alone: "
                      f"{test['accuracy']:.3f} (95% {test['accuracy_ci95'][0]:.3f} to {test['accuracy_ci95'][1]:.3f}).",
                      ""])


def ran(recipe: str, out: str, *more: object) -> dict[str, Any]:
    """The run record of a recipe."""
    return told("run", recipe, "--name", recipe, "--out", out, *more)


def blended(recipe: str, *more: object) -> str:
    """The ablation of a blend, as it was reported."""
    with tempfile.TemporaryDirectory() as out:
        found = ran(recipe, out, *more, "--tflite", "none")["ablation"]
    rows = [(one["name"], f"{sum(one['accuracies']) / len(one['accuracies']):.3f}", f"{min(one['accuracies']):.3f} to "
             f"{max(one['accuracies']):.3f}", f"`{one['head']}`") for one in found["arms"]]
    words = "\n".join(f"- {one['word']}" for one in found["contrasts"])
    return f"{table(('part', 'accuracy', 'over the seeds', 'head'), rows)}\nOn {found['n']} rows.\n\n{words}\n"


def fused() -> str:
    """Two backbones, the second with random weights, for no others come with a package."""
    rows = []
    with tempfile.TemporaryDirectory() as out:
        for backbone, weights in (("efficientnet_lite0", "bundled"), ("efficientnet_lite0+resnet50", "bundled,none")):
            for head in ("linear", "mlp") if "+" not in backbone else ("linear", "mlp", "gated", "averaged"):
                test = ran("fusion_images", out, "--data", STAMPS[0], "--backbone", backbone, "--weights", weights,
                           "--head", head, "--min-per-class", 30, "--tflite", "none")["test"]
                low, high = test["accuracy_ci95"]
                rows.append((backbone, weights, head, f"{test['accuracy']:.3f} ({low:.3f} to {high:.3f})"))
    return table(("backbone", "weights", "head", "accuracy (95%)"), rows) + (
        "\nThe second network is random: this shows that fusing works, not what two trained ones are worth.\n")


def distilled() -> str:
    """A fine-tuned MiniLM teaches its own first two blocks; and the same student learns from the labels alone."""
    data = ("--data", SNIPPETS[0], "--limit", 3000, "--epochs", 1)
    student = ("--backbone", "minilm", "--tap", "layer_2", "--unfreeze", "all")
    with tempfile.TemporaryDirectory() as out:
        teacher = ran("minilm_text", out, *data, "--split", "holdout", "--unfreeze", "all", "--tflite", "fp32,fp16")
        alone = ran("minilm_text", f"{out}/alone", *data, "--split", "holdout", *student, "--tflite", "none")
        taught = told("run", "distil_to_tflite", "--teacher", f"{out}/minilm_text", "--name", "student", "--out", out,
                      *student, "--epochs", 1, "--tflite", "fp32,fp16,dynamic")
    rows = [(one["who"], one["form"], f"{one['accuracy']:.3f}", f"{one['bytes'] / 1e6:.1f}",
             f"{one['milliseconds']:.1f}") for one in taught["distilled"]["sides"]]
    figures = {"teacher": teacher, "student, from the labels alone": alone, "student, taught": taught}
    tests = [(who, f"{run['test']['accuracy']:.3f} ({run['test']['accuracy_ci95'][0]:.3f} to "
              f"{run['test']['accuracy_ci95'][1]:.3f})", run["test"]["n"]) for who, run in figures.items()]
    return (f"{table(('', 'accuracy (95%)', 'test rows'), tests)}\nIn every form, on the same "
            f"{taught['distilled']['sides'][0]['rows']} test rows:\n\n"
            f"{table(('', 'form', 'accuracy', 'MB', 'ms a row'), rows)}")


def few_shot() -> str:
    """Methods over episodes of classes that taught and chose nothing."""
    with tempfile.TemporaryDirectory() as out:
        ran("few_shot_images", out, "--data", STAMPS[0], "--deepest")
        text = (Path(out) / "few_shot_images" / "few_shot.md").read_text()
    return "\n".join(line for line in text.splitlines() if out not in line) + "\n"


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "heads-images": ("Heads on the stamps, EfficientNet-Lite0. The scale that `cosine` starts at, and how `prototype` "
                     "scales features, were chosen on some of these rows: their figures are a little kind.",
                     lambda: compared(
        STAMPS, "linear,mlp,cosine,prototype,attention,transformer,resnet,blend", "0", "--min-per-class", "30")),
    "heads-texts": ("Heads on 3,000 movie snippets, MiniLM", lambda: compared(
        SNIPPETS, "linear,mlp,attention,transformer,blend")),
    "blend-images": ("What each part of a blend is worth, stamps", lambda: blended(
        "side_blend_images", "--data", STAMPS[0], "--min-per-class", 30)),
    "blend-texts": ("What each part of a blend is worth, 3,000 movie snippets", lambda: blended(
        "side_blend_text", "--data", SNIPPETS[0], "--limit", 3000)),
    "fusion": ("Two backbones, stamps", fused),
    "unfreeze-images": ("Unfreezing EfficientNet-Lite0, stamps, 2 epochs", lambda: compared(
        STAMPS, "linear", "0,2,all", "--epochs", "2", "--min-per-class", "30")),
    "unfreeze-texts": ("Unfreezing MiniLM, 3,000 movie snippets, 1 epoch", lambda: compared(
        SNIPPETS, "linear", "0,2,all", "--epochs", "1")),
    "distil": ("Distilling: MiniLM to its first two blocks, 3,000 movie snippets, 1 epoch", distilled),
    "few-shot": ("New classes from a few stamps each", few_shot),
}


def main(words: list[str]) -> int:
    """Measure what is named. Returns the exit code: 2 for a part that is not known."""
    if set(words) - set(PARTS):
        print(f"got {' '.join(words)}; wanted: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    for name in words or PARTS:
        title, measure = PARTS[name]
        text = PAGE.read_text(encoding="utf-8")
        block = f"{title}\n\n{the_machine()}\n\n{measure()}"
        PAGE.write_text(written(text, name, block), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
