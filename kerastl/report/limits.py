"""What a model cannot do, in plain words, from the measured facts of its run. For the model card."""

from collections.abc import Callable

from kerastl.data.near_duplicates.record import GROUP
from kerastl.data.summary import SMALL_CLASS
from kerastl.evaluation.label_errors import LabelErrors
from kerastl.evaluation.result import ClassResult
from kerastl.report.rejection import limitation
from kerastl.report.sentences import few_test_rows
from kerastl.stats import wilson_interval
from kerastl.versions.record import RunRecord

WORST = 3  # classes that are named
MISSED = 0.1  # of a class's rows, from which its mistakes are named
FEW = 50  # held-out rows of a class, below which its figures are imprecise


Escape = Callable[[str], str]  # what makes the name of a class safe


def limits(record: RunRecord, escape: Escape = str) -> list[str]:
    """What the model cannot do, a sentence or two each. escape: for text that comes from data."""
    return [
        *_other_inputs(record), *_confusions(record, escape), *_small_classes(record, escape),
        *_unknown_classes(record, escape),
        *([few_test_rows(record)] if few_test_rows(record) else []), *_inputs_cut(record), *_dependent_rows(record),
        *_label_errors(record), *_transfer(record), *_scores(record), *_files(record), *_not_measured(record)]


def _other_inputs(record: RunRecord) -> list[str]:
    """Inputs unlike the training data. A model that rejects them says here how well."""
    noun, nouns = record.modality.noun, record.modality.nouns
    article = "an" if noun[0] in "aeiou" else "a"
    if record.rejection is not None and record.task.exclusive:
        always = limitation(record)
    elif record.task.exclusive:
        always = (f"It cannot say \"none of these\": it always predicts one of its classes, even for {article} {noun} "
                  "that belongs to none of them, and its score for such an input may be high.")
    else:
        always = f"It knows only its own labels: what else {article} {noun} may show, it does not report."
    return [always, f"Its figures apply only to {nouns} similar to the training data. For {nouns} from other sources, "
            "evaluate it again: `kerastl evaluate`."]


def _confusions(record: RunRecord, escape: Escape) -> list[str]:
    """The classes of which most rows are missed, and what they are taken for."""
    nouns, sentences = record.modality.nouns, list[str]()
    for place, scores in sorted(enumerate(record.test.classes), key=lambda item: item[1].recall):
        missed = round(scores.support * (1 - scores.recall))
        if not scores.support or missed < max(2, MISSED * scores.support) or len(sentences) == WORST:
            continue
        taken = ""
        if record.test.confusion:
            others = [(n, scored.name) for other, (n, scored) in enumerate(zip(
                record.test.confusion[place], record.test.classes, strict=True)) if other != place and n]
            most, name = max(others, key=lambda item: item[0])
            taken = f", most often taking them for {escape(name)} ({most})" if len(others) > 1 else \
                f", taking them for {escape(name)}"
        sentences.append(f"It misses {missed:,} of {scores.support:,} held-out {nouns} of the class "
                         f"{escape(scores.name)} ({missed / scores.support:.0%}){taken}.")
    return sentences


def _small_classes(record: RunRecord, escape: Escape) -> list[str]:
    """Classes whose figures come from few rows, with the interval of the worst of them."""
    few = sorted((scores for scores in record.test.classes if scores.support < FEW), key=lambda item: item.support)
    if not few:
        return []
    nouns, smallest = record.modality.nouns, next((scores for scores in few if scores.support), None)
    listed = ", ".join(f"{escape(scores.name)} ({scores.support})" for scores in few[:8]) + (
        f" and {len(few) - 8} more" if len(few) > 8 else "")
    return [f"Its figures for classes with fewer than {FEW} held-out {nouns} are imprecise: {listed}."
            + (f" {_interval(smallest, escape)}" if smallest else "")]


def _interval(scores: ClassResult, escape: Escape) -> str:
    correct = [row < round(scores.recall * scores.support) for row in range(scores.support)]
    interval = wilson_interval(correct, range(scores.support))  # type: ignore[arg-type]
    return (f"The share of {escape(scores.name)} that it finds is {scores.recall:.2f} in the evaluation, and may be "
            f"anywhere from about {interval.low:.2f} to {interval.high:.2f}.")


def _unknown_classes(record: RunRecord, escape: Escape) -> list[str]:
    """Classes of the data that had too few rows to be learnt."""
    lost = [escape(item.origin) for item in record.skipped if item.reason.startswith("class of ")]
    rows = sum(loss.rows for loss in record.data_summary.losses if loss.reason.startswith(SMALL_CLASS)) \
        if record.data_summary else 0
    if not lost:
        return []
    listed = ", ".join(lost[:8]) + (f" and {len(lost) - 8} more" if len(lost) > 8 else "")
    return [f"It does not know the classes {listed}, which had too few {record.modality.nouns}"
            + (f" ({rows:,} in total)" if rows else "") + "."]


def _inputs_cut(record: RunRecord) -> list[str]:
    """What of an input the model does not see."""
    lengths, size = record.lengths, record.input.get("size")
    if lengths is not None:
        most, long = record.input["max_length"], record.input["long"]
        cut = (f"{lengths.truncated:,} of {lengths.rows:,} training texts were longer" if lengths.truncated else
               "no training text was longer, so longer ones were not evaluated")
        read = {"head": f"It reads only the first {most} tokens of a text",
                "head+tail": f"Of a long text it reads only the first and last tokens, {most} in total",
                "chunks": f"It reads a long text in windows of {most} tokens, none of which knows of the others"}[long]
        return [f"{read}: {cut}.", f"The training texts had {lengths.median:,} tokens in the median and at most "
                f"{lengths.longest:,}. Other lengths, languages and kinds of text than those of the data were not "
                "evaluated."]
    if size is not None:
        return [f"It sees an image at {size} x {size} pixels, without its aspect ratio: details that are too "
                "small at that size are lost."]
    return []


def _dependent_rows(record: RunRecord) -> list[str]:
    """Rows that are not independent, as far as that is known."""
    nouns, duplicates, sentences = record.modality.nouns, record.near_duplicates, list[str]()
    if duplicates is None or duplicates.mode != GROUP:
        sentences.append(f"Near-duplicates were not kept apart, so the figures may be too high for new {nouns}.")
    elif duplicates.groups:
        sentences.append(f"{duplicates.rows:,} {nouns} are near-duplicates of others. They were kept on one side of "
                         f"the split; the figures are those for new {nouns}, not for copies of old ones.")
    columns = record.data_summary.columns if record.data_summary else ()
    if not any(column.role == "group" for column in columns):
        sentences.append(f"The {nouns} had no groups, so each counts as independent. If several of them come from the "
                         "same object, person, place or author, the figures are too high: name a group column.")
    return sentences


def _label_errors(record: RunRecord) -> list[str]:
    errors: LabelErrors | None = record.label_errors
    if errors is None or errors.reason or not errors.estimated:
        return []
    return [f"It has learnt from labels of which some may be wrong, and was evaluated by them: {errors.sentence}."
            + (f" {errors.caution}" if errors.caution else "")]


def _transfer(record: RunRecord) -> list[str]:
    baseline = record.baseline
    if baseline is None or baseline.verdict == "helped":
        return []
    return [f"It is not shown to be better than a simple model without transfer learning. {baseline.sentence}"]


def _scores(record: RunRecord) -> list[str]:
    """What calibration does not promise."""
    test = record.test
    rows = f"on average over {test.n:,} held-out {record.modality.nouns}, scores differ from accuracy by " \
           f"{test.ece_calibrated:.3f}"
    target = " A target was met or missed on these rows, and is no promise for others." if test.target else ""
    return [f"Its score is no promise for a single {record.modality.noun}: {rows}. For one class alone, or where the "
            "classes are in other proportions than in the training data, the scores may be further off." + target]


def _files(record: RunRecord) -> list[str]:
    """Exported files whose predictions are not always those of the evaluated model."""
    other = [part for part in record.parity if part.kept and part.agreement < 1]
    if not other:
        return []
    listed = ", ".join(f"{part.kind} for {1 - part.agreement:.1%}" for part in other)
    return [f"The smaller TFLite files do not always give the same label as the evaluated model: {listed} of "
            f"{other[0].rows:,} {record.modality.nouns}."]


def _not_measured(record: RunRecord) -> list[str]:
    return [f"No fairness was measured: whether it works equally well for all groups of people, places or devices that "
            f"its {record.modality.nouns} come from is not known.",
            f"Nor was it tested on damaged {record.modality.nouns} or on those that are made to deceive it.",
            "It inherits the biases of the data on which the backbone was pretrained."]
