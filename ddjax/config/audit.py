"""Groups of config fields of the audit, each a fresh ConfigDict: what distillation costs.

The defaults suit two cores; `is_full` takes the settings of the papers.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from ddjax.attacks import membership


def privacy(is_full: bool = False) -> ConfigDict:
  """Membership inference by shadow runs of the whole pipeline, and the copy check."""
  return ConfigDict(
    dict(
      num_splits=64 if is_full else 16,  # each the target once, with the others as its shadows
      member_fraction=0.5,  # of each class of the pool, drawn anew for every split
      max_examples=0 if is_full else 4000,  # of the pool; 0 for all
      ipc=0,  # images per class; 0: as the set has
      init="",  # real, noise, ...; "": as the set began
      num_steps=0,  # of the distillations; 0: as many as the set's
      predictor="",  # networks, kernel; "": the kernel for KIP and Label Solve
      num_networks=1,  # of each split, whose log-probabilities are averaged
      num_epochs=placeholder(int),  # of networks on small sets; None: as accuracy_evaluation
      full_epochs=50,  # of networks on all members of a split
      attacks=(*membership.SIGNALS, *membership.CLASSIFIERS, *membership.LIRA),
      max_targets=2000,  # members and non-members each, of attacks without shadow runs
      num_bootstrap=1000 if is_full else 200,
    )
  )


def fairness() -> ConfigDict:
  """How unequally classes are served, and groups where the data have them."""
  return ConfigDict(dict(num_bootstrap=2000))


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


def groups(is_full: bool = False) -> dict[str, ConfigDict]:
  """All groups of the audit by name."""
  return {
    "privacy": privacy(is_full),
    "fairness": fairness(),
    "features": features(),
  }
