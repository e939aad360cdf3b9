"""Texts: a linear classifier on BERT features.

python recipes/bert_text.py --data TABLE --name NAME
Data: a table with a column of texts and one of labels (CSV, TSV, JSONL, Parquet), DIR/<class>/*.txt, or tfds:NAME.
Measured: not measured. The weights (a KerasHub download) could not be downloaded in our build environment. The recipe
is tested from end to end on a tiny BERT with random weights.
Time: not measured.
"""

from dataclasses import asdict, dataclass
from typing import Any

import kerastl as tl


@dataclass(frozen=True, kw_only=True)
class Config(tl.TextConfig):
    """Flags of the recipe."""

    backbone: str = "bert_base"  # see `kerastl backbones`
    unfreeze: str = "0"  # fine-tune the last N blocks, or all; auto or contrast: contrastive loss if labels are few


def main(config: Config) -> dict[str, Any]:
    """The six steps: source, split, features, head, evaluation, export."""
    clock, cache = tl.Stopwatch(), tl.cache_dir(config.cache_dir)
    target = tl.target(config.out, config.name, config.tflite, kind="text")
    runtime = tl.apply_runtime(config.precision, config.xla, config.seed)
    examples = tl.read_texts(config.data, text_column=config.text_column, label_column=config.label_column,
                             min_per_class=config.min_per_class, limit=config.limit, data_dir=config.data_dir,
                             cache_dir=cache)
    examples = tl.split(examples, config.split, unfreeze=config.unfreeze, search=config.search)

    backbone = tl.load_backbone(config.backbone, config.weights, modality="text", tap=config.tap,
                                pooling=tl.pooling_for(config.head, config.pooling), precision=config.precision,
                                pickles=config.pickles)
    backbone = tl.fit_length(backbone, examples, config.max_length, config.long)
    features = tl.compute_features(examples, backbone, runtime, cache_dir=cache, batch_size=config.batch_size)
    trials = tl.search_heads(backbone, features, config.head, config.search, runtime=runtime, cache_dir=cache,
                             epochs=config.epochs, class_weights=config.class_weights,
                             label_smoothing=config.label_smoothing)
    head = tl.best_head(trials, config.head)
    trained = tl.train(backbone, features, head, unfreeze=config.unfreeze, runtime=runtime, cache_dir=cache,
                       tuning=tl.tuning(config), epochs=config.epochs, batch_size=config.batch_size,
                       class_weights=config.class_weights, label_smoothing=config.label_smoothing)
    evaluation = tl.evaluate(features.examples, trained.fitted.held_out, trained.fitted.validation)
    baseline = tl.baseline(features.examples, evaluation)
    return tl.write_version(target, trained, backbone=backbone, features=features, evaluation=evaluation,
                            baseline=baseline, trials=trials, runtime=runtime, clock=clock, config=asdict(config))


if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
