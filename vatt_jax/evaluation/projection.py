"""Embeddings on a plane: principal components, and exact t-SNE for up to about a thousand points."""

import numpy as np


def principal_components(points: np.ndarray, count: int = 2) -> np.ndarray:
  """Projects centred points on their directions of largest variance: (n, E) -> float64 (n, count), largest first.

  Directions that the points do not have (count > min(n, E)) are zero. Each sign is chosen so that the coordinate
  that is farthest from 0 is positive, which makes the result reproducible.
  """
  points = np.asarray(points, np.float64)
  projected = np.zeros((len(points), count))
  if not len(points):
    return projected
  left, scale, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
  found = (left * scale)[:, :count]
  farthest = found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])]
  projected[:, : found.shape[1]] = found * np.where(farthest < 0, -1, 1)
  return projected


def tsne(points: np.ndarray, *, perplexity: float = 30, steps: int = 400) -> np.ndarray:
  """Lays points out on a plane such that neighbours stay neighbours.

  Every point keeps a soft set of about `perplexity` neighbours; distances between far groups mean nothing.
  Memory and time per step grow with n squared: 1,000 points take 2 seconds on one core.

  Args:
    points: (n, E), finite.
    perplexity: at least 1; lowered to a third of the points where there are few.
    steps: of gradient descent.

  Returns:
    float64 (n, 2). It starts from the principal components, so it is reproducible; fewer than 5 points stay there.

  Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", 2008; the start from principal components and the
  learning rate follow Kobak and Berens, "The art of using t-SNE for single-cell transcriptomics", 2019.
  """
  layout = principal_components(points)
  count = len(layout)
  if count < 5 or not layout.any():
    return layout
  wanted = neighbour_probabilities(points, min(perplexity, (count - 1) / 3)).astype(np.float32)
  layout = (1e-4 * layout / layout[:, 0].std()).astype(np.float32)
  velocity, gains = np.zeros_like(layout), np.ones_like(layout)
  learning_rate = max(count / 48, 50)
  for step in range(steps):
    early = step < steps // 4  # Groups contract first (exaggerated attraction), then find their places.
    # No matrix products in here: on a busy machine BLAS threads wait for each other far longer than these take.
    affinity = 1 / (1 + sum(np.subtract.outer(axis, axis) ** 2 for axis in layout.T))
    np.fill_diagonal(affinity, 0)
    force = ((12 if early else 1) * wanted - affinity / affinity.sum()) * affinity
    gradient = 4 * (force.sum(axis=1, keepdims=True) * layout - np.einsum("ij,jk->ik", force, layout))
    gains = np.maximum(np.where(gradient * velocity > 0, 0.8 * gains, gains + 0.2), 0.01)
    velocity = (0.5 if early else 0.8) * velocity - learning_rate * gains * gradient
    layout = layout + velocity
  return (layout - layout.mean(axis=0)).astype(np.float64)


def neighbour_probabilities(points: np.ndarray, perplexity: float) -> np.ndarray:
  """How much each pair of points are neighbours, float64 (n, n): symmetric, zero on the diagonal, sum 1.

  Each row is a Gaussian around its point, as wide as makes its entropy log(perplexity), found by bisection.
  """
  points = np.asarray(points, np.float64)
  squares = np.sum(points**2, axis=1)
  distances = np.maximum(squares[:, None] + squares[None, :] - 2 * points @ points.T, 0)
  distances /= max(distances.mean(), np.finfo(float).tiny)
  np.fill_diagonal(distances, np.inf)
  nearest = distances.min(axis=1, keepdims=True)
  low, high = np.full((len(distances), 1), -30.0), np.full((len(distances), 1), 30.0)  # Logarithms of the precision.
  for _ in range(50):
    middle = (low + high) / 2
    probabilities = np.exp(-np.exp(middle) * (distances - nearest))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    entropy = -np.sum(probabilities * np.log(np.maximum(probabilities, 1e-300)), axis=1, keepdims=True)
    too_wide = entropy > np.log(perplexity)
    low, high = np.where(too_wide, middle, low), np.where(too_wide, high, middle)
  return (probabilities + probabilities.T) / (2 * len(probabilities))
