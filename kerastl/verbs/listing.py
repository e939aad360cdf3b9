"""What there is: `kerastl backbones`, `heads`, `recipes`; and what is kept: `kerastl cache`."""

import ast
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kerastl.features import housekeeping
from kerastl.features.cache import chosen_dir
from kerastl.shell import recipes as finding
from kerastl.shell.terminal import table


@dataclass(frozen=True, kw_only=True)
class BackbonesConfig:
    """Lists the backbones."""

    json: bool = False  # print one JSON document


def backbones(config: BackbonesConfig) -> dict[str, Any]:
    """Every backbone, with where its weights come from and whether they are on this machine."""
    from kerastl.backbones import specs

    return {"backbones": [
        {"name": spec.name, "kind": spec.modality.name, "summary": spec.summary, "input": spec.size or None,
         "features": spec.dim or None, "parameters": spec.parameters or None, "preprocessing": spec.preprocessing,
         "taps": {tap.name: list(tap.shape) for tap in spec.taps},
         "weights": [{"kind": one.kind, "from": one.origin, "licence": one.licence, "here": one.find() is not None}
                     for one in spec.weights]}
        for spec in specs().values()]}


def show_backbones(result: dict[str, Any]) -> str:
    """As a table."""
    rows = [("backbone", "input", "features", "parameters", "weights", "here", "licence")]
    for one in result["backbones"]:
        for weights in one["weights"]:
            unit = "pixels" if one["kind"] == "image" else "tokens"
            taken = f"{one['input']} {unit}" if one["input"] else "by preset"
            rows.append((one["name"], taken, str(one["features"] or "by preset"),
                         f"{one['parameters'] / 1e6:.1f} M" if one["parameters"] else "by preset", weights["kind"],
                         "yes" if weights["here"] else "no", weights["licence"]))
    notes = [f"{one['name']} {w['kind']}: {w['from']}" for one in result["backbones"] for w in one["weights"]]
    taps = [f"{one['name']} taps: {_listed(list(one['taps']))}" for one in result["backbones"] if one["taps"]]
    return "\n".join([table(rows), "", *notes, *taps,
                      "any: --weights none (random, for tests), or --weights FILE (texts: FOLDER)"])


def _listed(taps: list[str]) -> str:
    return ", ".join(taps) if len(taps) < 4 else f"{taps[0]} to {taps[-1]}"


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """Lists the heads."""

    json: bool = False  # print one JSON document


def heads(config: HeadsConfig) -> dict[str, Any]:
    """Every head, in a line."""
    from kerastl.heads import heads as all_heads

    return {"heads": [{"name": head.name, "summary": head.summary, "convex": head.convex, "takes": head.takes,
                       "settings": {name: asdict(setting) for name, setting in head.known().items()}}
                      for head in all_heads().values()]}


def show_heads(result: dict[str, Any]) -> str:
    """As a table."""
    rows = [(one["name"], "pooled features" if one["takes"] == "row" else "maps or token states",
             ", ".join(f"{name}={setting['default']:g}" if isinstance(setting["default"], float) else
                       f"{name}={setting['default']}" for name, setting in one["settings"].items()), one["summary"])
            for one in result["heads"]]
    return "\n".join([table([("head", "takes", "settings", "what it is"), *rows]), "",
                      "settings are given after a colon: --head mlp:hidden=256,dropout=0.3"])


@dataclass(frozen=True, kw_only=True)
class RecipesConfig:
    """Lists the recipes, or copies one here."""

    copy: str | None = None  # write this recipe into the current folder, to change it
    json: bool = False  # print one JSON document


def recipes(config: RecipesConfig) -> dict[str, Any]:
    """Every recipe with its first line and what was measured with it."""
    if config.copy:
        return finding.copy_recipe(config.copy, Path("."))
    found = []
    for name, path in finding.recipes().items():
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found.append({"name": name, "summary": text.partition("\n")[0], "measured": _part(text, "Measured"),
                      "time": _part(text, "Time"), "path": str(path)})
    return {"recipes": found}


def _part(docstring: str, name: str) -> str:
    """What follows `name:` in a recipe's docstring, up to the next part, as one line."""
    match = re.search(rf"^{name}:(.*?)(?=^[A-Z]\w*:|\Z)", docstring, re.DOTALL | re.MULTILINE)
    return " ".join(match[1].split()) if match else ""


def show_recipes(result: dict[str, Any]) -> str:
    """As a table, or where the copy is."""
    if "copied" in result:
        return f"copied to {result['copied']}; run it: python {result['copied']} --help"
    return table([("recipe", "what it does"), *((one["name"], one["summary"]) for one in result["recipes"])])


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """Shows what is kept on disk, or clears it."""

    clear: bool = False  # remove all that kerastl keeps there
    limit: float | None = None  # remove what is unused for longest until the features take at most so many GB
    cache_dir: str | None = None  # default: the user's cache directory
    json: bool = False  # print one JSON document


def cache(config: CacheConfig) -> dict[str, Any]:
    """What the cache holds, after clearing what was asked for."""
    folder = chosen_dir(config.cache_dir)
    freed = 0
    if config.clear:
        freed = housekeeping.clear(folder)
    elif config.limit is not None:
        freed = housekeeping.evict(folder, int(config.limit * 1e9))
    spaces = housekeeping.usage(folder)
    return {"folder": str(folder), "freed_bytes": freed, "bytes": sum(space.bytes for space in spaces),
            "spaces": [space.__dict__ for space in spaces]}


def show_cache(result: dict[str, Any]) -> str:
    """As a table."""
    lines = [f"{result['folder']}: {result['bytes'] / 1e6:.1f} MB of features"]
    if result["freed_bytes"]:
        lines.append(f"freed {result['freed_bytes'] / 1e6:.1f} MB")
    rows = [("backbone", "compute", "rows", "size", "last used")]
    rows += [(one["backbone"], one["compute"], str(one["rows"]), f"{one['bytes'] / 1e6:.1f} MB",
              datetime.fromtimestamp(one["last_used"]).strftime("%Y-%m-%d %H:%M")) for one in result["spaces"]]
    return "\n".join(lines + ([table(rows)] if len(rows) > 1 else []))
