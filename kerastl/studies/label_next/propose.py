"""Proposing rows to label next, and simulating on known labels whether that pays."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kerastl import backbones
from kerastl.backbones import Backbone
from kerastl.data.detection import modality_of
from kerastl.data.examples import Examples, Skipped
from kerastl.data.joined import joined
from kerastl.data.near_duplicates.search import MANY, clusters, search
from kerastl.data.options import NONE, READ_AS_USUAL, ReadOptions
from kerastl.data.read import read_labelled, read_unlabelled
from kerastl.data.tables import listed
from kerastl.errors import DataError, OptionError, all_of
from kerastl.features.cache import chosen_dir
from kerastl.features.compute import Features, compute_features
from kerastl.features.lengths import fit_length
from kerastl.features.means import means_of
from kerastl.modality import Modality, modality_named
from kerastl.runtime import apply
from kerastl.studies.label_next.arguments import check_arguments
from kerastl.studies.label_next.choose import CENTRE, RANDOM, Choice, choose, margins_of, too_few
from kerastl.studies.label_next.head import fit_head, margins, normalised, probabilities
from kerastl.studies.label_next.result import LabelNextResult, Proposal
from kerastl.studies.label_next.simulate import REPEATS, simulated

Rows = NDArray[np.intp]
FEWEST = 5  # labels of a class, below which a note names it
TEST_SPLIT = "test"  # as `Examples.source_split` names it
ENOUGH = 100  # labelled texts from which they decide on the maximum length, as in training


@dataclass(frozen=True)
class _Task:
    """What is read: labelled rows, rows without labels, or both."""

    labelled: Examples | None
    unlabelled: Examples | None

    @property
    def examples(self) -> Examples:
        """All rows, the labelled ones first."""
        known = [part for part in (self.labelled, self.unlabelled) if part is not None]
        return known[0] if len(known) == 1 else joined(known[0], known[1])


def label_next(source: str | None, unlabelled: str | None = None, n: int = 20, *, simulate: bool = False,
               repeats: int = REPEATS, seed: int = 0, backbone: str | Backbone | None = None,
               weights: str | None = None, layer: str = "top", pooling: str = "mean", max_length: int | None = None,
               long: str = "head", mirrored: bool = False, options: ReadOptions = READ_AS_USUAL,
               unlabelled_column: str | None = None, engine: str = "auto", precision: str = "auto",
               pickles: bool = False, xla: str = "auto", batch_size: int = 32, data_dir: str | None = None,
               cache_dir: str | None = None) -> LabelNextResult:
    """Propose `n` of the unlabelled images or texts to label next.

    While labels are few (fewer than 2 a class on average), or of one class, these are typical rows: the largest k-means
    clusters of normalised features that have no labelled row. Then those of which a linear head on the features is
    least sure, one of each of `n` clusters of the 10 n least sure ones. A tenth is always drawn at random: see
    `LabelNextResult`. Near-duplicates of a labelled row or of each other are proposed once. Test rows of the source's
    own split choose nothing.

    source: labelled data, as for training, however few; None: there are none. unlabelled: a folder, a table or a TFDS
    data set; may hold the labelled rows too. None: only simulate. simulate: also compare the strategy with rows drawn
    at random, on the labels of the source; repeats: how often its clusters are dealt into thirds. backbone, weights,
    layer, pooling, max_length, long: of the features; default: the bundled backbone. mirrored: whether mirror images
    are near-duplicates. options: of reading the source; unlabelled_column: of the texts or paths of `unlabelled`, where
    it differs. Raises OptionError for arguments that do not fit, DataError where a source cannot be read.
    """
    check_arguments(source, unlabelled, n, simulate, repeats)
    cache, runtime = chosen_dir(cache_dir), apply(precision, xla, engine=engine)
    modality = _modality(source, unlabelled, backbone, options, data_dir)
    _check_modality(modality, max_length, long, mirrored)
    task = _read(modality, source, unlabelled, options, unlabelled_column, data_dir, cache)
    network = backbone if isinstance(backbone, Backbone) else backbones.load(
        backbone or modality.bundled_backbone, weights, pooling=pooling, layer=layer, precision=precision,
        pickles=pickles, modality=modality.name)
    examples, notes = task.examples, [*(task.labelled.notes if task.labelled else ())]
    if modality.has_length:
        enough = task.labelled is not None and len(task.labelled) >= ENOUGH
        network = fit_length(network, task.labelled if enough and task.labelled else examples, max_length, long)
    features = means_of(compute_features(examples, network, runtime, cache_dir=cache, batch_size=batch_size))
    features, kin = _with_kin(features, mirrored, cache, notes)
    is_labelled = _is_labelled(features.examples, examples, 0 if task.labelled is None else len(task.labelled))
    chooses = is_labelled & (np.array(features.examples.source_split) != TEST_SPLIT)
    if tests := int((is_labelled & ~chooses).sum()):
        notes.append(f"{tests:,} labelled rows are test rows of the source's own split, and choose nothing")
    notes += _few(_counts(features.examples, chooses))
    if network.random:
        notes.append("RANDOM WEIGHTS: the features come from a network that was not trained, and mean little")
    simulation = None
    if simulate:
        simulation = simulated(_only(features, np.flatnonzero(chooses)), n, repeats=repeats, seed=seed,
                               kin=kin[chooses])
    result = LabelNextResult(
        source or "", unlabelled or "", modality.name, n, int(is_labelled.sum()),
        _counts(features.examples, is_labelled), int((~is_labelled).sum()), 0, 0, (), simulation,
        features.examples.take(np.flatnonzero(is_labelled)) if is_labelled.any() else None,
        _skipped(task, features.examples), tuple(notes))
    return result if unlabelled is None else _proposed(result, features, is_labelled, chooses, kin, seed)


def _modality(source: str | None, unlabelled: str | None, backbone: str | Backbone | None, options: ReadOptions,
              data_dir: str | None) -> Modality:
    if isinstance(backbone, Backbone):
        return backbone.spec.modality
    if backbone is not None:
        return backbones.spec_of(backbone)[0].modality
    if options.text_column not in (None, NONE):
        return modality_named("text")
    if options.path_column not in (None, NONE):
        return modality_named("image")
    return modality_of(source or unlabelled or "", data_dir=data_dir)


def _check_modality(modality: Modality, max_length: int | None, long: str, mirrored: bool) -> None:
    """Raises OptionError for arguments that the other modality has."""
    rules = (("max_length", max_length is not None, modality.has_length), ("long", long != "head", modality.has_length),
             ("mirrored", mirrored, modality.in_files))
    faults = [OptionError(f"`{name}` is set, but the source contains {modality.nouns}", "", f"omit `{name}`")
              for name, is_set, fits in rules if is_set and not fits]
    if faults:
        raise all_of(list(faults))


def _read(modality: Modality, source: str | None, unlabelled: str | None, options: ReadOptions,
          unlabelled_column: str | None, data_dir: str | None, cache: Path) -> _Task:
    labelled = pool = None
    if source is not None:
        labelled = read_labelled(modality.name, source, options=options, data_dir=data_dir, cache_dir=cache)
    if unlabelled is not None:
        column = {("path_column" if modality.in_files else "text_column"): unlabelled_column}
        own = ReadOptions(text_column=options.text_column, path_column=options.path_column)
        pool = read_unlabelled(modality.name, unlabelled, data_dir=data_dir, cache_dir=cache,
                               options=own.for_source(unlabelled).with_columns(**column))
    return _Task(labelled, pool)


def _with_kin(features: Features, mirrored: bool, cache: Path, notes: list[str]) -> tuple[Features, NDArray[np.str_]]:
    """The features with clusters of near-duplicates, and for each row the name of its near-duplicates, without the
    groups that the user named: rows of such a group differ, and may all be worth a label."""
    examples = features.examples
    ids = np.array(list(examples.ids))
    if len(examples) >= MANY:
        notes.append(f"near-duplicates were not searched for among {MANY:,} rows or more; equal content counts once")
        return features, ids
    found = search(examples, mirrored=mirrored, cache_dir=cache)
    kin = np.array([found.group_of.get(content, content) for content in ids.tolist()])
    united = replace(examples, near_duplicates=clusters(examples, found.group_of), near_duplicate_search=found)
    return replace(features, examples=united), kin


def _is_labelled(decoded: Examples, examples: Examples, labelled: int) -> NDArray[np.bool_]:
    """Which of the decoded rows are labelled. Whether a row is decoded depends on its content alone."""
    known = set(decoded.ids)
    return np.array([row < labelled for row, content in enumerate(examples.ids) if content in known], np.bool_)


def _only(features: Features, rows: Rows) -> Features:
    keys = features.keys or features.examples.ids
    return replace(features, examples=features.examples.take(rows), keys=[keys[row] for row in rows.tolist()])


def _counts(examples: Examples, is_labelled: NDArray[np.bool_]) -> dict[str, int]:
    if not is_labelled.any():
        return {}
    totals = examples.one_hot(np.flatnonzero(is_labelled)).sum(axis=0).astype(int)
    return dict(zip(examples.classes, totals.tolist(), strict=True))


def _few(counts: dict[str, int]) -> list[str]:
    few = [f"{name} {count:,}" for name, count in counts.items() if count < FEWEST]
    return [f"classes with fewer than {FEWEST} labels: {listed(few)}; what the head predicts of them means little"
            ] if few else []


def _skipped(task: _Task, decoded: Examples) -> tuple[Skipped, ...]:
    own = [part.skipped for part in (task.labelled, task.unlabelled) if part is not None]
    return tuple(dict.fromkeys([*(item for items in own for item in items), *decoded.skipped]))


def _proposed(result: LabelNextResult, features: Features, is_labelled: NDArray[np.bool_], chooses: NDArray[np.bool_],
              kin: NDArray[np.str_], seed: int) -> LabelNextResult:
    """The result with its proposals. chooses: the labelled rows without test rows."""
    examples, labelled, known_rows = features.examples, np.flatnonzero(is_labelled), np.flatnonzero(chooses)
    pool = np.flatnonzero(~is_labelled)
    ids = np.array(list(examples.ids))
    known = np.isin(ids[pool], ids[labelled])
    fresh = pool[~known]
    fresh = fresh[~np.isin(kin[fresh], kin[labelled])]
    candidates = np.sort(fresh[np.unique(kin[fresh], return_index=True)[1]])
    result = replace(result, already_labelled=int(known.sum()),
                     near_duplicates=len(pool) - int(known.sum()) - len(candidates))
    if not len(candidates):
        raise DataError(f"nothing in {result.pool} is left to label: of {len(pool):,} {examples.modality.nouns}, "
                        f"{int(known.sum()):,} are labelled already, and the others are near-duplicates of those",
                        "rows without a label", "add new data")
    head = fit_head(features, known_rows)
    few = head is None or too_few(examples.one_hot(known_rows).sum(axis=0).astype(int))
    values = None if head is None or few else margins(features, head, candidates)
    chosen = choose(lambda rows: normalised(features.rows(rows)), known_rows, candidates, values, result.n,
                    np.random.default_rng(seed))
    rows = np.array([choice.row for choice in chosen])
    p = None if head is None else probabilities(features, head, rows)
    proposals = [_proposal(examples, choice, None if p is None else p[place]) for place, choice in enumerate(chosen)]
    return replace(result, proposals=tuple(proposals))


def _proposal(examples: Examples, choice: Choice, p: NDArray[np.float64] | None) -> Proposal:
    task, row = examples.task, choice.row
    suggested, probability, margin, least_sure = "", None, None, ""
    if p is not None:
        predicted = task.predict(p[None], np.array(task.half(len(p)).thresholds))[0]
        suggested, margin = task.label(predicted, examples.classes), float(margins_of(p[None], task.exclusive)[0])
        probability = float(p[predicted]) if task.exclusive else float(np.maximum(p, 1 - p).min())
        least = np.argsort(-p, kind="stable")[:2] if task.exclusive else np.argsort(np.abs(2 * p - 1))[:1]
        least_sure = ", ".join(f"{examples.classes[number]} {p[number]:.2f}" for number in least.tolist())
    if choice.how == RANDOM:
        reason = "drawn at random"
    elif choice.how == CENTRE:
        reason = f"typical of {choice.cluster:,} similar ones without a label" if choice.cluster > 1 else \
            "unlike all others"
    else:
        reason = f"among the least sure: {least_sure}"
    return Proposal(examples.origins[row], examples.items[row], examples.ids[row], choice.how, reason, suggested,
                    probability, margin)
