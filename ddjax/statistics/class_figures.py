"""How unequal the classes are served: figures of accuracies by class.

Each is a function f64[... k] -> f64[...] of one model's accuracies, in which classes without test
examples are NaN and do not count.
"""

from jaxtyping import Float, Integer
import numpy as np


def class_accuracies(
  true: Integer[np.ndarray, " T"], predicted: Integer[np.ndarray, "... T"], num_classes: int
) -> Float[np.ndarray, "... k"]:
  """The share of each class's examples that is recognised, f64[... k].

  Args:
    true: i[T], in [0, k).
    predicted: i[... T].
    num_classes: k.
  Returns:
    f64[... k]; NaN for a class without examples.
  """
  correct = np.asarray(predicted) == true
  accuracies = np.full((*correct.shape[:-1], num_classes), np.nan)
  for label in np.unique(true):
    accuracies[..., label] = correct[..., true == label].mean(axis=-1)
  return accuracies


def worst(accuracies: Float[np.ndarray, "... k"]) -> Float[np.ndarray, "..."]:
  """The accuracy of the worst class."""
  return np.nanmin(accuracies, axis=-1)


def gap(accuracies: Float[np.ndarray, "... k"]) -> Float[np.ndarray, "..."]:
  """The best class's accuracy minus the worst's."""
  return np.nanmax(accuracies, axis=-1) - np.nanmin(accuracies, axis=-1)


def std(accuracies: Float[np.ndarray, "... k"]) -> Float[np.ndarray, "..."]:
  """Standard deviation over classes, which are all there are (ddof 0)."""
  return np.nanstd(accuracies, axis=-1)


def ratio(accuracies: Float[np.ndarray, "... k"]) -> Float[np.ndarray, "..."]:
  """The worst class's accuracy over the best's; 1 where no class is ever recognised."""
  best = np.asarray(np.nanmax(accuracies, axis=-1))
  return np.divide(worst(accuracies), best, out=np.ones(best.shape), where=best > 0)
