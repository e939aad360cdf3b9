"""RoBERTa base (Liu et al. 2019, https://arxiv.org/abs/1907.11692), by KerasHub."""

from kerastl.backbones._keras_hub_text import Sizes, text_spec

SPEC = text_spec(
    "roberta_base", "RoBERTa base, English, 2019", "roberta",
    Sizes(layers=12, heads=12, dim=768, inner=3072, vocabulary=50_265), parameters=124_052_736,
    preset="roberta_base_en", licence="MIT (KerasHub's copy: Apache-2.0)",
)
