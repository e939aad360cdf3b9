"""Plain features of texts: TF-IDF of words and pairs of words."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerastl.data.examples import Examples

MOST = 200_000  # words and pairs, the most frequent ones


class WordCounts:
    """Texts as TF-IDF vectors. The vocabulary and its weights come from the rows that the baseline is fitted on; words
    are only counted once."""

    name = "TF-IDF (1-2 grams) + logistic regression"

    def __init__(self, examples: Examples, rows: NDArray[np.intp] | None = None) -> None:
        """rows: that will be asked for; None: all."""
        from sklearn.feature_extraction.text import CountVectorizer

        rows = np.arange(len(examples)) if rows is None else rows
        self._place = np.zeros(len(examples), np.intp)
        self._place[rows] = np.arange(len(rows))
        # (?u)\w+ keeps words of one character, which whole languages are written in
        vectorizer = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+", dtype=np.float32)
        texts = (examples.items[row] for row in rows.tolist())
        try:
            self._counts: Any = vectorizer.fit_transform(text if isinstance(text, str) else " ".join(text)
                                                         for text in texts)
        except ValueError:  # no text has a word
            self._counts = np.zeros((len(rows), 0), np.float32)

    def __call__(self, fit_on: NDArray[np.intp], *others: NDArray[np.intp]) -> list[Any]:
        """Sparse matrices [rows, words] float32: of the rows `fit_on`, then of each of the others."""
        from sklearn.feature_extraction.text import TfidfTransformer

        counts = self._counts[self._place[fit_on]]
        total = np.asarray(counts.sum(axis=0)).ravel()
        words = np.flatnonzero(total)
        if not len(words):
            return [np.zeros((len(rows), 1), np.float32) for rows in (fit_on, *others)]
        if len(words) > MOST:
            words = np.sort(words[np.argsort(-total[words])[:MOST]])
        weights = TfidfTransformer(sublinear_tf=True)
        fitted = weights.fit_transform(counts[:, words])
        return [fitted, *(weights.transform(self._counts[self._place[rows]][:, words]) for rows in others)]


plain_features = WordCounts
