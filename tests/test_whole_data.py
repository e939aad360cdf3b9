"""A random data set, written in any form that is supported, is read as the same rows, labels, groups and split.

The same means: each text equal and in order, and each image byte by byte, with the hash of its content as id; labels in
their normal form; the same split; and the same rows together in groups, where rows of equal content share one. What is
not plain has to be printed. Only where a form says so may a message come instead, which names the file and the cause.

KERASTL_PROPERTIES=20000 tries more data sets than the 500 of the usual run.
"""

import contextlib
import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from data_forms import Form, Row, Variant, Written, plain
from folder_forms import TEXT_FOLDERS, for_folders
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from image_forms import FORMATS, IMAGE_FORMS, Picture
from refused_forms import REFUSED, Refused
from table_forms import SEVERAL, TEXT_TABLES

from kerastl.data.examples import Examples
from kerastl.data.images import read_images
from kerastl.data.texts import read_texts
from kerastl.errors import KerastlError

ROOT = Path(__file__).parent.parent
FORMS = (*TEXT_TABLES, *SEVERAL, *TEXT_FOLDERS, *IMAGE_FORMS)
EXAMPLES = int(os.environ.get("KERASTL_PROPERTIES", 500))

# Data sets

WILD = st.characters(exclude_categories=["Cs"]) | st.sampled_from(
    list(" ,;|\t\"'\\\n\r#=-_.0aé日\u00a0\u2028\u0085\0\u200b\u200d\u0301\ufeffא👍"))
SPECIAL = ("-awful film", "=1+1", "+1", "@home", 'she said "no", twice', "שלום, עולם", "👩\u200d👩\u200d👧 was there",
           "one\r\ntwo\n", "NaN", "None", "null", "0", "1.0", "True", "https://example.org/a?b=c|d", "\\", 'a\\"b', '"',
           '""', "'single'", "1,5", " blanks around ", "\ufeffmark", "a,b;c\td|e", "Hardware | Software", "sep=;",
           "text", "label", "cafe\u0301", "{\"text\": 1}", "[1]", "<b>", "a\\", "\\n", "x" * 300)
TEXTS = st.text(WILD, min_size=1, max_size=20) | st.sampled_from(SPECIAL) | st.builds(
    "{}{}".format, st.sampled_from(SPECIAL), st.text(WILD, max_size=8))
LABELS = st.sampled_from([*SPECIAL[:-1], "train", "Test", "-1", "a|b", "b|a", "Spam", "spam", "日本", "a-b", "C++"]
                         ) | st.text(WILD, min_size=1, max_size=8)
# Words of one language, for legacy encodings
WESTERN = ("le café était déjà fermé et très décevant mais la crème brûlée à côté reste élégante où ça élève",
           "für größere müßte man süß zahlen und schöne Grüße aus Köln der Ärger über die Öffnung wäre möglich",
           "qué más señor año niño mañana está aquí también corazón película música fácil después así",
           "não coração é à também são você está até avó pão mãe ação informação português já três",
           "smörgåsbord blåbär på för att också många små öl år får möte själv någon hälsa så älska",
           "køb æble på når også være måde små år får gør hører blå sø", "perché è più già città così può università",
           "fjörður það þetta ég á íslensku maður góður saga úr og þú ert bók sól við hús")
LANGUAGES = {"cp1252": WESTERN, "latin-1": WESTERN,
             "cp1251": ("очень хороший фильм и мне понравилось что он был снят не зря спасибо жизнь человек день",),
             "cp1253": ("πολύ καλή ταινία και μου άρεσε που ήταν η ζωή άνθρωπος μέρα ευχαριστώ απλά",),
             "cp932": ("とても 良い 映画 でした 本当に 面白かった です ありがとう 人生 毎日 これは 素晴らしい",),
             "gb18030": ("非常 好看 的 电影 我 喜欢 这部 片子 生活 每天 谢谢 真的 很好",),
             "cp949": ("정말 좋은 영화 였습니다 감사합니다 사람 인생 매일 이것은 훌륭한 너무 재미있게",)}
BEHIND = ("", ".", ", \"x\"", "\n-", "; \\", " – “no”; 5 €", " ½ « ah »")  # the last two only in cp1252 and latin-1


def is_text(text: str) -> bool:
    """Whether there is something to read: not only blanks and control characters."""
    return any(not mark.isspace() and unicodedata.category(mark) != "Cc" for mark in text)


def in_codec(draw: st.DrawFn, codec: str) -> tuple[st.SearchStrategy[str], st.SearchStrategy[str]]:
    """Texts and labels of one language that a legacy encoding can hold, long enough to show it."""
    words = draw(st.sampled_from(LANGUAGES[codec])).split()
    western = LANGUAGES[codec] is WESTERN
    few = st.lists(st.sampled_from(words), min_size=3, max_size=20)
    prose = (few if western else st.permutations(words)).map(" ".join)
    texts = st.builds("{}{}".format, prose, st.sampled_from(BEHIND if western else BEHIND[:-2]))
    return (texts.map(lambda text: text.encode(codec, "ignore").decode(codec)),
            st.sampled_from([*words, "0", "positive", f"{words[0]}, {words[1]}"]))


@st.composite
def data_sets(draw: st.DrawFn, form: Form) -> tuple[list[Row], Variant]:
    """Rows that a form can hold, and one value of each of its variants."""
    variant = {name: draw(st.sampled_from(values)) for name, values in form.variants.items()}
    all_texts, all_labels = in_codec(draw, variant["codec"]) if form.words else (TEXTS, LABELS)
    texts = all_texts.map(lambda text: form.text(text, variant)).filter(is_text)
    items: dict[str, st.SearchStrategy[Any]] = {
        "text": texts, "pair": st.tuples(texts, texts),
        "image": st.builds(Picture, st.integers(0, 30), st.sampled_from([".png", *FORMATS]))}
    labels = draw(st.lists(all_labels.map(lambda label: form.label(label, variant)).filter(
        lambda label: plain(label) and label.strip()), min_size=2, max_size=4, unique_by=plain))
    if form.label is for_folders:  # folders that are all named like splits are taken for splits
        assume(not set(labels) <= {"train", "Test"})
    several = st.lists(st.sampled_from(labels), unique=True, max_size=3, min_size="joined" in form.name).map(tuple)
    groups = st.just("")
    if form.groups and not form.words and draw(st.booleans()):
        groups = st.sampled_from(["", "A", "b, c", "ü 1", "7", "|"])
    splits = st.just("")
    if form.splits == "all" or (form.splits == "some" and draw(st.booleans())):
        splits = st.sampled_from(["train", "train", "validation", "test", *[""] * (form.splits == "some")])
    count = draw(st.integers(0, 6))
    of_rows = [(label,) for label in labels] + [
        draw(several) if form.several else (draw(st.sampled_from(labels)),) for _ in range(count)]
    rows = [Row(draw(items[form.item]), names, draw(groups), draw(splits)) for names in draw(st.permutations(of_rows))]
    return [Row(rows[0].item, rows[0].labels, rows[0].group, "train" if form.splits == "all" else rows[0].split),
            *rows[1:]], variant


# Reading


def read(form: Form, written: Written, cache: Path) -> tuple[Examples | str, str]:
    """What is read, or the message instead, and what is printed."""
    out, function = io.StringIO(), read_images if form.item == "image" else read_texts
    with contextlib.redirect_stdout(out):
        try:
            found: Examples | str = function(written.source, options=written.options, min_per_class=1, cache_dir=cache)
        except KerastlError as error:
            found = str(error)
    return found, out.getvalue()


Content = tuple[Any, frozenset[str], str]


def content_of(found: Examples, image: bool) -> tuple[list[Content], list[str]]:
    """The item, labels and split of each row that was read, and its group."""
    items = [Path(item).read_bytes() for item in found.items] if image else list(found.items)
    if image:
        assert [hashlib.blake2b(data, digest_size=16).hexdigest() for data in items] == list(found.ids)
    labels = [frozenset(found.classes[i] for i in line.nonzero()[0]) for line in found.one_hot()]
    return list(zip(items, labels, found.source_split, strict=True)), list(found.groups)


def expected_of(rows: Sequence[Row], image: bool) -> tuple[list[Content], list[str]]:
    """The same of the rows that were written. Rows of equal content, or of the same group, are in one group."""
    content = [(row.item.data if image else row.item, frozenset(map(plain, row.labels)), row.split) for row in rows]
    groups = list(range(len(rows)))
    for i, row in enumerate(rows):
        for j in range(i):
            same = content[i][0] == content[j][0] or (row.group and row.group == rows[j].group)
            if same and groups[i] != groups[j]:
                groups = [groups[j] if group == groups[i] else group for group in groups]
    return content, list(map(str, groups))


def with_partners(content: Sequence[Content], groups: Sequence[str]) -> Counter[Any]:
    """Each row, with the items of all rows in its group: names of groups do not matter, nor does the order of rows."""
    together: dict[str, list[Any]] = {}
    for (item, _, _), group in zip(content, groups, strict=True):
        together.setdefault(group, []).append(item)
    return Counter((row, tuple(sorted(together[group]))) for row, group in zip(content, groups, strict=True))


def check(form: Form, rows: Sequence[Row], variant: Variant, folder: Path) -> None:
    (folder / "data").mkdir()
    written = form.write(folder / "data", rows, **variant)
    found, out = read(form, written, folder / "cache")
    if isinstance(found, str):
        assert written.refusal and re.search(written.refusal, found) and str(written.source) in found, found
        return
    image = form.item == "image"
    content, groups = content_of(found, image)
    expected, expected_groups = expected_of(written.rows, image)
    if written.source.is_dir():  # files are read in the order of their names
        assert Counter(content) == Counter(expected), out
    else:
        assert content == expected, out
    assert with_partners(content, groups) == with_partners(expected, expected_groups), out
    assert found.summary.lost == 0 and not found.summary.warnings, out
    for words in written.says:
        assert words in out, f"{words!r} is not printed:\n{out}"


# Derandomized in the usual run, which has to give the same result each time
properties = settings(derandomize="KERASTL_PROPERTIES" not in os.environ, deadline=None, database=None,
                      max_examples=max(1, EXAMPLES // len(FORMS)), print_blob=False,
                      suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_a_data_set_in_any_form_is_read_as_it_is(form: Form) -> None:
    @properties
    @given(data_sets(form))
    def property_holds(data: tuple[list[Row], Variant]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            check(form, *data, Path(folder))

    property_holds()


@pytest.mark.slow
def test_the_page_on_data_is_what_is_read_without_tensorflow() -> None:
    """So these tests are fast, and so are `kerastl check --backbone none` and what else only reads."""
    code = ("import sys, forms; print(forms.read_data())\n"
            "print(sorted({'tensorflow', 'keras', 'keras_hub'} & set(sys.modules)))\n")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env={
        **os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "docs"), os.environ.get("PYTHONPATH", "")])})
    assert done.returncode == 0, done.stderr
    *lines, loaded = (line.rstrip() for line in done.stdout.splitlines())
    assert loaded == "[]"
    page = (ROOT / "docs/reference/data_forms.md").read_text(encoding="utf-8")
    assert "\n".join(lines).strip() in page, "regenerate it: python docs/output.py --quick"
    assert [form.name for form in FORMS if f"\n### {form.name}\n" not in page] == []


@pytest.mark.parametrize("form", REFUSED, ids=[form.about for form in REFUSED])
def test_what_cannot_be_read_is_refused_by_its_cause(form: Refused, tmp_path: Path) -> None:
    source = form.write(tmp_path)
    function: Any = read_images if form.item == "image" else read_texts
    with pytest.raises(KerastlError, match=form.cause) as raised:
        function(source, options=form.options, min_per_class=1)
    assert source.name in str(raised.value) and raised.value.expected and raised.value.hint
