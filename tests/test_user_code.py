"""Files of the user's own that are run as modules."""

from pathlib import Path

import pytest

from kerastl.errors import OptionError
from kerastl.user_code import is_user_file, load_user_module


def test_a_file_runs_once_per_content_and_its_hash_is_that_of_its_bytes(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "mine.py"
    path.write_text("import dataclasses\nVALUE = 3\n@dataclasses.dataclass\nclass Thing:\n    size: 'int' = 1\n")
    module, digest = load_user_module(path, "head")
    assert module.VALUE == 3 and module.Thing().size == 1
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_user_module(str(path), "head") == (module, digest)
    path.write_text("VALUE = 4\n")
    changed, other = load_user_module(path, "head")
    assert changed.VALUE == 4 and other != digest and module.VALUE == 3


def test_what_cannot_be_run_is_refused_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no such file"):
        load_user_module(tmp_path / "absent.py", "head")
    path = tmp_path / "broken.py"
    for text, message in (("x = 1\nx.y\n", "AttributeError in line 2"), ("def f(:\n", "SyntaxError in line 1")):
        path.write_text(text)
        with pytest.raises(OptionError, match=message) as refused:
            load_user_module(path, "backbone")
        assert "`backbone`" in str(refused.value) and refused.value.__cause__ is not None


def test_a_name_with_the_ending_of_python_is_a_file() -> None:
    assert is_user_file("./my_head.py") and not is_user_file("linear")
