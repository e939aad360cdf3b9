"""DistilBERT (Sanh et al. 2019, https://arxiv.org/abs/1910.01108), by KerasHub."""

from kerastl.backbones._keras_hub_text import Sizes, text_spec

SPEC = text_spec(
    "distil_bert", "DistilBERT, English, lower case, 2019", "distilbert",
    Sizes(layers=6, heads=12, dim=768, inner=3072, vocabulary=30_522), parameters=66_362_880,
    preset="distil_bert_base_en_uncased", licence="Apache-2.0",
)
