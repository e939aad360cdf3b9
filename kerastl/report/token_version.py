"""What the versions of all models on tokens have in common: parts of the record, split.csv and the warm-up request."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kerastl.data.examples import PARTS
from kerastl.export.saved_model import write_warmup_request
from kerastl.fields import to_json
from kerastl.inputs import vocabulary
from kerastl.runtime import Runtime, machine
from kerastl.tokens.sentences import TokenExamples
from kerastl.tokens.states import TokenStates
from kerastl.versions.folder import Version, fingerprint
from kerastl.versions.restore import write_parts
from kerastl.versions.sections import FeaturePass, SkippedItem

WARM_UP = b"one two three ."  # a public sentence, so that none of the data leaves with the model


def shared_fields(version: Version, examples: TokenExamples, states: TokenStates, runtime: Runtime,
                  config: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields that the records of all models on tokens have, by name."""
    encoder, parts = states.encoder, {name: examples.part(number) for name, number in PARTS.items()}
    backbone = encoder.backbone
    return {
        "backbone": backbone.name, "weights": backbone.weights, "weights_hash": backbone.weights_hash,
        "random_weights": backbone.random, "layers": backbone.layer, "pieces": encoder.pieces,
        "max_length": encoder.max_length, "n_train": len(parts["train"]), "n_validation": len(parts["validation"]),
        "n_test": len(parts["test"]),
        "words": {name: sum(len(examples.sentences[row]) for row in rows) for name, rows in parts.items()},
        "split": examples.split.mode if examples.split else "",
        "split_reason": examples.split.reason if examples.split else "",
        "skipped": tuple(SkippedItem(item.origin, item.reason) for item in examples.skipped), "cut": dict(states.cut),
        "features": FeaturePass(states.compute, states.reason, states.computed,
                                states.computed / states.seconds if states.computed else None),
        "precision_reason": runtime.precision_reason, "seed": runtime.seed, "machine": machine(),
        "config": {"data": examples.source, **to_json(dict(config or {}))}, "name": version.name,
        "version": version.number, "path": str(version.path)}


def write_shared_files(version: Version, examples: TokenExamples, states: TokenStates,
                       annotation: Callable[[int], str]) -> None:
    """Write the tokenizer, split.csv (of each sentence the hash of its words, its part and where it is) and the request
    that TF Serving sends to itself; and add the data's fingerprint to the manifest. annotation: of a sentence, what
    training learns, in words."""
    folder, encoder = version.folder, states.encoder
    vocabulary.save(encoder.tokenizer, folder / "tokenizer")
    write_parts(folder, [sentence.id for sentence in examples.sentences],
                examples.split.names if examples.split else [], [sentence.origin for sentence in examples.sentences])
    write_warmup_request(folder, version.name, "text", tf.make_tensor_proto(np.array([WARM_UP], object)))
    rows = [f"{sentence.id} {annotation(row)}" for row, sentence in enumerate(examples.sentences)]
    version.manifest.update(
        backbone=encoder.backbone.name, weights_hash=encoder.backbone.weights_hash,
        data={"source": examples.source, "rows": len(examples), "fingerprint": fingerprint(rows)})
