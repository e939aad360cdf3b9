"""BERT base (Devlin et al. 2018, https://arxiv.org/abs/1810.04805), by KerasHub."""

from kerastl.backbones._keras_hub_text import Sizes, text_spec

SPEC = text_spec(
    "bert_base", "BERT base, English, lower case, 2018", "bert",
    Sizes(layers=12, heads=12, dim=768, inner=3072, vocabulary=30_522), parameters=108_891_648,
    preset="bert_base_en_uncased", licence="Apache-2.0",
)
