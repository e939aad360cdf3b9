"""The `linear` head against scikit-learn's cross-validated logistic regression, on the same features and folds."""

import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import kerastl as tl
from benchmarks.figure import Figure
from kerastl.tasks import task_named
from kerastl.training.fitters.solver import solve

SAMPLES = Path("samples/stamps")
REPEATS, FOLDS = 5, 5


def linear() -> list[Figure]:
    """Mean accuracy and seconds over 5 x 5 folds of the stamps. Each side chooses its strength inside the fold."""
    if not SAMPLES.exists():
        return [Figure("`linear` against scikit-learn on the stamps", "not measured: run `make quickstart` first")]
    examples = tl.read_images(str(SAMPLES), min_per_class=30)
    features = tl.compute_features(examples, tl.load_backbone("efficientnet_lite0"), tl.apply_runtime(),
                                   cache_dir=tl.cache_dir(None))
    x, targets, one_hot = features.rows(np.arange(len(examples))), examples.targets, examples.one_hot()
    right, seconds = {"ours": 0, "theirs": 0}, {"ours": 0.0, "theirs": 0.0}
    for repeat in range(REPEATS):
        for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(x, targets):
            inner = StratifiedKFold(5, shuffle=True, random_state=0).split(x[train], targets[train])
            masks = [np.isin(np.arange(len(train)), held_out) for _, held_out in inner]
            start = time.perf_counter()
            found = solve(x[train], one_hot[train], np.ones(len(train), np.float32), masks,
                          task=task_named("single_label"))
            seconds["ours"] += time.perf_counter() - start
            right["ours"] += int(((x[test] @ found.kernel + found.bias).argmax(axis=1) == targets[test]).sum())
            start = time.perf_counter()
            model = make_pipeline(StandardScaler(), LogisticRegressionCV(
                Cs=np.logspace(-5, 0, 8), cv=5, scoring="neg_log_loss", max_iter=300, l1_ratios=(0,),
                use_legacy_attributes=False))
            model.fit(x[train], targets[train])
            seconds["theirs"] += time.perf_counter() - start
            right["theirs"] += int((model.predict(x[test]) == targets[test]).sum())
    n = REPEATS * len(x)
    ours, theirs = (100 * right[side] / n for side in ("ours", "theirs"))
    return [Figure(f"accuracy of `linear` on {len(x)} stamps less scikit-learn's LogisticRegressionCV, {REPEATS} x "
                   f"{FOLDS} folds ({ours:.2f}% less {theirs:.2f}%; {seconds['ours'] / REPEATS / FOLDS:.1f} s over "
                   f"{seconds['theirs'] / REPEATS / FOLDS:.1f} s a fit)", f"{ours - theirs:+.2f} points", ">= -0.5",
                   ours - theirs >= -0.5)]
