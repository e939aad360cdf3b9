"""XLM-RoBERTa base (Conneau et al. 2019, https://arxiv.org/abs/1911.02116), by KerasHub."""

from kerastl.backbones._keras_hub_text import Sizes, text_spec

SPEC = text_spec(
    "xlm_roberta_base", "XLM-RoBERTa base, 100 languages, 2019", "xlm-roberta",
    Sizes(layers=12, heads=12, dim=768, inner=3072, vocabulary=250_002), parameters=277_450_752,
    preset="xlm_roberta_base_multi", licence="MIT (KerasHub's copy: Apache-2.0)",
)
