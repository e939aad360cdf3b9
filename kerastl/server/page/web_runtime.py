"""LiteRT for browsers, which is optional: the npm packages that `make web`, or a user, put into a folder."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from kerastl.errors import OptionError
from kerastl.files import read_text

TESTED = "2.5.3"
HERE = Path(__file__).parent / "litert"  # where `make web` puts it, with the lock file that names its hashes
INSTALL = f"run in it: npm install @litertjs/core@{TESTED}"
CORE, UTILS = Path("node_modules/@litertjs/core"), Path("node_modules/@litertjs/wasm-utils")
SCRIPT, BARE, OURS = "litert.js", '"@litertjs/wasm-utils"', '"./wasm-utils.js"'
# What the page may ask for. The plain build runs where the browser has relaxed SIMD, the other one elsewhere; the
# builds with threads and with JSPI are not used.
FILES = {SCRIPT: CORE / "dist/index.js", "wasm-utils.js": UTILS / "dist/index.js",
         **{name: CORE / "wasm" / name for build in ("litert_wasm_internal", "litert_wasm_compat_internal")
            for name in (f"{build}.js", f"{build}.wasm")}}
log = logging.getLogger("kerastl.serve")


@dataclass(frozen=True)
class WebRuntime:
    """The packages in a folder. version: of @litertjs/core."""

    folder: Path
    version: str

    def path(self, name: str) -> Path | None:
        """The file of a name in `FILES`, or the licence; None for any other."""
        if name == "LICENSE":
            return HERE / name
        return self.folder / FILES[name] if name in FILES else None

    def script(self) -> str:
        """The package's module as a browser can load it: the bare name of the other package becomes its address. (An
        import map would do the same, but is an inline script, which the page's policy forbids.)"""
        return (f"/* @litertjs/core {self.version}, Apache-2.0, see /kerastl/litert/LICENSE. Changed by kerastl: the "
                f"address in one import. */\n{read_text(self.folder / FILES[SCRIPT]).replace(BARE, OURS)}")


def find_runtime(folder: str | None = None) -> WebRuntime | None:
    """The runtime in a folder in which npm installed it; without one, where `make web` puts it, and None if it is not
    there. Raises OptionError for a folder without it, or with packages that cannot be used."""
    root = HERE if folder is None else Path(folder).absolute()
    if folder is None and not (root / CORE).exists():
        return None
    what, wanted = f"`web_runtime` is {str(root)!r}", "a folder in which npm installed @litertjs/core"
    missing = [path for path in (CORE / "package.json", *FILES.values()) if not (root / path).is_file()]
    if missing:
        raise OptionError(f"{what}, which has no {missing[0]}", wanted, INSTALL)
    try:
        version = str(json.loads(read_text(root / CORE / "package.json"))["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise OptionError(f"{what}, whose {CORE / 'package.json'} states no version", wanted, INSTALL) from error
    if read_text(root / FILES[SCRIPT]).count(BARE) != 1:
        raise OptionError(f"{what}, whose @litertjs/core {version} is laid out in a way that is not known",
                          f"version {TESTED}", INSTALL)
    if version != TESTED:
        log.warning("the web runtime is LiteRT %s; kerastl was tested with %s", version, TESTED)
    return WebRuntime(root, version)
