"""Texts: a solved classifier on MiniLM features. The weights come with a package; no model hub is needed.

python recipes/minilm_text.py --data TABLE --name NAME
Data: a table with a column of texts and one of labels (CSV, TSV, JSONL, Parquet), DIR/<class>/*.txt, or tfds:NAME.
Measured: accuracy 0.815 (95% CI 0.800 to 0.828) on 3,000 movie snippets (`make quickstart`), 5-fold cross-validation,
the same for every seed; with --head linear 0.784, TF-IDF 0.749. On all 10,043 snippets, hold-out, with --head linear:
0.784 (0.757 to 0.808), no better than TF-IDF's 0.783; with --unfreeze all --epochs 1 0.832 (0.807 to 0.853), one seed.
With few labels and contrastive fine-tuning: 64 labels per class 0.772 (0.752 to 0.796 over 3 draws), 8 labels 0.624
(0.562 to 0.685).
Time, once the features are cached: 34 s on 2 cores of an AMD EPYC: heads 3, export in all formats 22, learning curve,
explanations and the score of unknown inputs 5. Features take 24 s.
"""

import kerastl as tl


class Config(tl.TextConfig):
    backbone: str = "minilm"  # see `kerastl backbones`


main = tl.as_main(tl.classify_texts)

if __name__ == "__main__":
    raise SystemExit(tl.run(main, Config))
