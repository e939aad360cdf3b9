"""DeBERTaV3 base (He et al. 2021, https://arxiv.org/abs/2111.09543), by KerasHub."""

from kerastl.backbones._keras_hub_text import Sizes, text_spec

SPEC = text_spec(
    "deberta_v3_base", "DeBERTaV3 base, English, 2021", "deberta-v2",
    Sizes(layers=12, heads=12, dim=768, inner=3072, vocabulary=128_100), parameters=183_831_552,
    preset="deberta_v3_base_en", licence="MIT",
)
