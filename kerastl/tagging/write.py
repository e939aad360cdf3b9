"""The last step of the recipe: writes a tagger as a version of a model."""

from collections.abc import Callable, Mapping
from typing import Any

from kerastl.data.examples import TEST
from kerastl.errors import OptionError
from kerastl.export.export import write_labels
from kerastl.report.token_version import shared_fields, write_shared_files
from kerastl.report.version import Target
from kerastl.runtime import Runtime, Stopwatch
from kerastl.tagging.evaluate import TaggingEvaluation
from kerastl.tagging.export import check_saved_model, save, write_tflite
from kerastl.tagging.fit import FittedTagger
from kerastl.tagging.record import TaggingRecord
from kerastl.tagging.report import write_pages
from kerastl.tokens.sentences import TokenExamples
from kerastl.tokens.states import TokenStates
from kerastl.versions.folder import new_version


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
        write_labels(version.folder, fitted.tags)
        write_shared_files(version, examples, states, lambda row: " ".join(examples.sentences[row].tags))
        made = TaggingRecord(
            **shared_fields(version, examples, states, runtime, config), head=fitted.head, epoch=fitted.fit.epoch,
            training_curve=fitted.fit.curve, tags=fitted.tags, column=examples.column, form=examples.form,
            notes=examples.notes, test=evaluation.figures, temperature=fitted.temperature,
            baseline=evaluation.baseline, untrained=evaluation.untrained, precision=runtime.precision,
            parity=(first, *lite), tflite_note=note,
            seconds={"features": states.seconds, "head": fitted.fit.seconds, "evaluation": evaluation.seconds,
                     "export": clock() - start, "total": clock()})
        made.write(version.folder)
        test = [examples.sentences[row] for row in examples.part(TEST)]
        write_pages(version.folder, made, test, evaluation.predicted)
        version.manifest.update(config=made.config)
    if target.claim is not None:
        target.claim.release()
    return made
