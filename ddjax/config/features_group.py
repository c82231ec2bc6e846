"""The group of config fields of the features evaluator."""

from ml_collections import ConfigDict


def features() -> ConfigDict:
  """Where distilled images lie among real ones, in the features of a network."""
  return ConfigDict(
    dict(
      num_real_per_class=200,  # for means, scales and tests; fewer where it has fewer
      num_permutations=999,  # of each test; all relabellings where they are no more than that
      num_real_shown=500,  # in the pictures, over all classes
      perplexity=30.0,  # of t-SNE
    )
  )
