"""Accuracy of private heads against epsilon, and DP-SGD on the same features as a comparison."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean

import numpy as np

from benchmarks.figure import Figure
from kerastl.data.examples import TEST
from kerastl.privacy import prototypes, ridge
from kerastl.privacy.accounting import shares, strength_of
from kerastl.privacy.noise import gaussian
from kerastl.privacy.options import PrivacyOptions
from kerastl.privacy.rows import Array, Rows, dimensions_for, projection, unit

EPSILONS, DRAWS = (0.5, 1.0, 2.0, 4.0, 8.0), 5
STEPS, LEARNING_RATE, COUNT = 100, 4.0, 0.02  # of DP-SGD: full batches, so that its accounting is exact
COLUMNS = ("data", "training groups", "delta", "head", *(f"epsilon {e:g}" for e in EPSILONS), "without noise")
PLOT = Path(__file__).parent.parent / "docs/private.svg"
Fit = Callable[[Rows, int, float], Callable[[Array], Array]]  # rows, classes, strength -> (features -> logits)
Result = tuple[str, int, float, str, list[list[float]], float]  # data, groups, delta, head, accuracies, without noise


def data() -> Iterator[tuple[str, Rows, Rows, int, float]]:
    """Each set with its name, training rows, held-out rows, number of classes, and the accuracy of `linear`."""
    import kerastl as tl
    from kerastl.data.split import split_of
    from kerastl.features.lengths import fixed_length
    from kerastl.privacy.fit import rows_of

    runtime = tl.apply_runtime("float32", "off", 0, "tensorflow")
    for name, source, backbone in (("stamps", "samples/stamps", "efficientnet_lite0"),
                                   ("snippets", "samples/snippets.csv", "minilm")):
        read = tl.read_images if backbone == "efficientnet_lite0" else tl.read_texts
        network = tl.load_backbone(backbone)
        network = fixed_length(network, False) if backbone == "minilm" else network
        features = tl.compute_features(tl.split(read(source), "holdout"), network, runtime)
        fitted = tl.fit(features, "linear")
        plain = float((fitted.held_out.logits.argmax(axis=1) == features.examples.targets[fitted.held_out.rows]).mean())
        test = split_of(features.examples).part == TEST
        yield (name, rows_of(features, np.flatnonzero(~test)), rows_of(features, np.flatnonzero(test), held_out=True),
               len(features.examples.classes), plain)


def dp_sgd(rows: Rows, classes: int, strength: float) -> Callable[[Array], Array]:
    """Logistic regression by noisy gradients of full batches, each group's clipped to norm 1: Abadi and others 2016,
    "Deep Learning with Differential Privacy", https://arxiv.org/abs/1607.00133, without sampling, so that STEPS
    Gaussian releases compose exactly. The same projection and the same share for the count as the other heads."""
    parts = shares(strength, {"count": COUNT, "steps": 1 - COUNT})
    groups = max(rows.n_groups + float(gaussian((), 1 / parts["count"])), 1.0)
    public = projection(rows.x.shape[1], dimensions_for(groups, strength))
    x, y = unit(rows.x @ public), np.eye(classes)[rows.y]
    kernel, noise = np.zeros((x.shape[1], classes)), np.sqrt(STEPS) / parts["steps"]
    total, scale = np.zeros_like(kernel), 1 / np.sqrt(2)  # the gradient of a row of norm 1 is at most sqrt(2) long
    for step in range(STEPS):
        z = x @ kernel
        p = np.exp(z - z.max(axis=1, keepdims=True))
        error = (p / p.sum(axis=1, keepdims=True) - y) * rows.weights[:, None] * scale
        kernel = kernel - LEARNING_RATE / scale / groups * (x.T @ error + gaussian(kernel.shape, noise))
        total += kernel * (step >= STEPS // 2)
    averaged = total / (STEPS - STEPS // 2)
    return lambda features: np.asarray(unit(features @ public) @ averaged)


HEADS: dict[str, Fit] = {
    "linear": lambda rows, classes, strength: ridge.fit(rows, classes, strength).logits,
    "prototype": lambda rows, classes, strength: prototypes.fit(rows, classes, strength).logits,
    "DP-SGD": dp_sgd}


def measured() -> list[Result]:
    """For each set and head the accuracies on held-out rows: a list for each epsilon, a number for each draw of
    noise."""
    results = []
    for name, train, test, classes, plain in data():
        n = train.n_groups
        delta = PrivacyOptions(1.0, None, ()).delta_for(n + test.n_groups)
        for head, fit in HEADS.items():
            accuracies = [[float((fit(train, classes, strength_of(epsilon, delta))(test.x).argmax(axis=1)
                                  == test.y).mean()) for _ in range(DRAWS)] for epsilon in EPSILONS]
            results.append((name, n, delta, head, accuracies, plain))
    return results


def as_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Results as rows of a table with the columns COLUMNS."""
    return [(name, f"{n:,}", f"{delta:g}", head,
             *(f"{mean(draws):.3f} ({min(draws):.3f} to {max(draws):.3f})" for draws in accuracies), f"{plain:.3f}")
            for name, n, delta, head, accuracies, plain in results]


def speed() -> list[Figure]:
    """CPU seconds of a head on cached features, and what DP-SGD takes for the same; accuracy at epsilon 1."""
    figures = []
    for name, train, test, classes, _ in data():
        strength = strength_of(1.0, PrivacyOptions(1.0, None, ()).delta_for(train.n_groups + test.n_groups))
        took, accuracy = {}, {}
        for head, fit in HEADS.items():
            begun = time.process_time()
            logits = fit(train, classes, strength)
            took[head] = time.process_time() - begun
            accuracy[head] = float((logits(test.x).argmax(axis=1) == test.y).mean())
        figures.append(Figure(f"{name}, {train.n_groups:,} groups: CPU seconds of linear, prototype, DP-SGD",
                              ", ".join(f"{took[head]:.2f}" for head in HEADS)))
        figures.append(Figure(f"{name}: accuracy at epsilon 1, one draw, of linear, prototype, DP-SGD",
                              ", ".join(f"{accuracy[head]:.3f}" for head in HEADS)))
    return figures


def plot(results: Sequence[Result]) -> str:
    """Accuracy against epsilon as an SVG: a panel for each set; a band from the lowest to the highest draw."""
    colours, width, height, names = {"linear": "#2f6fde", "prototype": "#d9792b", "DP-SGD": "#1d8a55"}, 340, 220, []
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 300" font-family="sans-serif" font-size="12">',
             '<rect width="780" height="300" fill="#fff"/>']

    def x(panel: int, epsilon: float) -> float:
        return 45 + 385 * panel + (np.log2(epsilon) + 1) / 4 * width

    def y(accuracy: float) -> float:
        return 250 - (accuracy - 0.3) / 0.6 * height

    for name, n, delta, head, accuracies, plain in results:
        if name not in names:
            names.append(name)
            panel = len(names) - 1
            parts.append(f'<text x="{x(panel, 0.5)}" y="20">{name}: {n:,} training groups, delta {delta:g}</text>')
            for tick in (0.3, 0.5, 0.7, 0.9):
                parts.append(f'<path d="M{x(panel, 0.5)} {y(tick)}h{width}" stroke="#dfe4ec"/>'
                             f'<text x="{x(panel, 0.5) - 8}" y="{y(tick) + 4}" text-anchor="end">{tick}</text>')
            parts += [f'<text x="{x(panel, e)}" y="268" text-anchor="middle">{e:g}</text>' for e in EPSILONS]
            parts.append(f'<path d="M{x(panel, 0.5)} {y(plain)}h{width}" stroke="#5d6879" stroke-dasharray="5 4"/>')
        panel, colour = names.index(name), colours[head]
        upper = [f"{x(panel, e):.1f},{y(max(draws)):.1f}" for e, draws in zip(EPSILONS, accuracies, strict=True)]
        lower = [f"{x(panel, e):.1f},{y(min(draws)):.1f}" for e, draws in zip(EPSILONS, accuracies, strict=True)]
        middle = [f"{x(panel, e):.1f},{y(mean(draws)):.1f}" for e, draws in zip(EPSILONS, accuracies, strict=True)]
        parts += [f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{colour}" opacity="0.15"/>',
                  f'<polyline points="{" ".join(middle)}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for place, (head, colour) in enumerate([*colours.items(), ("linear, not private (dashed)", "#5d6879")]):
        parts.append(f'<text x="{130 + 130 * place}" y="292" fill="{colour}">{head}</text>')
    return "\n".join([*parts, "</svg>\n"])
