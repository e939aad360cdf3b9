"""Hyperparameter search for heads: each trial is a fit on cached features, scored by its log loss on validation rows.

The tree-structured Parzen estimator of Bergstra et al. 2011 (https://papers.nips.cc/paper/4443) proposes the settings.
"""

import math
import time
from dataclasses import replace
from typing import Any

from kerastl.data.examples import TRAIN, VALIDATION
from kerastl.data.split import split_of
from kerastl.errors import CheckFailed, OptionError
from kerastl.features.compute import Features
from kerastl.features.raw_inputs import with_raw
from kerastl.heads import ConfiguredHead, HeadLike, Setting, free, to_search
from kerastl.stats import log_loss
from kerastl.training.fit import fit
from kerastl.training.options import DEFAULTS, TrainingOptions
from kerastl.training.rows import trained_and_validated
from kerastl.versions.sections import Trial


def search_heads(features: Features, head: HeadLike, trials: int, *, options: TrainingOptions = DEFAULTS
                 ) -> tuple[Trial, ...]:
    """Run `trials` trials before training, see `search`; none where `trials` is 0. Heads that take the raw input get
    it with the features."""
    if not trials:
        return ()
    candidates = to_search(head, trials)
    if any(candidate.spec.takes_raw for candidate in candidates):
        features = with_raw(features, all_tokens=any(candidate.spec.all_tokens for candidate in candidates))
    return search(features, head, trials, options=options)


def search(features: Features, heads: HeadLike, trials: int, *, options: TrainingOptions = DEFAULTS
           ) -> tuple[Trial, ...]:
    """Try settings of the named heads (see `heads.heads_of`), first each head with its defaults.

    A setting that was given is kept. The same seed gives the same trials. Test rows are not available to the search.
    Raises OptionError if there is nothing to search.
    """
    import optuna

    candidates = to_search(heads, trials)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=features.runtime.seed))
    visible = without_test_rows(features)
    searchable = [place for place, head in enumerate(candidates) if free(head)]
    results: list[Trial] = []
    for number in range(trials if searchable else len(candidates)):
        with_defaults = number < len(candidates)
        if with_defaults and number not in searchable:  # it has no free setting, so the sampler need not know it
            results.append(_tried(visible, candidates[number].text, options))
            continue
        if with_defaults:
            study.enqueue_trial({"head": number, **{_key(number, name): candidates[number].setting(name)
                                                    for name in free(candidates[number])}})
        trial = study.ask()
        place = trial.suggest_categorical("head", searchable)
        suggested = _suggested(trial, place, candidates[place])
        head = candidates[place].text if with_defaults else suggested
        results.append(_tried(visible, head, options))
        loss = results[-1].log_loss
        study.tell(trial, math.inf if loss is None else loss)
    return tuple(results)


def best_head(trials: tuple[Trial, ...], head: HeadLike) -> HeadLike:
    """The head of the best trial; `head` if there was no search."""
    return best(trials).head if trials else head


def best(trials: tuple[Trial, ...]) -> Trial:
    """The trial with the lowest loss, the earliest of several. Raises CheckFailed when no trial has a loss."""
    finite = [trial for trial in trials if trial.log_loss is not None]
    if not finite:
        raise CheckFailed(f"none of {len(trials)} trials has a finite log loss", "training that converges",
                          "inspect the dataset: kerastl check")
    return min(finite, key=lambda trial: trial.log_loss or 0.0)


def without_test_rows(features: Features) -> Features:
    """The training and validation rows, and no others. `fit` also needs held-out rows: they are the validation rows
    again. Raises OptionError where rows are cross-validated."""
    split = split_of(features.examples)
    if split.mode == "cv":
        raise OptionError("`search` needs validation rows, which cross-validated examples do not have", "a hold-out",
                          "examples = kerastl.split(examples, search=...)")
    visible = trained_and_validated(features, split.rows(TRAIN), split.rows(VALIDATION), split.mode, split.reason)
    return replace(visible, held_out_space=features.space)


def _tried(features: Features, head: str, options: TrainingOptions) -> Trial:
    start = time.perf_counter()
    predictions = fit(features, head, options=options).validation
    assert predictions is not None, "a hold-out has validation rows"
    examples = features.examples
    loss = log_loss(predictions.logits, examples.one_hot(predictions.rows), examples.task)
    print(f"trial {head}: log loss {loss:.4f} on {len(predictions.rows)} validation rows", flush=True)
    return Trial(head, loss if math.isfinite(loss) else None, time.perf_counter() - start)


def _key(place: int, name: str) -> str:
    return f"{place}.{name}"  # a head may be named twice, with other settings


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
