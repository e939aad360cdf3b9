"""RoBERTa large (Liu et al. 2019, https://arxiv.org/abs/1907.11692), by KerasHub."""

from kerastl.backbones._keras_hub_text import Sizes, text_spec

SPEC = text_spec(
    "roberta_large", "RoBERTa large, English, 2019", "roberta",
    Sizes(layers=24, heads=16, dim=1024, inner=4096, vocabulary=50_265), parameters=354_307_072,
    preset="roberta_large_en", licence="MIT (KerasHub's copy: Apache-2.0)",
)
