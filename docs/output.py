"""Regenerates the command output in README.md and docs/ by running the commands.

python docs/output.py [--quick | --check]

In a page, `<!-- $ COMMAND -->` and `<!-- / -->` enclose what a command prints to standard output. Numbers in brackets
after the command, `<!-- $ COMMAND [1,4] -->`, select paragraphs of that output (separated by blank lines); the command
itself is then not shown. `<!-- recipes -->` and `<!-- / -->` enclose the list of recipes, and `<!-- data forms -->` and
`<!-- / -->` the forms that data may have (docs/forms.py). A full run also trains the quickstart's models and takes the
screenshot of a report (docs/report.png, by Debian's chromium). `--quick` skips both; `--check` skips them too and
writes nothing, and the exit code is 1 if a page is out of date.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"(<!-- \$ (?P<command>[^\n]+?)(?: \[(?P<paragraphs>[\d,]+)\])? -->\n).*?(<!-- / -->)", re.DOTALL)
RECIPES = re.compile(r"(<!-- recipes -->\n).*?(<!-- / -->)", re.DOTALL)
FORMS = re.compile(r"(<!-- data forms -->\n).*?(<!-- / -->)", re.DOTALL)
SLOW = "python docs/quickstart.py"  # commands that train
MODELS = [ROOT / "saved_models" / name for name in ("stamps", "snippets")]


def pages() -> list[Path]:
    """Every Markdown page that may hold command output."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@cache
def output(command: str) -> str:
    """What a command prints to standard output, without trailing spaces and full paths. Stops if it fails."""
    with tempfile.TemporaryDirectory() as empty:  # as on a new machine, where nothing has been downloaded
        environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100",
                       "KERAS_HOME": empty, "XDG_DATA_HOME": empty}
        done = subprocess.run(command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command} ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return "\n".join(line.rstrip().replace(f"{ROOT}/", "") for line in done.stdout.strip().splitlines())


def block(match: re.Match[str]) -> str:
    """A block with new output."""
    text = f"$ {match['command']}\n{output(match['command'])}"
    if match["paragraphs"]:
        paragraphs = output(match["command"]).split("\n\n")
        text = "\n\n".join(paragraphs[int(number) - 1] for number in match["paragraphs"].split(","))
    return f"{match[1]}```console\n{text}\n```\n{match[4]}"


def recipes(match: re.Match[str]) -> str:
    """The list of recipes, from their docstrings."""
    parts = [f"### [`{recipe['name']}`](../../recipes/{recipe['name']}.py)\n\n{recipe['summary']}\n\n"
             f"- Measured: {recipe['measured']}\n- Time: {recipe['time']}\n"
             for recipe in json.loads(output("kerastl recipes --json"))["recipes"]]
    return match[1] + "\n".join(parts) + match[2]


def screenshot() -> None:
    """docs/report.png: the top of the newest report of the quickstart, at half size."""
    from PIL import Image

    newest = max(int(path.name) for path in MODELS[0].glob("*") if path.name.isdecimal())
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        page = MODELS[0] / str(newest) / "report.html"
        subprocess.run([ROOT / "docs/screenshot.sh", page, shot, "1100,1500"], check=True)
        with Image.open(shot) as image:
            image.convert("RGB").resize((660, 900), Image.Resampling.LANCZOS).quantize(64).save(
                ROOT / "docs/report.png", optimize=True)


def main(words: list[str]) -> int:
    """Write or check the pages. Returns the exit code."""
    if words not in ([], ["--quick"], ["--check"]):
        print("usage: python docs/output.py [--quick | --check]", file=sys.stderr)
        return 2
    quick = bool(words)
    existing = [str(path) for path in MODELS if path.exists()]
    if not quick and existing:
        print(f"error: {' and '.join(existing)} exist, so the quickstart would not train. Move or delete them first.",
              file=sys.stderr)
        return 2
    outdated = []
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = BLOCK.sub(lambda match: match[0] if quick and match["command"].startswith(SLOW) else block(match),
                          before)
        after = RECIPES.sub(recipes, after)
        after = FORMS.sub(lambda match: f"{match[1]}\n{output('python docs/forms.py')}\n\n{match[2]}", after)
        if after != before:
            outdated.append(str(page.relative_to(ROOT)))
            if words != ["--check"]:
                page.write_text(after, encoding="utf-8")
    if words == ["--check"]:
        print("".join(f"out of date: {name}\n" for name in outdated), end="", file=sys.stderr)
        return int(bool(outdated))
    if not quick:
        screenshot()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
