"""The biaffine parser of Dozat and Manning (2017, https://arxiv.org/abs/1611.01734) on the states of a frozen encoder.

Importing this registers its Keras model, so that a saved one loads.
"""

from typing import Any

import keras
from keras import layers, ops

from kerastl.tokens.layers import ScalarMix

ARC, RELATION = 500, 100  # widths of the two pairs of layers
DROPOUT = 0.33
HIDDEN = -1e9  # score of an arc from padding


@keras.saving.register_keras_serializable("kerastl")
class BiaffineParser(keras.Model):
    """[states, mask] -> scores of arcs and of relations.

    states: [batch, n, layers, dim] float32, of the encoder's layers; mask: [batch, n] float32, 1 for a word and 0 for
    padding. Returns `arcs`, [batch, n, n + 1] float32: the score of each head of each word, with the root first; and
    `relations`, [batch, n, n + 1, relations] float32, of each relation if that were the head. In training instead of
    the latter the two factors that `relations_at` takes, because the scores of all arcs are large.

    Scores are float32, whatever the policy. The states are standardised with what `start` sets, and mixed by one
    learned weight for each layer (Peters et al. 2018). In training whole units are dropped, the same for all words of a
    sentence.
    """

    def __init__(self, relations: int, arc: int = ARC, relation: int = RELATION, dropout: float = DROPOUT,
                 **more: Any) -> None:
        super().__init__(autocast=False, **more)  # the mask and the scaling stay float32
        self.sizes = {"relations": relations, "arc": arc, "relation": relation, "dropout": dropout}
        self.relations = relations
        self.mix = ScalarMix(name="mix")
        self.narrow = [layers.Dense(width, activation="leaky_relu", kernel_initializer="orthogonal", name=name,
                                    dtype=self.dtype_policy)
                       for name, width in (("arc_dependent", arc), ("arc_head", arc),
                                           ("relation_dependent", relation), ("relation_head", relation))]
        self.drops = [layers.Dropout(dropout, noise_shape=(None, 1, None), name=f"drop_{number}",
                                     dtype=self.dtype_policy)
                      for number in range(5)]

    def build(self, shapes: Any) -> None:
        """Called by Keras."""
        shape, dim = tuple(shapes[0][-2:]), shapes[0][-1]
        arc, relation = self.sizes["arc"], self.sizes["relation"]
        self.centre = self.add_weight(name="centre", shape=shape, initializer="zeros", trainable=False)
        self.scale = self.add_weight(name="scale", shape=shape, initializer="ones", trainable=False)
        self.mix.build(shapes[0])
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
        mixed = self.mix((states - self.centre) / self.scale)
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

    def call(self, inputs: Any, training: bool = False) -> tuple[Any, ...]:
        """Called by Keras."""
        states, mask = inputs
        arc_dependents, arc_heads, dependents, heads = self.parts(states, training)
        arcs = self.arc_scores(arc_dependents, arc_heads, mask)
        halfway = ops.einsum("bia,rac->birc", with_one(dependents), self._kernel(self.relation_kernel))
        if training:
            return arcs, halfway, with_one(heads)
        return arcs, ops.cast(ops.einsum("birc,bjc->bijr", halfway, with_one(heads)), "float32")

    def _kernel(self, weight: Any) -> Any:
        return ops.cast(weight, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """For Keras."""
        return {**super().get_config(), **self.sizes}


def relations_at(heads: Any, halfway: Any, candidates: Any) -> Any:
    """The scores of relations at given heads: [batch, n, relations] float32. heads: [batch, n] in 0..n; the others as a
    `BiaffineParser` returns them in training."""
    chosen = ops.one_hot(heads, ops.shape(candidates)[1], dtype=candidates.dtype)  # whose gradient is a product too
    given = ops.expand_dims(ops.matmul(chosen, candidates), -1)
    return ops.cast(ops.squeeze(ops.matmul(halfway, given), -1), "float32")


def loss_of_words(outputs: Any, mask: Any, heads: Any, relations: Any) -> Any:
    """The cross-entropy of heads, and of relations at the given heads, of a word. outputs: of a `BiaffineParser` in
    training. heads, relations: [batch, n] int32."""
    arcs, halfway, candidates = outputs
    losses = ops.sparse_categorical_crossentropy(heads, arcs, from_logits=True) \
        + ops.sparse_categorical_crossentropy(relations, relations_at(heads, halfway, candidates), from_logits=True)
    return ops.sum(losses * mask) / ops.sum(mask)


def with_one(values: Any) -> Any:
    """[..., n] -> [..., n + 1], with a 1 at the end, which makes a bilinear map contain linear ones."""
    return ops.concatenate([values, ops.ones_like(values[..., :1])], axis=-1)
