r"""Kernel ridge regression: eq. 3 of Nguyen, Chen, Lee 2021 (https://arxiv.org/abs/2011.00050).

Fitted on a support set (x_s, y_s) it predicts K_ts (K_ss + \lambda I)^{-1} y_s, where
\lambda = ridge * tr(K_ss) / n.
"""

from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp

from ddjax.types import Array

KernelFn = Callable[[Array, Array], Array]


class Targets(NamedTuple):
  """A target batch: images f[b h w c] or features f[b d], labels f[b k], weights f[b]."""

  images: Array
  labels: Array
  weights: Array


def feature_kernel(a: Array, b: Array) -> Array:
  """Inner products f[n1 n2] of features f[n1 d] and f[n2 d]: the kernel of FRePo and RCIG."""
  return a @ b.T


def advice(ridge: float) -> str:
  """What to try where the solve gives numbers that are not finite."""
  return (
    "The kernel matrix may be singular, as it is between equal images: a larger ridge than "
    f"{ridge:g} may help (--config.ridge), or images that differ."
  )


def check_ridge(ridge: float, field: str = "ridge") -> None:
  """Raises ValueError unless the ridge is positive, naming the field."""
  if not ridge > 0:
    raise ValueError(f"{field}={ridge} must be positive: it is relative to the mean diagonal.")


def regularised(k_ss: Array, ridge: float) -> Array:
  """K_ss + ridge * tr(K_ss) / n * I, f[n n]."""
  num_support = k_ss.shape[0]
  return k_ss + ridge * jnp.trace(k_ss) / num_support * jnp.eye(num_support, dtype=k_ss.dtype)


def coefficients(kernel_fn: KernelFn, images: Array, labels: Array, ridge: float) -> Array:
  r"""(K_ss + \lambda I)^{-1} y_s: what each support example weighs in a prediction.

  Args:
    kernel_fn: (x1 f[n1 h w c], x2 f[n2 h w c]) -> f[n1 n2].
    images: f[n h w c], the support set in the space that the kernel sees.
    labels: f[n k], as a rule centred: one-hot minus 1/k.
    ridge: relative to the mean diagonal; > 0.
  Returns:
    f[n k]. NaN where the regularised kernel is not positive definite to rounding.
  Raises:
    ValueError: if ridge <= 0.
  """
  check_ridge(ridge)
  with jax.default_matmul_precision("highest"):
    # By Cholesky. Its gradient is one more solution with the same factor: differentiating the
    # factor itself takes several times as long.
    matrix = regularised(kernel_fn(images, images), ridge)
    return jax.scipy.linalg.solve(matrix, labels, assume_a="pos")


def predict(kernel_fn: KernelFn, support: Any, images: Array, ridge: float) -> Array:
  """Predictions of kernel ridge regression fitted on the support set.

  Args:
    kernel_fn: (x1 f[n1 h w c], x2 f[n2 h w c]) -> f[n1 n2].
    support: with `images` f[n h w c] and `labels` f[n k].
    images: f[b h w c], in the same space.
    ridge: relative to the mean diagonal; > 0.
  Returns:
    f[b k].
  Raises:
    ValueError: if ridge <= 0.
  """
  solved = coefficients(kernel_fn, support.images, support.labels, ridge)
  with jax.default_matmul_precision("highest"):
    return kernel_fn(images, support.images) @ solved


def kernel_ridge_loss(
  kernel_fn: KernelFn, support: Any, target: Any, ridge: float, total_weight: Array | None = None
) -> tuple[Array, dict[str, Array]]:
  r"""Mean squared error on target points of ridge regression fitted on the support set.

  Implements eq. 3 of the paper, weighted by example:
    L = 1/(2 W k) \sum_i w_i || y_i - K_is (K_ss + \lambda I)^{-1} y_s ||^2,   W = \sum_i w_i.
  On several devices, each with an equal share of the target rows, give W over the number of
  devices, the mean of their sums of weights: the mean of the results is then that of all rows.

  Args:
    kernel_fn: (x1 f[n1 h w c], x2 f[n2 h w c]) -> f[n1 n2].
    support: with `images` f[n h w c] and `labels` f[n k], centred: one-hot minus 1/k. Under
      `feature_kernel` the field `images` holds features f[n d].
    target: the same for f[b ...], with `weights` f[b] >= 0 beside them, such as `Targets`.
    ridge: relative to the mean diagonal; > 0.
    total_weight: f[], what the sums are divided by; None for the sum of the weights given.
  Returns:
    loss f[], and dict(accuracy=f[] in [0, 1]).
  Raises:
    ValueError: if the label widths differ, or ridge <= 0.
  """
  if support.labels.shape[1] != target.labels.shape[1]:
    raise ValueError(
      f"Support labels have {support.labels.shape[1]} columns, target labels "
      f"{target.labels.shape[1]}."
    )
  total_weight = jnp.sum(target.weights) if total_weight is None else total_weight
  solved = coefficients(kernel_fn, support.images, support.labels, ridge)
  labels = target.labels.T
  with jax.default_matmul_precision("highest"):
    # Support by targets: in this order neither the kernel's product nor that of its gradient needs
    # a transposed copy of the targets, which on CPUs takes half as long as the product.
    logits = solved.T @ kernel_fn(support.images, target.images)
  errors = jnp.mean((logits - labels) ** 2, axis=0)
  is_right = jnp.argmax(logits, axis=0) == jnp.argmax(labels, axis=0)
  loss = 0.5 * jnp.sum(target.weights * errors) / total_weight
  return loss, {"accuracy": jnp.sum(target.weights * is_right) / total_weight}
