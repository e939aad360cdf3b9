"""Distillation: trains a small student for phones on the predictions of an exported model and on the labels.

python recipes/distil_to_tflite.py --teacher saved_models/TEACHER --name NAME
Data: the rows that the teacher was trained and evaluated on, with the same split; --data says where they are now.
Measured: a fine-tuned MiniLM teaches its own first two blocks (--backbone minilm --layer layer_2 --epochs 1), 3,000
movie snippets, one seed, 299 test rows: teacher 0.819 (95% CI 0.772 to 0.859), student 0.773 (0.722 to 0.816). The same
student trained on the labels alone reaches 0.786 (0.736 to 0.829), so distillation did not help here. The student's
dynamic TFLite file: 15.5 MB, accuracy 0.758 on 256 of these rows, a seventh of the teacher's latency. Images: not
measured.
Time: not measured on an idle machine.
"""

import kerastl as tl

STUDENTS = {"image": ("efficientnet_lite0", "top"), "text": ("minilm", "layer_2")}  # backbone and feature layer


class Config(tl.RunConfig):
    teacher: str  # saved_models/NAME or saved_models/NAME/VERSION, trained with a hold-out
    data: str | None = None  # new location of the teacher's data (default: as in its training)
    backbone: str | None = None  # student's backbone (default: efficientnet_lite0, or the first two blocks of minilm)
    weights: str | None = None  # bundled, imagenet, preset, none (random, for tests), a file or a folder
    layer: str = "auto"  # feature layer; auto: top, or layer_2 for the default text student
    unfreeze: str = "all"  # train the last N blocks of the student's backbone, or all; 0: only its head
    batch_size: int = 32  # rows per batch


def main(config: Config) -> tl.RunRecord:
    """Read the teacher's rows in its split, compute features, train a student on its probabilities, write a version."""
    stopwatch, cache = tl.Stopwatch(), tl.cache_dir(config.cache_dir)
    teacher = tl.load_teacher(config.teacher)
    modality = teacher.record.modality
    target = tl.target(config.out, config.name, config.tflite, modality=modality.name, if_better=config.if_better)
    runtime = tl.apply_runtime(config.precision, config.xla, config.seed, config.engine, config.workers,
                               config.devices)
    options = config.training_options()

    # every row is in the part of the split that it had, so the teacher was not fitted on the student's test rows
    examples = tl.lesson(teacher, config.data, data_dir=config.data_dir, cache_dir=cache)
    tl.check_target(examples, config.target)  # before the features: they take longest

    student, layer = STUDENTS[modality.name] if config.backbone is None else (config.backbone, "top")
    backbone = tl.load_backbone(student, config.weights, modality=modality.name,
                                layer=layer if config.layer == "auto" else config.layer,
                                pooling=tl.pooling_for(config.head),
                                accept_truncated=teacher.input.record().get("accept_truncated", False))
    backbone = tl.fit_length(backbone, examples) if modality.has_length else backbone
    features = tl.compute_features(examples, backbone, runtime, cache_dir=cache, batch_size=config.batch_size)

    # targets [batch, classes]: half the labels, half the teacher's probabilities
    features = tl.teach(teacher, features)
    trials = tl.search_heads(features, config.head, config.search, options=options)
    trained = tl.train(features, tl.best_head(trials, config.head), unfreeze=config.unfreeze, options=options)

    evaluation = tl.evaluate(features.examples, trained.fitted, target=config.target)
    baseline = tl.baseline(features.examples, evaluation)
    rejection = tl.detect_unknown(features, trained, coverage=config.coverage, reject=config.reject)
    return tl.write_version(target, trained, features=features, evaluation=evaluation, baseline=baseline, trials=trials,
                            clock=stopwatch, teacher=teacher,
                            config=config.to_dict() | teacher.source(config.data, config.data_dir), rejection=rejection,
                            drift_reference=config.drift_reference == "on")


if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
