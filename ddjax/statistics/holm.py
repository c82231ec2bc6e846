"""Several tests at once: the correction of Holm (1979, Scandinavian Journal of Statistics 6)."""

from typing import Mapping, Sequence

from jaxtyping import Float
import numpy as np


def adjusted(p_values: Sequence[float]) -> Float[np.ndarray, " n"]:
  """P-values such that rejecting those of at most .05 errs once in twenty families.

  The i-th smallest of n (i from 0) is multiplied by n - i, cut at 1, and raised to the largest
  before it. It holds however the tests depend on each other.

  Args:
    p_values: of n tests, each in [0, 1].
  Returns:
    f64[n] in the order given; empty for none.
  Raises:
    ValueError: for a value outside [0, 1].
  """
  values = np.asarray(p_values, np.float64)
  if not ((values >= 0) & (values <= 1)).all():
    raise ValueError(f"p-values {values.tolist()} must lie in [0, 1].")
  order = values.argsort(kind="stable")
  raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
  result = np.empty_like(values)
  result[order] = np.minimum(raised, 1.0)
  return result


def adjusted_known(p_values: Sequence[float | None]) -> list[float | None]:
  """`adjusted` over the tests that have a p-value; None stays None and counts for nothing."""
  values = iter(adjusted([p for p in p_values if p is not None]).tolist())
  return [None if p is None else next(values) for p in p_values]


def adjusted_columns(
  columns: Mapping[str, Sequence[float | None]],
) -> dict[tuple[str, int], float]:
  """`adjusted` over all columns of a table together; {(column, row): p-value} of those known."""
  places = [(name, row) for name, column in columns.items() for row in range(len(column))]
  found = adjusted_known([columns[name][row] for name, row in places])
  return {place: p for place, p in zip(places, found) if p is not None}
