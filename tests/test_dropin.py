"""A new backbone, head or recipe is one file: it is listed, swept and run without another edit."""

import json
from collections.abc import Callable
from pathlib import Path

from kerastl.backbones import specs
from kerastl.heads import heads

Shell = Callable[..., tuple[int, str, str]]


def test_a_backbone_of_one_file_is_found_and_listed(shell: Shell) -> None:
    assert "tiny_net" in specs()
    code, out, _ = shell("backbones", "--json")
    assert code == 0 and "tiny_net" in [one["name"] for one in json.loads(out)["backbones"]]


def test_a_head_of_one_file_is_found_and_listed(shell: Shell) -> None:
    assert "shallow" in heads()
    code, out, _ = shell("heads")
    assert code == 0 and "shallow" in out


def test_a_recipe_of_one_file_is_found_and_listed(shell: Shell) -> None:
    code, out, _ = shell("recipes", "--json")
    assert code == 0 and "tiny_images" in [one["name"] for one in json.loads(out)["recipes"]]


def test_a_recipe_is_copied_to_be_changed_and_never_over_a_file(shell: Shell, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = shell("recipes", "--copy", "tiny_images")
    assert code == 0 and (tmp_path / "tiny_images.py").is_file()
    code, _, err = shell("recipes", "--copy", "tiny_images")
    assert code == 2 and "exists" in err
    code, out, _ = shell("run", "tiny_images.py", "--help")
    assert code == 0 and "--data" in out
