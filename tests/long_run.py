"""A long run, by hand: `python tests/long_run.py MINUTES [SEED]`.

Recipes and verbs run one after another on tiny data, with one cache, and are killed at random moments; each is then run
again, and has to end well. A server answers requests all the while, and loads the new versions of its model. After each
lap of six commands the cache is brought under its limit, as `kerastl cache --limit` does, and old versions are removed,
but for the newest two of each model. Prints what is on the disk then, and what the long-lived processes hold. The exit
code is 1 if a run failed, if something grew beyond its limit, or if something was left behind.
"""

import base64
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from chaos_cases import PATIENT, PLAIN, RECIPE, Material, Words, cached, make_material, make_older, token_words
from child_runs import Run, Server, command_of, descendants

from kerastl.files import hold
from kerastl.server.load import free_port

LAP = 6  # commands
KILLED = 0.5  # of the runs
FIRST = (60.0, 80)  # seconds, and changes to files, of a command that has not run to its end yet
CACHE_GB, MOST_CACHE = 0.001, 30 * 2**20  # of features; bytes of everything in the cache directory
KEPT = 2  # versions of each model
MOST_VERSION = 8 * 2**20  # bytes of a version, on average
GROWTH = {"threads": 8, "files": 16, "segments": 4, "MiB": 500}  # of the server since the first lap
SERVED, PAUSE = "tiny_images", 1.0  # the model that answers; seconds between requests


def jobs(m: Material, folder: Path) -> dict[str, Words]:
    """Every recipe but one whose tiny weights take a minute to make, and some verbs, by name."""
    out = ["--out", folder / "out", *cached(folder)]
    images = ["--data", m.images, *PLAIN, "--tflite", "none", "--epochs", 2, *out]
    texts = ["--data", m.texts, "--weights", m.bert, "--unfreeze", 0, "--split", "holdout", "--tflite", "none",
             "--epochs", 2, "--engine", "tensorflow", *out]
    words: dict[str, Words] = {
        "tiny_images": [RECIPE, *images, "--unfreeze", 1],
        "efficientnet_lite_images": [*images, "--backbone", "tiny_net"],
        "inception_v3_images": [*images, "--backbone", "tiny_net", "--head", "mlp"],
        "inception_resnet_images": [*images, "--backbone", "tiny_net"],
        "resnet50_images": [*images, "--backbone", "tiny_net", "--relabel", m.fixes],
        "fusion_images": [*images, "--backbone", "tiny_net+tiny_net24"],
        "side_blend_images": [*images, "--backbone", "tiny_net"],
        "few_shot_images": ["--data", m.shades, "--backbone", "tiny_net", "--weights", "none", "--way", 3, "--shots",
                            "1,3", "--queries", 3, "--episodes", 200, *out],
        "bert_text": texts, "minilm_text": texts,
        "side_blend_text": [*texts, "--head", "blend:side=ngrams,rate=0.01"],
        "tag_tokens": token_words("tag_tokens", m.tags, m, folder)[2:],
        "parse_dependencies": token_words("parse_dependencies", m.treebank, m, folder)[2:],
    }
    runs = {name: ["run", *([] if name == "tiny_images" else [name]), *more, "--name", name]
            for name, more in words.items()}
    runs["distil_to_tflite"] = ["run", "distil_to_tflite", "--teacher", folder / "out/tiny_images", "--name",
                                "distil_to_tflite", "--backbone", "tiny_net", "--weights", "none", "--epochs", 1,
                                "--tflite", "none", *out]
    model = folder / "out/tiny_images"
    runs["features"] = ["features", m.images, "--out", folder / "x.npz", "--backbone", "tiny_net", *PLAIN[:6],
                        "--workers", 2, *cached(folder)]
    runs["compare"] = ["compare", m.images, "--backbones", "tiny_net", "--seeds", 2, *PLAIN[:6], "--out",
                       folder / "comparison", *cached(folder)]
    runs["predict"] = ["predict", model, m.images, "--out", folder / "p.csv", "--isolate", "on", *cached(folder)]
    runs["export"] = ["export", model, "--tflite", "fp32", "--new-version", *cached(folder)]
    return runs


@dataclass
class Requests:
    """Asks a server for predictions until it is stopped. failed: what was no prediction."""

    address: str
    image: bytes
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    stopped: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        """Send requests, one after another."""
        image = {"instances": [{"b64": base64.b64encode(self.image).decode()}]}
        while not self.stopped.wait(PAUSE):
            try:
                with urllib.request.urlopen(f"{self.address}/v1/models/{SERVED}:predict", json.dumps(image).encode(),
                                            timeout=300) as answer:
                    self.answered += "label" in answer.read().decode()
            except OSError as error:
                self.failed[str(error)] += 1


def bytes_in(folder: Path) -> int:
    """Of all files below a folder."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.lstat().st_size if path.is_file() else 0
    return total


def held_by(pid: int) -> dict[str, int]:
    """What a process holds."""
    about = Path(f"/proc/{pid}")
    maps = (about / "maps").read_text().splitlines()
    return {"threads": len(list((about / "task").iterdir())), "files": len(list((about / "fd").iterdir())),
            "segments": sum("/dev/shm" in line or "/memfd:" in line for line in maps),
            "MiB": int((about / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20}


def left_behind(folder: Path, tmp: Path, before: float) -> list[str]:
    """Partial files that no process holds, and temporary files, which are older than a time."""
    found = []
    for path in [*folder.rglob("*.part"), *tmp.iterdir()]:
        with suppress(FileNotFoundError, BlockingIOError):
            if path.lstat().st_mtime < before:
                handle = hold(path)
                if handle is not None:
                    os.close(handle)
                found.append(str(path))
    return found


class LongRun:
    """The run. faults: what was wrong, in words."""

    def __init__(self, server: Server, folder: Path, seed: int) -> None:
        self.server, self.folder, self.chance = server, folder, random.Random(seed)
        self.material = make_material(server, folder / "material")
        self.jobs = jobs(self.material, folder)
        self.costs = dict.fromkeys(self.jobs, FIRST)
        self.waiting: list[str] = []
        self.runs, self.kills, self.done = 0, 0, set[str]()
        self.faults: list[str] = []
        self.first: dict[str, int] = {}
        shutil.copytree(self.material.model / "1", folder / "out" / SERVED / "1")
        self.serving, self.requests = self.serve()

    def lap(self, number: int) -> None:
        """Run six commands. All of them have had their turn before one has it again."""
        start = time.time()
        for _ in range(LAP):
            if not self.waiting:
                self.waiting = self.chance.sample([*self.jobs], len(self.jobs))
            name = self.waiting.pop()
            while self.chance.random() < KILLED:
                self.kill(name)
            self.finish(name)
        self.tidy()
        self.look(number, start)

    def kill(self, name: str) -> None:
        """Kill a run at a random moment: before a change to a file, or at any time."""
        self.kills += 1
        seconds, changes = self.costs[name]
        if self.chance.random() < 0.5:
            self.server.start(self.jobs[name], die_at=self.chance.randint(1, changes)).end(PATIENT)
            return
        self.server.start(self.jobs[name]).kill_after(self.chance.uniform(0, seconds), PATIENT)

    def finish(self, name: str) -> None:
        """Run to the end, which has to be a good one."""
        make_older(self.folder)  # the run spares what may be about to be locked
        start, run = time.monotonic(), self.server.start(self.jobs[name])
        ended = run.end(PATIENT)
        self.runs += 1
        if not ended.code:
            self.costs[name] = time.monotonic() - start, run.changes()
            self.done.add(name)
        else:
            self.faults.append(f"{name}: exit code {ended.code}: {ended.err[-2000:]}")
            print(self.faults[-1], flush=True)

    def serve(self) -> tuple[Run, Requests]:
        """Start the server, and the thread that asks it."""
        port = free_port()
        serving = self.server.start(["serve", self.folder / "out", "--port", 0, "--rest-api-port", port])
        requests = Requests(f"http://127.0.0.1:{port}", next(self.material.images.rglob("*.png")).read_bytes())
        while True:
            with suppress(OSError):
                urllib.request.urlopen(f"{requests.address}/v1/models/{SERVED}", timeout=60).close()
                break
            assert self.server.code_of(serving.pid) is None, serving.files[1].read_text()
            time.sleep(0.5)
        threading.Thread(target=requests.work, daemon=True).start()
        return serving, requests

    def tidy(self) -> None:
        """What an operator does from time to time."""
        self.server.run("cache", "--limit", CACHE_GB, *cached(self.folder))
        for home in (self.folder / "out").iterdir():
            numbers = sorted(int(path.name) for path in home.iterdir() if path.name.isdecimal())
            for number in numbers[:-KEPT]:
                shutil.rmtree(home / str(number))

    def look(self, number: int, start: float) -> None:
        """Print what there is, and note what is too much."""
        versions = [path for path in (self.folder / "out").glob("*/*") if path.name.isdecimal()]
        sizes = {name: bytes_in(self.folder / name) for name in ("cache", "out")}
        left = left_behind(self.folder, self.server.folder / "tmp", start)
        strays = set(self.server.strays()) - {self.serving.pid, *descendants(self.serving.pid)}
        held = held_by(self.serving.pid)
        self.first = self.first or held
        forker = held_by(self.server.pid)
        print(f"lap {number}: {self.runs} runs, {self.kills} kills; cache {sizes['cache'] / 2**20:.1f} MiB, out "
              f"{sizes['out'] / 2**20:.1f} MiB in {len(versions)} versions, {len(left)} files left behind, "
              f"{len(strays)} processes left over; server {held}, {self.requests.answered:,} answers, "
              f"{sum(self.requests.failed.values())} failed; {forker['files']} files of the process that forks",
              flush=True)
        self.faults += [f"lap {number}: left behind: {path}" for path in left]
        self.faults += [f"lap {number}: process {pid} is left over: {command_of(pid)}" for pid in strays]
        if sizes["cache"] > MOST_CACHE or sizes["out"] > MOST_VERSION * len(versions):
            self.faults.append(f"lap {number}: the disk: {sizes}")
        self.faults += [f"lap {number}: the server has {held[name]} {name}, {self.first[name]} after the first lap"
                        for name, most in GROWTH.items() if held[name] > self.first[name] + most]

    def close(self) -> None:
        """Stop the server, which has to end well."""
        self.requests.stopped.set()
        self.faults += [f"request: {what} ({count} times)" for what, count in self.requests.failed.items()]
        os.kill(self.serving.pid, signal.SIGTERM)
        if (ended := self.serving.end(PATIENT)).code:
            self.faults.append(f"the server: exit code {ended.code}: {ended.err[-2000:]}")


def main(minutes: float, seed: int) -> int:
    """All of it. Returns the exit code."""
    start, number = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="long-run-") as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/home"
        server = Server(Path(name) / "runs")
        try:
            run = LongRun(server, Path(name), seed)
            print(f"{len(run.jobs)} commands, {sum(words[0] == 'run' for words in run.jobs.values())} of them recipes; "
                  f"seed {seed}", flush=True)
            while time.monotonic() - start < 60 * minutes:
                number += 1
                run.lap(number)
            run.close()
        finally:
            server.close()
    print(f"{(time.monotonic() - start) / 60:.1f} minutes, {number} laps, {run.runs} runs to the end of "
          f"{len(run.done)} commands, {run.kills} kills, {len(run.faults)} faults", *run.faults, sep="\n")
    return 1 if run.faults else 0


if __name__ == "__main__":
    raise SystemExit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 120.0,
                          int(sys.argv[2]) if len(sys.argv) > 2 else 0))
