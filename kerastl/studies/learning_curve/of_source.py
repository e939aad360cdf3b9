"""The learning curve of a labelled source."""

from pathlib import Path

from kerastl import backbones
from kerastl.data.detection import modality_of
from kerastl.data.examples import USUAL_LEAST, say
from kerastl.data.near_duplicates.search import find_near_duplicates
from kerastl.data.options import NONE, READ_AS_USUAL, ReadOptions
from kerastl.data.read import read_labelled
from kerastl.features.cache import chosen_dir
from kerastl.features.compute import compute_features
from kerastl.features.lengths import fit_length
from kerastl.runtime import apply
from kerastl.studies.learning_curve.study import REPEATS, check_arguments, learning_curve
from kerastl.versions.learning_curve import LearningCurve


def learning_curve_of(source: str, *, target_accuracy: float | None = None, repeats: int = REPEATS,
                      backbone: str | None = None, weights: str | None = None, layer: str = "top",
                      pooling: str = "mean", max_length: int | None = None, long: str = "head",
                      options: ReadOptions = READ_AS_USUAL, min_per_class: int = USUAL_LEAST, limit: int | None = None,
                      near_duplicates: str = "auto", batch_size: int = 32, engine: str = "auto",
                      precision: str = "auto", pickles: bool = False, xla: str = "auto", seed: int = 0,
                      data_dir: str | None = None, cache_dir: str | Path | None = None) -> LearningCurve:
    """How accuracy grows with the number of labelled rows of a source, see `learning_curve`; its features come from the
    cache, or are computed.

    All rows are used, also those that the source assigns to a test part. backbone: default, the bundled one. pooling,
    max_length, long: for texts, as in training. near_duplicates: see `find_near_duplicates`. seed: which rows are in
    which subset. Raises DataError where there is no such source, OptionError for arguments that cannot be used.
    """
    check_arguments(target_accuracy, repeats)
    cache = chosen_dir(None if cache_dir is None else str(cache_dir))
    runtime = apply(precision, xla, seed, engine)
    columns = {name for name, value in options.columns.items() if value != NONE}
    modality = backbones.spec_of(backbone)[0].modality.name if backbone else "text" if "text_column" in columns else \
        "image" if "path_column" in columns else modality_of(source, data_dir=data_dir).name
    examples = say(read_labelled(modality, source, options=options, data_dir=data_dir, cache_dir=cache,
                                 min_per_class=min_per_class, limit=limit))
    examples = find_near_duplicates(examples, near_duplicates, cache_dir=cache)
    network = backbones.load(backbone or examples.modality.bundled_backbone, weights, modality=modality, layer=layer,
                             pooling=pooling, precision=precision, pickles=pickles)
    if examples.modality.has_length:
        network = fit_length(network, examples, max_length, long)
    features = compute_features(examples, network, runtime, cache_dir=cache, batch_size=batch_size)
    return learning_curve(features, target_accuracy=target_accuracy, repeats=repeats)
