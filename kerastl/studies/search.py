"""Searching a head's settings: each trial is a fit on cached features, scored by its log loss on the validation rows.

The tree-structured Parzen estimator of Bergstra et al. 2011 (https://papers.nips.cc/paper/4443) proposes the settings.
"""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kerastl.backbones import Backbone
from kerastl.data.examples import TEST, TRAIN, VALIDATION, Split
from kerastl.errors import CheckFailed
from kerastl.features.compute import Features
from kerastl.features.raw_inputs import with_raw
from kerastl.heads import ConfiguredHead, HeadLike, Setting, free, to_search
from kerastl.runtime import Runtime
from kerastl.stats import log_loss
from kerastl.training.fit import fit
from kerastl.training.options import DEFAULTS, TrainingOptions
from kerastl.versions.sections import Trial


def search_heads(backbone: Backbone, features: Features, head: HeadLike, trials: int, *,
                 options: TrainingOptions = DEFAULTS, runtime: Runtime, cache_dir: Path) -> tuple[Trial, ...]:
    """The step before training: try `trials` settings of the heads asked for, see `search`. Without trials, nothing is
    searched. Raw inputs are added where a head looks at them."""
    if not trials:
        return ()
    if any(candidate.spec.takes_raw for candidate in to_search(head, trials)):
        features = with_raw(features, backbone, cache_dir=cache_dir)
    return search(features, head, trials, options=options, runtime=runtime)


def search(features: Features, heads: HeadLike, trials: int, *, options: TrainingOptions = DEFAULTS, runtime: Runtime
           ) -> tuple[Trial, ...]:
    """Try `trials` settings of the heads asked for (see `heads_of`), first each head with its defaults. A setting that
    the user gave is kept. The same seed gives the same trials.

    Test rows are not available to the search. Raises OptionError when there is nothing to search.
    """
    import optuna

    asked = to_search(heads, trials)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=runtime.seed))
    seen = without_judges(features)
    open_to_search = [place for place, head in enumerate(asked) if free(head)]
    found: list[Trial] = []
    for number in range(trials if open_to_search else len(asked)):
        first = number < len(asked)
        if first and number not in open_to_search:  # it has one answer, which the sampler need not know
            found.append(_tried(seen, asked[number].text, options, runtime))
            continue
        if first:
            study.enqueue_trial({"head": number, **{_key(number, name): asked[number].setting(name)
                                                    for name in free(asked[number])}})
        trial = study.ask()
        place = trial.suggest_categorical("head", open_to_search)
        setting = _suggested(trial, place, asked[place])
        found.append(_tried(seen, asked[place].text if first else setting, options, runtime))
        loss = found[-1].log_loss
        study.tell(trial, math.inf if loss is None else loss)
    return tuple(found)


def best_head(trials: tuple[Trial, ...], head: HeadLike) -> HeadLike:
    """The head of the best trial; `head` where nothing was searched."""
    return best(trials).head if trials else head


def best(trials: tuple[Trial, ...]) -> Trial:
    """The trial with the least loss, of equals the earliest. Raises CheckFailed when none has a loss."""
    done = [trial for trial in trials if trial.log_loss is not None]
    if not done:
        raise CheckFailed(f"none of {len(trials)} trials gave a loss that is a number", "training that converges",
                          "look at the features: kerastl check")
    return min(done, key=lambda trial: trial.log_loss or 0.0)


def without_judges(features: Features) -> Features:
    """The rows that train and those that choose, and no others. `fit` wants rows to judge as well: they are those that
    choose, again."""
    split = features.examples.split
    assert split is not None and split.mode != "cv", "a search chooses by the validation rows of a hold-out"
    train, validation = split.rows(TRAIN), split.rows(VALIDATION)
    kept = np.concatenate([train, validation, validation])
    sides = np.repeat([TRAIN, VALIDATION, TEST], [len(train), len(validation), len(validation)]).astype(np.int8)
    examples = replace(features.examples.take(kept), split=Split(split.mode, split.reason, sides))
    keys = features.keys or features.examples.ids
    return replace(features, examples=examples, keys=[keys[row] for row in kept], held_out_space=features.space)


def _tried(features: Features, head: str, options: TrainingOptions, runtime: Runtime) -> Trial:
    start = time.perf_counter()
    answers = fit(features, head, options=options, runtime=runtime).validation
    assert answers is not None, "a hold-out has validation rows"
    examples = features.examples
    loss = log_loss(answers.logits, examples.one_hot(answers.rows), examples.task)
    print(f"tried {head}: log loss {loss:.4f} on {len(answers.rows)} validation rows", flush=True)
    return Trial(head, loss if math.isfinite(loss) else None, time.perf_counter() - start)


def _key(place: int, name: str) -> str:
    return f"{place}.{name}"  # a head may be asked for twice, with other settings given


def _suggested(trial: Any, place: int, head: ConfiguredHead) -> str:
    """The head with what the sampler proposes for its free settings, as `resolve_head` reads it."""
    proposed = {name: _value(trial, _key(place, name), head.spec.known[name]) for name in free(head)}
    return head.with_settings(proposed).text


def _value(trial: Any, key: str, setting: Setting) -> float | int | str:
    if setting.choices:
        return str(trial.suggest_categorical(key, setting.choices))
    if isinstance(setting.default, int):
        return int(trial.suggest_int(key, int(setting.low), int(setting.high), log=setting.log))
    value = float(f"{trial.suggest_float(key, setting.low, setting.high, log=setting.log):.3g}")  # short to write
    return min(max(value, setting.low), setting.high)
