"""Measures the figures in docs/results.md and rewrites them: heads, blends, fusion, fine-tuning and others.

python docs/results.py [PART ...]

PART is one or more of the parts below; without one, all are measured, which takes an hour or two. The data are the
samples of `make quickstart`, and the weights those that packages contain. Validation accuracy is measured on rows that
were not used in training; test rows are used only once, for the recommended model.
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

from benchmarks import label_errors, learning_curve  # noqa: E402
from benchmarks.run import the_machine, written  # noqa: E402

PAGE = ROOT / "docs/results.md"
KERASTL = Path(sys.executable).parent / "kerastl"
STAMPS = ("samples/stamps", "--backbones", "efficientnet_lite0")
TREEBANK, PARSED = "samples/treebank", 600  # sentences for fine-tuning
SNIPPETS = ("samples/snippets.csv", "--backbones", "minilm", "--limit", "3000")


def kerastl(*words: object) -> dict[str, Any]:
    """The JSON document that a kerastl command prints. Stops with its messages if it fails."""
    print("kerastl", *words, file=sys.stderr, flush=True)
    done = subprocess.run([KERASTL, *map(str, words), "--json"], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    if done.returncode:
        raise SystemExit(f"{words} ended with exit code {done.returncode}:\n{done.stderr}")
    return dict(json.loads(done.stdout))


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Rows as a Markdown table."""
    head = list(head)
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def interval(figures: dict[str, Any]) -> str:
    """An accuracy with its confidence interval."""
    low, high = figures["accuracy_ci95"]
    return f"{figures['accuracy']:.3f} ({low:.3f} to {high:.3f})"


def comparison(source: tuple[str, ...], heads: str, unfreeze: str = "0", *more: str) -> str:
    """A comparison over 3 seeds, as a table and a recommendation."""
    with tempfile.TemporaryDirectory() as out:
        result = kerastl("compare", *source, "--heads", heads, "--unfreeze", unfreeze, "--seeds", 3, "--out", out,
                         *more)
    rows = [(row["head"], row["unfreeze"],
             f"{row['accuracy']:.3f} ({row['accuracy_min']:.3f} to {row['accuracy_max']:.3f})",
             "best" if row["p"] is None else f"{100 * row['behind_best']:.1f} points, p {row['p']:.3f}",
             f"{row['head_seconds']:.1f}", f"{row['megabytes']:.1f}", f"{row['milliseconds']:.1f}")
            for row in result["table"]]
    test, recommended = result["test"], result["recommended"]
    columns = ("head", "unfreeze", "validation accuracy (range over seeds)", "behind best", "training, s", "size, MB",
               "latency, ms per row")
    return (f"{table(columns, rows)}\n{result['word']}\n\nRecommended: {recommended['head']}, unfreeze "
            f"{recommended['unfreeze']}. Accuracy on {test['n']} test rows, used only once, for this model: "
            f"{test['accuracy']:.3f} (95% CI {test['accuracy_ci95'][0]:.3f} to {test['accuracy_ci95'][1]:.3f}).\n")


def run(recipe: str, out: str, *more: object) -> dict[str, Any]:
    """The run record of a recipe."""
    return kerastl("run", recipe, "--name", recipe, "--out", out, *more)


def blend(recipe: str, *more: object) -> str:
    """The ablation of a blend, as reported."""
    with tempfile.TemporaryDirectory() as out:
        ablation = run(recipe, out, *more, "--tflite", "none")["ablation"]
    rows = [(arm["name"], f"{sum(arm['accuracies']) / len(arm['accuracies']):.3f}",
             f"{min(arm['accuracies']):.3f} to {max(arm['accuracies']):.3f}", f"`{arm['head']}`")
            for arm in ablation["arms"]]
    sentences = "\n".join(f"- {contrast['word']}" for contrast in ablation["contrasts"])
    return (f"{table(('part', 'accuracy', 'range over seeds', 'head'), rows)}\nOn {ablation['n']} held-out rows.\n\n"
            f"{sentences}\n")


def choices() -> str:
    """The `best` head and those that it chooses among, on five sets."""
    from benchmarks.best import measured

    heads, rows = ("linear", "plain", "joint", "blend", "best", "best, allow_baseline"), []
    for name, features, made in measured():
        rows.append((name, len(features), *(f"{made[head].accuracy:.3f}" for head in heads),
                     f"`{made['best'].name}`, `{made['best, allow_baseline'].name}`",
                     f"{made['linear'].seconds:.1f}, {made['best'].seconds:.1f}, {made['blend'].seconds:.1f}"))
    return table(("set", "rows", *heads, "what ships", "seconds of linear, best, blend"), rows)


def fusion() -> str:
    """Two backbones, the second with random weights, because no others come with a package."""
    rows = []
    with tempfile.TemporaryDirectory() as out:
        for backbone, weights in (("efficientnet_lite0", "bundled"), ("efficientnet_lite0+resnet50", "bundled,none")):
            for head in ("linear", "mlp") if "+" not in backbone else ("linear", "mlp", "gated", "averaged"):
                record = run("fusion_images", out, "--data", STAMPS[0], "--backbone", backbone, "--weights", weights,
                             "--head", head, "--min-per-class", 30, "--tflite", "none")
                rows.append((backbone, weights, head, interval(record["test"])))
    return table(("backbone", "weights", "head", "accuracy (95% CI)"), rows) + (
        "\nThe second network is random: this shows that fusion works, not what two pretrained networks are worth.\n")


def distillation() -> str:
    """A fine-tuned MiniLM teaches its own first two blocks; the same student is also trained on the labels alone."""
    data = ("--data", SNIPPETS[0], "--limit", 3000, "--epochs", 1)
    student = ("--backbone", "minilm", "--layer", "layer_2", "--unfreeze", "all")
    with tempfile.TemporaryDirectory() as out:
        teacher = run("minilm_text", out, *data, "--split", "holdout", "--unfreeze", "all", "--tflite", "fp32,fp16")
        alone = run("minilm_text", f"{out}/alone", *data, "--split", "holdout", *student, "--tflite", "none")
        taught = run("distil_to_tflite", out, "--teacher", f"{out}/minilm_text", *student, "--epochs", 1, "--tflite",
                     "fp32,fp16,dynamic")
    forms = taught["distilled"]["sides"]
    rows = [(form["who"], form["form"], f"{form['accuracy']:.3f}", f"{form['bytes'] / 1e6:.1f}",
             f"{form['milliseconds']:.1f}") for form in forms]
    records = {"teacher": teacher, "student, trained on the labels alone": alone, "student, distilled": taught}
    tests = [(who, interval(record["test"]), record["test"]["n"]) for who, record in records.items()]
    return (f"{table(('', 'accuracy (95% CI)', 'test rows'), tests)}\nIn every format, on the same {forms[0]['rows']} "
            f"test rows:\n\n{table(('', 'format', 'accuracy', 'size, MB', 'latency, ms per row'), rows)}")


def few_shot() -> str:
    """Methods compared over episodes of classes that were not used in training or selection."""
    with tempfile.TemporaryDirectory() as out:
        run("few_shot_images", out, "--data", STAMPS[0], "--deepest")
        text = (Path(out) / "few_shot_images" / "few_shot.md").read_text()
    return "\n".join(line for line in text.splitlines() if out not in line) + "\n"


def calibrations() -> str:
    """Log loss and calibration error of the samples, and of subsets in which classes are weighted."""
    from benchmarks.calibration import as_rows

    return table(("data", "rows", "calibration", "log loss", "ECE (95% CI)", "by chance", "rare classes (share)"),
                 as_rows())


def label_next() -> str:
    """Labels that are chosen against labels drawn at random."""
    from benchmarks.label_next import as_rows

    return table(("data", "labels a round", "first round: chosen, random", "halfway", "last round",
                  "gain over the rounds, points (95% CI)", "as good as random's last"), as_rows())


def curves(name: str) -> str:
    """How often the interval of a learning curve holds the accuracy at twice the rows."""
    return table(learning_curve.COLUMNS, learning_curve.as_rows(name))


def tagging() -> str:
    """Taggers beside the most frequent tag of each word, and beside the same head on a network with random weights."""
    from benchmarks import tagging as measured

    return table(measured.COLUMNS, measured.as_rows())


CURVES = ("How often the 80% interval of a learning curve of `linear` holds the accuracy at twice the rows, {}. In "
          "each of 30 draws, a curve is measured on some of the rows, in one round as in a recipe's report or in "
          "two as by `kerastl curve`, and predicts the accuracy with twice as many rows. That was measured by "
          "cross-validation of all rows; rows outside the draw measure it independently, with noise of their own, "
          "which the interval does not include. Nothing is predicted where the fit misses the largest size of the "
          "draw.")


def rejections() -> str:
    """Inputs of no known class: each score, and what the exported formats make of the one that is chosen."""
    from benchmarks.rejection import as_rows

    head = ("data", "score", "classes left out, AUROC", "unrelated inputs (number), AUROC", "share above the threshold")
    text = table(head, as_rows())
    with tempfile.TemporaryDirectory() as out:
        records = {"stamps": run("efficientnet_lite_images", out, "--data", STAMPS[0], "--min-per-class", 30),
                   "3,000 snippets": run("minilm_text", out, "--data", SNIPPETS[0], "--limit", 3000)}
    rows = []
    for name, record in records.items():
        found = record["rejection"]
        low, high = found["rejected_ci95"]
        ranks = ", ".join(f"{one['kind']} {one['rank']:.4f}" for one in record["parity"] if one["rank"] is not None)
        rows.append((name, record["head"], found["score"], f"{found['rejected']:.3f} ({low:.3f} to {high:.3f})", ranks))
    return (f"{text}\nIn an exported model:\n\n"
            + table(("data", "head", "score", "own rows rejected at 5% (95% CI)", "rank correlation by format"), rows))


def drift() -> str:
    """How often drift is found, and where there is none."""
    from benchmarks.drift import COLUMNS, as_rows

    return table(COLUMNS, as_rows())


def explanations() -> str:
    """The two checks of explanations, on many rows and several heads."""
    from benchmarks.explanations import as_rows

    return table(("data", "head", "method", "mean cosine", "marked quarter", "another quarter", "difference (95% CI)",
                  "rows", ""), as_rows())


def augmentation() -> str:
    """Presets, each fine-tuned on the same rows."""
    from benchmarks.augmentation import COLUMNS, as_rows, measured

    return table(COLUMNS, as_rows(measured()))


def private() -> str:
    """Private heads against epsilon: a table and a plot."""
    from benchmarks.private import COLUMNS, PLOT, as_rows, measured, plot

    results = measured()
    PLOT.write_text(plot(results), encoding="utf-8")
    return table(COLUMNS, as_rows(results)) + "\n![Accuracy against epsilon](private.svg)\n"


def mirror_test() -> str:
    """The test by which `auto` chooses the flip."""
    from benchmarks.augmentation import MIRROR_COLUMNS, mirrors

    return table(MIRROR_COLUMNS, mirrors())


def parsing() -> str:
    """The parser and what it is compared with, on the treebank."""
    with tempfile.TemporaryDirectory() as out:
        run = kerastl("run", "parse_dependencies", "--data", TREEBANK, "--name", "parser", "--out", out, "--epochs", 14,
                      "--patience", 5)
    test = run["test"]
    names = {"previous": "each word depends on the one before it", "next": "each word depends on the one after it",
             "untrained": "the same parser, untrained encoder"}
    rows: list[tuple[object, ...]] = [
        ("MiniLM, frozen", f"{test['uas']:.3f}", las_interval(test), f"{test['clas']:.3f}", "")]
    rows += [(names[gain["name"]], f"{gain['uas']:.3f}", las_interval(gain), "",
              f"{100 * gain['gain']:+.1f} ({100 * gain['gain_ci95'][0]:+.1f} to {100 * gain['gain_ci95'][1]:+.1f})")
             for gain in run["gains"]]
    seconds = ", ".join(f"{step} {value:.0f}" for step, value in run["seconds"].items())
    return (table(("", "UAS", "LAS", "CLAS", "gain of the parser in LAS, points"), rows)
            + f"\n{run['n_train']:,} training and {test['n']:,} test sentences ({test['words']:,} words); best after "
            f"epoch {run['epoch']} of {len(run['curve'])}. Seconds: {seconds}.\n"
            + "".join(f"\n{note}.\n" for note in run["notes"]))


def las_interval(figures: dict[str, Any]) -> str:
    """A LAS with its confidence interval."""
    return "{:.3f} ({:.3f} to {:.3f})".format(figures["las"], *figures["las_ci95"])


def parsing_tuned() -> str:
    """Fine-tuning of the encoder against frozen states."""
    from benchmarks.parsing import fine_tuned

    with tempfile.TemporaryDirectory() as folder:
        found = fine_tuned(PARSED, Path(folder))
    return table(("", "UAS", "LAS (95% CI)", "seconds of training, states included"), [
        (name, f"{figures.uas:.3f}", las_interval(figures.to_dict()), f"{seconds:.0f}")
        for name, figures, seconds in found])


def parsing_grammar() -> str:
    """The artificial language, whose trees are known."""
    from benchmarks.parsing import known_language

    with tempfile.TemporaryDirectory() as folder:
        minilm, untrained, n = known_language(Path(folder))
    return table(("states of", "training sentences", "test sentences", "UAS", "LAS (95% CI)"), [
        (name, n, figures.n, f"{figures.uas:.3f}", las_interval(figures.to_dict()))
        for name, figures in (("MiniLM", minilm), ("an untrained encoder", untrained))])


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "heads-images": ("Heads on the stamps, EfficientNet-Lite0. The initial scale of `cosine` and the scaling of "
                     "features in `prototype` were chosen on some of these rows, so their figures are slightly "
                     "optimistic.",
                     lambda: comparison(
        STAMPS, "linear,mlp,cosine,prototype,attention,transformer,resnet,blend", "0", "--min-per-class", "30")),
    "heads-texts": ("Heads on 3,000 movie snippets, MiniLM.", lambda: comparison(
        SNIPPETS, "linear,mlp,attention,transformer,blend")),
    "best": ("Heads that are solved, and `best`, which chooses among them inside the training rows; 5-fold "
             "cross-validation. The last three sets are made so that plain features win: snippets cut to their rare "
             "words; texts whose telling word comes after the 64 tokens that the backbone takes; stamps whose class is "
             "their tint.", choices),
    "blend-images": ("What each part of a blend contributes, stamps.", lambda: blend(
        "side_blend_images", "--data", STAMPS[0], "--min-per-class", 30)),
    "blend-texts": ("What each part of a blend contributes, 3,000 movie snippets.", lambda: blend(
        "side_blend_text", "--data", SNIPPETS[0], "--limit", 3000)),
    "fusion": ("Two backbones, stamps.", fusion),
    "unfreeze-images": ("Fine-tuning EfficientNet-Lite0, stamps, 2 epochs.", lambda: comparison(
        STAMPS, "linear", "0,2,all", "--epochs", "2", "--min-per-class", "30")),
    "augmentation": ("Augmentation in fine-tuning: the last block of EfficientNet-Lite0 and `linear`, 4 epochs, peak "
                     "learning rate 1e-4. A fifth of the rows trains, a sixth of which validates; the others are held "
                     "out.",
                     augmentation),
    "mirror-test": ("The mirror test of `--augment auto`, all rows training. Arrows are drawn, digits are those of "
                    "scikit-learn.",
                    mirror_test),
    "unfreeze-texts": ("Fine-tuning MiniLM, 3,000 movie snippets, 1 epoch.", lambda: comparison(
        SNIPPETS, "linear", "0,2,all", "--epochs", "1")),
    "distil": ("Distillation: MiniLM to its first two blocks, 3,000 movie snippets, 1 epoch.", distillation),
    "label-errors": ("Flipped labels that are found, means over 3 draws; on features of EfficientNet-Lite0 and MiniLM.",
                     label_errors.table),
    "learning-curve-images": (CURVES.format("stamps"), lambda: curves("stamps")),
    "learning-curve-texts": (CURVES.format("movie snippets"), lambda: curves("snippets")),
    "few-shot": ("New classes from a few stamps each.", few_shot),
    "tagging": ("Taggers on states of MiniLM, layers 2, 4 and the top; at most 30 epochs for `linear`, 15 for "
                "`bilstm`. The split is 80/10/10 by the hash of each sentence. MiniLM is an English model: it divides "
                "Turkish words into letters and fragments, and the most frequent tag of each word is more accurate. In "
                "the made-up language, the ending of a word says its tag, and nearly all words of the test sentences "
                "are new. Intervals: bootstrap of sentences.", tagging),
    "calibration": ("Calibration, `linear`, 5-fold cross-validation: none, one temperature, and what is chosen and "
                    "fitted on the other folds. The last two columns: the ECE that a perfectly calibrated model stays "
                    "below in 95% of cases; and the mean probability of all classes but the largest, with their share "
                    "of the rows.",
                    calibrations),
    "label-next": ("Which to label next: accuracy of a linear head on held-out rows, with chosen labels and with as "
                   "many drawn at random; means over 12 starts without labels, up to 8 rounds. The gain is the mean "
                   "over the rounds. The last column: chosen labels that reach what all random ones reach. When to "
                   "change from typical rows to small margins was tried out on the first two sets, so their gains are "
                   "slightly optimistic.", label_next),
    "rejection": ("Inputs of no known class. In bold, the score that is chosen on training rows. Rows of the data are "
                  "scored by what was fitted without their fold; unrelated inputs choose nothing. A format whose ranks "
                  "of `unknown_score` correlate with Keras' by less than 0.99 is written without it.",
                  rejections),
    "drift": ("How often `kerastl drift` finds a shift at its level of 0.01, in 50 to 500 inputs that the model has "
              "never seen. Each draw divides the rows anew, trains `linear` on 352 of the 705 stamps (for 500 inputs, "
              "on 200), or on 1,000 of 2,000 snippets, and takes their held-out predictions as the "
              "reference. Without a shift, each detection is a false alarm, and there are several samples for each "
              "model where the new inputs suffice. Draws: their number for each number of inputs. The tests of images "
              "get the file sizes of the unchanged files. Accuracy: of the model on inputs that are shifted like this. "
              "-: too few rows for it.", drift),
    "private": ("Private heads: accuracy on a tenth of the groups, which is held out, against epsilon; the mean over "
                "5 draws of noise, and the range. These accuracies are exact, as only who holds the data can compute "
                "them: a version reports a noised one. Delta is `auto`. DP-SGD: 100 noisy gradients of full batches; "
                "its learning rate was not tuned. Without noise: the ordinary `linear` head on the same hold-out. The "
                "division of the budget and the rule for the projection were chosen on these data, on another "
                "hold-out, so the figures of `linear` and `prototype` are slightly optimistic.", private),
    "explanations": ("Checks of explanations on held-out rows: the mean cosine with maps of a head trained on permuted "
                     "labels (below 0.5 passes), and by how much the logit of the answer falls when the quarter that "
                     "speaks most for it, or another quarter, is deleted (a difference whose interval is above 0 "
                     "passes). Edges and lengths of words do not depend on the head: the checks have to withhold them.",
                     explanations),
    "parsing": ("Dependency parsing: the Turkish web treebank (PyPI `turkish-treebanks` 1.0.0, 4,851 sentences) with "
                "MiniLM, which is English, so a weak encoder for it. At most 14 epochs.", parsing),
    "parsing-grammar": ("Dependency parsing of an artificial language with free word order, nested clauses and random "
                        "words, whose trees are known (`benchmarks/grammar.py`). They follow from the forms of the "
                        "words, so transfer is not needed.", parsing_grammar),
    "parsing-tuned": ("The encoder of the parser fine-tuned, against frozen states: 600 sentences of the treebank, a "
                      "tenth of which are test sentences.", parsing_tuned),
}


def main(words: list[str]) -> int:
    """Measure the parts that are named. Returns the exit code: 2 for an unknown part."""
    if unknown := set(words) - set(PARTS):
        print(f"unknown part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}", file=sys.stderr)
        return 2
    for name in words or PARTS:
        title, measure = PARTS[name]
        text = PAGE.read_text(encoding="utf-8")
        block = f"{title}\n\n{the_machine()}\n\n{measure()}"
        PAGE.write_text(written(text, name, block), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
