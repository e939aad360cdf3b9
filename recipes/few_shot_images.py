"""New classes from a few images each: methods compared on frozen features, over episodes of classes never seen.

python recipes/few_shot_images.py --data DIR --name NAME
Data: DIR/<class>/**/<image>, a table of path,label, or tfds:NAME.
Measured: --deepest on stamps, 5-way, 8 base and 7 novel classes of 15 images or more, 600 episodes; accuracy with 1,
5 and 10 images a class (95% intervals reach 0.008 to either side, over episodes of these 7 classes): prototypes
0.820, 0.938, 0.952; logistic 0.829, 0.944, 0.959; metric 0.820, 0.956, 0.962; proto_maml 0.820, 0.952, 0.958. Letters
of other styles and cases lie on both sides. With whole kinds apart (--way 3, 4 base and 4 novel classes), learning on
so few base classes does not pay: logistic 0.599, 0.807, 0.885; metric 0.585, 0.785, 0.853. Of one seed; others not
measured.
Time: 78 s on 2 cores of an AMD EPYC with avx512_bf16 (features 8, learning 56, judging 14), the steps timed one by
one; 171 s as a whole, with features cached, while other work had the cores too.
"""

from dataclasses import asdict, dataclass
from typing import Any

import kerastl as tl


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags of the recipe."""

    data: str  # DIR/<class>/**/<image>, a .csv/.jsonl/.parquet of path,label, or tfds:NAME[:split]
    name: str  # few_shot.json and few_shot.md are written to OUT/NAME, in place of older ones
    out: str = "saved_models"  # where results are written to
    deepest: bool = False  # of folders in folders, an image's class is the one it lies in, not the one at the top
    way: int = 5  # classes an episode
    shots: str = "1,5,10"  # labelled images a class, one figure each
    queries: int = 5  # other images a class, that an episode is judged by; smaller classes are left out
    episodes: int = 600  # that judge, 200 or more
    backbone: str = "efficientnet_lite0"  # see `kerastl backbones`
    weights: str | None = None  # bundled, imagenet, none (random, for tests) or a file; default: what the backbone has
    seed: int = 0  # of learning; never moves a class to another side, nor the episodes that judge
    cache_dir: str | None = None  # default: the user's cache directory
    data_dir: str | None = None  # where TFDS data sets lie
    json: bool = False  # print one JSON document on standard output, and nothing else there


def main(config: Config) -> dict[str, Any]:
    """The steps: source, features, division of the classes, methods learnt on base classes, figures on novel ones."""
    clock, cache = tl.Stopwatch(), tl.cache_dir(config.cache_dir)
    target = tl.target(config.out, config.name, "none")
    task = tl.few_shot_task(config.way, config.shots, config.queries, config.episodes, config.seed)
    runtime = tl.apply_runtime("float32", "auto", config.seed)  # as an exported model computes
    examples = tl.read_images(config.data, min_per_class=0, data_dir=config.data_dir, cache_dir=cache)
    examples = tl.by_folder(examples) if config.deepest else examples

    backbone = tl.load_backbone(config.backbone, config.weights, modality="image")
    features = tl.compute_features(examples, backbone, runtime, cache_dir=cache)
    division = tl.divide_classes(features, task)
    methods = tl.learn_few_shot(division.base, task, config.seed)
    figures = tl.evaluate_few_shot(division.novel, methods, task, config.episodes)
    return tl.write_few_shot(target, figures, methods, division=division, task=task, backbone=backbone,
                             features=features, clock=clock, config=asdict(config))


def show(run: dict[str, Any]) -> str:
    """What is printed of a run."""
    return tl.few_shot_summary(run)


if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config, show=show))
