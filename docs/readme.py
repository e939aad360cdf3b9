"""Writes the README's command output and tables anew, by running the commands.

python docs/readme.py [--quick | --check]

In README.md, `<!-- $ COMMAND -->` and `<!-- / -->` enclose what a command printed to standard output. All are run, in
their order; the recipes' table and the report's image (docs/report.png, by Debian's chromium) are made too. `--quick`
leaves out what takes minutes, and the image; `--check` does too, and writes nothing: exit code 1 when the README says
something else.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BIN = Path(sys.executable).parent
BLOCK = re.compile(r"(<!-- \$ (?P<command>.+?) -->\n).*?(<!-- / -->)", re.DOTALL)
TABLE = re.compile(r"(<!-- recipes -->\n).*?(<!-- / -->)", re.DOTALL)
SLOW = "make"
MODELS = [ROOT / "saved_models" / name for name in ("stamps", "snippets")]


def output(command: str) -> str:
    """What a command prints to standard output. Stops with its messages when it fails."""
    with tempfile.TemporaryDirectory() as empty:  # a bare machine's: nothing downloaded before
        environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100",
                       "KERAS_HOME": empty}
        done = subprocess.run(command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def block(match: re.Match[str]) -> str:
    """A block with its output anew. What make says of itself, the blank lines at the end and full paths are cut."""
    command = match["command"]
    text = "\n".join(line.rstrip().replace(f"{ROOT}/", "") for line in output(command).splitlines()
                     if not line.startswith(f"{BIN.relative_to(ROOT)}/"))
    return f"{match[1]}```console\n$ {command}\n{text}\n```\n{match[3]}"


def recipes(match: re.Match[str]) -> str:
    """The table of recipes, from their docstrings."""
    lines = ["| recipe | what it does | measured |", "|---|---|---|"]
    lines += [f"| [`{one['name']}`](recipes/{one['name']}.py) | {one['summary']} | {one['measured']} |"
              for one in json.loads(output("kerastl recipes --json"))["recipes"]]
    return "\n".join([match[1].rstrip(), *lines, match[2]])


def image() -> None:
    """docs/report.png: the top of the newest report of the quickstart, half size."""
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
    """Write or check. Returns the exit code."""
    quick = words in (["--check"], ["--quick"])
    before = README.read_text(encoding="utf-8")
    there = [str(path) for path in MODELS if path.exists()]
    if not quick and f"$ {SLOW} quickstart" in before and there:
        print(f"error: {' and '.join(there)}: the quickstart would not train\n  do: remove them", file=sys.stderr)
        return 2
    after = BLOCK.sub(lambda match: match[0] if quick and match["command"].startswith(SLOW) else block(match), before)
    after = TABLE.sub(recipes, after)
    if words == ["--check"]:
        return int(after != before)
    README.write_text(after, encoding="utf-8")
    if not quick:
        image()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
