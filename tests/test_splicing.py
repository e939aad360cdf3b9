"""Backbone and head as one model: which layers train, what is refused, and logits batch by batch."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from tiny import tiny_backbone

import kerastl as tl
from kerastl.errors import OptionError
from kerastl.heads import resolve_head
from kerastl.model import freeze, parts_of, predict_logits, unfreeze

PIXELS = np.random.default_rng(0).uniform(0, 255, (5, 32, 32, 3)).astype(np.float32)


def spliced(backbone: Any) -> Any:
    return tl.splice(backbone, resolve_head("linear").build(backbone.shape, 3))


def trainable(model: Any) -> set[str]:
    return {weight.path.split("/")[0] for weight in model.trainable_weights}


@pytest.mark.parametrize(("n", "layers"), [(0, []), (1, ["block2_conv"]), (2, ["block1_conv", "block2_conv"])])
def test_the_last_blocks_train_and_no_batch_norm(n: int, layers: list[str]) -> None:
    backbone = tiny_backbone()
    assert unfreeze(backbone, n) == layers
    assert trainable(backbone.model) == set(layers)
    norms = [layer for layer in backbone.model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 2 and not any(norm.trainable for norm in norms)
    freeze(backbone.model)
    assert backbone.model.weights and not backbone.model.trainable_weights


def test_more_blocks_than_there_are_is_an_error() -> None:
    with pytest.raises(OptionError, match="at most 2"):
        unfreeze(tiny_backbone(), 3)


def test_batch_norm_of_a_spliced_model_uses_its_statistics_even_in_training() -> None:
    backbone = tiny_backbone()
    for layer in backbone.model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.full(layer.moving_mean.shape, 0.3))
    model = spliced(backbone)
    before = backbone.model.get_weights()
    inference, training = (np.asarray(model(PIXELS, training=mode)) for mode in (False, True))
    assert np.abs(inference - training).max() < 1e-5
    assert all(np.array_equal(a, b) for a, b in zip(before, backbone.model.get_weights(), strict=True))
    assert parts_of(model).backbone is backbone.model and parts_of(model).raw_branch is None


def test_dropout_of_the_backbone_is_off_unless_the_model_is_called_in_training() -> None:
    plain = tiny_backbone()
    backbone = replace(plain, model=keras.Model(plain.model.input, keras.layers.Dropout(0.5)(plain.model.output)))
    model = spliced(backbone)
    logits = np.asarray(model(PIXELS))
    assert np.abs(logits - np.asarray(model(PIXELS, training=False))).max() < 1e-5 and np.ptp(logits) > 1e-3


@pytest.mark.parametrize("shape", [(23,), (25,), (4, 4, 24)])
def test_a_head_for_other_features_is_refused(shape: tuple[int, ...]) -> None:
    head = resolve_head("linear" if len(shape) == 1 else "resnet").build(shape, 3)
    with pytest.raises(OptionError, match=r"features \(24,\)"):
        tl.splice(tiny_backbone(), head)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2, 4, 5, 100])
def test_logits_are_those_of_each_row_whatever_the_batch_size(batch_size: int) -> None:
    model = spliced(tiny_backbone())
    expected = np.concatenate([np.asarray(model(row[None], training=False)) for row in PIXELS])
    assert np.abs(predict_logits(model, PIXELS, batch_size) - expected).max() < 1e-4
    assert predict_logits(model, PIXELS[:0], batch_size).shape == (0, 3)
