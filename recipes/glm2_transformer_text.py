"""Texts, Chinese or English: a small Transformer on frozen token states of ChatGLM2-6B.

python recipes/glm2_transformer_text.py --data TABLE --weights DIR --name NAME
Data: a table with a column of texts and one of labels (CSV, TSV, JSONL, Parquet), DIR/<class>/*.txt, or tfds:NAME.
Weights: the published folder of ChatGLM2-6B, ChatGLM3-6B or GLM-4-9B (12.5 to 18.8 GB); `kerastl backbones` lists the
addresses and licences.
Measured: not measured. The weights could not be downloaded in our build environment. With random weights, the recipe
runs from end to end at 98 million parameters in `make bench`; loading and the feature pass were also run at full size.
Time: with 6 billion random parameters on 2 cores of an AMD EPYC with avx512_bf16, 70 s to load, then 34 tokens per
second in bfloat16, 33 in int8, 26 in int4, 22 streamed from disk. 1,000 texts of 30 tokens take a quarter of an hour,
once.
"""

from dataclasses import asdict, dataclass
from typing import Any

import kerastl as tl


@dataclass(frozen=True, kw_only=True)
class Config(tl.TextConfig):
    """Flags of the recipe."""

    backbone: str = "glm2_6b"  # see `kerastl backbones`
    head: str = "transformer"  # on token states; linear, mlp and others take pooled ones (--pooling mean or last)
    tap: str = "top"  # or layer_1 to layer_27; middle layers are faster and often better for classification
    precision: str = "auto"  # of the weights: float32, bfloat16, int8, int4; auto: the best that fits in memory


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
