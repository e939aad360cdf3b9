"""The flags of recipes: frozen dataclasses whose line comments are the `--help` text."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, dataclass_transform

from kerastl.files import file_sha256

# Flags that a plain --help leaves out. --help-all shows each group under its own heading.
GROUPS = {
    "dataset": ("split", "min_per_class", "limit", "path_column", "group_column", "split_column", "multi_label",
                "no_label", "strict", "accept_truncated", "near_duplicates", "mirrored", "relabel", "data_dir",
                "cache_dir", "isolate"),
    "feature": ("layer", "layers", "pooling", "pieces", "max_length", "long", "pickles", "engine", "workers",
                "precision", "xla", "devices"),
    "training": ("search", "target", "epochs", "patience", "batch_size", "class_weights", "label_smoothing", "seed",
                 "allow_baseline", "coverage", "reject", "loss",
                 "drift_reference", "if_better"),
    "fine_tuning": ("learning_rate", "find_learning_rate", "schedule", "gradual", "layer_decay", "lora", "mixing",
                    "average_epochs", "augment"),
    "privacy": ("private", "classes"),
}
OLD_NAMES = {  # of fields that were renamed: their flags keep working, and run.json keeps the names
    "layer": "tap", "learning_rate": "rate", "find_learning_rate": "find_rate", "average_epochs": "average",
    "mixing": "mix",
}


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """The flags of verbs that read labelled data."""

    text_column: str | None = None  # column of the texts; for pairs two: a,b (default: detected)
    label_column: str | None = None  # of the labels; several columns of 0 and 1: a,b,c (default: detected)
    path_column: str | None = None  # column of the paths of images (default: detected)
    group_column: str | None = None  # column whose rows are never split, or none (default: the column named group)
    split_column: str | None = None  # column of train/validation/test, or none (default: split, or folders' names)
    multi_label: str = "auto"  # whether a row may have several labels: auto, on or off
    no_label: str | None = None  # labels that mean that there is none, such as -1; separated by commas
    relabel: str | None = None  # table of corrected labels: edit the one of `kerastl check --fixes`
    isolate: str = "auto"  # decode images, and read Parquet and Excel, in processes with limits: auto, on or off

    def read_options(self) -> Any:
        """How data are read: a `data.options.ReadOptions`."""
        from kerastl.data.options import ReadOptions

        return ReadOptions.of(vars(self))


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The flags that every recipe has. A class derived from it is a frozen dataclass too, without the decorator."""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        dataclass(frozen=True, kw_only=True)(cls)

    name: str  # name of the model; each run writes a new version to OUT/NAME/VERSION
    out: str = "saved_models"  # folder where models are written
    head: str = "best"  # see `kerastl heads`; with settings: mlp:hidden=256,dropout=0.3
    search: int = 0  # tune head hyperparameters with N trials; --head linear,mlp or auto to search over several heads
    layer: str = "top"  # feature layer of the backbone; see `kerastl backbones`
    split: str = "auto"  # auto, cv or holdout; a split defined by the data takes precedence over auto
    min_per_class: int = 10  # skip classes with fewer examples
    epochs: int | None = None  # maximum number of epochs (default: early stopping decides)
    schedule: str = "auto"  # learning-rate schedule: cosine, linear or one-cycle (auto: linear for texts, else cosine)
    learning_rate: float | None = None  # peak learning rate (default depends on images or texts)
    find_learning_rate: bool = False  # run a learning-rate range test on the training rows
    gradual: bool = False  # gradual unfreezing: one more block each epoch, starting from the top
    layer_decay: float | None = None  # layer-wise learning-rate decay factor (default: 0.9 for texts, 1 for images)
    average_epochs: int = 1  # average the weights of the last N epochs, if that improves validation loss
    class_weights: str = "auto"  # auto (if the largest class is 10 times the smallest), balanced or none
    label_smoothing: float = 0.0  # amount of label smoothing, in [0, 1)
    seed: int = 0  # training seed; does not affect the data split
    engine: str = "auto"  # what computes features: auto (the fastest here), tensorflow, openvino, or a ray cluster
    workers: int = 0  # compute features in N processes (ray: N workers of the cluster; default: one per machine)
    precision: str = "auto"  # auto, float32, mixed_bfloat16 or mixed_float16
    xla: str = "auto"  # compile with XLA: auto, on or off
    devices: str = "auto"  # auto (all GPUs share features and fine-tuning), a number of GPUs, or cpu (no GPU)
    tflite: str = "all"  # TFLite files to write: fp32,fp16,dynamic,int8, all (texts: all but int8) or none
    limit: int | None = None  # use at most N rows (default: all)
    cache_dir: str | None = None  # feature cache (default: the user's cache directory)
    data_dir: str | None = None  # directory of TFDS datasets (default: TFDS' own)
    allow_baseline: bool = False  # also ship the simple model without transfer, where the head best chooses it
    json: bool = False  # print the results as one JSON document
    loss: str = "auto"  # cross-entropy (auto) or focal: of fine-tuning and of heads trained by gradient descent
    target: str | None = None  # reach precision=0.95, recall=0.9 or least cost=MISSED:FALSE_ALARM (@CLASS: of a class)
    coverage: float = 0.95  # the fraction of inputs like the data whose unknown_score is at most 0
    drift_reference: str = "on"  # on: keep features of 1,000 held-out rows for `kerastl drift` (no inputs); or off
    if_better: bool = False  # publish only if accuracy on the same rows is above the newest version's, else exit code 1
    reject: str = "off"  # on: an input with an unknown_score above 0 gets the label "none of these"

    def to_dict(self) -> dict[str, Any]:
        """The flags as run.json records them, and the file of the recipe that they are of."""
        return {**{OLD_NAMES.get(name, name): value for name, value in asdict(self).items()}, **self._made_by()}

    def _made_by(self) -> dict[str, Any]:
        """The recipe's file and its hash, as `versions.reproduction.MadeBy` has them; nothing for a class that no file
        defines, as in a notebook."""
        module = sys.modules.get(type(self).__module__)
        file = getattr(module, "__file__", None)
        if file is None or type(self).__module__ == __name__:
            return {}
        digest = getattr(module, "__sha256__", None) or file_sha256(Path(file))  # when loaded; else now
        return {"made_by": {"recipe": file, "sha256": digest}}

    def read_options(self) -> Any:
        """How the data are read, as `read_images` and `read_texts` take it: a `data.options.ReadOptions`."""
        from kerastl.data.options import ReadOptions

        return ReadOptions.of(vars(self))

    def training_options(self) -> Any:
        """The flags of training, as `train` takes them: a `training.options.TrainingOptions`."""
        from kerastl.training.fine_tuning.plan import TuningOptions
        from kerastl.training.options import TrainingOptions

        fine_tuning = TuningOptions(
            schedule=self.schedule, learning_rate=self.learning_rate, find_learning_rate=self.find_learning_rate,
            gradual=self.gradual, layer_decay=self.layer_decay, lora=getattr(self, "lora", 0),
            mixing=getattr(self, "mixing", "auto"), average_epochs=self.average_epochs,
            augment=getattr(self, "augment", "auto"))
        return TrainingOptions(epochs=self.epochs, batch_size=getattr(self, "batch_size", 32),
                               class_weights=self.class_weights, label_smoothing=self.label_smoothing,
                               fine_tuning=fine_tuning, allow_baseline=self.allow_baseline, loss=self.loss)


class ImageConfig(RunConfig):
    """The flags that every recipe for images has."""

    data: str  # DIR/<class>/**/<image>, a .csv/.jsonl/.parquet with path,label, or tfds:NAME[:split]
    label_column: str | None = None  # of a table, or one column of 0 and 1 per label: a,b,c (default: detected)
    path_column: str | None = None  # of a table: the paths of images (default: detected)
    group_column: str | None = None  # column whose rows are never split, or none (default: the column named group)
    split_column: str | None = None  # column of train/validation/test, or none (default: split, or folders' names)
    multi_label: str = "auto"  # whether a row may have several labels: auto, on or off
    no_label: str | None = None  # labels that mean that there is none, such as -1; separated by commas
    strict: bool = False  # fail if more than 2% of the rows are skipped, or if a class loses far more than the others
    near_duplicates: str = "auto"  # group (never split), report or off (auto: group, report from a million rows on)
    mirrored: bool = False  # whether mirror images are near-duplicates
    accept_truncated: bool = False  # use JPEG files that end early; the part that is missing is grey
    isolate: str = "auto"  # decode images, and read Parquet and Excel, in processes with limits: auto, on or off
    weights: str | None = None  # bundled, imagenet, none (random, for tests), a file (default: see `kerastl backbones`)
    unfreeze: str = "0"  # fine-tune the last N blocks of the backbone, or all; kept if validation loss improves
    mixing: str = "auto"  # mix pairs of images: mixup, cutmix or none (auto: mixup from 20,000 images on)
    augment: str = "auto"  # none, light, standard or strong (auto: standard, no flip if mirror images predict worse)
    batch_size: int = 32  # images per batch
    relabel: str | None = None  # table of corrected labels: edit the one of `kerastl check --fixes`
    private: str | None = None  # protect the training rows: epsilon=1,delta=auto (differential privacy, a linear head)
    classes: str | None = None  # with --private: all classes, a,b,c; they are public and not read from the data


class TextConfig(RunConfig):
    """The flags that every recipe for texts has."""

    data: str  # a .csv/.tsv/.jsonl/.parquet, DIR/<class>/*.txt, or tfds:NAME[:split]
    text_column: str | None = None  # column of the texts; for pairs two: a,b (default: detected)
    label_column: str | None = None  # of the labels; several columns of 0 and 1: a,b,c (default: detected)
    group_column: str | None = None  # column whose rows are never split, or none (default: the column named group)
    split_column: str | None = None  # column of train/validation/test, or none (default: split, or folders' names)
    multi_label: str = "auto"  # whether a row may have several labels: auto, on or off
    no_label: str | None = None  # labels that mean that there is none, such as -1; separated by commas
    strict: bool = False  # fail if more than 2% of the rows are skipped, or if a class loses far more than the others
    near_duplicates: str = "auto"  # group (never split), report or off (auto: group, report from a million rows on)
    isolate: str = "auto"  # read Parquet and Excel tables in processes with limits: auto (large ones), on or off
    weights: str | None = None  # bundled, preset, none (random, for tests), a folder (default: see `kerastl backbones`)
    pickles: bool = False  # large backbones: also read pickled weights (tensors only)
    pooling: str = "mean"  # how token states are pooled: mean, cls, last or pooled (BERT's trained pooler)
    max_length: int | None = None  # maximum tokens per text (default: the 99th percentile of token counts)
    long: str = "head"  # longer texts: head or head+tail (truncate), or chunks (average over windows)
    unfreeze: str = "auto"  # auto (contrastive fine-tuning for few labels), 0, the last N blocks, or all
    lora: int = 0  # fine-tune a low-rank update (LoRA) of this rank in the attention layers only
    batch_size: int = 32  # texts per batch
    relabel: str | None = None  # table of corrected labels: edit the one of `kerastl check --fixes`
    private: str | None = None  # protect the training rows: epsilon=1,delta=auto (differential privacy, a linear head)
    classes: str | None = None  # with --private: all classes, a,b,c; they are public and not read from the data
