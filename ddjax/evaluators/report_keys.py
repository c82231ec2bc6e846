"""What evaluators of several sets share: names of figures, and why one is missing."""

from typing import Any, Mapping

from ddjax.statistics.intervals import GAINS

NO_FULL = (
  "nothing of this kind was fitted on the full set: networks trained on it by this protocol come "
  "from the cache, or by accuracy_evaluation.full_set='train'; no kernel regression is made of it"
)


def check_distilled(models: Mapping[str, Any]) -> None:
  """Raises ValueError where there is no distilled set among what was fitted."""
  if "distilled" not in models:
    raise ValueError(f"There is no set 'distilled' to measure among {sorted(models)}.")


def figure_key(source: str | tuple[str, str], key: str, gains: Mapping[str, str] = GAINS) -> str:
  """The report's name for a figure of a set, or for its paired difference between two.

  Args:
    source: a set, or (set, baseline).
    key: of the figure; the distilled set has it alone, another one SET_KEY.
    gains: {baseline: what comes before the key of a difference}.
  """
  if isinstance(source, tuple):
    return f"{gains[source[1]]}_{figure_key(source[0], key)}"
  return key if source == "distilled" else f"{source}_{key}"


def why_missing(name: str) -> str:
  """Why a set has no figures: nothing was fitted on it."""
  return NO_FULL if name == "full" else f"no network was fitted on a set {name!r}"
