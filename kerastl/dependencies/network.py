"""The biaffine parser of Dozat and Manning (2017, https://arxiv.org/abs/1611.01734) on the states of a frozen encoder.

Importing this registers its Keras model, so that a saved one loads.
"""

from typing import Any

import keras
from keras import layers, ops

ARC, RELATION = 500, 100  # widths of the two pairs of layers
DROPOUT = 0.33
HIDDEN = -1e9  # score of an arc from padding


@keras.saving.register_keras_serializable("kerastl")
class BiaffineParser(keras.Model):
    """States of words -> scores of arcs and of relations.

    states: [batch, n, layers, dim] float32, of the encoder's layers; mask: [batch, n] float32, 1 for a word and 0 for
    padding. Returns `arcs`, [batch, n, n + 1] float32: the score of each head of each word, with the root first; and
    `relations`, [batch, n, n + 1, relations] float32, of each relation if that were the head.

    Scores are float32, whatever the policy. The states are standardised with what `start` sets, and mixed by one
    learned weight for each layer (Peters et al. 2018). In training whole units are dropped, the same for all words of a sentence.
    """

    def __init__(self, relations: int, arc: int = ARC, relation: int = RELATION, dropout: float = DROPOUT,
                 **more: Any) -> None:
        super().__init__(**more)
        self.sizes = {"relations": relations, "arc": arc, "relation": relation, "dropout": dropout}
        self.relations = relations
        self.narrow = [layers.Dense(width, activation="leaky_relu", kernel_initializer="orthogonal", name=name,
                                    dtype=self.dtype_policy)
                       for name, width in (("arc_dependent", arc), ("arc_head", arc),
                                           ("relation_dependent", relation), ("relation_head", relation))]
        self.drops = [layers.Dropout(dropout, noise_shape=(None, 1, None), name=f"drop_{number}",
                                     dtype=self.dtype_policy)
                      for number in range(5)]

    def build(self, states: Any, mask: Any = None) -> None:
        """Called by Keras."""
        shape, dim = states[-2:], states[-1]
        arc, relation = self.sizes["arc"], self.sizes["relation"]
        self.centre = self.add_weight(name="centre", shape=shape, initializer="zeros", trainable=False)
        self.scale = self.add_weight(name="scale", shape=shape, initializer="ones", trainable=False)
        self.mix = self.add_weight(name="mix", shape=(shape[0],), initializer="zeros")
        self.root = self.add_weight(name="root", shape=(1, 1, dim), initializer="zeros")
        self.arc_kernel = self.add_weight(name="arc_kernel", shape=(arc + 1, arc), initializer="zeros")
        self.relation_kernel = self.add_weight(
            name="relation_kernel", shape=(self.relations, relation + 1, relation + 1), initializer="zeros")
        for layer in self.narrow:
            layer.build((None, None, dim))
        for layer in self.drops:
            layer.build((None, None, dim))

    def start(self, mean: Any, deviation: Any) -> None:
        """Set the mean and the standard deviation of the training words' states, [layers, dim] each."""
        self.centre.assign(mean)
        self.scale.assign(deviation)

    def parts(self, states: Any, training: bool = False) -> tuple[Any, Any, Any, Any]:
        """Words as dependents, and the root and words as heads: for arcs [batch, n, arc] and [batch, n + 1, arc]; for
        relations [batch, n, relation] and [batch, n + 1, relation]."""
        mixed = ops.einsum("bnld,l->bnd", (states - self.centre) / self.scale, ops.softmax(self.mix))
        root = ops.broadcast_to(self.root, (ops.shape(mixed)[0], 1, mixed.shape[-1]))
        nodes = self.drops[0](ops.concatenate([root, mixed], axis=1), training=training)
        narrow = [drop(layer(nodes), training=training)
                  for layer, drop in zip(self.narrow, self.drops[1:], strict=True)]
        return narrow[0][:, 1:], narrow[1], narrow[2][:, 1:], narrow[3]

    def arc_scores(self, dependents: Any, heads: Any, mask: Any) -> Any:
        """[batch, n, n + 1]: a bilinear score, and one of the head alone; `HIDDEN` where the head is padding."""
        halfway = ops.matmul(with_one(dependents), self._kernel(self.arc_kernel))
        scores = ops.cast(ops.matmul(halfway, ops.swapaxes(heads, 1, 2)), "float32")
        present = ops.pad(mask, [[0, 0], [1, 0]], constant_values=1.0) > 0  # the root is always there
        return ops.where(ops.expand_dims(present, 1), scores, HIDDEN)

    def relation_scores(self, dependents: Any, heads: Any) -> Any:
        """[batch, n, relations], where head i is that of dependent i."""
        halfway = ops.einsum("bna,rac->bnrc", with_one(dependents), self._kernel(self.relation_kernel))
        return ops.cast(ops.squeeze(ops.matmul(halfway, ops.expand_dims(with_one(heads), -1)), -1), "float32")

    def call(self, states: Any, mask: Any) -> dict[str, Any]:
        """Called by Keras."""
        arc_dependents, arc_heads, dependents, heads = self.parts(states)
        halfway = ops.einsum("bia,rac->birc", with_one(dependents), self._kernel(self.relation_kernel))
        relations = ops.cast(ops.einsum("birc,bjc->bijr", halfway, with_one(heads)), "float32")
        return {"arcs": self.arc_scores(arc_dependents, arc_heads, mask), "relations": relations}

    def _kernel(self, weight: Any) -> Any:
        return ops.cast(weight, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {**super().get_config(), **self.sizes}


def with_one(values: Any) -> Any:
    """[..., n] -> [..., n + 1], with a 1 at the end, which makes a bilinear map contain linear ones."""
    return ops.concatenate([values, ops.ones_like(values[..., :1])], axis=-1)
