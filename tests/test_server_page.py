"""The page of a server and what it saves, without a browser; in one: `make test-browser`."""

from pathlib import Path

import pytest
from served import half_plus, serving

from kerastl.server.options import ServerOptions
from kerastl.server.page import Recording

JPEG = b"\xff\xd8\xff\xe0 the rest"


def test_the_page_loads_nothing_from_elsewhere_and_names_the_models(tmp_path: Path) -> None:
    half_plus(tmp_path / "half")
    with serving(tmp_path / "half") as server:
        for path in ("/", "/kerastl/page.js", "/kerastl/page.css"):
            status, text = server.ask(path)
            assert status == 200 and "https://" not in text and "http://" not in text, path
        status, about = server.ask("/kerastl/models")
        assert about == {"record": None, "models": [
            {"name": "half", "version": 1, "input": "x", "modality": None, "classes": [], "explained": False,
             "report": False, "card": False}]}
        assert server.ask("/kerastl/models/half/1/report")[0] == 404
        assert server.ask("/kerastl/models/half/9/card")[0] == 404
        assert server.ask("/kerastl/record?label=a", JPEG)[0] == 404  # only with `record`
        for path in ("/", "/kerastl/models"):
            assert server.ask(path, headers={"Host": "elsewhere.example"})[0] == 403


def test_the_report_and_the_card_are_those_of_the_version(trained: Path) -> None:
    with serving(trained) as server:
        (about,) = server.ask("/kerastl/models")[1]["models"]
        base = f"/kerastl/models/{about['name']}/{about['version']}"
        assert about["modality"] == "image" and len(about["classes"]) == 3 and 0 <= about["accuracy"] <= 1
        assert server.ask(f"{base}/report")[1] == (trained / "report.html").read_text()
        assert server.ask(f"{base}/card")[1] == (trained / "MODEL_CARD.md").read_text()


def test_images_are_recorded_only_with_the_token_and_under_a_label(tmp_path: Path) -> None:
    half_plus(tmp_path / "half")
    folder = tmp_path / "recorded"
    with serving(tmp_path / "half", ServerOptions(record=str(folder))) as server:
        token = server.ask("/kerastl/models")[1]["record"]
        right = {"X-Kerastl-Token": token}
        assert server.ask("/kerastl/record?label=cat", JPEG)[0] == 403
        assert server.ask("/kerastl/record?label=cat", JPEG, {"X-Kerastl-Token": "guessed"})[0] == 403
        assert server.ask("/kerastl/record?label=cat", JPEG, right | {"Origin": "https://elsewhere.example"})[0] == 403
        for label in ("", "..", "../up", "a/b", ".hidden", "x" * 81, "a%00b"):
            assert server.ask(f"/kerastl/record?label={label}", JPEG, right)[0] == 400, label
        assert server.ask("/kerastl/record?label=cat", b"<html>", right)[0] == 400
        assert not folder.exists()
        assert server.ask("/kerastl/record?label=house%20cat", JPEG, right)[1]["recorded"] == 1
    (saved,) = folder.rglob("*.jpg")
    assert saved.parent.name == "house cat" and saved.read_bytes() == JPEG


def test_a_session_records_no_more_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerastl.server.page.MOST", 2)
    recording = Recording(tmp_path)
    recording.save("a", JPEG)
    recording.save("a", JPEG)
    with pytest.raises(ValueError, match="limit"):
        recording.save("a", JPEG)
