"""Show or clear what is cached on disk."""

from dataclasses import dataclass
from datetime import datetime

from kerastl.shell.listing import CacheInfo, cache_info
from kerastl.shell.terminal import count_of, table

LIGHT = True


@dataclass(frozen=True, kw_only=True)
class Config:
    """Show or clear what is cached on disk."""

    clear: bool = False  # remove everything that kerastl cached
    clear_unfinished: bool = False  # remove the shards of killed runs with workers, which could continue with them
    limit: float | None = None  # remove the least recently used features until at most N GB remain
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    json: bool = False  # print the results as one JSON document


def run(config: Config) -> CacheInfo:
    """The contents of the cache, after the requested removals."""
    return cache_info(config.cache_dir, clear=config.clear, limit_gb=config.limit,
                      clear_unfinished=config.clear_unfinished)


def show(result: CacheInfo) -> str:
    """A table."""
    lines = [f"{result.folder}: {result.bytes / 1e6:.1f} MB of features"]
    if result.freed:
        lines.append(f"freed {result.freed / 1e6:.1f} MB")
    if result.unfinished.runs:
        runs, size = count_of(result.unfinished.runs, "unfinished run"), result.unfinished.bytes / 1e6
        lines.append(f"{runs} with workers: {size:.1f} MB of shards, with which the same command continues; they are "
                     "removed after 30 days, or by kerastl cache --clear-unfinished")
    rows = [("backbone", "compute", "rows", "size", "last used")]
    rows += [(space.backbone, space.compute, str(space.rows), f"{space.bytes / 1e6:.1f} MB",
              datetime.fromtimestamp(space.last_used).strftime("%Y-%m-%d %H:%M")) for space in result.spaces]
    return "\n".join(lines + ([table(rows)] if len(rows) > 1 else []))
