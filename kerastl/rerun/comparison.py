"""Compares two runs: their data, split, features, figures and predictions."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerastl.fields import Section
from kerastl.versions.record import RunRecord
from kerastl.versions.reproduction import FeatureSample, Reproduction

IDENTICAL, WITHIN, DIFFERS, UNKNOWN, NOTE = "identical", "within bounds", "DIFFERS", "not recorded", "other"
FEATURES = 1e-5  # of the largest value, in float32
FEATURES_16 = 2e-2  # the same in a 16-bit type
FIGURES = 0.01  # of a figure, or of 1 where the figure is smaller; of a count: this part of the held-out rows
SCORES = 0.01  # of a predicted probability
LABELS = 0.99  # rows with the same predicted label
# What two runs never share, or share by another line of the table; `sentence` and `word` say in words what is compared,
# and `bound`, `scope` and `note` what was done; `previous` is about another version.
SKIPPED_KEYS = frozenset("""
    seconds machine path version name config milliseconds bytes rate computed word sentence caution reason
    precision_reason xla_reason split_reason reproduction notes weights file date sha256 teacher format interval
    ships engine devices left_out bound scope note exported started_in previous
""".split())
# Lists of single rows in an order that depends on the last digit, and `more_rows`, which is rounded to two digits:
# compared only where runs must be identical.
ROW_LISTS = frozenset("mistakes pairs errors search curve epochs trials reliability examples more_rows".split())


@dataclass(frozen=True)
class Check(Section):
    """One thing that was compared. verdict: identical, within bounds, DIFFERS, not recorded, or other for what may
    differ."""

    name: str
    recorded: str
    now: str
    verdict: str


@dataclass(frozen=True)
class FigureDifference(Section):
    """A figure of run.json, by its path, in both runs. bound: what the difference may be."""

    figure: str
    recorded: Any
    now: Any
    bound: float

    @property
    def exceeds(self) -> bool:
        """Whether the difference is more than it may be."""
        return _distance(self.recorded, self.now) > self.bound


@dataclass(frozen=True)
class Figures:
    """The comparison of two records. compared: figures; new: those that the old record does not have."""

    compared: int
    new: int
    differences: tuple[FigureDifference, ...] = field(default_factory=tuple)

    def beyond(self) -> list[FigureDifference]:
        """The differences that exceed their bound."""
        return [item for item in self.differences if item.exceeds]


def environment(record: RunRecord, again: RunRecord) -> list[Check]:
    """What the figures depend on that is not of the run: packages, machine, threads,
    environment variables."""
    old, new = record.reproduction or Reproduction(), again.reproduction or Reproduction()
    machine = [str(each.machine.get("processor", "")) + f" ({', '.join(part.cpu)})" * bool(old.cpu)
               for each, part in ((record, old), (again, new))]
    python = [str(each.machine.get("python", "")) for each in (record, again)]
    changed = [name for name in {**old.packages, **new.packages} if old.packages.get(name) != new.packages.get(name)]
    packages = [", ".join(f"{name} {part.packages.get(name, 'missing')}" for name in changed) for part in (old, new)]
    cores = [str(part.threads or each.machine.get("cores", "")) for each, part in ((record, old), (again, new))]
    devices = [", ".join(each.devices) for each in (record, again)]
    known = bool(old.packages)
    variables = [", ".join(f"{name}={value}" for name, value in sorted(part.variables.items())) for part in (old, new)]
    return [_same("packages", *(packages if changed else ["", ""]), known=known), _same("processor", *machine),
            _same("Python", *python), _same("threads", *cores, known=bool(old.threads)),
            *([_same("devices", *devices)] if any(devices) else []),
            _same("environment variables", *variables, known=known)]


def _same(name: str, recorded: str, now: str, *, known: bool = True) -> Check:
    if not known:
        return Check(name, "", "", UNKNOWN)
    return Check(name, recorded, now, IDENTICAL if recorded == now else NOTE)


def fingerprint_check(name: str, recorded: str, now: str) -> Check:
    """Of the data or the split: nothing but the same is right."""
    verdict = UNKNOWN if not recorded else IDENTICAL if recorded == now else DIFFERS
    return Check(name, recorded[:12], now[:12], verdict)


def feature_check(old: FeatureSample | None, new: FeatureSample | None, exact: bool) -> Check:
    """The features: identical by their digest, or by how much the stored values differ. exact: whether nothing less
    will do."""
    if old is None or new is None:
        return Check("features", "", "", UNKNOWN)
    names = [f"{part.engine} in {part.compute}" for part in (old, new)]
    if (old.digest, old.rows) == (new.digest, new.rows) and names[0] == names[1]:
        return Check("features", f"{names[0]}, {old.rows:,} rows", "the same values", IDENTICAL)
    if old.ids != new.ids or [*map(len, old.values)] != [*map(len, new.values)]:
        return Check("features", f"{names[0]}, {old.rows:,} rows", f"{names[1]}, other rows", DIFFERS)
    a, b = np.array(old.values), np.array(new.values)
    bound = FEATURES if old.compute == new.compute == "float32" else FEATURES_16
    difference = float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))
    small = difference <= bound and not (exact and not old.cached)
    return Check("features", f"{names[0]}" + f", {old.cached:,} rows from the cache" * bool(old.cached),
                 f"{names[1]}: {difference:.1e} of the largest value off (bound {bound:.0e})",
                 WITHIN if small else DIFFERS)


def compare_figures(record: RunRecord, again: RunRecord, exact: bool) -> Figures:
    """Every figure of two records, those beyond their bound first. exact: whether they must be identical; otherwise
    within FIGURES."""
    old, new = (dict(_leaves(each.to_dict(), exact)) for each in (record, again))
    rows = record.test.n
    differences = []
    for name, value in old.items():
        other = new.get(name)
        if other != value and not (_is_nan(value) and _is_nan(other)):
            differences.append(FigureDifference(name, value, other, 0.0 if exact else _bound(value, rows)))
    differences.sort(key=lambda item: not item.exceeds)
    return Figures(len(old), len(new.keys() - old.keys()), tuple(differences))


def _leaves(value: Any, exact: bool, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a document by their paths, but for what is not compared."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in SKIPPED_KEYS and (exact or key not in ROW_LISTS):
                yield from _leaves(inner, exact, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        names = [inner.get("name") if isinstance(inner, dict) else None for inner in value]
        by_name = all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
        for place, inner in enumerate(value):  # by name, where the order may depend on the last digit
            yield from _leaves(inner, exact, f"{path}[{names[place] if by_name else place}]")
    elif value is not None:
        yield path, value


def _bound(value: Any, rows: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return max(1.0, FIGURES * rows) if isinstance(value, int) else FIGURES * max(1.0, abs(value))


def _distance(a: Any, b: Any) -> float:
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    return abs(a - b) if numbers and math.isfinite(a) and math.isfinite(b) else math.inf


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
