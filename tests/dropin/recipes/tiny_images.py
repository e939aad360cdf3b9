"""A recipe that is dropped in as one file.

python recipes/efficientnet_lite_images.py --data DIR --name NAME
Data: DIR/<class>/**/<picture>, a table of path,label, or tfds:NAME.
Measured: not measured yet.
Time: not measured yet.
"""

from dataclasses import asdict, dataclass
from typing import Any

import kerastl as tl


@dataclass(frozen=True, kw_only=True)
class Config(tl.ImageConfig):
    """Flags of the recipe."""

    backbone: str = "tiny_net"  # see `kerastl backbones`


def main(config: Config) -> dict[str, Any]:
    """The six steps: source, split, features, head, evaluation, export."""
    clock, cache, kinds = tl.Clock(), tl.cache_dir(config.cache_dir), tl.tflite_kinds(config.tflite)
    runtime = tl.apply_runtime(config.precision, config.xla, config.seed)
    examples = tl.read_images(config.data, min_per_class=config.min_per_class, limit=config.limit,
                              data_dir=config.data_dir, cache_dir=cache)
    examples = tl.split(examples, config.split, unfreeze=config.unfreeze)

    backbone = tl.load_backbone(config.backbone, config.weights)
    features = tl.compute_features(examples, backbone, runtime, cache_dir=cache, batch_size=config.batch_size)
    fitted = tl.fit(features, config.head, runtime=runtime, epochs=config.epochs, class_weights=config.class_weights,
                    label_smoothing=config.label_smoothing)
    model, tuned = tl.splice(backbone, fitted.head), None
    if config.unfreeze:
        fitted, tuned = tl.fine_tune(backbone, model, fitted, features.examples, config.unfreeze, runtime=runtime,
                                     cache_dir=cache, epochs=config.epochs, batch_size=config.batch_size)
    evaluation = tl.evaluate(features.examples, fitted.judged, fitted.validation)

    with tl.new_version(config.out, config.name) as version:
        begun = clock()
        exported = tl.export_model(version, model, backbone.model, fitted.head, features.examples,
                                   evaluation.temperature, kinds=kinds, name=config.name)
        run = tl.run_record(asdict(config), backbone=backbone, features=features, fitted=fitted, tuned=tuned,
                            evaluation=evaluation, exported=exported, runtime=runtime,
                            seconds={"export": clock() - begun, "total": clock()})
        return tl.write_report(version, run, features.examples, name=config.name)


if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
