"""One combination with one seed: trained, and evaluated on the rows that the seed holds out."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples
from kerastl.data.split import split_of
from kerastl.evaluation.metrics import evaluate
from kerastl.features.compute import Features
from kerastl.features.raw_inputs import with_raw
from kerastl.heads import resolve_head
from kerastl.studies.compare.combinations import Combination
from kerastl.studies.compare.folds import hold_out
from kerastl.studies.compare.preparation import features_key
from kerastl.studies.journal import Journal, work_key
from kerastl.training.fine_tuning.fine_tune import remove_finished
from kerastl.training.fit import FittedHead, fit
from kerastl.training.options import TrainingOptions
from kerastl.training.train import TrainedModel, train


@dataclass(frozen=True)
class Cell:
    """correct: whether each held-out row was predicted correctly. seconds: of training. blocks: unfrozen."""

    correct: NDArray[np.bool_]
    seconds: float
    blocks: int

    @property
    def accuracy(self) -> float:
        """On the held-out rows, in [0, 1]."""
        return float(self.correct.mean())


def measure(features: Features, combination: Combination, seed: int, options: TrainingOptions, journal: Journal
            ) -> Cell:
    """Train a combination with a seed and evaluate it on the seed's fold, unless the journal has it already."""
    features = replace(features, examples=hold_out(features.examples, seed)).with_seed(seed)

    def work() -> dict[str, Any]:
        print(f"{combination.backbone} + {combination.head}, unfreeze {combination.unfreeze}, seed {seed}", flush=True)
        if combination.unfreeze == "0":  # needs no copy of the backbone's weights, and not even the backbone
            fitted, blocks, seconds = _fit(features, combination.head, options), 0, 0.0
        else:
            trained = train_combination(features, combination, options)
            assert trained.fine_tuning is not None, "something was unfrozen"
            fitted, blocks, seconds = trained.fitted, trained.fine_tuning.blocks, trained.fine_tuning.seconds
        correct = np.array(evaluate(features.examples, fitted.held_out, fitted.validation).correct)
        return {**combination.to_dict(), "seed": seed, "accuracy": float(correct.mean()),
                "seconds": fitted.seconds + seconds, "blocks": blocks, "settings": fitted.settings,
                "right": "".join(map(str, correct.astype(int).tolist()))}

    record = journal.once(cell_key(features, combination, options), work)
    return Cell(np.array(list(record["right"])) == "1", record["seconds"], record["blocks"])


def _fit(features: Features, head: str, options: TrainingOptions) -> FittedHead:
    spec = resolve_head(head).spec
    return fit(with_raw(features, all_tokens=spec.all_tokens) if spec.takes_raw else features, head, options=options)


def train_combination(features: Features, combination: Combination, options: TrainingOptions) -> TrainedModel:
    """Train a combination. Nothing is exported, so the state of a fine-tuning is not needed any more."""
    try:
        return train(features, combination.head, unfreeze=combination.unfreeze, options=options)
    finally:
        if combination.unfreeze != "0":
            remove_finished(features.cache_dir)


def cell_key(features: Features, combination: Combination, options: TrainingOptions, examples: Examples | None = None
             ) -> str:
    """The journal's key of a combination. examples: the rows, split, where they are not those of `features`."""
    examples, head_file = examples or features.examples, resolve_head(combination.head).spec.sha256
    about = [*features_key(features), combination.to_dict(), head_file, asdict(features.runtime), asdict(options),
             list(examples.ids), list(examples.clusters), list(examples.classes)]
    return work_key(about, examples.targets, split_of(examples).part)
