"""The pages in a real browser, by hand: `make test-browser`. Needs Debian's package chromium; nothing is fetched.

Every name in the data is hostile. In each page, no script of the data may run, nothing may be asked of a network, and
the browser may have nothing to complain of.
"""

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import draw
from markdown_it import MarkdownIt

Shell = Callable[..., tuple[int, str, str]]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt install chromium")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
         "--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom")
OWN = re.compile(r"https?://[\w.-]+\.(google|googleapis|gvt1)\.com/")  # what Chromium asks for by itself
OWNED = "document.title='owned'"
NAMES = (f"<script>{OWNED}</script>", f"\"><img src=x onerror={OWNED}>", f"' onmouseover='{OWNED}' a='",
         "\x1b[31m\x07red\x1b]0;owned\x07", "\u202egnp.exe", "two\nlines\r\n| a | b |", "=1+1", "{{ 7*7 }}{% raw %}",
         f"[a](javascript:{OWNED})", "<style>*{display:none}</style><iframe srcdoc=x>")
INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of images whose labels and files have these names."""
    folder, rows = tmp_path_factory.mktemp("hostile") / f"<b>&amp;{NAMES[1]}", []
    for c, label in enumerate(NAMES):
        for i in range(11):
            name = label.replace("/", "\u2215").replace("\0", "")[:60] + f"{i}.png"
            draw(folder / f"{c}" / name, (20 * c + 10, 250 - 20 * c, 90 + 60 * (c % 2)), 100 * c + i)
            rows.append((str(folder / f"{c}" / name), label if i < 10 else NAMES[c - 1]))  # some labels are wrong
    with (folder / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return folder / "t.csv"


def opened(page: Path, folder: Path) -> str:
    """The document as the browser has it, after what was to run has run. Fails if the browser complains or asks for
    anything but the page."""
    log = folder / f"{page.stem}.net.json"
    done = subprocess.run([str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}",
                           page.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert console == [], console
    requested = [url for url in re.findall(r'"url":"((?:https?|wss?|ftp):[^"]*)"', log.read_text(errors="replace"))
                 if not OWN.match(url)]
    assert requested == [], requested
    return done.stdout


class Tags(HTMLParser):
    """The tags of a document with their attributes, its title and its text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.title = self.text = ""
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.title += data if self.tags and self.tags[-1][0] == "title" and not self.title else ""
        self.text += data


def check_page(page: Path, folder: Path) -> Tags:
    """The document of a page in which nothing of the data did anything."""
    written, document = Tags(page.read_text(encoding="utf-8")), opened(page, folder)
    shown = Tags(document)
    assert shown.title == written.title and "owned" not in shown.title.partition(" ")[0]
    for tag, attributes in shown.tags:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form"), tag
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), (tag, attributes)
    hidden = INVISIBLE.search(document)
    assert not hidden, document[max(0, hidden.start() - 80):hidden.end() + 20]
    assert "{{ 7*7 }}" in shown.text or "49" not in shown.text.split()
    return shown


def thumbnails(page: Tags) -> int:
    """How many images a page has."""
    return sum(tag == "img" and str(attributes.get("src")).startswith("data:image/jpeg;base64,")
               for tag, attributes in page.tags)


def test_the_browser_would_show_what_these_tests_look_for(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(f"<!doctype html><title>mine</title><p>{NAMES[0]}<script>console.error('seen')</script>")
    with pytest.raises(AssertionError, match="seen"):
        opened(page, tmp_path)
    page.write_text(f"<!doctype html><title>mine</title><p>{NAMES[0]}")
    assert "<title>owned</title>" in opened(page, tmp_path)
    page.write_text("<!doctype html><title>mine</title><img src=http://127.0.0.1:9/x.png>")
    with pytest.raises(AssertionError, match="127.0.0.1"):
        opened(page, tmp_path)


def test_the_report_and_the_model_card(table: Path, tmp_path: Path, shell: Shell) -> None:
    code, _, err = shell("run", "tiny_images", "--data", table, "--name", "m", "--out", tmp_path, "--weights", "none",
                         "--tflite", "none", "--cache-dir", tmp_path / "cache", "--multi-label", "off")
    assert code == 0, err
    report = check_page(tmp_path / "m/1/report.html", tmp_path)
    record = json.loads((tmp_path / "m/1/run.json").read_text())
    assert thumbnails(report) >= len(record["test"]["mistakes"]) > 0
    assert NAMES[0] in report.text  # shown as it is written
    card = (tmp_path / "m/1/MODEL_CARD.md").read_text()
    page = tmp_path / "card.html"
    rendered = MarkdownIt("commonmark", {"html": True}).render(card)  # HTML in it is passed on
    page.write_text(f"<!doctype html><meta charset=utf-8><title>card</title>{rendered}", encoding="utf-8")
    check_page(page, tmp_path)


def test_the_page_of_check(table: Path, tmp_path: Path, shell: Shell) -> None:
    copy = table.with_name("twin.png")
    shutil.copy(next((table.parent / "0").iterdir()), copy)
    with table.open(newline="") as file:
        rows = [*csv.reader(file), [str(copy), NAMES[1]], ["gone<script>.png", NAMES[0]]]
    with (table.parent / "u.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    code, _, err = shell("check", table.parent / "u.csv", "--backbone", "tiny_net", "--weights", "none", "--html",
                         tmp_path / "check.html", "--cache-dir", tmp_path / "cache", "--multi-label", "off")
    assert code == 0, err
    assert thumbnails(check_page(tmp_path / "check.html", tmp_path)) >= 2


def test_the_page_of_a_comparison(table: Path, tmp_path: Path, shell: Shell) -> None:
    code, _, err = shell("compare", table, "--backbones", "tiny_net", "--heads", "linear,mlp", "--weights", "none",
                         "--seeds", "1", "--epochs", "2", "--out", tmp_path, "--cache-dir", tmp_path / "cache",
                         "--multi-label", "off")
    assert code == 0, err
    assert "svg" in dict(check_page(tmp_path / "report.html", tmp_path).tags)
