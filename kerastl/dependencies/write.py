"""The last step of the recipe: writes a parser as a version of a model."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from kerastl.dependencies.evaluation import ParserEvaluation
from kerastl.dependencies.export import check_saved_model, save
from kerastl.dependencies.fit import FittedParser
from kerastl.dependencies.record import ParsingRecord
from kerastl.dependencies.report import write_pages
from kerastl.errors import OptionError
from kerastl.export.export import write_labels
from kerastl.report.token_version import shared_fields, write_shared_files
from kerastl.report.version import Target
from kerastl.runtime import Runtime, Stopwatch
from kerastl.tokens.sentences import TokenExamples
from kerastl.tokens.states import TokenStates
from kerastl.versions.folder import new_version


def write_parser(target: Target, fitted: FittedParser, examples: TokenExamples, states: TokenStates, runtime: Runtime,
                 evaluation: ParserEvaluation, *, clock: Callable[[], float] | None = None,
                 config: Mapping[str, Any] | None = None) -> ParsingRecord:
    """Export a parser with its record, report and model card as a new version; returns the record.

    target: see `kerastl.target`. clock: seconds since the run began. config: the settings of the run, for the record.
    Raises CheckFailed, and leaves no version, where the SavedModel differs from what was evaluated.
    """
    if target.if_better or target.kinds:
        raise OptionError("`target` is one with TFLite files or `if_better`", "one for a parser, which has neither",
                          'kerastl.target(out, name, "none")')
    clock = clock or Stopwatch()
    start, sentences = clock(), examples.sentences
    with new_version(target.out, target.name) as version:
        save(version.folder, states.encoder, fitted)
        parity = check_saved_model(version.folder, fitted, examples, states)
        fitted.fit.model.save(version.folder / "head.keras")
        write_labels(version.folder, fitted.relations.names)
        write_shared_files(version, examples, states, lambda row: " ".join(
            f"{head}:{relation}" for head, relation in zip(sentences[row].heads, sentences[row].relations,
                                                           strict=True)))
        relations = fitted.relations
        record = ParsingRecord(
            **shared_fields(version, examples, states, runtime, config), head_settings=asdict(fitted.sizes),
            epoch=fitted.fit.epoch, training_curve=fitted.fit.curve, relations=relations.names,
            of_root=relations.of_root, of_others=relations.of_others, notes=(*examples.notes, *evaluation.notes),
            test=evaluation.figures, by_relation=evaluation.relations, gains=evaluation.gains,
            precision=fitted.precision, parity=(parity,),
            seconds={"features": states.seconds, "head": fitted.fit.seconds, "evaluation": evaluation.seconds,
                     "export": clock() - start, "total": clock()})
        record.write(version.folder)
        write_pages(version.folder, record, evaluation)
        version.manifest.update(config=record.config)
    if target.claim is not None:
        target.claim.release()
    return record
