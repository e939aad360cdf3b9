"""The last step of the recipe: writes a tagger as a version of a model."""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerastl.data.examples import PARTS, TEST
from kerastl.errors import OptionError
from kerastl.export.export import write_labels
from kerastl.fields import to_json
from kerastl.files import write_file
from kerastl.inputs import vocabulary
from kerastl.report.version import Target
from kerastl.runtime import Runtime, Stopwatch, machine
from kerastl.tagging.evaluate import TaggingEvaluation
from kerastl.tagging.export import check_saved_model, save, write_tflite
from kerastl.tagging.fit import FittedTagger
from kerastl.tagging.record import TaggingRecord
from kerastl.tagging.report import write_pages
from kerastl.tokens.sentences import TokenExamples
from kerastl.tokens.states import TokenStates
from kerastl.versions.folder import fingerprint, new_version
from kerastl.versions.sections import FeaturePass, SkippedItem


def write_tagger(target: Target, fitted: FittedTagger, examples: TokenExamples, states: TokenStates, runtime: Runtime,
                 evaluation: TaggingEvaluation, *, clock: Callable[[], float] | None = None,
                 config: Mapping[str, Any] | None = None) -> TaggingRecord:
    """Export a tagger with its record, report and model card as a new version; returns the record.

    target: see `kerastl.target`. clock: seconds since the run began. config: the settings of the run, for the record.
    Raises CheckFailed, and leaves no version, where the SavedModel differs from what was evaluated.
    """
    if target.if_better:
        raise OptionError("`if_better` is set for a tagger", "a model of images or texts", "omit `if_better`")
    clock = clock or Stopwatch()
    encoder, start = states.encoder, clock()
    with new_version(target.out, target.name) as version:
        save(version.folder, encoder, fitted)
        first = check_saved_model(version.folder, fitted, examples, states)
        lite, note = write_tflite(version.folder, fitted, examples, states, target.kinds)
        fitted.fit.model.save(version.folder / "head.keras")
        vocabulary.save(encoder.tokenizer, version.folder / "tokenizer")
        write_labels(version.folder, fitted.tags)
        _write_split(version.folder, examples)
        _write_warmup(version.folder, version.name, examples)
        parts = {name: examples.part(number) for name, number in PARTS.items()}
        made = TaggingRecord(
            backbone=encoder.backbone.name, weights=encoder.backbone.weights,
            weights_hash=encoder.backbone.weights_hash, random_weights=encoder.backbone.random,
            layers=encoder.backbone.layer, pieces=encoder.pieces, max_length=encoder.max_length, head=fitted.head,
            epoch=fitted.fit.epoch, training_curve=fitted.fit.curve, tags=fitted.tags, column=examples.column,
            form=examples.form, n_train=len(parts["train"]), n_validation=len(parts["validation"]),
            n_test=len(parts["test"]), words={name: sum(len(examples.sentences[row]) for row in rows)
                                              for name, rows in parts.items()},
            split=examples.split.mode if examples.split else "", notes=examples.notes,
            split_reason=examples.split.reason if examples.split else "",
            skipped=tuple(SkippedItem(item.origin, item.reason) for item in examples.skipped), cut=dict(states.cut),
            test=evaluation.figures, temperature=fitted.temperature, baseline=evaluation.baseline,
            untrained=evaluation.untrained,
            features=FeaturePass(states.compute, states.reason, states.computed,
                                 states.computed / states.seconds if states.computed else None),
            precision=runtime.precision, precision_reason=runtime.precision_reason, seed=runtime.seed,
            parity=(first, *lite), tflite_note=note,
            seconds={"features": states.seconds, "head": fitted.fit.seconds, "evaluation": evaluation.seconds,
                     "export": clock() - start, "total": clock()},
            machine=machine(), config={"data": examples.source, **to_json(dict(config or {}))}, name=version.name,
            version=version.number, path=str(version.path))
        made.write(version.folder)
        test = [examples.sentences[row] for row in examples.part(TEST)]
        write_pages(version.folder, made, test, evaluation.predicted)
        version.manifest.update(
            backbone=made.backbone, weights_hash=made.weights_hash, config=made.config,
            data={"source": examples.source, "rows": len(examples),
                  "fingerprint": fingerprint([f"{s.id} {' '.join(s.tags)}" for s in examples.sentences])})
    if target.claim is not None:
        target.claim.release()
    return made


def _write_split(folder: Path, examples: TokenExamples) -> None:
    """Write split.csv: of each sentence the hash of its words, its part and where it is."""
    text = io.StringIO()
    names = examples.split.names if examples.split else []
    csv.writer(text, lineterminator="\n").writerows(
        [("id", "part", "origin"), *((sentence.id, part, sentence.origin)
                                     for sentence, part in zip(examples.sentences, names, strict=True))])
    write_file(folder / "split.csv", text.getvalue())


def _write_warmup(folder: Path, name: str, examples: TokenExamples) -> None:
    """Write the request that TF Serving sends to itself: a public sentence, so that none of the data leaves with it."""
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name=name, signature_name="serving_default"),
        inputs={"text": tf.make_tensor_proto(np.array([b"one two three ."], object))})
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
