"""The recommended combination on the test rows, which nothing was chosen on."""

from dataclasses import dataclass
from typing import Any

from kerastl.data.examples import TEST, Examples
from kerastl.data.split import split_of
from kerastl.errors import DataError
from kerastl.evaluation.metrics import evaluate
from kerastl.evaluation.result import Scores
from kerastl.features.compute import Features, compute_features
from kerastl.studies.compare.cells import cell_key, train_combination
from kerastl.studies.compare.combinations import Combination
from kerastl.studies.compare.folds import for_final_training
from kerastl.studies.journal import Journal
from kerastl.training.options import TrainingOptions


@dataclass(frozen=True)
class FinalFigures(Scores):
    """The recommended combination on the test rows. log_loss: calibrated, in nats."""

    log_loss: float


def evaluate_on_test_rows(examples: Examples, combination: Combination, prepared: Features, options: TrainingOptions,
                          journal: Journal) -> FinalFigures:
    """Train a combination on all rows but the test rows, and evaluate it on those.

    examples: as `folds.set_aside` returns them. prepared: the features of the other rows. Raises DataError where no
    test row can be decoded.
    """
    examples = for_final_training(examples)

    def work() -> dict[str, Any]:
        print(f"{combination}: training on all rows but the test rows, then testing", flush=True)
        features = compute_features(examples, prepared.backbone, prepared.runtime, cache_dir=prepared.cache_dir,
                                    batch_size=options.batch_size)
        if not len(split_of(features.examples).rows(TEST)):
            raise DataError("no test row could be decoded", "test rows", "see what is skipped: kerastl check")
        trained = train_combination(features, combination, options)
        evaluation = evaluate(features.examples, trained.fitted.held_out, trained.fitted.validation)
        figures = FinalFigures(evaluation.n, evaluation.accuracy, evaluation.accuracy_ci95, evaluation.interval,
                              evaluation.macro_f1, evaluation.log_loss_calibrated)
        return {**combination.to_dict(), "test": figures.to_dict()}

    key = "final " + cell_key(prepared, combination, options, examples)
    return FinalFigures.from_dict(journal.once(key, work)["test"])
