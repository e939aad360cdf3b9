"""The report's section on what answers rest on, and the page of `kerastl explain`: images with a heat map laid over
them, and texts with shaded words."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kerastl.data.examples import Examples
from kerastl.explanation.record import ACTIVATION_MAP, COVERED, LEFT_OUT, ExplainedRow
from kerastl.inputs import Text
from kerastl.inputs.batches import decode_file
from kerastl.modality import Modality
from kerastl.versions.record import RunRecord

SIDE = 132  # pixels of an image on the page
MOST = 2000  # characters of a text
FOR, AGAINST = (217, 121, 43), (47, 111, 222)  # orange and blue, which colour-blind readers tell apart
STRONGEST = 0.75  # opacity of the largest contribution
METHODS = {
    ACTIVATION_MAP: "Orange parts of an image speak for {the_class}, blue ones against it. The parts, and a "
                    "constant that belongs to no part, add up exactly to the logit of the class.",
    COVERED: "Each patch of an image was covered with the mean colour of the image, one after the other. Orange "
             "patches speak for {the_class}: without them its logit is lower. Blue ones speak against it.",
    LEFT_OUT: "Each word, or in a long text each group of neighbouring words, was left out, one after the other. "
              "Orange words speak for {the_class}: without them its logit is lower. Blue ones speak against "
              "it.",
}
KINDS = {"": "", "correct": "correct", "incorrect": "incorrect", "unsure": "least confident"}


def explanations_context(record: RunRecord, examples: Examples) -> Mapping[str, Any]:
    """What explanations.html shows. examples: those of the report."""
    found = record.explanations
    if found is None:
        return {"explanations": None, "explained": [], "how": "", "shown_classes": 0}
    wanted = {row.origin for row in found.examples}
    place = {origin: row for row, origin in enumerate(examples.origins) if origin in wanted}
    items = [examples.items[place[row.origin]] if row.origin in place else None for row in found.examples]
    return {"explanations": found, "how": how(found.method) if found.method else "",
            "explained": figures(record.modality, found.examples, items, [True] * len(items)),
            "shown_classes": len({row.label for row in found.examples})}


def how(method: str, the_class: str = "the predicted class") -> str:
    """How explanations are made, in words, and what the colours mean. the_class: that is explained."""
    return METHODS[method].format(the_class=the_class)


def figures(modality: Modality, rows: Sequence[ExplainedRow], items: Sequence[Any], predicted: Sequence[bool]
            ) -> list[dict[str, Any]]:
    """Each row with what shows it: `pictures`, data addresses of the image and of its heat map, or `segments` of its
    text. items: paths or texts, None for a row that is gone. predicted: whether the explained class is."""
    draw = DRAWN[modality.preview]
    return [{"row": row, "kind": KINDS[row.kind], "sums": sums(row, modality),
             "verb": "predicted" if claimed else "not predicted:",
             **({"pictures": [], "segments": []} if item is None else draw(row, item))}
            for row, item, claimed in zip(rows, items, predicted, strict=True)]


def sums(row: ExplainedRow, modality: Modality) -> str:
    """The parts of the logit in words."""
    names = "colours and gradients" if modality.preview == "thumbnail" else "n-grams"
    plain = [] if row.plain is None else [(names, row.plain)]
    parts = [("features", row.logit - sum(value for _, value in plain))] if plain else []
    if row.constant is not None:
        parts = [(modality.noun, row.logit - row.constant - sum(value for _, value in plain)),
                 ("constant", row.constant)]
    listed = ", ".join(f"{name} {value:.2f}" for name, value in (*parts, *plain))
    return f"logit {row.logit:.2f}" + (f": {listed}" if listed else "")


def heat_map(pixels: Any, contributions: Sequence[float], shape: tuple[int, ...]) -> Any:
    """An image in grey with the contributions over it. pixels: [side, side, 3] uint8 -> the same; shape: rows and
    columns of the contributions."""
    side, values = len(pixels), np.array(contributions, np.float32).reshape(shape)
    values = values / max(float(np.abs(values).max()), 1e-12)
    smooth = tf.image.resize(values[..., None], (side, side), "bilinear").numpy()  # [side, side, 1] in [-1, 1]
    grey = np.asarray(pixels, np.float32).mean(axis=2, keepdims=True) * 0.7 + 76
    colour = np.where(smooth > 0, np.array(FOR, np.float32), np.array(AGAINST, np.float32))
    share = STRONGEST * np.abs(smooth)
    return (grey * (1 - share) + colour * share).clip(0, 255).astype(np.uint8)


def segments(text: Text, row: ExplainedRow) -> list[dict[str, str]]:
    """A text in pieces, each with its `style` and, as `title`, its contribution; both are empty between the units."""
    largest = max(map(abs, row.contributions), default=0.0) or 1.0
    pieces: list[dict[str, str]] = []
    for number, own in enumerate(text if isinstance(text, tuple) else (text,)):
        start = 0
        pieces += [_piece(" ⟷ ")] * (number > 0)
        for (_, first, end), value in ((span, value) for span, value in zip(row.spans, row.contributions, strict=True)
                                       if span[0] == number and span[2] <= MOST):
            pieces += [_piece(own[start:first]), _piece(own[first:end], value, value / largest)]
            start = end
        pieces.append(_piece(own[start:MOST].rstrip() + " …" * (len(own) > MOST)))
    return [piece for piece in pieces if piece["text"]]


def _piece(text: str, value: float = 0.0, share: float = 0.0) -> dict[str, str]:
    if not share:
        return {"text": text, "style": "", "title": ""}
    red, green, blue = FOR if share > 0 else AGAINST
    return {"text": text, "style": f"background: rgb({red} {green} {blue} / {STRONGEST * abs(share):.2f})",
            "title": f"{value:+.2f}"}


def _pictures(row: ExplainedRow, item: Any) -> dict[str, Any]:
    pixels = decode_file(str(item), SIDE, accept_truncated=True)
    if isinstance(pixels, str):
        return {"pictures": [], "segments": []}
    pictures = [pixels, *([heat_map(pixels, row.contributions, row.shape)] if row.contributions else [])]
    return {"pictures": [*map(_address, pictures)], "segments": []}


def _segments(row: ExplainedRow, item: Any) -> dict[str, Any]:
    return {"pictures": [], "segments": segments(item, row)}


def _address(pixels: Any) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(tf.io.encode_jpeg(pixels, quality=85).numpy()).decode()


DRAWN: dict[str, Callable[[ExplainedRow, Any], dict[str, Any]]] = {"thumbnail": _pictures, "text": _segments}
