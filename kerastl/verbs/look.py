"""`kerastl check`: what is wrong with a source, before anything is trained on it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from kerastl.data.examples import Examples
from kerastl.errors import DataError
from kerastl.shell.terminal import table

MOST = 20  # findings of a kind that are shown


@dataclass(frozen=True)
class CheckConfig:
    """Looks a source over: corrupt files, duplicates, leaks, imbalance, odd labels."""

    source: Positional[str]  # labelled data, as for training
    backbone: str | None = None  # its features tell odd labels; none leaves that out; default: the bundled one
    weights: str | None = None  # bundled, imagenet, preset, none (random), a weights file, or a folder for texts
    text_column: str | None = None  # where a table's texts are; default: found by name and content
    label_column: str | None = None  # where a table's labels are
    data_dir: str | None = None  # where TFDS data sets lie
    cache_dir: str | None = None  # default: the user's cache directory
    json: bool = False  # print one JSON document


def check(config: CheckConfig) -> dict[str, Any]:
    """Findings by kind. Odd labels are judged by cross-validation: each row by a head that has not seen it."""
    from kerastl.data.detection import modality_of
    from kerastl.data.read import read_labelled
    from kerastl.features.cache import chosen_dir

    cache = chosen_dir(config.cache_dir)
    kind = "text" if config.text_column else modality_of(config.source, data_dir=config.data_dir).name
    examples = read_labelled(kind, config.source, text_column=config.text_column, label_column=config.label_column,
                             data_dir=config.data_dir, cache_dir=cache)
    refused = _refused(examples) if kind == "image" else {}
    whole = examples.without(refused)
    counts = whole.counts()
    twins = _same_content(whole)
    return {
        "source": config.source, "kind": kind, "notes": list(examples.notes), "rows": len(examples), "classes": counts,
        "left_out": [asdict(one) for one in whole.skipped],
        "duplicates": [[whole.origins[row] for row in rows] for rows in twins],
        "conflicts": [[f"{whole.origins[row]} ({whole.label_of(row)})" for row in rows] for rows in twins
                      if len({whole.label_of(row) for row in rows}) > 1],
        "leaks": [[f"{whole.origins[row]} ({whole.source_split[row]})" for row in rows] for rows in _same_group(whole)
                  if len({whole.source_split[row] == "test" for row in rows}) > 1],
        "imbalance": max(counts.values()) / max(1, min(counts.values())) if counts else 1.0,
        "small_classes": {name: n for name, n in counts.items() if n < 10},
        **_odd_labels(whole, config, cache),
    }


def _refused(examples: Examples) -> dict[int, str]:
    """Rows that do not decode, with the reason."""
    from tqdm import tqdm

    from kerastl.inputs.batches import pixel_batches

    refused: dict[int, str] = {}
    with tqdm(total=len(examples), desc="decoding", unit=" images") as bar:
        for _ in pixel_batches(examples.items, 32, 32, refused, bar.update):
            pass
    return refused


def _same_content(examples: Examples) -> list[list[int]]:
    return _together(examples.ids)


def _same_group(examples: Examples) -> list[list[int]]:
    return _together(examples.groups)


def _together(keys: Iterable[str]) -> list[list[int]]:
    places: dict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        places[key].append(row)
    return [rows for rows in places.values() if len(rows) > 1]


def _odd_labels(examples: Examples, config: CheckConfig, cache: Path) -> dict[str, Any]:
    """`odd_labels`, or why they are not looked for."""
    if config.backbone == "none":
        return {"odd_labels": [], "odd_labels_word": "not asked for"}
    if examples.multi_label:
        return {"odd_labels": [], "odd_labels_word": "not looked for where a row has several labels"}
    try:
        return {"odd_labels": _looks_like_another(examples, config, cache), "odd_labels_word": ""}
    except DataError as error:  # too few rows to train anything on: all else is told the same
        return {"odd_labels": [], "odd_labels_word": f"not looked for: {error.got}"}


def _looks_like_another(examples: Examples, config: CheckConfig, cache: Path) -> list[dict[str, Any]]:
    """Rows that a head which has not seen them puts elsewhere, as surely as it puts that class's own rows there
    (confident learning, Northcutt et al. 2021, https://arxiv.org/abs/1911.00068)."""
    from dataclasses import replace

    from kerastl import backbones, runtime
    from kerastl.data.examples import enough
    from kerastl.data.split import split
    from kerastl.evaluation.metrics import probabilities
    from kerastl.features.compute import compute_features
    from kerastl.training.fit import fit

    rest = split(enough(replace(examples, min_per_class=5)), "cv")
    chosen = runtime.apply()
    modality = examples.modality
    backbone = backbones.load(config.backbone or modality.bundled_backbone, config.weights, modality=modality.name)
    if examples.modality.name == "text":
        from kerastl.features.lengths import fit_length

        backbone = fit_length(backbone, rest)
    found = compute_features(rest, backbone, chosen, cache_dir=cache)
    rest = found.examples
    p = probabilities(fit(found, runtime=chosen).held_out.logits.astype(np.float64), False)
    usual = np.array([p[rest.targets == c, c].mean() for c in range(len(rest.classes))])
    sure = np.where(p >= usual, p, 0.0)
    given = sure.argmax(axis=1)
    odd = np.flatnonzero((sure.max(axis=1) > 0) & (given != rest.targets))
    own = p[np.arange(len(rest)), rest.targets]
    return [{"origin": rest.origins[row], "label": rest.label_of(int(row)), "looks_like": rest.classes[given[row]],
             "probability": float(p[row, given[row]])} for row in odd[np.argsort(own[odd], kind="stable")]]


def show_check(result: dict[str, Any]) -> str:
    """The findings, the first of each kind."""
    things = "files" if result["kind"] == "image" else "texts"
    lines = [f"{result['source']}: {result['rows']} {things}, {len(result['classes'])} classes", *result["notes"], "",
             table([("class", "rows"), *((name, str(n)) for name, n in result["classes"].items())]), ""]
    if result["imbalance"] >= 10:
        lines.append(f"imbalance: the largest class has {result['imbalance']:.0f} times the rows of the smallest; "
                     "training will weigh classes")
    if result["small_classes"]:
        lines.append(f"classes under 10 rows, left out by default: {', '.join(result['small_classes'])}")
    for kind, text in (("left_out", "cannot be used"), ("conflicts", "same content, different labels"),
                       ("leaks", "same content or group on both sides of test"), ("duplicates", "same content"),
                       ("odd_labels", "labels to look at again")):
        word = result.get(f"{kind}_word", "")
        lines.append(f"{text}: {word or len(result[kind])}")
        lines += [f"  {_line(one)}" for one in result[kind][:MOST]]
    return "\n".join(lines)


def _line(one: Any) -> str:
    if isinstance(one, list):
        return " = ".join(one)
    if "reason" in one:
        return f"{one['origin']}: {one['reason']}"
    return f"{one['origin']}: labelled {one['label']}, looks like {one['looks_like']} ({one['probability']:.2f})"
