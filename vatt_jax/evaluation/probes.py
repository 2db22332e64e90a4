"""Classifiers on frozen features: what an encoder knows without being trained further. Functions of arrays.

`low_rank` is VATT's (A.3.2); `logistic` and `support_vectors` are convex, so that nothing but their one constant decides;
`nearest` learns nothing at all.

Labels are int (n,), or, where clips may have several, 0 or 1 in (n, C). Then each class is a question of its own, yes or
no: sigmoid instead of softmax. Of a class that no training clip has, or every one, nothing can be learned: it gets one
score for all clips, 0 or 1, which is chance.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special
import threadpoolctl

from vatt_jax.evaluation.retrieval import unit_rows

Scorer = Callable[[np.ndarray], np.ndarray]  # features (..., D) -> scores (..., C)


def low_rank(
    features: np.ndarray, labels: np.ndarray, classes: int, *, components: int = 128, kept: float = 0.1,
    learning_rate: float = 5e-4, batch_size: int = 64, steps: int = 50_000, epochs: int = 0, l2: float = 0.0, seed: int = 0,
) -> Scorer:  # fmt: skip
  """The low-rank classifier: D -> `components` -> C, both linear; a random part of the components is used in training.

  Args:
    features: float (n, D), as they are.
    labels: int (n,), or 0 or 1 in (n, C).
    components: n in C = U V.
    kept: of the components, each by itself, scaled by 1 / kept (official code: dropout 0.9).
    learning_rate: of Adam, constant.
    batch_size: examples of a step, from one permutation after another.
    steps: of training (paper: 50,000).
    epochs: above 0: so many passes instead (official code: 1,000).
    l2: times the squared norm of the second matrix is added to the loss (official code: 0.1; the paper has none).
    seed: of weights, order and dropout.

  Returns:
    Features (..., D) -> probabilities (..., C).

  Source: VATT A.3.2; google-research/vatt, utils/eval/evaluators.py.
  """
  n, width = features.shape
  batch_size = min(batch_size, n)
  steps = max(1, epochs * n // batch_size) if epochs else steps
  random = np.random.default_rng(seed)
  permutations = [random.permutation(n) for _ in range(-(-steps * batch_size // n))]
  order = np.concatenate(permutations)[: steps * batch_size].reshape(steps, batch_size)
  down, up, dropout = jax.random.split(jax.random.key(seed), 3)
  glorot = jax.nn.initializers.glorot_normal()
  params = {
    "down": glorot(down, (width, components)), "down_bias": jnp.zeros([components]),
    "up": glorot(up, (components, classes)), "up_bias": jnp.zeros([classes]),
  }  # fmt: skip
  params = _train_low_rank(
    params,
    jnp.asarray(features, jnp.float32),
    jnp.asarray(labels, jnp.int32 if labels.ndim == 1 else jnp.float32),
    jnp.asarray(order),
    dropout,
    kept,
    learning_rate,
    l2,
  )
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  hidden = lambda x: x @ params["down"] + params["down_bias"]
  logits = lambda x: hidden(x) @ params["up"] + params["up_bias"]
  if labels.ndim == 2:
    return _but_for_constants(lambda x: special.expit(logits(x)), labels)
  return lambda x: special.softmax(logits(x), axis=-1)


@functools.partial(jax.jit, static_argnames=("kept", "learning_rate", "l2"))
def _train_low_rank(params, features, labels, order, rng, kept, learning_rate, l2):
  optimizer = optax.adam(learning_rate, eps=1e-7)

  def loss(params, x, y, rng):
    hidden = x @ params["down"] + params["down_bias"][None]
    hidden = jnp.where(jax.random.bernoulli(rng, kept, hidden.shape), hidden / kept, 0.0)
    logits = hidden @ params["up"] + params["up_bias"][None]
    if y.ndim == 1:
      cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    else:
      cross_entropy = jnp.sum(optax.sigmoid_binary_cross_entropy(logits, y), axis=1)
    return jnp.mean(cross_entropy) + l2 * jnp.sum(params["up"] ** 2)

  def step(carry, inputs):
    params, state = carry
    rows, k = inputs
    grads = jax.grad(loss)(params, features[rows], labels[rows], jax.random.fold_in(rng, k))
    updates, state = optimizer.update(grads, state, params)
    return (optax.apply_updates(params, updates), state), None

  (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), (order, jnp.arange(len(order))))
  return params


def logistic(features: np.ndarray, labels: np.ndarray, classes: int, *, cost: float = 1.0) -> Scorer:
  """Multinomial logistic regression: the least of cost x summed cross-entropy + half the squared norm of the weights.

  With several labels a clip it is one regression for each class, scikit-learn's OneVsRestClassifier.

  Args:
    features: float (n, D); they are standardised first, by these clips' means and deviations.
    labels: int (n,), or 0 or 1 in (n, C).
    cost: C of scikit-learn's LogisticRegression; the bias is free.

  Returns:
    Features (..., D) -> probabilities (..., C).
  """
  hot = _hot(labels, classes)
  if labels.ndim == 2:
    signs = 2.0 * hot - 1.0
    one_vs_rest = lambda scores: (float(-np.sum(special.log_expit(signs * scores))), special.expit(scores) - hot)
    scores = _linear(features, classes, one_vs_rest, cost, penalised_bias=False)
    return _but_for_constants(lambda x: special.expit(scores(x)), labels)

  def loss(scores):
    return float(-np.sum(special.log_softmax(scores, axis=1) * hot)), special.softmax(scores, axis=1) - hot

  scores = _linear(features, classes, loss, cost, penalised_bias=False, tolerance=1e-10)
  return lambda x: special.softmax(scores(x), axis=-1)


def support_vectors(features: np.ndarray, labels: np.ndarray, classes: int, *, cost: float = 1.0) -> Scorer:
  """A linear support vector machine for each class against the others, squared hinge: LIBLINEAR's L2-loss problem.

  Args:
    features, labels: as of `logistic`.
    cost: C of scikit-learn's LinearSVC; the bias is penalised like a weight, as there.

  Returns:
    Features (..., D) -> distances from the margins (..., C).
  """
  signs = 2.0 * _hot(labels, classes) - 1.0

  def loss(scores):
    missing = np.maximum(1.0 - signs * scores, 0.0)
    return float(np.sum(missing**2)), -2.0 * signs * missing

  scores = _linear(features, classes, loss, cost, penalised_bias=True)
  return scores if labels.ndim == 1 else _but_for_constants(scores, labels)


def _hot(labels: np.ndarray, classes: int) -> np.ndarray:
  """float64 (n, C), 0 or 1."""
  return np.eye(classes)[labels] if labels.ndim == 1 else np.asarray(labels > 0, np.float64)


def _but_for_constants(score: Scorer, labels: np.ndarray) -> Scorer:
  """The same, with one score for all clips where `labels` (n, C) has only one answer: a free bias would have no end."""
  share = (labels > 0).mean(axis=0)
  return lambda x: np.where((share > 0) & (share < 1), score(x), share)


def _linear(features, classes, loss, cost, penalised_bias, tolerance=1e-13) -> Scorer:
  """The linear scores that minimise cost x loss + half the squared weights, by L-BFGS in float64 from zero."""
  mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
  deviation = np.where(deviation > 0, deviation, 1.0)
  prepare = lambda x: (x - mean) / deviation
  x = prepare(features)
  width = x.shape[1]

  def objective(flat):
    weights = flat.reshape(width + 1, classes)
    value, gradient = loss(x @ weights[:-1] + weights[-1])
    penalised = weights if penalised_bias else np.concatenate([weights[:-1], np.zeros([1, classes])])
    slope = cost * np.concatenate([x.T @ gradient, gradient.sum(axis=0)[None]]) + penalised
    return cost * value + 0.5 * np.sum(penalised**2), slope.ravel()

  from scipy import optimize  # Takes half a second, which is this probe's, not every program's.

  options = {"maxiter": 10_000, "maxfun": 20_000, "ftol": tolerance, "gtol": 1e-6 * max(1.0, cost)}
  start = np.zeros((width + 1) * classes)
  with _one_thread_for_scipy():
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
  weights = found.x.reshape(width + 1, classes)
  return lambda x: prepare(x) @ weights[:-1] + weights[-1]


def _one_thread_for_scipy():
  """L-BFGS's vectors are short: split among threads, which wait for each other and for those of NumPy's products, a fit
  takes two to four times as long.
  """
  pools = threadpoolctl.ThreadpoolController()
  of_scipy = [each["filepath"] for each in pools.info() if "/scipy" in each["filepath"]]
  return pools.select(filepath=of_scipy).limit(limits=1)


def nearest(
  features: np.ndarray, labels: np.ndarray, classes: int, *, neighbours: int = 20, temperature: float = 0.07
) -> Scorer:
  """k nearest neighbours by cosine, each voting for its class with exp(cosine / temperature).

  Args:
    features: float (n, D), any scale.
    labels: int (n,), or 0 or 1 in (n, C).
    neighbours: k; of fewer clips all vote. Among equally near ones the first in order.
    temperature: low: the nearest decide; infinite: all count the same.

  Returns:
    Features (..., D) -> shares of the votes (..., C).

  Source: the weighted vote of Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", 2018.
  """
  gallery, votes = unit_rows(features), _hot(labels, classes)
  k = min(neighbours, len(gallery))

  def scores(x):
    flat = unit_rows(x.reshape(-1, x.shape[-1]))
    found = np.zeros([len(flat), classes])
    for start in range(0, len(flat), 256):
      block = slice(start, start + 256)
      cosines = flat[block] @ gallery.T
      rows = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
      weights = special.softmax(np.take_along_axis(cosines, rows, axis=1) / temperature, axis=1)
      found[block] = np.einsum("nk,nkc->nc", weights, votes[rows])
    return found.reshape(*x.shape[:-1], classes)

  return scores


def few(labels: np.ndarray, shots: int, seed: int) -> np.ndarray:
  """Rows of `shots` clips of each class that occurs, drawn at random, ascending; all of a class that has fewer.

  A clip with several labels is drawn for each of them, and stands there once.
  """
  random = np.random.default_rng(seed)
  owners = [labels == c for c in np.unique(labels)] if labels.ndim == 1 else list((labels > 0).T)
  return np.unique(np.concatenate([random.permutation(np.flatnonzero(own))[:shots] for own in owners]))


PROBES = {"low_rank": low_rank, "logistic": logistic, "support_vectors": support_vectors}
