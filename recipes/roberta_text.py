"""Texts: a linear classifier on RoBERTa features. RoBERTa is cased and was trained on more text than BERT.

python recipes/roberta_text.py --data TABLE --name NAME
Data: a table with a column of texts and one of labels (CSV, TSV, JSONL, Parquet), DIR/<class>/*.txt, or tfds:NAME.
Measured: not measured. The weights (a KerasHub download) could not be downloaded in our build environment. The recipe
is tested from end to end on a tiny RoBERTa with random weights.
Time: not measured.
"""

import kerastl as tl


class Config(tl.TextConfig):
    backbone: str = "roberta_base"  # see `kerastl backbones`


main = tl.as_main(tl.classify_texts)

if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
