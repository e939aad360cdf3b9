"""Few-shot images: compares methods for new classes with a few images each, on frozen features.

python recipes/few_shot_images.py --data DIR --name NAME
Data: DIR/<class>/**/<image>, a table with columns path and label, or tfds:NAME.
Measured: --deepest on stamps, 5-way, 8 base and 7 novel classes with at least 15 images, 600 episodes, one seed.
Accuracy with 1, 5 and 10 images per class (95% CI within 0.008, over episodes of these 7 classes): prototypes 0.820,
0.938, 0.952; logistic 0.829, 0.944, 0.959; metric 0.820, 0.956, 0.962; proto_maml 0.820, 0.952, 0.958. Base and novel
classes both contain letters, in different styles and cases. When whole categories are kept apart (--way 3, 4 base and 4
novel classes), learning on so few base classes does not help: logistic 0.599, 0.807, 0.885; metric 0.585, 0.785, 0.853.
Other settings: not measured.
Time: 78 s on 2 cores of an AMD EPYC with avx512_bf16 (features 8, learning 56, evaluation 14), steps timed separately;
171 s in one run, with cached features, on a busy machine.
"""

from dataclasses import asdict, dataclass

import kerastl as tl


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags of the recipe."""

    data: str  # DIR/<class>/**/<image>, a .csv/.jsonl/.parquet with path,label, or tfds:NAME[:split]
    name: str  # few_shot.json and few_shot.md are written to OUT/NAME and replace older ones
    out: str = "saved_models"  # folder where results are written
    deepest: bool = False  # the class of an image is its innermost folder, not the outermost
    way: int = 5  # classes per episode
    shots: str = "1,5,10"  # labelled images per class; one result for each number
    queries: int = 5  # test images per class and episode; classes with too few images are skipped
    episodes: int = 600  # episodes for evaluation, at least 200
    backbone: str = "efficientnet_lite0"  # see `kerastl backbones`
    weights: str | None = None  # bundled, imagenet, none (random, for tests), a file (default: see `kerastl backbones`)
    seed: int = 0  # training seed; affects neither the division of classes nor the test episodes
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    relabel: str | None = None  # table of corrected labels: edit the one of `kerastl check --fixes`
    json: bool = False  # print the results as one JSON document


def main(config: Config) -> tl.FewShotRecord:
    """Read the images, compute features, learn each method on base classes and evaluate it on novel classes."""
    clock, cache = tl.Stopwatch(), tl.cache_dir(config.cache_dir)
    target = tl.target(config.out, config.name, "none")
    task = tl.few_shot_task(config.way, config.shots, config.queries, config.episodes, config.seed)
    runtime = tl.apply_runtime("float32", "auto", config.seed)  # as an exported model computes
    examples = tl.read_images(config.data, options=tl.ReadOptions(relabel=config.relabel), min_per_class=0,
                              data_dir=config.data_dir, cache_dir=cache)
    examples = tl.by_folder(examples) if config.deepest else examples

    backbone = tl.load_backbone(config.backbone, config.weights, modality="image")
    features = tl.compute_features(examples, backbone, runtime, cache_dir=cache)
    division = tl.divide_classes(features, task)
    methods = tl.learn_few_shot(division.base, task, config.seed)
    figures = tl.evaluate_few_shot(division.novel, methods, task, config.episodes)
    return tl.write_few_shot(target, figures, methods, division=division, task=task, features=features,
                             clock=clock, config=asdict(config))


show = tl.few_shot_summary  # what is printed of a run

if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config, show=show))
