"""LiteRT for browsers on the server's side: what is found, what is sent, and when the page says no."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from served import half_plus, serving

from kerastl.errors import OptionError
from kerastl.server.options import ServerOptions
from kerastl.server.page.in_browser import in_browser
from kerastl.server.page.web_runtime import BARE, CORE, FILES, HERE, OURS, TESTED, UTILS, WebRuntime, find_runtime
from kerastl.versions.record import RunRecord


def installed(folder: Path, version: str = TESTED) -> Path:
    """A folder laid out as npm leaves it."""
    for path in FILES.values():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"// {path}\n")
    (folder / FILES["litert.js"]).write_text(f"import {{ createWasmLib }} from {BARE};\n")
    (folder / CORE / "package.json").write_text(json.dumps({"version": version}))
    return folder


def test_the_lock_file_names_the_tested_version_its_hashes_and_no_host() -> None:
    lock = json.loads((HERE / "package-lock.json").read_text())
    for path in (CORE, UTILS):
        package = lock["packages"][path.as_posix()]
        assert package["version"] == TESTED and package["integrity"].startswith("sha512-")
        assert package["license"] == "Apache-2.0" and "resolved" not in package


def test_a_folder_without_the_packages_is_refused_with_the_command(tmp_path: Path) -> None:
    for damage in ("nothing is there", *FILES.values(), CORE / "package.json"):
        folder = tmp_path / str(damage).replace("/", "-")
        if isinstance(damage, Path):
            (installed(folder) / damage).unlink()
        with pytest.raises(OptionError, match=rf"`web_runtime` is .*(?s:.*)@litertjs/core@{TESTED}"):
            find_runtime(str(folder))
    for text in ("", "[]", "{}", "{"):
        (installed(tmp_path / "named") / CORE / "package.json").write_text(text)
        with pytest.raises(OptionError, match="states no version"):
            find_runtime(str(tmp_path / "named"))
    (installed(tmp_path / "other") / FILES["litert.js"]).write_text("laid out anew")
    with pytest.raises(OptionError, match="laid out in a way"):
        find_runtime(str(tmp_path / "other"))


def test_another_version_is_used_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerastl.server.page.web_runtime.log.propagate", True)
    runtime = find_runtime(str(installed(tmp_path, "9.9.9")))
    assert runtime is not None and runtime.version == "9.9.9"
    assert f"LiteRT 9.9.9; kerastl was tested with {TESTED}" in caplog.text


def test_a_wrong_folder_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    from kerastl.server.serve import serve

    with pytest.raises(OptionError, match="`web_runtime`"):
        serve(half_plus(tmp_path / "half").parent, web_runtime=str(tmp_path / "nowhere"))


def test_the_server_sends_the_packages_and_the_policy_admits_webassembly_only_then(tmp_path: Path) -> None:
    half_plus(tmp_path / "half")
    runtime = find_runtime(str(installed(tmp_path / "web")))
    with serving(tmp_path / "half", ServerOptions(web_runtime=runtime)) as server:
        for name, path in FILES.items():
            status, text = server.ask(f"/kerastl/litert/{name}")
            assert status == 200 and (name == "litert.js" or text == f"// {path}\n")
        script = server.ask("/kerastl/litert/litert.js")[1]
        assert OURS in script and BARE not in script and "Apache-2.0" in script and "Changed by kerastl" in script
        assert "Apache License" in server.ask("/kerastl/litert/LICENSE")[1]
        for name in ("package.json", "..%2f..%2f..%2fpackage.json", "%2e%2e", ".."):
            assert server.ask(f"/kerastl/litert/{name}")[0] == 404, name
        assert server.ask("/kerastl/litert/litert.js", headers={"Host": "elsewhere.example"})[0] == 403
        assert scripts(server.headers("/")) == "script-src 'self' 'wasm-unsafe-eval'"
    with serving(tmp_path / "half") as server:
        assert server.ask("/kerastl/litert/litert.js")[0] == 404
        assert scripts(server.headers("/")) == "script-src 'self'"


def scripts(headers: dict[str, str]) -> str:
    return next(part.strip() for part in headers["Content-Security-Policy"].split(";") if "script-src" in part)


@pytest.mark.slow
def test_a_version_sends_its_first_tflite_file(trained: Path) -> None:
    with serving(trained) as server:
        (about,) = server.ask("/kerastl/models")[1]["models"]
        assert "not installed" in about["in_browser"]["refused"]
        base = f"/kerastl/models/{about['name']}/{about['version']}"
        status, content = server.content(f"{base}/tflite")
        assert status == 200 and content == (trained / "tflite/model_fp32.tflite").read_bytes()
        assert server.content(f"{base}/vocabulary")[0] == 404
        for path in (f"/kerastl/models/{about['name']}/99/tflite", f"{base}/model.keras"):
            assert server.content(path)[0] == 404
        assert server.ask(f"{base}/tflite", headers={"Origin": "https://elsewhere.example"})[0] == 403


def test_the_page_is_told_what_the_file_takes_or_why_it_cannot_be_run(trained: Path, tmp_path: Path) -> None:
    record, runtime = RunRecord.read(trained), WebRuntime(tmp_path, TESTED)
    facts = in_browser(trained, record, runtime)
    assert facts["refused"] == "" and facts["file"] == "model_fp32.tflite"
    assert facts["input"] == {"size": record.input["size"]}
    assert facts["bytes"] == (trained / "tflite/model_fp32.tflite").stat().st_size
    assert "no TFLite file" in in_browser(tmp_path, record, runtime)["refused"]
    (tmp_path / "tflite").mkdir()
    (tmp_path / "tflite/model_int8.tflite").write_bytes(b"x")
    assert in_browser(tmp_path, record, runtime)["file"] == "model_int8.tflite"


@pytest.mark.parametrize(("rules", "changes", "reason"), [
    ({"kind": "wordpiece"}, {}, ""), ({"kind": "bpe"}, {}, "WordPiece"), ({}, {}, "no tokenizer files"),
    ([], {}, "cannot be read"),
    ({"kind": "wordpiece"}, {"pair": True}, "pairs"), ({"kind": "wordpiece"}, {"long": "head+tail"}, "beginning")])
def test_texts_run_where_the_page_can_tokenize_them(trained: Path, tmp_path: Path, rules: object,
                                                    changes: dict[str, object], reason: str) -> None:
    (tmp_path / "tflite").mkdir()
    (tmp_path / "tflite/model_fp16.tflite").write_bytes(b"x")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/about.json").write_text(json.dumps(rules))
    record = replace(RunRecord.read(trained), input={"max_length": 16, "long": "head", "pair": False, **changes})
    facts = in_browser(tmp_path, record, WebRuntime(tmp_path, TESTED))
    if reason:
        assert reason in facts["refused"]
    else:
        assert facts["input"] == {"tokenizer": {"kind": "wordpiece", "max_length": 16, "beyond": 0}}
