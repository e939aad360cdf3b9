"""Damaged files and requests of every kind that kerastl reads from others: `python tests/fuzz.py [COUNT [SEED]]`, by
hand or by `make soak`; `test_fuzz.py` tries a hundred of each.

Each case is read or refused by an error of kerastl's own. Whatever else is raised, a case that takes more than 10
seconds of processor time, and a process that ends are failures. Prints the figures; the exit code is 1 if one failed.
"""

import faulthandler
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import conftest  # noqa: F401  brings the tiny backbone
import fuzz_grpc
import grpc
from mutants import MUTATIONS, SLANG, image_mutants
from served import Server, half_plus, serving, several
from test_table_properties import FORMS, Sheet, _damaged, _workbook
from text_folders import hugging_face_folder

from kerastl.backbones import _hugging_face, _stored
from kerastl.backbones._weight_files import read_config
from kerastl.data.tables import open_table
from kerastl.errors import DataError, KerastlError
from kerastl.inputs import images, vocabulary
from kerastl.server.load import free_port
from kerastl.server.options import ServerOptions
from kerastl.versions.listing import list_models
from kerastl.versions.record import RunRecord

MOST_SECONDS = 10.0
GOLDEN = Path(__file__).parent / "golden"
ODD: tuple[Any, ...] = (None, True, -1, 0, 2**70, 1e308, float("nan"), "", "\ud800", "../../etc/passwd", [], {}, [[]],
                        {"a": {}}, "x" * 10_000, "\x00", [1] * 50)


@dataclass
class Outcome:
    """What became of the cases of a kind. wrong: what failed, by case. slowest: seconds of processor time, and of which
    one."""

    kind: str
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    def line(self) -> str:
        """The figures."""
        seconds, name = self.slowest
        return (f"{self.kind}: {sum(self.counts.values()):,} cases, {dict(self.counts)}, the slowest {seconds:.2f} s "
                f"of processor time ({name}), {len(self.wrong)} wrong")


def run(kind: str, cases: Iterator[tuple[str, Callable[[], str]]]) -> Outcome:
    """Try cases: a name, and what reads it and says what became of it."""
    outcome = Outcome(kind)
    for name, read in cases:
        faulthandler.dump_traceback_later(300, exit=True)  # of a process that hangs without computing
        start = time.process_time()
        try:
            result = read()
        except KerastlError as error:
            result = "refused"
            if not str(error).strip():
                outcome.wrong.append(f"{name}: no reason")
        except Exception as error:  # of any type: that is what is looked for
            result = "raised"
            outcome.wrong.append(f"{name}: {type(error).__name__}: {error}"[:300])
        seconds = time.process_time() - start
        outcome.counts[result] += 1
        outcome.slowest = max(outcome.slowest, (seconds, name))
        if seconds > MOST_SECONDS:
            outcome.wrong.append(f"{name}: {seconds:.1f} s")
    faulthandler.cancel_dump_traceback_later()
    return outcome


def changed(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    """A content with some damage: of its bytes, or, of a JSON document, of one of its values."""
    if content[:1] in b"{[" and chance.random() < 0.6:
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if document:
            odd = chance.choice(ODD)
            replaced = _with(document, chance, odd)
            return f"value {odd!r:.30}", json.dumps(replaced).encode("utf-8", "surrogatepass")
    mutate, data = chance.choice(MUTATIONS), bytearray(content or b" ")
    mutate(data, chance)
    return mutate.__name__, bytes(data)


def _with(document: Any, chance: random.Random, odd: Any) -> Any:
    """A document in which one value, at a random depth, is odd, or is missing."""
    if not isinstance(document, dict | list) or not document or chance.random() < 0.2:
        return odd
    keys: Sequence[Any] = list(document) if isinstance(document, dict) else range(len(document))
    key = chance.choice(keys)
    result: Any = dict(document) if isinstance(document, dict) else list(document)
    if chance.random() < 0.1:
        del result[key]
    else:
        result[key] = _with(document[key], chance, odd)
    return result


def image_cases(count: int, seed: int) -> Iterator[tuple[str, Callable[[], str]]]:
    """Damaged images: pixels, or a reason in words."""
    decode = images.decoder(64)

    def read(data: bytes) -> str:
        result = decode(data)
        if isinstance(result, str):
            assert result.strip() and not SLANG.search(result) and len(result) < 200, result
            return "refused"
        assert result.shape == (64, 64, 3)
        return "read"

    decode.trace()  # which takes seconds, and is of no case
    for name, data in image_mutants(count, seed):
        yield name, partial(read, data)


def table_cases(count: int, seed: int, folder: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """Damaged tables: rows, each with its values or its reason; or a refusal that names the file."""
    chance, rows = random.Random(seed), [(f'text {i} "é"\nx', "ab"[i % 2]) for i in range(30)]
    forms = {name: write(rows) for name, write in FORMS.values()} | {
        "t.xlsx": _workbook(rows), "t.csv": Sheet().write(rows), "lines.jsonl": FORMS["jsonl"][1](rows)}
    plain = sorted(name for name in forms if name.endswith((".csv", ".jsonl", ".json")))

    def read(name: str, data: bytes) -> str:
        (folder / name).write_bytes(data)
        try:
            records = list(open_table(folder / name, folder).records(["text", "label"]))
        except DataError as error:
            assert name in error.got, error
            return "refused"
        for _, record in records:
            assert isinstance(record, dict) or str(record).strip(), record
        return "read"

    for number in range(count):
        name = chance.choice(sorted(forms) if chance.random() < 0.5 else plain)  # compressed ones have checksums
        data = _damaged(forms[name], chance)
        yield f"{number}, {name}", partial(read, name, data)


def folder_cases(count: int, seed: int, made: dict[str, Path], names: Callable[[str], bool],
                 read: Callable[[Path, str], object]) -> Iterator[tuple[str, Callable[[], str]]]:
    """Folders in which one file is damaged. made: good folders by name. names: which of their files. read: with the
    folder, and the name of what it is of."""
    chance = random.Random(seed)
    files = [(kind, str(path.relative_to(folder))) for kind, folder in made.items()
             for path in sorted(folder.rglob("*")) if path.is_file() and names(path.name)]

    def tried(kind: str, name: str, content: bytes, data: bytes) -> str:
        place = made[kind] / name
        place.write_bytes(data)
        try:
            read(made[kind], kind)
        finally:
            place.write_bytes(content)
        return "read"

    for number in range(count):
        kind, name = files[number % len(files)]
        content = (made[kind] / name).read_bytes()
        damage, data = changed(content, chance)
        yield f"{number}, {kind} {name}, {damage}", partial(tried, kind, name, content, data)


TOKENIZERS = ("vocab.txt", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
              "special_tokens_map.json", "sentencepiece.bpe.model", "spm.model")


def is_of_network(name: str) -> bool:
    """Whether a file holds a network's config or weights."""
    return name == "config.json" or name.endswith(".safetensors")


def text_models(home: Path) -> dict[str, Path]:
    """Folders of tiny text models of every family."""
    families = ("bert", "roberta", "xlm-roberta", "distilbert")
    return {family: hugging_face_folder(home / family, family) for family in families}


def read_tokenizer(folder: Path, kind: str) -> None:
    """The tokenizer, and the text of its first ids."""
    assert vocabulary.read(folder).size > 0


def read_network(folder: Path, kind: str) -> None:
    """What stands in config.json and the heads of the weights, without building the network."""
    _hugging_face._checked(read_config(folder), folder, kind)
    _hugging_face._places(folder, _hugging_face.LAYOUTS[kind])
    _stored.safetensors(folder / "model.safetensors")


def versions_of(home: Path) -> dict[str, Path]:
    """Folders of a version of which only the documents are there."""
    made = {}
    for kind in ("image", "text", "tuned"):
        version = home / kind / "1"
        version.mkdir(parents=True)
        shutil.copy(GOLDEN / f"run-0.1-{kind}.json", version / "run.json")
        (version / "manifest.json").write_text(json.dumps({"made": "2026-01-01", "files": {"run.json": "0" * 64}}))
        made[kind] = version.parent
    return made


def read_version(folder: Path, kind: str) -> None:
    """The list of a model's versions, which names a damaged one, and then the record."""
    listed = list_models(folder)
    assert len(listed.models) == 1
    RunRecord.read(folder / "1")


def http_cases(count: int, seed: int, folder: Path, stack: ExitStack) -> Iterator[tuple[str, Callable[[], str]]]:
    """Damaged requests to a server: an answer in JSON, that blames the client where it is an error."""
    half_plus(folder / "models/half")
    several(folder / "models/several")
    server = stack.enter_context(serving(folder / "models", ServerOptions(max_request_mb=1)))
    half, more = "/v1/models/half:predict", "/v1/models/several:predict"
    bodies: list[tuple[str, Any]] = [
        (half, {"instances": [1.0, 2.0]}), (half, {"inputs": {"x": [[1.0]]}}),
        (more, {"instances": [{"text": "a", "pair": [1, 2]}, {"text": {"b64": "YQ=="}, "pair": [3, 4]}]}),
        (more, {"inputs": {"text": ["a"], "pair": [[1, 2]]}, "signature_name": "serving_default"}),
        ("/v1/models/half:classify", {"signature_name": "classify_x_to_y", "examples": [{"x": 1.0}]}),
        ("/v1/models/half:regress", {"signature_name": "regress_x_to_y", "context": {"x": 1.0}, "examples": [{}, {}]})]
    chance = random.Random(seed)

    def read(path: str, body: bytes) -> str:
        status, answer = server.post(path, body)
        assert status in (200, 400, 413) and isinstance(answer, dict), f"{status} {answer}"
        assert status == 200 or answer["error"].strip()
        return "read" if status == 200 else "refused"

    for path, document in bodies:
        assert read(path, json.dumps(document).encode()) == "read", path
    for number in range(count):
        path, document = bodies[number % len(bodies)]
        damage, body = changed(json.dumps(document).encode(), chance)
        yield f"{number}, {path}, {damage}, {body[:80]!r}", partial(read, path, body)


def grpc_outcomes(count: int, seed: int, folder: Path, stack: ExitStack) -> Iterator[Outcome]:
    """Damaged calls to a server of its own process, and connections that are no calls."""
    home, ports = fuzz_grpc.models(folder / "grpc"), Server(free_port(), free_port())
    process = stack.enter_context(subprocess.Popen(
        [sys.executable, "-m", "kerastl", "serve", str(home), "--port", str(ports.rpc), "--rest-api-port", "0",
         "--max-request-mb", str(fuzz_grpc.MOST_MB)], stderr=subprocess.DEVNULL))
    stack.callback(process.terminate)
    with grpc.insecure_channel(f"127.0.0.1:{ports.rpc}") as channel:
        grpc.channel_ready_future(channel).result(timeout=300)
    server = fuzz_grpc.watched(ports, process.pid, home, stack)
    yield run("gRPC calls", fuzz_grpc.call_cases(count, seed, server))
    yield run("connections to the gRPC port", fuzz_grpc.connection_cases(count, seed, server))
    print(f"memory of the server: {server.base:,.0f} MiB before, {server.megabytes():,.0f} MiB after")


def outcomes(count: int, seed: int, home: Path) -> Iterator[Outcome]:
    """So many cases of each kind."""
    made = text_models(home)
    yield run("images", image_cases(count, seed))
    yield run("tables", table_cases(count, seed, home))
    yield run("tokenizer files", folder_cases(count, seed, made, TOKENIZERS.__contains__, read_tokenizer))
    yield run("config.json and safetensors", folder_cases(
        count, seed, made, is_of_network, read_network))
    yield run("version folders and run.json", folder_cases(
        count, seed, versions_of(home / "versions"), lambda name: True, read_version))
    with ExitStack() as stack:
        yield run("HTTP bodies", http_cases(count, seed, home, stack))
    with ExitStack() as stack:
        yield from grpc_outcomes(count, seed, home, stack)


def main(count: int = 2000, seed: int = 0) -> int:
    """All of it. Returns the exit code."""
    faulthandler.enable()
    failed = False
    with tempfile.TemporaryDirectory() as name:
        for outcome in outcomes(count, seed, Path(name)):
            print(outcome.line(), flush=True)
            print(*outcome.wrong[:20], sep="\n")
            failed |= bool(outcome.wrong)
    print(f"most memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
