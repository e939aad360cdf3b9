"""The page of a server and what it saves, without a browser; in one: `make test-browser`."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from served import half_plus, serving

from kerastl.server.options import ServerOptions
from kerastl.server.page import Recording
from kerastl.server.page.in_browser import _tokenizer, tflite_file

HINDI = "\u092c\u093f\u0932\u094d\u0932\u0940"  # with vowel signs, which are marks and no letters
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


@pytest.mark.slow
def test_the_report_and_the_card_are_those_of_the_version(trained: Path) -> None:
    with serving(trained) as server:
        (about,) = server.ask("/kerastl/models")[1]["models"]
        base = f"/kerastl/models/{about['name']}/{about['version']}"
        assert about["modality"] == "image" and len(about["classes"]) == 3 and 0 <= about["accuracy"] <= 1
        assert server.ask(f"{base}/report")[1] == (trained / "report.html").read_text()
        assert server.ask(f"{base}/card")[1] == (trained / "MODEL_CARD.md").read_text()


def test_a_link_that_leads_out_of_a_version_is_not_followed(tmp_path: Path) -> None:
    """A version folder may come from elsewhere."""
    version, secret = half_plus(tmp_path / "half"), tmp_path / "secret"
    secret.write_text("not for everyone")
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"kind": "secret"}))
    for name in ("tflite", "tokenizer"):
        (version / name).mkdir()
    names = {"report": "report.html", "card": "MODEL_CARD.md", "tflite": "tflite/model_fp32.tflite",
             "vocabulary": "tokenizer/vocab.txt"}
    for name in names.values():
        (version / name).symlink_to(secret)
    (version / "tokenizer/about.json").symlink_to(rules)
    (version / "tflite/model_fp16.tflite").symlink_to("model_fp16.tflite")  # in a circle
    assert _tokenizer(version) == {} and tflite_file(version) is None
    with serving(tmp_path / "half") as server:
        (about,) = server.ask("/kerastl/models")[1]["models"]
        assert about["report"] is about["card"] is False
        for part in names:
            status, text = server.ask(f"/kerastl/models/half/1/{part}")
            assert status == 404 and "is not part of this version" in text
        (version / "report.html").unlink()
        (version / "report.html").symlink_to("text")
        (version / "text").write_bytes(b"inside, and not UTF-8: \xff")
        assert server.content("/kerastl/models/half/1/report") == (200, b"inside, and not UTF-8: \xff")


def test_images_are_recorded_only_with_the_token_and_under_a_label(tmp_path: Path) -> None:
    half_plus(tmp_path / "half")
    folder = tmp_path / "recorded"
    with serving(tmp_path / "half", ServerOptions(record=str(folder))) as server:
        token = server.ask("/kerastl/models")[1]["record"]
        right = {"X-Kerastl-Token": token}
        assert server.ask("/kerastl/record?label=cat", JPEG)[0] == 403
        assert server.ask("/kerastl/record?label=cat", JPEG, {"X-Kerastl-Token": "guessed"})[0] == 403
        assert server.ask("/kerastl/record?label=cat", JPEG, right | {"Origin": "https://elsewhere.example"})[0] == 403
        assert server.ask("/kerastl/record?label=cat", JPEG, {"X-Kerastl-Token": "caf\u00e9"})[0] == 403
        for label in ("", "..", "../up", "a/b", ".hidden", "x" * 81, "a%00b", quote("\U00020000" * 70)):
            assert server.ask(f"/kerastl/record?label={label}", JPEG, right)[0] == 400, label
        assert server.ask("/kerastl/record?label=cat", b"<html>", right)[0] == 400
        assert not folder.exists()
        assert server.ask("/kerastl/record?label=house%20cat", JPEG, right)[1]["recorded"] == 1
        assert server.ask(f"/kerastl/record?label={quote(HINDI)}", JPEG, right)[1]["recorded"] == 2
        (folder / "file").write_text("no folder")
        status, reason = server.ask("/kerastl/record?label=file", JPEG, right)
        assert status == 507 and "cannot be saved: File exists" in reason
        assert server.ask("/kerastl/record?label=house%20cat", JPEG, right)[1]["recorded"] == 3
    saved = list(folder.rglob("*.jpg"))
    assert sorted(path.parent.name for path in saved) == ["house cat", "house cat", HINDI]
    assert {path.read_bytes() for path in saved} == {JPEG}


def test_a_session_records_no_more_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerastl.server.page.MOST", 2)
    recording = Recording(tmp_path)
    recording.save("a", JPEG)
    recording.save("a", JPEG)
    with pytest.raises(ValueError, match="limit"):
        recording.save("a", JPEG)
