"""Texts: a linear classifier on BERT features.

python recipes/bert_text.py --data TABLE --name NAME
Data: a table with a column of texts and one of labels (CSV, TSV, JSONL, Parquet), DIR/<class>/*.txt, or tfds:NAME.
Measured: not measured. The weights (a KerasHub download) could not be downloaded in our build environment. The recipe
is tested from end to end on a tiny BERT with random weights.
Time: not measured.
"""

import kerastl as tl


class Config(tl.TextConfig):
    backbone: str = "bert_base"  # see `kerastl backbones`
    unfreeze: str = "0"  # fine-tune the last N blocks, or all; contrast: contrastive; auto: contrast if labels are few


def main(config: Config) -> tl.RunRecord:
    """Read and split the texts, compute features, train a head, evaluate it, write a version."""
    stopwatch, cache = tl.Stopwatch(), tl.cache_dir(config.cache_dir)
    target = tl.target(config.out, config.name, config.tflite, modality="text",
                       if_better=config.if_better)  # fails early: name, folder, kinds
    runtime = tl.apply_runtime(config.precision, config.xla, config.seed, config.engine, config.workers,
                               config.devices)
    options = config.training_options()

    # texts, labels and content hashes; nothing is tokenised yet
    examples = tl.read_texts(config.data, options=config.read_options(), min_per_class=config.min_per_class,
                             limit=config.limit, data_dir=config.data_dir, cache_dir=cache)
    # near-duplicates never leak from one side of the split to another
    examples = tl.find_near_duplicates(examples, config.near_duplicates, cache_dir=cache)
    tl.check_target(examples, config.target)  # before the features: they take longest
    # folds or a hold-out; fine-tuning and a search need validation rows
    examples = tl.split(examples, config.split, unfreeze=config.unfreeze, search=config.search)

    # tokens [batch, length] -> features [batch, dim] (token states, for heads that take them), in the cache
    backbone = tl.load_backbone(config.backbone, config.weights, modality="text", layer=config.layer,
                                pooling=tl.pooling_for(config.head, config.pooling), precision=config.precision,
                                pickles=config.pickles)
    backbone = tl.fit_length(backbone, examples, config.max_length, config.long)
    features = tl.compute_features(examples, backbone, runtime, cache_dir=cache, batch_size=config.batch_size)

    # features -> logits [batch, classes]; settings are chosen inside the training rows or on validation rows
    trials = tl.search_heads(features, config.head, config.search, options=options)
    trained = tl.train(features, tl.best_head(trials, config.head), unfreeze=config.unfreeze, options=options)

    evaluation = tl.evaluate(features.examples, trained.fitted, target=config.target)
    baseline = tl.baseline(features.examples, evaluation)
    near_duplicates = tl.near_duplicate_effect(features, trained, evaluation, options=options)
    rejection = tl.detect_unknown(features, trained, coverage=config.coverage, reject=config.reject)
    return tl.write_version(target, trained, features=features, evaluation=evaluation, baseline=baseline, trials=trials,
                            clock=stopwatch, config=config.to_dict(),
                            near_duplicates=near_duplicates, rejection=rejection,
                            drift_reference=config.drift_reference == "on")


if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
