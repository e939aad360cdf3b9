"""Training: a head on the features and, if requested, the backbone with it."""

from dataclasses import dataclass, replace
from typing import Any

from kerastl.data.examples import TRAIN
from kerastl.data.split import UNFREEZE_TEXT, is_unfreeze, split_of
from kerastl.errors import OptionError, expect
from kerastl.features.compute import Features
from kerastl.features.engines.tensorflow import in_policy
from kerastl.features.means import means_of
from kerastl.features.raw_inputs import with_raw
from kerastl.heads import ROW, ConfiguredHead, HeadLike, resolve_head
from kerastl.inputs import Input
from kerastl.model import block_count, splice
from kerastl.training.fine_tuning.batches import predictions_on
from kerastl.training.fine_tuning.few_labels import few_labels, not_tried, tune_and_fit
from kerastl.training.fine_tuning.fine_tune import fine_tune
from kerastl.training.fine_tuning.in_folds import estimate, fine_tune_in_folds
from kerastl.training.fine_tuning.keep import better_on_validation, little_to_gain
from kerastl.training.fine_tuning.plan import plan_for, unused_note
from kerastl.training.fine_tuning.result import FineTuneResult, kept_sentence
from kerastl.training.fit import FEATURES, OPTIONS, FittedHead, fit
from kerastl.training.fitters import fitter_named
from kerastl.training.options import DEFAULTS, TrainingOptions

FROZEN, AUTO, CONTRAST = "0", "auto", "contrast"


@dataclass(frozen=True)
class TrainedModel:
    """model: backbone and head as one keras.Model. fine_tuning: None where the backbone stayed frozen without a try.
    linear: the `linear` head fitted on the same rows, beside a head on a frozen backbone that is trained by gradient
    descent. input: what the model takes, where that is more than the backbone's own input."""

    model: Any
    fitted: FittedHead
    fine_tuning: FineTuneResult | None
    linear: FittedHead | None = None
    input: Input | None = None

    def __repr__(self) -> str:
        kept = self.fine_tuning if self.fine_tuning and self.fine_tuning.kept else None
        backbone = f"last {kept.blocks} blocks fine-tuned" if kept else "frozen backbone"
        return f"TrainedModel({getattr(self.model, 'name', None)}: {backbone}, {self.fitted!r})"


def train(features: Features, head: HeadLike = "best", *, unfreeze: int | str = 0,
          options: TrainingOptions = DEFAULTS) -> TrainedModel:
    """Fit a head on frozen features and splice it with the backbone that computed them.

    head: a name as `kerastl heads` lists it, with or without settings, `mlp:hidden=256`; a keras.Model, which is copied
    with new weights each time it is trained; a callable `(shape, outputs) -> keras.Model`; or a Python file. unfreeze:
    `contrast` fine-tunes the backbone with a contrastive loss and fits the head on the features that result; `auto`
    does so where labels are few (see `few_labels`) and the frozen backbone leaves something to gain, and else keeps the
    backbone frozen; a number of blocks, or `all`, fine-tunes them after the head is fitted. In each case the frozen
    backbone is kept unless the fine-tuned one is better by more than one standard error of the log loss, on rows that
    neither was trained on (see `fine_tuning.keep`). A copy of the backbone is fine-tuned; the one of
    `features` does not change.

    Raises OptionError for a head, options or a number of blocks that do not exist or do not fit.
    """
    expect(Features, FEATURES, features=features)
    expect(TrainingOptions, OPTIONS, options=options)
    configured = _feasible(resolve_head(head, features.parts), features)
    original, backbone = features, features.backbone
    mode = _mode(features, configured.text, unfreeze, configured.spec.takes == ROW
                 and (not configured.spec.takes_raw or configured.spec.chooses))
    if mode not in (FROZEN, CONTRAST):  # before the head is fitted, for that may take minutes
        block_count(backbone, mode)
        split = split_of(features.examples)
        training = len(split.part) if split.mode == "cv" else len(split.rows(TRAIN))
        plan_for(features.examples.modality, training, options.fine_tuning, epochs=options.epochs)
    elif note := unused_note(options.fine_tuning):
        print(note, flush=True)
    if configured.spec.takes_raw:
        features = with_raw(features, all_tokens=configured.spec.all_tokens)
    tuning = replace(options, allow_baseline=False)  # the simple model does not use the backbone
    if mode not in (FROZEN, CONTRAST) and options.allow_baseline:
        print("the simple model does not use the backbone, so it does not ship with one that is fine-tuned: "
              "allow_baseline has no effect", flush=True)
        options = tuning
    fitted = fit(features, configured, options=_of_head(options, configured, mode))
    result = None
    if mode != FROZEN and str(unfreeze) == AUTO and (loss := little_to_gain(features.examples, fitted.held_out,
                                                                            fitted.validation)) is not None:
        mode, result = FROZEN, not_tried(loss)
    if mode == FROZEN:
        return _frozen(features, original, configured, fitted, result, options)
    features = _with_own_backbone(features)
    if mode == CONTRAST:
        fitted, result = tune_and_fit(features, configured, fitted, options=tuning)
    elif split_of(features.examples).mode == "cv":
        fitted, result = fine_tune_in_folds(features, configured, fitted, mode, options=options)
    else:
        features = _as_taken(features, fitted, original)
        model = splice(features.backbone, fitted.head)
        frozen, weights = _as_shipped(model, features, fitted, options.batch_size), model.get_weights()
        fitted, result = fine_tune(features, model, frozen, mode, options=options,
                                   after_step=estimate(features, options))
        if result.kept and not better_on_validation(features.examples, frozen, fitted):
            model.set_weights(weights)
            fitted, result = frozen, replace(result, kept=False)
            print(kept_sentence(result), flush=True)
        return TrainedModel(model, fitted, result, input=features.backbone.input)
    print(kept_sentence(result), flush=True)
    if not result.kept:
        return _frozen(features, original, configured, fitted, result, options)
    features = _as_taken(features, fitted, original)
    return TrainedModel(splice(features.backbone, fitted.head), fitted, result, input=features.backbone.input)


def _of_head(options: TrainingOptions, head: ConfiguredHead, mode: str) -> TrainingOptions:
    """The options that the head is fitted with: for one that is solved and then fine-tuned with blocks,
    cross-entropy."""
    if not options.gamma or mode in (FROZEN, CONTRAST) or fitter_named(head.spec.fitter).descends:
        return options
    print(f"`loss` is focal in fine-tuning; the head {head.text}, which it starts from, is solved with cross-entropy",
          flush=True)
    return options.with_cross_entropy()


def _frozen(features: Features, original: Features, head: ConfiguredHead, fitted: FittedHead,
            result: FineTuneResult | None, options: TrainingOptions) -> TrainedModel:
    features = _as_taken(features, fitted, original)
    model = splice(features.backbone, fitted.head)
    fitted = _as_shipped(model, features, fitted, options.batch_size)
    linear = linear_beside(features, head, options)
    return TrainedModel(model, fitted, result, linear, features.backbone.input)


def linear_beside(features: Features, head: ConfiguredHead, options: TrainingOptions) -> FittedHead | None:
    """The `linear` head on the mean of the same features, to be shown beside a head; None beside one that is solved or
    computed itself, or chosen among others. It chooses nothing."""
    if head.spec.chooses or head.spec.convex or not fitter_named(head.spec.fitter).minimises_loss:
        return None
    return fit(means_of(features), "linear", options=options.with_cross_entropy())


def _feasible(head: ConfiguredHead, features: Features) -> ConfiguredHead:
    """The head; the linear one for a head that chooses, where no head can take the raw input."""
    backbone = features.backbone
    if not head.spec.chooses or not (backbone.large or backbone.input.single_spec is None):
        return head
    why = "is exported without its backbone" if backbone.large else "takes texts in several chunks"
    print(f"head {head.text}: only linear is fitted, because the model {why}", flush=True)
    return resolve_head("linear", features.parts)


def _as_taken(features: Features, fitted: FittedHead, original: Features) -> Features:
    """The features with the input that the model takes: without raw inputs, if the head that was chosen has none."""
    if len(fitted.head.inputs) > 1:
        return features
    return replace(features, backbone=features.backbone.taking(original.backbone.input))


def _with_own_backbone(features: Features) -> Features:
    """The same features with a copy of their backbone, so that fine-tuning changes no weights of the caller's."""
    import keras

    keras.utils.set_random_seed(features.runtime.seed)  # for the seeds of the copy's dropout
    backbone = features.backbone
    return replace(features, backbone=replace(backbone, model=in_policy(backbone.model, "float32")))


def _mode(features: Features, head: str, unfreeze: int | str, pooled: bool) -> str:
    """What is fine-tuned: `0`, `contrast`, a number of blocks, or `all`. pooled: whether the head takes pooled features
    only, as contrastive fine-tuning needs."""
    mode, backbone = str(unfreeze), features.backbone
    if not is_unfreeze(mode):
        raise OptionError(f"`unfreeze` is {unfreeze}", UNFREEZE_TEXT,
                          "blocks are counted from the output: 1 is the last one")
    if backbone.large and mode not in (AUTO, FROZEN):
        raise OptionError(f"`unfreeze` is {mode!r}, but {backbone.name} is a large backbone: its weights are "
                          f"{backbone.large.kept}, and the head is exported without it", "`unfreeze=0`",
                          "choose a smaller backbone to fine-tune")
    if mode == AUTO:
        return CONTRAST if pooled and not backbone.spec.large and few_labels(features.examples) else FROZEN
    if mode == CONTRAST and not pooled:
        raise OptionError(f"`unfreeze` is 'contrast' with the head {head}", "a head that takes pooled features only",
                          "set `unfreeze` to 0, a number of blocks, or all")
    return mode


def _as_shipped(model: Any, features: Features, fitted: FittedHead, batch_size: int) -> FittedHead:
    """The predictions for held-out rows by the whole model in float32, where the cache keeps feature maps in float16.
    In cross-validation they come from the heads of the folds, which do not ship, and stay as they are; so do those of a
    large backbone, whose head ships alone."""
    split, backbone = split_of(features.examples), features.backbone
    if backbone.large or features.held_out_space.key.dtype == "float32" or split.mode == "cv":
        return fitted
    return replace(fitted, held_out=predictions_on(model, backbone.input, features.examples, split.held_out,
                                                   batch_size))
