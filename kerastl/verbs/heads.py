"""List the heads and their settings."""

from dataclasses import dataclass

from kerastl.heads import ROW
from kerastl.shell.listing import HeadInfo, Listing, list_heads
from kerastl.shell.terminal import table

LIGHT = True


@dataclass(frozen=True, kw_only=True)
class Config:
    """List the heads and their settings."""

    json: bool = False  # print the results as one JSON document


def run(config: Config) -> Listing[HeadInfo]:
    """List the heads."""
    return list_heads()


def show(result: Listing[HeadInfo]) -> str:
    """A table."""
    rows = [("head", "input", "settings", "summary")]
    rows += [(head.name, "pooled features" if head.takes == ROW else "maps or token states",
              ", ".join(f"{name}={_short(setting['default'])}" for name, setting in head.settings.items()),
              head.summary) for head in result.items]
    return f"{table(rows)}\n\nSettings follow the name after a colon: --head mlp:hidden=256,dropout=0.3"


def _short(value: float | int | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
