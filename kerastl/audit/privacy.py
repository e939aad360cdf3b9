"""`kerastl audit-privacy`: attacks a private model with its own data, beside the bound that its budget promises."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import TEST
from kerastl.data.split import split_by_hash, split_of
from kerastl.errors import ModelError, OptionError
from kerastl.features.cache import chosen_dir
from kerastl.features.compute import compute_features
from kerastl.fields import Section
from kerastl.model import parts_of, predict_logits
from kerastl.privacy.accounting import advantage_bound, delta_of, strength_of
from kerastl.privacy.attack import LOSS, RATIO, Fit, Guess, advantage, confidences, guesses, shadow_heads
from kerastl.privacy.fit import FITTERS, rows_of, with_classes
from kerastl.privacy.rows import Array, Rows
from kerastl.privacy.source import private_backbone, read_privately
from kerastl.runtime import apply
from kerastl.versions.damage import require_intact
from kerastl.versions.folder import find_version
from kerastl.versions.record import RunRecord
from kerastl.versions.restore import restore_model

SHADOWS = 32
NO_NOISE = 1e6  # strength of the head that the attacks are tried on for comparison


@dataclass(frozen=True)
class Attack(Section):
    """One attack on the held-out and training groups. advantage: true minus false positive rate, with its 95%
    confidence interval; control: the same attack on the same head without noise, which shows whether it can find
    anything at all. exceeds: whether the whole interval lies above the bound."""

    name: str
    advantage: float
    ci95: tuple[float, float]
    control: float
    control_ci95: tuple[float, float]
    exceeds: bool


@dataclass(frozen=True)
class PrivacyAudit(Section):
    """The attacks on a private model. bound: the largest advantage that Gaussian noise of this budget allows an attack,
    which is the delta of its strength at epsilon 0; allowed: that epsilon and delta alone allow, which is more, so that
    even a model without noise may stay below. members, others: training groups and held-out groups. shadows: heads that
    were fitted for the attacks."""

    model: str
    epsilon: float
    delta: float
    unit: str
    bound: float
    allowed: float
    attacks: tuple[Attack, ...]
    members: int
    others: int
    shadows: int

    @property
    def failed(self) -> bool:
        """Whether an attack exceeds the bound."""
        return any(attack.exceeds for attack in self.attacks)

    @property
    def failure(self) -> str:
        """Which attack exceeds the bound; empty where none does."""
        names = ", ".join(attack.name for attack in self.attacks if attack.exceeds)
        return f"{names}: the advantage is above the bound, so the protection does not hold" if names else ""

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        return (f"At epsilon {self.epsilon:g} and delta {self.delta:g}, no attack may have an advantage above "
                f"{self.allowed:.3f}; with Gaussian noise of that budget, above {self.bound:.3f}. An attack that stays "
                "below proves nothing: a better one may exist. This result was computed from the data and is not "
                "private: do not publish it.")


def audit_privacy(model: str | Path, data: str | Path, *, shadows: int = SHADOWS, data_dir: str | None = None,
                  cache_dir: str | None = None) -> PrivacyAudit:
    """Attack a private model: guess which groups it was trained on. Features are cached, heads take seconds.

    model: as `load` takes it. data: what it was trained on. shadows: heads that are fitted on random halves of the
    groups, an even number of at least 4. Raises ModelError for a model that was not trained with `private`, OptionError
    for another number of shadows, DataError for data that do not fit.
    """
    if shadows < 4 or shadows % 2:
        raise OptionError(f"`shadows` is {shadows}", "an even number of at least 4", f"{SHADOWS} is the default")
    folder = find_version(str(model))
    require_intact(folder)
    record = RunRecord.read(folder)
    private = record.private
    if private is None:
        raise ModelError(f"{folder} was not trained with `private`, so there is no bound to compare with",
                         "a private version", "train one: see docs/how-to/private.md")
    settings = {**record.config, "data": str(data), "data_dir": data_dir}
    cache = chosen_dir(cache_dir)
    backbone = private_backbone(record.modality, settings)
    if backbone.weights_hash != record.weights_hash:
        raise ModelError(f"the weights of {backbone.name} are not those that {folder} was trained with",
                         record.weights_hash, "restore the weights")
    examples = split_by_hash(with_classes(read_privately(record.modality, settings, cache), record.classes))
    runtime = apply(record.precision, "on" if record.xla else "off", record.seed, record.engine)
    features = compute_features(examples, backbone, runtime, cache_dir=cache)
    test = split_of(features.examples).part == TEST
    rows = rows_of(features, np.arange(len(test)))
    names, first = np.unique(np.asarray(rows.groups), return_index=True)
    member = ~test[first]

    def fitter(strength: float) -> Fit:
        return lambda some: FITTERS[record.head](some, len(record.classes), strength).logits

    head = parts_of(restore_model(folder, record)).head
    shipped = _attack(rows, fitter(private.strength), predict_logits(head, rows.x.astype(np.float32)), shadows)
    training = np.flatnonzero(~test)
    plain = fitter(NO_NOISE)(rows_of(features, training))(rows.x)
    control = _attack(rows, fitter(NO_NOISE), plain, shadows)
    bound = delta_of(0.0, strength_of(private.epsilon, private.delta))
    allowed = advantage_bound(private.epsilon, private.delta)
    return PrivacyAudit(str(folder), private.epsilon, private.delta, private.unit, bound, allowed, tuple(
        _result(name, mine, theirs, member, bound) for name, mine, theirs in (
            (LOSS, shipped.loss, control.loss), (RATIO, shipped.ratio, control.ratio))),
        int(member.sum()), len(names) - int(member.sum()), shadows)


def _attack(rows: Rows, fit: Fit, logits: Array | NDArray[np.float32], shadows: int) -> Guess:
    return guesses(shadow_heads(rows, fit, shadows), confidences(np.asarray(logits, np.float64), rows))


def _result(name: str, shipped: NDArray[np.bool_], control: NDArray[np.bool_], member: NDArray[np.bool_], bound: float
            ) -> Attack:
    found, ends = advantage(shipped, member)
    plain, plain_ends = advantage(control, member)
    return Attack(name, found, ends, plain, plain_ends, ends[0] > bound)
