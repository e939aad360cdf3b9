"""Downloads the sample texts: movie review snippets from the package vaderSentiment, checked by SHA-256.

python docs/snippets.py

Writes samples/snippets.csv with the columns text and label. Snippets rated above 0.5 are positive, below -0.5 negative;
the others are skipped. The package is MIT; ratings by Hutto and Gilbert 2014, snippets by Pang and Lee 2004.
"""

import csv
import sys
import tarfile
import tempfile
from pathlib import Path

from pip_package import downloaded

PACKAGE = "vaderSentiment==3.3.2"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
TABLE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
CLEAR = 0.5  # snippets with a smaller absolute rating are skipped


def main(root: Path = Path("samples")) -> int:
    """Make the table unless it exists. Returns 0; or 2, with a message on what to use instead."""
    target = root / "snippets.csv"
    if target.exists():
        return 0
    root.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        reason = downloaded(PACKAGE, SHA256, folder, "--no-build-isolation", "--no-binary")
        if reason:
            print(f"pip cannot download the sample texts ({reason}). Use texts of your own:\n"
                  "  kerastl run minilm_text --data TABLE.csv --name NAME      (columns text,label)", file=sys.stderr)
            return 2
        rows = labelled(next(Path(folder).glob("*.tar.gz")))
        partial = Path(folder) / "snippets.csv"
        with partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        partial.rename(target)
    return 0


def labelled(package: Path) -> list[tuple[str, str]]:
    """(text, label) of each snippet with a clear rating. Nothing is unpacked to disk."""
    with tarfile.open(package) as outer, tarfile.open(fileobj=outer.extractfile(INNER)) as inner:
        file = inner.extractfile(TABLE)
        assert file is not None, f"{TABLE} is a file"
        lines = file.read().decode("latin-1").split("\n")
    rows = []
    for line in filter(None, lines):
        _, score, text = line.split("\t", 2)
        if abs(float(score)) > CLEAR:
            rows.append((text, "positive" if float(score) > 0 else "negative"))
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
