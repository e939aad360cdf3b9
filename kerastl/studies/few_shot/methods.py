"""Few-shot methods on frozen features: each turns the labelled rows of many episodes into as many classifiers.

`logistic` and `prototypes` use one episode at a time. `metric` and `proto_maml` are first meta-trained on episodes of
base classes. Both start (almost) as prototypes, so that few base classes do little harm. The number of steps is chosen
in `comparison`, on base classes that were held out; no step at all is among the choices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kerastl.studies.few_shot.episodes import Pool, Task, sample

Array = NDArray[np.float32]
Classify = Callable[[Array], Array]  # rows [episodes, n, dim] -> scores [episodes, n, way]; the highest is predicted
Method = Callable[[Array], Classify]  # support [episodes, way, shot, dim] -> the episodes' classifiers

STEPS = (0, 25, 100, 300)  # of meta-training; one of them is chosen
BATCH = 8  # episodes per step
METRIC_RATE = 3e-3  # Adam's learning rate; on held-out base classes of stamps as good as 1e-3 and 1e-2, and faster
MLP_RATE = 1e-3
SCALE = 10.0  # initial factor of squared distances between unit rows, which are too small as logits
RANK = 32  # of the low-rank part of the metric
HIDDEN = 128
INNER = 5  # steps on the support of an episode
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)  # scikit-learn's C, from strong to weak L2 regularisation


@dataclass(frozen=True)
class Learned:
    """A method ready for new classes. setting: its hyperparameter, in words; weights: learned on base classes."""

    setting: str
    weights: tuple[Array, ...]
    method: Method


@dataclass(frozen=True)
class Approach:
    """`learn(base, task, seed)` returns a candidate for each setting, the simplest first; one of them is chosen."""

    name: str
    summary: str
    learn: Callable[[Pool, Task, int], list[Learned]]


def _unit(x: Any) -> Any:
    return tf.math.l2_normalize(x, axis=-1, epsilon=1e-12)


def _centred(mean: Array) -> Callable[[Any], Any]:
    """Rows minus the mean of the base classes, normalised to length 1 (Wang et al. 2019, https://arxiv.org/abs/1911.04623)."""
    return lambda x: _unit(x - mean)


def _mean(base: Pool) -> Array:
    return base.x.mean(axis=0, dtype=np.float64).astype(np.float32)


def _nearest(means: Any, rows: Any) -> Any:
    """Minus the squared distance to each mean, without the term that is the same for all means."""
    return 2 * tf.matmul(rows, means, transpose_b=True) - tf.reduce_sum(means**2, axis=-1)[:, None, :]


def _logistic(base: Pool, task: Task, seed: int) -> list[Learned]:
    return [Learned(f"C {c:g}", (), _logistic_method(c)) for c in STRENGTHS]


def _logistic_method(c: float) -> Method:
    """Logistic regression on each support, of unit rows. The solution is in the span of the support, so it is computed
    there, which is exact and cheaper."""
    def method(support: Array) -> Classify:
        from sklearn.linear_model import LogisticRegression

        episodes, way, shot, dim = support.shape
        x = np.asarray(_unit(support.reshape(episodes, way * shot, dim)))
        y = np.repeat(np.arange(way), shot)
        kernels, biases = np.zeros((episodes, dim, way), np.float32), np.zeros((episodes, 1, way), np.float32)
        with threadpool_limits(1, "blas"):
            for i, rows in enumerate(x):
                _, _, basis = np.linalg.svd(rows, full_matrices=False)
                fitted = LogisticRegression(C=c, max_iter=1000).fit(rows @ basis.T, y)
                kernels[i, :, -len(fitted.coef_):] = basis.T @ fitted.coef_.T  # for two classes, one row of weights
                biases[i, 0, -len(fitted.coef_):] = fitted.intercept_
        return lambda queries: np.asarray(_unit(queries)) @ kernels + biases

    return method


def _prototypes(base: Pool, task: Task, seed: int) -> list[Learned]:
    """The nearest class mean (Snell et al. 2017, https://arxiv.org/abs/1703.05175), with three distances."""
    mean = _mean(base)

    def by(embed: Callable[[Any], Any], after: Callable[[Any], Any]) -> Method:
        def method(support: Array) -> Classify:
            means = after(tf.reduce_mean(embed(support), axis=2))
            return lambda queries: _nearest(means, embed(queries)).numpy()
        return method

    return [Learned("Euclidean", (), by(tf.identity, tf.identity)), Learned("cosine", (), by(_unit, _unit)),
            Learned("centred cosine", (mean,), by(_centred(mean), _unit))]


# A meta-trained method is a function of its variables: (variables, support, queries) -> logits [episodes, n, way].
Scorer = Callable[[Any, Any, Any], Any]


def _metric(base: Pool, task: Task, seed: int) -> list[Learned]:
    """Prototypes with a Mahalanobis distance, diagonal plus low rank, learned on episodes."""
    mean, dim = _mean(base), base.x.shape[1]
    generator = np.random.default_rng(seed)
    diagonal = np.full(dim, SCALE**0.5, np.float32)
    low_rank = generator.normal(0, 0.1 / dim**0.5, (dim, min(RANK, dim))).astype(np.float32)

    def score(variables: Any, support: Any, queries: Any) -> Any:
        scale, project = variables

        def embed(x: Any) -> Any:
            z = _centred(mean)(x)
            return tf.concat([z * scale, tf.linalg.matvec(project, z, transpose_a=True)], axis=-1)

        return _nearest(tf.reduce_mean(embed(support), axis=2), embed(queries))

    return _meta_learn(base, task, seed, [diagonal, low_rank], score, METRIC_RATE)


def _proto_maml(base: Pool, task: Task, seed: int) -> list[Learned]:
    """A meta-learned initialisation of a head. An MLP shared by all episodes is added to the features. The output layer
    of an episode starts as its prototypes (Proto-MAML: Triantafillou et al. 2020, https://arxiv.org/abs/1903.03096), so
    it does not depend on the order of classes, and only that layer adapts (ANIL: Raghu et al. 2020,
    https://arxiv.org/abs/1909.09157). So the inner gradient is a formula, all episodes are adapted at once, and the
    outer gradient is exact, unlike those of Reptile and first-order MAML. The inner learning rate is learned too."""
    mean, dim = _mean(base), base.x.shape[1]
    generator = np.random.default_rng(seed)
    start = [generator.normal(0, (2 / dim) ** 0.5, (dim, HIDDEN)).astype(np.float32), np.zeros(HIDDEN, np.float32),
             np.zeros((HIDDEN, dim), np.float32), np.float32(np.log(SCALE) / 2), np.float32(np.log(0.1))]

    def score(variables: Any, support: Any, queries: Any) -> Any:
        into, bias, out, log_scale, log_rate = variables

        def embed(x: Any) -> Any:
            z = _centred(mean)(x) * dim**0.5  # the MLP needs values of about 1
            hidden = tf.nn.relu(tf.tensordot(z, into, 1) + bias)
            return _unit(z + tf.tensordot(hidden, out, 1)) * tf.exp(log_scale)

        kernel, offset = _adapted(embed(support), tf.exp(log_rate))
        return tf.matmul(embed(queries), kernel, transpose_b=True) + offset

    return _meta_learn(base, task, seed, start, score, MLP_RATE)


def _adapted(support: Any, rate: Any) -> tuple[Any, Any]:
    """A linear classifier that starts as prototypes and takes INNER gradient steps on the support's log loss. support:
    [episodes, way, shot, dim] -> kernel [episodes, way, dim], offset [episodes, 1, way]."""
    shape = tf.shape(support)
    means = tf.reduce_mean(support, axis=2)
    rows = tf.reshape(support, [shape[0], shape[1] * shape[2], shape[3]])
    truth = tf.repeat(tf.eye(shape[1]), shape[2], axis=0)
    kernel, offset = 2 * means, -tf.reduce_sum(means**2, axis=-1)[:, None, :]
    for _ in range(INNER):
        error = tf.nn.softmax(tf.matmul(rows, kernel, transpose_b=True) + offset) - truth
        kernel -= rate * tf.matmul(error, rows, transpose_a=True) / tf.cast(shape[2], tf.float32)
        offset -= rate * tf.reduce_mean(error, axis=1, keepdims=True)
    return kernel, offset


def _meta_learn(base: Pool, task: Task, seed: int, start: list[Any], score: Scorer, rate: float) -> list[Learned]:
    """Minimise the log loss of queries over episodes of base classes with Adam; the variables after each of STEPS. The
    number of shots cycles through `task.shots`, so that one set of weights serves them all."""
    from kerastl.optimizers import Adam

    variables = [tf.Variable(value) for value in start]
    optimizer = Adam(rate)
    optimizer.build(variables)
    way = min(task.way, len(base.classes))
    truth = np.repeat(np.arange(way), task.queries)[None].repeat(BATCH, axis=0)

    @tf.function
    def step(support: Any, queries: Any) -> None:
        with tf.GradientTape() as tape:
            logits = score(variables, support, queries)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits))
        optimizer.apply(tape.gradient(loss, variables), variables)

    learned = []
    for number in range(STEPS[-1] + 1):
        if number in STEPS:
            weights = tuple(variable.numpy() for variable in variables)
            learned.append(Learned(f"{number} steps", weights, _frozen(weights, score)))
        if number < STEPS[-1]:
            drawn = sample(base, BATCH, way=way, shot=task.shots[number % len(task.shots)], queries=task.queries,
                           seed=(seed, number))
            step(base.x[drawn.support], base.x[drawn.query].reshape(BATCH, way * task.queries, -1))
    return learned


def _frozen(weights: tuple[Array, ...], score: Scorer) -> Method:
    return lambda support: lambda queries: score(weights, support, queries).numpy()


APPROACHES = (  # the simplest first
    Approach("prototypes", "the nearest class mean", _prototypes),
    Approach("logistic", "logistic regression on the labelled rows", _logistic),
    Approach("metric", "prototypes with a distance learned on base classes", _metric),
    Approach("proto_maml", "a head initialised from base classes, then a few gradient steps", _proto_maml),
)
