"""The recommended combination on the test rows, which nothing was chosen on."""

from dataclasses import asdict, dataclass
from typing import Any

from kerastl.data.examples import TEST, Examples
from kerastl.data.split import split_of
from kerastl.errors import DataError
from kerastl.evaluation.metrics import evaluate
from kerastl.features.compute import compute_features
from kerastl.studies.compare.cells import cell_key, train_and_restore
from kerastl.studies.compare.combinations import Combination
from kerastl.studies.compare.folds import for_final_training
from kerastl.studies.compare.preparation import Prepared, Setup
from kerastl.studies.journal import Journal


@dataclass(frozen=True)
class FinalFigures:
    """The recommended combination on the `n` test rows. interval: how `accuracy_ci95` was computed, in words."""

    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    interval: str
    macro_f1: float
    log_loss: float


def evaluate_on_test_rows(examples: Examples, combination: Combination, prepared: Prepared, setup: Setup,
                          journal: Journal) -> FinalFigures:
    """Train a combination on all rows but the test rows, and evaluate it on those.

    examples: as `folds.set_aside` returns them. Raises DataError where no test row can be decoded.
    """
    examples = for_final_training(examples)

    def work() -> dict[str, Any]:
        print(f"{combination}: training on all rows but the test rows, then testing", flush=True)
        features = compute_features(examples, prepared.backbone, setup.runtime, cache_dir=setup.cache_dir,
                                    batch_size=setup.options.batch_size)
        trained = train_and_restore(prepared.backbone, features, combination, setup)
        if not len(split_of(features.examples).rows(TEST)):
            raise DataError("no test row could be decoded", "test rows", "see what is skipped: kerastl check")
        evaluation = evaluate(features.examples, trained.fitted.held_out, trained.fitted.validation)
        figures = FinalFigures(evaluation.n, evaluation.accuracy, evaluation.accuracy_ci95, evaluation.interval,
                              evaluation.macro_f1, evaluation.log_loss_calibrated)
        return {**combination.to_dict(), "test": asdict(figures)}

    key = "final " + cell_key(prepared, examples, combination, setup.runtime.seed, setup)
    test = journal.once(key, work)["test"]
    return FinalFigures(**{**test, "accuracy_ci95": tuple(test["accuracy_ci95"])})
