"""Texts, Chinese or English: a small Transformer on frozen token states of ChatGLM2-6B.

python recipes/glm2_transformer_text.py --data TABLE --weights DIR --name NAME
Data: a table with a column of texts and one of labels (CSV, TSV, JSONL, Parquet), DIR/<class>/*.txt, or tfds:NAME.
Weights: the published folder of ChatGLM2-6B, ChatGLM3-6B or GLM-4-9B (12.5 to 18.8 GB); `kerastl backbones` lists the
addresses and licences.
Measured: not measured. The weights could not be downloaded in our build environment. With random weights, the recipe
runs from end to end at 98 million parameters in `make bench`; loading and the feature pass were also run at full size.
Time: with 6 billion random parameters on 2 cores of an AMD EPYC with avx512_bf16, 70 s to load, then 34 tokens per
second in bfloat16, 33 in int8, 26 in int4, 22 streamed from disk. 1,000 texts of 30 tokens take a quarter of an hour,
once.
"""

import kerastl as tl


class Config(tl.TextConfig):
    backbone: str = "glm2_6b"  # see `kerastl backbones`
    head: str = "transformer"  # on token states; linear, mlp and others take pooled ones (--pooling mean or last)
    layer: str = "top"  # or layer_1 to layer_27; middle layers are faster and often better for classification
    precision: str = "auto"  # of the weights: float32, bfloat16, int8, int4; auto: the best that fits in memory


main = tl.as_main(tl.classify_texts)

if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
