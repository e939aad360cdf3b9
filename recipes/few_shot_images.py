"""New classes from a few pictures each: methods compared on frozen features, over episodes of classes never seen.

python recipes/few_shot_images.py --data DIR --name NAME
Data: DIR/<class>/**/<picture>, a table of path,label, or tfds:NAME.
Measured: TODO
Time: TODO
"""

from dataclasses import asdict, dataclass
from typing import Any

import kerastl as tl


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags of the recipe."""

    data: str  # DIR/<class>/**/<picture>, a .csv/.jsonl/.parquet of path,label, or tfds:NAME[:split]
    name: str  # few_shot.json and few_shot.md are written to OUT/NAME, in place of older ones
    out: str = "saved_models"  # where results are written to
    deepest: bool = False  # of folders in folders, a picture's class is the one it lies in, not the one at the top
    way: int = 5  # classes an episode
    shots: str = "1,5,10"  # labelled pictures a class, one figure each
    queries: int = 5  # other pictures a class, that an episode is judged by; smaller classes are left out
    episodes: int = 600  # that judge, 200 or more
    backbone: str = "efficientnet_lite0"  # see `kerastl backbones`
    weights: str | None = None  # bundled, imagenet, none (random, for tests) or a file; default: what the backbone has
    seed: int = 0  # of learning; never moves a class to another side, nor the episodes that judge
    cache_dir: str | None = None  # default: the user's cache directory
    data_dir: str | None = None  # where TFDS data sets lie
    json: bool = False  # print one JSON document on standard output, and nothing else there


def main(config: Config) -> dict[str, Any]:
    """The steps: source, features, division of the classes, methods learnt on base classes, figures on novel ones."""
    clock, cache = tl.Clock(), tl.cache_dir(config.cache_dir)
    target = tl.target(config.out, config.name, "none")
    task = tl.few_shot_task(config.way, config.shots, config.queries, config.episodes, config.seed)
    runtime = tl.apply_runtime("float32", "auto", config.seed)  # as an exported model computes
    examples = tl.read_images(config.data, min_per_class=0, data_dir=config.data_dir, cache_dir=cache)
    examples = tl.by_folder(examples) if config.deepest else examples

    backbone = tl.load_backbone(config.backbone, config.weights, kind="image")
    features = tl.compute_features(examples, backbone, runtime, cache_dir=cache)
    division = tl.divide_classes(features, task)
    methods = tl.learn_few_shot(division.base, task, config.seed)
    figures = tl.judge_few_shot(division.novel, methods, task, config.episodes)
    return tl.write_few_shot(target, figures, methods, division=division, task=task, backbone=backbone,
                             features=features, clock=clock, config=asdict(config))


def show(run: dict[str, Any]) -> str:
    """What is printed of a run."""
    return tl.few_shot_summary(run)


if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config, show=show))
