"""Near-duplicates: copies are found, different contents are not, no row moves, and copies do not leak into figures."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.neighbors import KNeighborsClassifier
from tiny import plain_runtime, tiny_backbone

import kerastl as tl
from kerastl.data.examples import TEST, TRAIN, VALIDATION, Examples
from kerastl.data.images import read_images
from kerastl.data.near_duplicates import images, texts
from kerastl.data.near_duplicates.candidates import sharing_a_band
from kerastl.data.near_duplicates.contents import Rows
from kerastl.data.near_duplicates.groups import grouped
from kerastl.data.near_duplicates.hamming import DISTANCE, similar_hashes
from kerastl.data.near_duplicates.pixels import (
    CELLS,
    CROPS,
    SIDE,
    ImagesFile,
    cell_means,
    contrast_of,
    pixel_similarity,
)
from kerastl.data.near_duplicates.pixels import cropped as cropped_pixels
from kerastl.data.near_duplicates.record import NearDuplicateEffect, NearDuplicates
from kerastl.data.near_duplicates.search import find_near_duplicates, near_duplicate_rows, search
from kerastl.data.split import carve, split
from kerastl.data.texts import read_texts
from kerastl.errors import DataError, OptionError
from kerastl.modality import TEXT
from kerastl.report.near_duplicates import near_duplicates_context
from kerastl.report.page import page
from kerastl.report.report import PREVIEWS
from kerastl.training.fine_tuning.result import FineTuneResult
from kerastl.versions.record import RunRecord

quick = settings(derandomize=True, deadline=None, database=None, max_examples=40)
WORDS = ("river stone morning letter garden bottle winter silver window market thunder candle ocean paper mountain "
         "engine copper village shadow lantern harbour meadow orchard needle").split()


def picture(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """A smooth random image with a few hard edges, as photographs have."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse).copy()
    for _ in range(4):
        x, y = rng.integers(0, size[0] - 20), rng.integers(0, size[1] - 20)
        pixels[y:y + rng.integers(8, 20), x:x + rng.integers(8, 20)] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """The image after it was stored as JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def cropped(image: Image.Image, share: float) -> Image.Image:
    """The image without a share of each border."""
    x, y = round(image.width * share), round(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg 90": lambda image: jpeg(image, 90), "jpeg 40": lambda image: jpeg(image, 40),
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "double": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
    "crop 2%": lambda image: cropped(image, 0.02), "crop 5%": lambda image: cropped(image, 0.05)}


def folder_of(root: Path, pictures: dict[str, Image.Image]) -> Path:
    """`root/NAME`, NAME being CLASS/FILE."""
    for name, image in pictures.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
    return root


def groups_of(examples: Examples, **options: Any) -> set[frozenset[str]]:
    """The groups of near-duplicates, as names of rows."""
    return {frozenset(examples.origins[row] for row in rows)
            for rows in near_duplicate_rows(examples, search(examples, **options).group_of)}


def table(path: Path, rows: list[tuple[str, ...]], header: str = "text,label") -> Path:
    """A table of texts."""
    path.write_text("\n".join([header, *(",".join(f'"{cell}"' for cell in row) for row in rows)]) + "\n")
    return path


def sentence(seed: int, words: int) -> str:
    """Random words."""
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))


@pytest.mark.slow
@pytest.mark.parametrize("copy", COPIES)
def test_copies_of_an_image_are_found_and_other_images_are_not(tmp_path: Path, copy: str) -> None:
    pictures = {f"{'ab'[seed % 2]}/{seed}.png": picture(seed) for seed in range(20)}
    copies = {f"{'ab'[seed % 2]}/{seed} copy.png": COPIES[copy](picture(seed)) for seed in range(10)}
    groups = groups_of(read_images(folder_of(tmp_path, pictures | copies)))
    pairs = {frozenset((f"{'ab'[seed % 2]}/{seed}.png", f"{'ab'[seed % 2]}/{seed} copy.png")) for seed in range(10)}
    assert not groups - pairs
    assert len(groups) >= (8 if copy.startswith("crop") else 10)


def test_mirrored_twins_are_found_where_that_is_asked_for(tmp_path: Path) -> None:
    twins = {f"b/{seed}.png": picture(seed).transpose(Image.Transpose.FLIP_LEFT_RIGHT) for seed in range(10)}
    source = folder_of(tmp_path, {f"a/{seed}.png": picture(seed) for seed in range(10)} | twins)
    examples = read_images(source)
    assert groups_of(examples) == set()
    assert groups_of(examples, mirrored=True) == {frozenset((f"a/{seed}.png", f"b/{seed}.png")) for seed in range(10)}


@pytest.mark.slow
def test_images_of_one_colour_are_duplicates_only_where_their_pixels_are_equal(tmp_path: Path) -> None:
    colours = {"a/1.png": (9, 9, 9), "a/2.bmp": (9, 9, 9), "b/1.png": (9, 9, 10), "b/2.png": (200, 9, 9)}
    plain = {name: Image.new("RGB", (30, 30), colour) for name, colour in colours.items()}
    plain |= {f"{'ab'[seed % 2]}/x{seed}.png": picture(seed) for seed in range(20)}
    assert groups_of(read_images(folder_of(tmp_path, plain))) == {frozenset(("a/1.png", "a/2.bmp"))}


@pytest.mark.slow
def test_an_image_that_cannot_be_decoded_is_no_near_duplicate(tmp_path: Path) -> None:
    folder_of(tmp_path, {f"{'ab'[seed % 2]}/{seed}.png": picture(seed) for seed in range(20)})
    for name in ("a/broken.png", "b/broken.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    assert groups_of(read_images(tmp_path)) == set()


@quick
@given(st.integers(2, 60), st.integers(1, 6), st.integers(0, 2**16))
def test_every_pair_that_shares_a_band_is_found_once(n: int, count: int, seed: int) -> None:
    bands = np.random.default_rng(seed).integers(0, 8, (n, count), np.uint64)
    pairs = [tuple(sorted(pair)) for left, right, _ in sharing_a_band(bands, 10**6)
             for pair in zip(left.tolist(), right.tolist(), strict=True)]
    assert sorted(pairs) == [(i, j) for i in range(n) for j in range(i + 1, n) if (bands[i] == bands[j]).any()]


@quick
@given(st.integers(2, 60), st.integers(1, 60), st.integers(0, 2**16))
def test_exactly_the_pairs_of_hashes_within_4_bits_are_found_once(n: int, wanted: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    base, flips = rng.integers(0, 2**63, 3, np.uint64), np.uint64(1) << rng.integers(0, 64, (n, 6), np.uint64)
    flips[rng.random((n, 6)) < 0.5] = 0
    hashes = rng.permutation(np.unique(rng.choice(base, n) ^ np.bitwise_or.reduce(flips, axis=1)))
    near = {(i, j) for i in range(len(hashes)) for j in range(i + 1, len(hashes))
            if i < wanted and np.bitwise_count(hashes[i] ^ hashes[j]) <= DISTANCE}
    blocks = list(similar_hashes(hashes, wanted, 10**6))
    pairs = [pair for left, right, _ in blocks for pair in zip(left.tolist(), right.tolist(), strict=True)]
    assert set(pairs) == near and len(pairs) == len(near) and not any(passed for _, _, passed in blocks)


@quick
@given(st.integers(1, 40), st.integers(3, 4), st.integers(0, 2**16))
def test_images_meet_once_by_their_hashes_or_those_of_variants(n: int, kinds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**63, 3, np.uint64)[rng.integers(0, 3, (n, kinds))]
    hashes ^= np.uint64(1) << rng.integers(0, 64, (n, kinds), np.uint64)
    hashes[rng.random((n, kinds)) < 0.3] ^= np.uint64(0b1110)
    differ = np.bitwise_count(hashes[:, None, 0, None] ^ hashes[None])  # each image's own hash and all of another one
    near = (differ <= DISTANCE).any(axis=2)
    expected = {(i, j) for i in range(n) for j in range(i + 1, n) if near[i, j] or near[j, i]}
    pairs = [pair for left, right, _ in images.similar_images(hashes)
             for pair in zip(left.tolist(), right.tolist(), strict=True)]
    assert set(pairs) == expected and len(pairs) == len(expected)


def test_hashes_that_are_passed_over_are_counted() -> None:
    """20 hashes that differ in their last byte only are 190 pairs, each of which meets once in some order."""
    hashes = np.arange(20, dtype=np.uint64)
    every = sum(len(left) for left, _, _ in similar_hashes(hashes, 20, 100))
    blocks = list(similar_hashes(hashes, 20, 5))
    assert sum(len(left) for left, _, _ in blocks) < every and sum(passed for _, _, passed in blocks) > 0


def image_contents(pixels: NDArray[np.uint8], mirrored: bool = False) -> images.ImageContents:
    """Contents of these pixels, [n, 3, 32, 32], without files of images."""
    files = ImagesFile((3, SIDE, SIDE)), ImagesFile((3 * len(CROPS), CELLS, CELLS))
    files[0].append(pixels)
    files[1].append(cell_means(pixels))
    hashes = np.random.default_rng(0).integers(0, 2**63, (len(pixels), len(CROPS) + mirrored), np.uint64)
    digests = np.random.default_rng(1).integers(0, 256, (len(pixels), 16), np.uint8)
    return images.ImageContents(digests, hashes, contrast_of(pixels.astype(np.float32)), *files)


@pytest.mark.slow
@pytest.mark.parametrize("mirrored", [False, True])
def test_bounds_change_no_similarity_that_counts(mirrored: bool) -> None:
    rng = np.random.default_rng(1)
    pictures = [np.asarray(picture(seed % 6, (SIDE, SIDE))).transpose(2, 0, 1) for seed in range(60)]
    noisy = np.array(pictures) + rng.normal(0, 1, (60, 3, SIDE, SIDE)) * rng.choice([0, 3, 15, 40], (60, 1, 1, 1))
    noisy = (noisy - 128) * rng.choice([0.02, 0.9, 1], (60, 1, 1, 1), p=[0.1, 0.3, 0.6]) + 128
    noisy[::7] = noisy[::7, :, :, ::-1]
    pixels = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    contents = image_contents(pixels, mirrored)
    left, right = np.triu_indices(60, 1)
    exact = contents.similarity(left, right)
    a, b = pixels[left].astype(np.float32), pixels[right].astype(np.float32)
    variants = [pixel_similarity(a, b), *([pixel_similarity(a[..., ::-1], b)] if mirrored else [])]
    for crop in CROPS[1:]:
        variants += [pixel_similarity(cropped_pixels(a, crop), b), pixel_similarity(a, cropped_pixels(b, crop))]
    assert np.allclose(exact, np.max(variants, axis=0), atol=1e-5)
    assert (exact >= images.THRESHOLD).sum() > 50  # of 1,770
    for at_least, enough in ((images.THRESHOLD, 1.0), (images.LOOSE, 0.6)):
        bounded = contents.similarity(left, right, at_least, enough)
        between = (exact >= at_least) & (exact < enough)
        assert np.array_equal(bounded[between], exact[between])
        below, above = exact < at_least, exact >= enough
        assert (bounded[below] < at_least).all() and (bounded[below] >= exact[below]).all()
        assert (bounded[above] >= enough).all() and (bounded[above] <= exact[above]).all()
    every = contents.every_pair(np.arange(60), images.LOOSE)
    assert np.array_equal(every >= images.LOOSE, exact >= images.LOOSE)
    assert np.array_equal(every[exact >= images.LOOSE], exact[exact >= images.LOOSE])


def test_many_copies_are_seen_to_be_alike_without_comparing_all_pairs() -> None:
    rng = np.random.default_rng(2)
    base = np.asarray(picture(3, (SIDE, SIDE))).transpose(2, 0, 1).astype(float)
    copies = np.clip(np.rint(base + rng.normal(0, 6, (80, *base.shape))), 0, 255).astype(np.uint8)
    contents = image_contents(copies)
    assert contents.alike(np.arange(80), images.THRESHOLD) and contents.compared == 0
    for seed in range(4, 10):  # never where a pair is less similar
        other = np.asarray(picture(seed, (SIDE, SIDE))).transpose(2, 0, 1)
        for share in (0.1, 0.2, 0.3, 0.4):
            mixed = copies.copy()
            mixed[7] = np.rint((1 - share) * copies[7] + share * other)
            contents = image_contents(mixed)
            least = contents.similarity(np.full(79, 7), np.delete(np.arange(80), 7)).min()
            assert not contents.alike(np.arange(80), float(least) + 1e-3)


def test_a_search_that_ends_early_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    base = np.asarray(picture(3, (SIDE, SIDE))).transpose(2, 0, 1)
    noise = np.random.default_rng(0).normal(0, 40, (40, *base.shape))
    contents = image_contents(np.clip(np.rint(base + noise), 0, 255).astype(np.uint8))
    contents.hashes[:] = 1  # all look alike
    grouped(contents)
    assert contents.compared > 0 and contents.notes == []
    monkeypatch.setattr(images, "SAME_HASH", 10)
    grouped(contents)
    assert "pairs of images with similar perceptual hashes were not compared" in contents.notes.pop()
    monkeypatch.setattr(images, "ANYWAY", -10**6)
    grouped(contents)
    assert "the search ended after 0 pairs" in contents.notes[0]


def changed_word(text: str) -> str:
    """The text with another word in its middle."""
    words = text.split()
    words[len(words) // 2] = "zephyr"
    return " ".join(words)


@pytest.mark.parametrize(("change", "words"), [
    *((changed_word, words) for words in (20, 35, 49, 50, 62, 63, 120, 400)),
    *((str.upper, words) for words in (9, 40, 63, 400)),
    *((lambda text: text.replace(" ", ",  ") + "!", words) for words in (9, 40, 63, 400))])
def test_a_text_with_a_small_change_is_found(tmp_path: Path, change: Callable[[str], str], words: int) -> None:
    originals = [sentence(seed, words) for seed in range(24)]
    rows = [(text, "ab"[seed % 2]) for seed, text in enumerate(originals)]
    rows += [(change(text), "ab"[seed % 2]) for seed, text in enumerate(originals[:12])]
    examples = read_texts(table(tmp_path / "t.csv", rows))
    groups = [set(rows) for rows in near_duplicate_rows(examples, search(examples).group_of)]
    assert sorted(map(sorted, groups)) == [[seed, seed + 24] for seed in range(12)]


def test_short_texts_are_near_duplicates_only_where_they_are_equal_after_normalisation(tmp_path: Path) -> None:
    rows = [("Good movie!", "a"), ("good movie", "a"), ("good movies", "b"), ("?!", "a"), ("!!", "b"),
            ("\uff27\uff2f\uff2f\uff24 movie", "a")]
    rows += [(sentence(seed, 12), "ab"[seed % 2]) for seed in range(24)]
    examples = read_texts(table(tmp_path / "t.csv", rows))
    assert near_duplicate_rows(examples, search(examples).group_of) == [[0, 1, 5]]


def test_pairs_of_texts_are_near_duplicates_only_where_both_are(tmp_path: Path) -> None:
    premise = sentence(0, 30)
    rows = [(premise, sentence(seed, 4), "ab"[seed % 2]) for seed in range(1, 25)]
    rows += [(premise.upper(), sentence(1, 4), "b"), (changed_word(premise), sentence(2, 4), "a")]
    path = table(tmp_path / "t.csv", rows, "sentence1,sentence2,label")
    examples = read_texts(path, text_column="sentence1,sentence2")
    assert near_duplicate_rows(examples, search(examples).group_of) == [[0, 24], [1, 25]]


@quick
@given(st.text(max_size=60), st.text(max_size=60))
def test_normalisation_is_idempotent_and_similarity_is_exact(a: str, b: str) -> None:
    assert texts.normalised(texts.normalised(a)) in (texts.normalised(a), texts.normalised(texts.normalised(a)))
    a, b = texts.normalised(a), texts.normalised(b)

    def grams(text: str) -> set[str]:
        return {text[i:i + 5] for i in range(len(text) - 4)} if len(text) >= 5 else {text}

    expected = len(grams(a) & grams(b)) / len(grams(a) | grams(b))
    assert texts.jaccard(texts.shingles(a, False), texts.shingles(b, False)) == pytest.approx(expected)


@dataclass
class Points:
    """Contents on a line, as near as their numbers. Chains are easily made of them."""

    at: NDArray[np.float64]
    threshold: float = 0.8
    loose: float = 0.6
    notes: list[str] = field(default_factory=list)

    def equal(self) -> NDArray[np.intp]:
        return np.arange(len(self.at))

    def candidates(self) -> Iterator[tuple[Rows, Rows]]:
        left, right = np.triu_indices(len(self.at), 1)
        yield left, right

    def similarity(self, left: Rows, right: Rows, at_least: float = 0.0, enough: float = 1.0) -> NDArray[np.float64]:
        return np.clip(1 - np.abs(self.at[left] - self.at[right]), 0, 1)

    def every_pair(self, members: Rows, at_least: float) -> NDArray[np.float64]:
        left, right = np.triu_indices(len(members), 1)
        return self.similarity(members[left], members[right])

    def alike(self, members: Rows, least: float) -> bool:
        return False


def test_chains_are_split_and_what_is_alike_stays_together() -> None:
    at = np.concatenate([np.arange(30) * 0.19, 100 + np.arange(5) * 0.01, 200 + np.arange(300)])
    result = grouped(Points(at))
    assert result.split_up == ((30, len(set(result.label[:30]))),)
    for label in set(result.label.tolist()):
        members = at[result.label == label]
        assert members.max() - members.min() <= 0.4 + 1e-9
    assert len(set(result.label[30:35])) == 1
    assert len(set(result.label[35:])) == 300


def test_a_large_group_is_split_unless_all_of_it_is_alike() -> None:
    spread = np.concatenate([np.linspace(0, 0.35, 60), 100.0 + np.arange(200)])
    result = grouped(Points(spread))
    assert result.split_up[0][0] == 60
    alike = np.concatenate([np.linspace(0, 0.1, 60), 100.0 + np.arange(200)])
    result = grouped(Points(alike))
    assert result.split_up == ()
    assert len(set(result.label[:60])) == 1


def text_examples(path: Path, n: int, copies: int, seed: int = 0) -> Examples:
    """n random texts with random labels, and copies of the first ones with one word changed and the same label."""
    rng = np.random.default_rng(seed)
    rows = [(sentence(10_000 * seed + place, 20), "ab"[rng.integers(2)]) for place in range(n)]
    rows += [(changed_word(text), label) for text, label in rows[:copies]]
    return read_texts(table(path, rows))


def test_in_a_hold_out_a_copy_of_a_more_held_out_row_is_skipped_and_no_row_moves(tmp_path: Path) -> None:
    examples = text_examples(tmp_path / "t.csv", 300, 300)
    plain = split(examples, "holdout")
    kept = split(find_near_duplicates(examples), "holdout")
    assert plain.split is not None and kept.split is not None
    before = dict(zip(plain.ids, plain.split.part.tolist(), strict=True))
    after = dict(zip(kept.ids, kept.split.part.tolist(), strict=True))
    assert all(before[content] == part for content, part in after.items())
    assert sum(part == TEST for part in before.values()) == sum(part == TEST for part in after.values())
    search_result = kept.near_duplicate_search
    assert search_result is not None and search_result.record.skipped == 600 - len(kept) > 50
    names: dict[str, set[int]] = {}
    for content, part in after.items():
        names.setdefault(search_result.group_of[content], set()).add(part)
    assert all(len(parts) == 1 for parts in names.values())
    reasons = {item.reason.partition(":")[0] for item in kept.skipped}
    assert reasons >= {"near-duplicate of a test row", "near-duplicate of a validation row"}
    assert not kept.summary.warnings  # they are no loss of data
    place = {origin: row for row, origin in enumerate(plain.origins)}
    for item in kept.skipped:
        other = item.reason.partition(": ")[2]
        assert plain.split.part[place[item.origin]] < plain.split.part[place[other]]


def test_a_given_split_is_cleaned_too_and_exact_duplicates_with_it(tmp_path: Path) -> None:
    texts = [sentence(seed, 20) for seed in range(40)]
    rows = [(text, "ab"[seed % 2], ("train", "train", "validation", "test")[seed % 4]) for seed, text in
            enumerate(texts)]
    rows += [(texts[3], "b", "train"), (changed_word(texts[7]), "b", "validation"),
             (changed_word(texts[2]), "a", "train")]
    examples = read_texts(table(tmp_path / "t.csv", rows, "text,label,split"))
    kept = split(find_near_duplicates(examples))
    assert len(kept) == 40 and "shared between" not in (kept.split.reason if kept.split else "")
    off = split(find_near_duplicates(examples, "off"))
    assert len(off) == 43 and off.split is not None and "shared between" in off.split.reason


def test_no_row_moves_when_data_are_added(tmp_path: Path) -> None:
    few = split(find_near_duplicates(text_examples(tmp_path / "few.csv", 200, 50)), "holdout")
    many = split(find_near_duplicates(text_examples(tmp_path / "many.csv", 200, 200)), "holdout")
    assert few.split is not None and many.split is not None
    before = dict(zip(few.ids, few.split.part.tolist(), strict=True))
    after = dict(zip(many.ids, many.split.part.tolist(), strict=True))
    shared = before.keys() & after.keys()
    assert len(shared) > 200 and all(before[content] == after[content] for content in shared)


def test_folds_and_inner_splits_deal_groups_whole_and_unite_them_with_the_users(tmp_path: Path) -> None:
    rows = [(sentence(seed, 20), "ab"[seed % 2], f"g{seed // 2}") for seed in range(60)]
    rows += [(changed_word(text), label, f"h{seed // 2}") for seed, (text, label, _) in enumerate(rows[:30])]
    examples = split(find_near_duplicates(read_texts(table(tmp_path / "t.csv", rows, "text,label,group"))), "cv")
    assert examples.split is not None
    parts = examples.split.part.tolist()
    for seed in range(30):  # g0 holds rows 0 and 1, h0 their copies
        assert len({parts[seed - seed % 2], parts[seed - seed % 2 + 1], parts[60 + seed]}) == 1
    aside = carve(examples, np.arange(len(examples)))
    assert all(aside[seed] == aside[60 + seed] for seed in range(30))


def test_off_and_report_split_as_before(tmp_path: Path) -> None:
    examples = text_examples(tmp_path / "t.csv", 100, 50)
    before = split(examples)
    for mode in ("off", "report"):
        after = split(find_near_duplicates(examples, mode))
        assert before.split is not None and after.split is not None
        assert np.array_equal(before.split.part, after.split.part) and after.ids == before.ids
    without = text_examples(tmp_path / "other.csv", 100, 0)
    split_before, split_after = split(without).split, split(find_near_duplicates(without)).split
    assert split_before is not None and split_after is not None
    assert np.array_equal(split_before.part, split_after.part)  # no near-duplicates: the folds stay as they were


def test_folds_of_rows_without_near_duplicates_stay_as_they_were(tmp_path: Path) -> None:
    examples = text_examples(tmp_path / "t.csv", 200, 20)
    grouped, plain = split(find_near_duplicates(examples)).split, split(examples).split
    assert grouped is not None and plain is not None
    changed = np.flatnonzero(grouped.part != plain.part)
    near = {row for rows in near_duplicate_rows(examples, search(examples).group_of) for row in rows}
    assert 0 < len(changed) <= 20 and near.issuperset(changed.tolist())


def accuracy(x: NDArray[Any], examples: Examples) -> float:
    """Of a classifier that remembers what it saw, on the held-out rows."""
    made = examples.split
    assert made is not None
    correct, y = np.zeros(len(examples)), examples.targets
    for fold in made.folds or [TEST]:
        held_out = made.part == fold
        train = ~held_out if made.folds else made.part == TRAIN
        correct[held_out] = KNeighborsClassifier(1).fit(x[train], y[train]).predict(x[held_out]) == y[held_out]
    return float(correct[np.isin(made.part, made.folds or [TEST])].mean())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["cv", "holdout"])
def test_copies_of_randomly_labelled_texts_give_chance_accuracy(tmp_path: Path, mode: str) -> None:
    examples = text_examples(tmp_path / "t.csv", 500, 500)
    vectorizer = HashingVectorizer(n_features=2**14, ngram_range=(1, 2))
    scores = {}
    for near in ("group", "off"):
        made = split(find_near_duplicates(examples, near), mode)
        scores[near] = accuracy(vectorizer.transform(list(made.items)), made)
    assert scores["off"] > 0.7
    assert abs(scores["group"] - 0.5) < 0.12


@pytest.mark.slow
def test_copies_of_randomly_labelled_images_give_chance_accuracy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures: dict[str, Image.Image] = {}
    for seed in range(200):
        label = "ab"[rng.integers(2)]
        pictures[f"{label}/{seed}.png"] = picture(seed, (48, 48))
        pictures[f"{label}/{seed} copy.png"] = jpeg(picture(seed, (48, 48)), 80)
    examples = read_images(folder_of(tmp_path, pictures))
    scores = {}
    for near in ("group", "off"):
        made = split(find_near_duplicates(examples, near), "cv")
        x = np.stack([np.asarray(Image.open(path).convert("RGB").resize((24, 24))).ravel() / 255
                      for path in made.items])
        scores[near] = accuracy(x, made)
    assert scores["off"] > 0.9
    assert abs(scores["group"] - 0.5) < 0.12


def test_a_class_whose_training_rows_are_all_copies_is_an_error_that_says_so(tmp_path: Path) -> None:
    rows = [(sentence(seed, 20), "ab"[seed % 2], ("train", "validation", "test")[seed % 3]) for seed in range(60)]
    text = sentence(999, 20)
    rows += [(text, "c", "test"), *((f"{text} {word}", "c", "train") for word in WORDS[:12])]
    examples = replace(read_texts(table(tmp_path / "t.csv", rows, "text,label,split")), min_per_class=0)
    with pytest.raises(DataError, match="near-duplicates of more held-out rows were skipped"):
        split(find_near_duplicates(examples))


def test_where_near_duplicates_join_all_groups_the_message_says_so(tmp_path: Path) -> None:
    copies = {label: [(f"{sentence(seed, 20)} {word}", label) for word in WORDS[:12]]
              for seed, label in enumerate("abc")}
    few = [(text, "ab"[place % 2]) for place, (text, _) in enumerate([*copies["a"], *copies["b"]])]
    grouped_by_user = [(text, label, label) for text, label in (*copies["a"], *copies["b"])]
    for name, rows, header, message in (
            ("joined", few, "text,label", "24 groups, which near-duplicates join to 2.*`near_duplicates` to report"),
            ("user", grouped_by_user, "text,label,group", "belong to 2 groups\n.*\n.*`group_column` to none")):
        examples = find_near_duplicates(read_texts(table(tmp_path / f"{name}.csv", rows, header)))
        with pytest.raises(DataError, match=f"(?s){message}"):
            split(examples, "cv")
    three = [row for rows in copies.values() for row in rows]
    examples = find_near_duplicates(read_texts(table(tmp_path / "three.csv", three)))
    with pytest.raises(DataError, match="(?s)is one group of near-duplicates.*`near_duplicates` to report"):
        split(examples, "cv")


def test_unknown_modes_and_mirrored_texts_are_refused(tmp_path: Path) -> None:
    examples = text_examples(tmp_path / "t.csv", 40, 0)
    with pytest.raises(OptionError, match="`near_duplicates` is on"):
        find_near_duplicates(examples, "on")
    with pytest.raises(OptionError, match="`mirrored` is set, but the source contains texts"):
        find_near_duplicates(examples, mirrored=True)


def test_parts_are_numbered_by_how_held_out_they_are() -> None:
    assert TRAIN < VALIDATION < TEST


@pytest.mark.slow
@pytest.mark.parametrize(("kept", "folds_kept", "measured"), [
    (False, None, True), (False, 0, True), (False, 2, False), (True, None, False)])
def test_the_effect_is_measured_where_the_frozen_backbone_was_kept(kept: bool, folds_kept: int | None, measured: bool,
                                                                  tmp_path: Path) -> None:
    pictures = {f"{'ab'[seed % 2]}/{seed} {copy}.png": picture(seed, (40, 40)) if copy == "first" else
                jpeg(picture(seed, (40, 40)), 80) for seed in range(20) for copy in ("first", "copy")}
    examples = split(find_near_duplicates(read_images(folder_of(tmp_path / "data", pictures))), "cv")
    features = tl.compute_features(examples, tiny_backbone(), plain_runtime(), cache_dir=tmp_path / "cache")
    tuning = FineTuneResult(kept=kept, blocks=1, layers=(), loss_before=1.0, loss_after=1.0, epochs=(), seconds=1.0,
                            folds_kept=folds_kept)
    trained = replace(tl.train(features), fine_tuning=tuning)
    found = tl.near_duplicate_effect(features, trained, tl.evaluate(features.examples, trained))
    assert found is not None and found.effect is not None and found.groups
    assert ("because the backbone was fine-tuned" in found.effect.sentence) != measured


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "head", "target"), [
    ("cv", "linear", None), ("holdout", "linear", None), ("cv", "best", None), ("cv", "linear", "recall=0.9")])
def test_the_effect_is_the_accuracy_that_a_split_without_the_search_has(tmp_path: Path, mode: str, head: str,
                                                                       target: str | None) -> None:
    rng = np.random.default_rng(0)
    pictures: dict[str, Image.Image] = {}
    for seed in range(60):
        label = "ab"[rng.integers(2)]
        pictures |= {f"{label}/{seed}.png": picture(seed, (40, 40)),
                     f"{label}/{seed} copy.png": jpeg(picture(seed, (40, 40)), 80)}
    examples = read_images(folder_of(tmp_path / "data", pictures))
    effects, accuracies = {}, {}
    for near in ("group", "report", "off"):
        made = split(find_near_duplicates(examples, near), mode)
        features = tl.compute_features(made, tiny_backbone(), plain_runtime(), cache_dir=tmp_path / "cache")
        trained = tl.train(features, head)
        evaluation = tl.evaluate(features.examples, trained, target=target)
        accuracies[near] = evaluation.accuracy
        effects[near] = tl.near_duplicate_effect(features, trained, evaluation)
    for near in ("group", "report"):
        duplicates = effects[near]
        assert duplicates is not None and duplicates.effect is not None
        assert 55 <= duplicates.groups <= 60 and duplicates.mode == near
        assert duplicates.effect.apart == pytest.approx(accuracies["group"])
        assert duplicates.effect.ignored == pytest.approx(accuracies["off"])
        assert f"{accuracies['group']:.3f}" in duplicates.effect.sentence
        assert NearDuplicates.from_dict(json.loads(json.dumps(duplicates.to_dict()))) == duplicates
    assert effects["off"] == NearDuplicates("off") and accuracies["report"] == accuracies["off"]


def test_the_report_shows_pairs_escaped_and_with_what_was_skipped(tmp_path: Path) -> None:
    texts = [f"<b>{sentence(seed, 20)}</b>" for seed in range(300)]
    rows = [(text, "ab"[seed % 2]) for seed, text in enumerate(texts)]
    rows += [(changed_word(text), label) for text, label in rows]
    examples = split(find_near_duplicates(read_texts(table(tmp_path / "t.csv", rows))), "holdout")
    assert examples.near_duplicate_search is not None
    duplicates = replace(examples.near_duplicate_search.record, effect=NearDuplicateEffect("Not measured."))
    document = json.loads((Path(__file__).parent / "golden/run-0.1-text.json").read_text())
    record = replace(RunRecord.from_dict(document), near_duplicates=duplicates)
    context = near_duplicates_context(record, examples, PREVIEWS["text"])
    shown = page("near_duplicates.html", modality=TEXT, **context)
    assert f"{duplicates.skipped} rows were skipped" in shown and "Not measured." in shown
    assert "zephyr" in shown and "&lt;b&gt;" in shown and "<b>river" not in shown
    nothing = near_duplicates_context(RunRecord.from_dict(document), examples, PREVIEWS["text"])
    assert page("near_duplicates.html", modality=TEXT, **nothing).strip() == ""


def test_check_lists_groups_conflicts_and_leaks(tmp_path: Path, shell: Callable[..., tuple[int, str, str]]) -> None:
    rows = [(sentence(seed, 20), "ab"[seed % 2], ("train", "test")[seed // 2 % 2]) for seed in range(40)]
    rows += [(changed_word(rows[0][0]), "b", "train"), (changed_word(rows[1][0]), "b", "test")]
    code, out, _ = shell("check", table(tmp_path / "t.csv", rows, "text,label,split"), "--json", "--backbone", "none")
    found = json.loads(out)
    assert code == 0 and len(found["near_duplicates"]) == 2 and found["duplicates"] == []
    counts = {finding["kind"]: finding["count"] for finding in found["findings"]}
    kinds = ("near-duplicates", "near-duplicate conflicts", "near-duplicate leakage")
    assert [counts[kind] for kind in kinds] == [2, 1, 1]
