"""The flags of recipes: frozen dataclasses whose line comments are the `--help` text."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The flags that every recipe has."""

    name: str  # the model's name: it is written to OUT/NAME/VERSION
    out: str = "saved_models"  # where models are written to
    head: str = "linear"  # see `kerastl heads`; with settings: mlp:hidden=256,dropout=0.3
    search: int = 0  # try N settings on validation rows, of the head, of some (linear,mlp), or of all: --head auto
    tap: str = "top"  # where in the backbone the features are taken; see `kerastl backbones`
    split: str = "auto"  # auto, cv or holdout; a split that the data bring is honoured
    min_per_class: int = 10  # smaller classes are left out
    epochs: int | None = None  # at most so many; default: early stopping decides
    schedule: str = "auto"  # of the rate when fine-tuning: cosine, linear or one-cycle; auto: by kind and rows
    rate: float | None = None  # the highest when fine-tuning; default: by kind
    find_rate: bool = False  # look for that rate by a ramp on training rows
    gradual: bool = False  # when fine-tuning, one more block from the top each epoch
    layer_decay: float | None = None  # when fine-tuning, the rate of a block over that of the block above it
    average: int = 1  # when fine-tuning, average the weights of the last N epochs, and keep that if it is better
    class_weights: str = "auto"  # auto (when the largest class has 10 times the smallest), balanced or none
    label_smoothing: float = 0.0  # in [0, 1)
    seed: int = 0  # of training; never moves a row to another side
    precision: str = "auto"  # auto, float32, mixed_bfloat16 or mixed_float16
    xla: str = "auto"  # auto, on or off
    tflite: str = "all"  # some of fp32,fp16,dynamic,int8; all (of texts all but int8) or none
    limit: int | None = None  # use at most N rows
    cache_dir: str | None = None  # default: the user's cache directory
    data_dir: str | None = None  # where TFDS data sets lie
    json: bool = False  # print one JSON document on standard output, and nothing else there


@dataclass(frozen=True, kw_only=True)
class ImageConfig(RunConfig):
    """The flags that every recipe for images has."""

    data: str  # DIR/<class>/**/<image>, a .csv/.jsonl/.parquet of path,label, or tfds:NAME[:split]
    weights: str | None = None  # bundled, imagenet, none (random, for tests) or a file; default: what the backbone has
    unfreeze: str = "0"  # train the last N blocks of the backbone too (or all), and keep that if validation improves
    mix: str = "auto"  # when fine-tuning: mixup, cutmix or none; auto: mixup from 20,000 images on
    batch_size: int = 32  # images at a time


@dataclass(frozen=True, kw_only=True)
class TextConfig(RunConfig):
    """The flags that every recipe for texts has."""

    data: str  # a .csv/.tsv/.jsonl/.parquet, DIR/<class>/*.txt, or tfds:NAME[:split]
    text_column: str | None = None  # where the texts are, two for pairs: a,b; default: found by name and content
    label_column: str | None = None  # where the labels are; default: found by name and content
    weights: str | None = None  # bundled, preset, none (random, for tests) or a folder, as published or saved
    pickles: bool = False  # of a large backbone, also read weights that are pickles, admitting tensors only
    pooling: str = "mean"  # how token states become features: mean, cls, last or pooled (BERT's trained pooler)
    max_length: int | None = None  # tokens a text; default: what holds 99 in 100 texts
    long: str = "head"  # of longer texts: head, head+tail, or chunks (windows, averaged)
    unfreeze: str = "auto"  # auto (few labels: fine-tune by contrast), 0, or train the last N blocks, or all, as well
    lora: int = 0  # when fine-tuning, train a low-rank change of the attention's kernels, of this rank
    batch_size: int = 32  # texts at a time


def training_options(config: Any) -> Any:
    """What the flags say of training, as `train` takes it: a `training.options.TrainingOptions`."""
    from kerastl.training.fine_tuning.plan import TuningOptions
    from kerastl.training.options import TrainingOptions

    tuning = TuningOptions(config.schedule, config.rate, config.find_rate, config.gradual, config.layer_decay,
                           getattr(config, "lora", 0), getattr(config, "mix", "auto"), config.average)
    return TrainingOptions(config.epochs, config.batch_size, config.class_weights, config.label_smoothing, tuning)
