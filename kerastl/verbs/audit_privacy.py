"""Attack a private model, and compare with the bound of its budget."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tyro.conf import Positional

from kerastl.shell.terminal import table

if TYPE_CHECKING:
    from kerastl.audit.privacy import PrivacyAudit


@dataclass(frozen=True)
class Config:
    """Guess which groups a private model was trained on; exit 1 if an attack exceeds the bound of its budget."""

    model: Positional[str]  # saved_models/NAME, saved_models/NAME/VERSION or a version folder
    data: Positional[str]  # the data that it was trained on
    shadows: int = 32  # heads that are fitted on random halves of the data, an even number
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def run(config: Config) -> "PrivacyAudit":
    """Attack the model."""
    from kerastl.audit.privacy import audit_privacy

    return audit_privacy(config.model, config.data, shadows=config.shadows, data_dir=config.data_dir,
                         cache_dir=config.cache_dir)


def show(result: "PrivacyAudit") -> str:
    """A line for each attack, and what it means."""
    rows = [("attack", "advantage (95% CI)", "bound", "same head without noise (95% CI)")]
    rows += [(attack.name, _figure(attack.advantage, attack.ci95), f"{result.bound:.3f}",
              _figure(attack.control, attack.control_ci95)) for attack in result.attacks]
    counts = f"{result.members:,} training groups and {result.others:,} held-out groups; a group is {result.unit}"
    return "\n".join([table(rows), "", f"{counts}; {result.shadows} shadow heads.", result.sentence])


def _figure(value: float, ends: tuple[float, float]) -> str:
    return f"{value:+.3f} ({ends[0]:+.3f} to {ends[1]:+.3f})"
