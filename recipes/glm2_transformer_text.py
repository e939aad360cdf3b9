"""Texts, Chinese or English, classified by a small Transformer on frozen states of ChatGLM2-6B.

python recipes/glm2_transformer_text.py --data TABLE --weights DIR --name NAME
Data: a table of text and label (CSV, TSV, JSONL, Parquet), DIR/<class>/*.txt, or tfds:NAME. Weights: a folder as
published, of ChatGLM2-6B, ChatGLM3-6B or GLM-4-9B (12.5 to 18.8 GB; `kerastl backbones` says where and their licence).
Measured: not measured. No published weights could be had where this was written; with random ones, of 98 million
parameters, the recipe runs whole in `make bench`, and at the true size loading and the pass were run.
Time: with 6 billion random parameters on 2 cores of an AMD EPYC with avx512_bf16, 70 s to load, then 34 tokens a second
in bfloat16, 33 in int8, 26 in int4, 22 streamed from disk. So 1,000 texts of 30 tokens take a quarter of an hour, once.
"""

from dataclasses import dataclass

import kerastl as tl


@dataclass(frozen=True, kw_only=True)
class Config(tl.TextConfig):
    """Flags of the recipe."""

    backbone: str = "glm2_6b"  # see `kerastl backbones`
    head: str = "transformer"  # on token states; linear, mlp and others take pooled ones: --pooling mean or last
    layer: str = "top"  # or layer_1 to layer_27: middle blocks often serve classification better, and cost less
    precision: str = "auto"  # what the weights are kept in: float32, bfloat16, int8, int4; auto: what fits in memory


main = tl.as_main(tl.classify_texts)

if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
