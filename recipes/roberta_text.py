"""Texts, classified on RoBERTa's features; cased, and trained on more text than BERT.

python recipes/roberta_text.py --data TABLE --name NAME
Data: a table of text and label (CSV, TSV, JSONL, Parquet), DIR/<class>/*.txt, or tfds:NAME.
Measured: not measured. The weights come by KerasHub's own download, which could not be reached where this was written;
on a tiny RoBERTa with random weights the recipe runs whole in the tests.
Time: not measured.
"""

from dataclasses import dataclass

import kerastl as tl


@dataclass(frozen=True, kw_only=True)
class Config(tl.TextConfig):
    """Flags of the recipe."""

    backbone: str = "roberta_base"  # see `kerastl backbones`


main = tl.as_main(tl.classify_texts)

if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
