"""One combination with one seed: trained, and evaluated on the rows that the seed holds out."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.backbones import Backbone
from kerastl.data.examples import Examples
from kerastl.data.split import split_of
from kerastl.evaluation.metrics import evaluate
from kerastl.features.compute import Features
from kerastl.features.raw_inputs import with_raw
from kerastl.heads import resolve_head
from kerastl.studies.compare.combinations import Combination
from kerastl.studies.compare.folds import hold_out
from kerastl.studies.compare.preparation import Prepared, Setup
from kerastl.studies.journal import Journal, work_key
from kerastl.training.fit import FittedHead, fit
from kerastl.training.train import TrainedModel, train


@dataclass(frozen=True)
class Cell:
    """correct: of each held-out row whether it was predicted correctly. seconds: of training. blocks: unfrozen."""

    correct: NDArray[np.bool_]
    seconds: float
    blocks: int

    @property
    def accuracy(self) -> float:
        """On the held-out rows, in [0, 1]."""
        return float(self.correct.mean())


def measure(prepared: Prepared, combination: Combination, seed: int, setup: Setup, journal: Journal) -> Cell:
    """Train a combination with a seed and evaluate it on the seed's fold, unless the journal has it already."""
    examples = hold_out(prepared.features.examples, seed)

    def work() -> dict[str, Any]:
        print(f"{combination.backbone} + {combination.head}, unfreeze {combination.unfreeze}, seed {seed}", flush=True)
        features = replace(prepared.features, examples=examples)
        seeded = replace(setup, runtime=replace(setup.runtime, seed=seed))
        if combination.unfreeze == "0":  # needs no copy of the backbone's weights, and not even the backbone
            fitted, blocks, seconds = _fit(prepared.backbone, features, combination.head, seeded), 0, 0.0
        else:
            trained = train_and_restore(prepared.backbone, features, combination, seeded)
            assert trained.fine_tuning is not None, "something was unfrozen"
            fitted, blocks, seconds = trained.fitted, trained.fine_tuning.blocks, trained.fine_tuning.seconds
        correct = np.array(evaluate(examples, fitted.held_out, fitted.validation).correct)
        return {**combination.to_dict(), "seed": seed, "accuracy": float(correct.mean()),
                "seconds": fitted.seconds + seconds, "blocks": blocks, "settings": fitted.settings,
                "right": "".join(map(str, correct.astype(int).tolist()))}

    record = journal.once(cell_key(prepared, examples, combination, seed, setup), work)
    return Cell(np.array(list(record["right"])) == "1", record["seconds"], record["blocks"])


def _fit(backbone: Backbone, features: Features, head: str, setup: Setup) -> FittedHead:
    if resolve_head(head).spec.takes_raw:
        features = with_raw(features, backbone, cache_dir=setup.cache_dir)
    return fit(features, head, options=setup.options, runtime=setup.runtime)


def train_and_restore(backbone: Backbone, features: Features, combination: Combination, setup: Setup) -> TrainedModel:
    """Train a combination, and set the backbone's weights to what they were."""
    original = None if combination.unfreeze == "0" else backbone.model.get_weights()
    try:
        return train(backbone, features, combination.head, unfreeze=combination.unfreeze,
                     options=setup.options, runtime=setup.runtime, cache_dir=setup.cache_dir)
    finally:
        if original is not None:
            backbone.model.set_weights(original)


def cell_key(prepared: Prepared, examples: Examples, combination: Combination, seed: int, setup: Setup) -> str:
    """The journal's key of a combination with a seed. examples: split."""
    head_file, runtime = resolve_head(combination.head).spec.sha256, replace(setup.runtime, seed=seed)
    about = [*prepared.key, combination.to_dict(), head_file, asdict(runtime), asdict(setup.options),
             list(examples.ids), list(examples.groups), list(examples.classes)]
    return work_key(about, examples.targets, split_of(examples).part)
