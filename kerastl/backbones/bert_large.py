"""BERT large (Devlin et al. 2018, https://arxiv.org/abs/1810.04805), by KerasHub."""

from kerastl.backbones._keras_hub_text import Sizes, text_spec

SPEC = text_spec(
    "bert_large", "BERT large, English, lower case, 2018", "bert",
    Sizes(layers=24, heads=16, dim=1024, inner=4096, vocabulary=30_522), parameters=334_092_288,
    preset="bert_large_en_uncased", licence="Apache-2.0",
)
