"""What the comparison with the version before costs a run: of the stamps, with the same data and with 21 new images."""

import tempfile
import time
from pathlib import Path

import kerastl as tl
from benchmarks.best import STAMPS
from benchmarks.figure import Figure
from kerastl.serving.compare_versions import compare_with_previous

NEW = 21  # images that the version before does not have
SECONDS = 3  # of a processor


def of_a_run() -> list[Figure]:
    """The processor's seconds, and how many rows were new."""
    if not STAMPS.exists():
        return [Figure("comparison with the version before", "not measured: run `make quickstart` first")]
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for new in (0, NEW):
            limit = None if not new else len(tl.read_images(str(STAMPS))) - new
            name = f"without_{new}"
            tl.classify_images(STAMPS, name=name, out=folder, head="linear", tflite="none", limit=limit)
            examples = tl.split(tl.find_near_duplicates(tl.read_images(str(STAMPS))))
            features = tl.compute_features(examples, tl.load_backbone("efficientnet_lite0"),
                                           tl.apply_runtime("auto", "auto", 0), cache_dir=tl.cache_dir(None))
            evaluation = tl.evaluate(features.examples, tl.fit(features, "linear"))
            start = time.process_time()
            found = compare_with_previous(Path(folder) / name, evaluation, 2)
            seconds = time.process_time() - start
            assert found is not None and found.old is not None
            figures.append(Figure(f"stamps, comparison with the version before, {found.old.shipped} of {found.n} "
                                  "images new to it, processor time", f"{seconds:.1f} s", f"<= {SECONDS} s",
                                  seconds <= SECONDS))
    return figures
