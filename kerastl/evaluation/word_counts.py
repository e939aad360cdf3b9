"""Plain features of texts: TF-IDF of words and pairs of words."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples


class WordCounts:
    """Texts as TF-IDF vectors. The vocabulary and its weights come from the rows that the baseline is fitted on."""

    name = "TF-IDF (1-2 grams) + logistic regression"

    def __init__(self, examples: Examples) -> None:
        self.items = examples.items

    def __call__(self, fit_on: NDArray[np.intp], *others: NDArray[np.intp]) -> list[Any]:
        """Sparse matrices [rows, words] float32: of the rows `fit_on`, then of each of the others."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        # (?u)\w+ keeps words of one character, which whole languages are written in
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=200_000,
                                     token_pattern=r"(?u)\w+", dtype=np.float32)
        try:
            fitted = vectorizer.fit_transform(self._texts(fit_on))
        except ValueError:  # no text has a word
            return [np.zeros((len(rows), 1), np.float32) for rows in (fit_on, *others)]
        return [fitted, *(vectorizer.transform(self._texts(rows)) for rows in others)]

    def _texts(self, rows: NDArray[np.intp]) -> list[str]:
        items = (self.items[row] for row in rows.tolist())
        return [item if isinstance(item, str) else " ".join(item) for item in items]


plain_features = WordCounts
