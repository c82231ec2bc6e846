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
      max_examples=10000 if is_full else 4000,  # of the pool; 0 for all: the full sets of all
      # splits lie in memory together, for 64 splits of CIFAR-10 24 GB
      ipc=0,  # images per class; 0: as the set has
      init="",  # real, noise, ...; "": as the set began
      num_steps=0,  # of the distillations; 0: as many as the set's, but see max_steps
      # By method, the most steps of the splits' distillations; 0: no limit. These are
      # what two cores do in two minutes for digits; a report says where one cut a distillation.
      max_steps=dict.fromkeys(("dc", "dsa", "dm", "frepo", "idc", "kip", "mtt", "ncfm"), 0)
      | ({} if is_full else dict(dc=50, dsa=50, frepo=100, idc=50, mtt=20, ncfm=50)),
      max_experts=0 if is_full else 2,  # of each split's own, likewise
      predictor="",  # networks, kernel; "": the kernel for KIP and Label Solve
      num_networks=1,  # of each split, whose log-probabilities are averaged
      num_epochs=placeholder(int),  # of networks on small sets; None: as accuracy_evaluation
      full_epochs=30,  # of networks on all members of a split
      attacks=(*membership.SIGNALS, *membership.CLASSIFIERS, *membership.LIRA),
      max_targets=2000,  # members and non-members each, of attacks without shadow runs
      num_bootstrap=1000 if is_full else 200,
    )
  )


def robustness(is_full: bool = False) -> ConfigDict:
  """Attacks and corruptions, in pixels of [0, 1].

  Args:
    is_full: the settings of the attacks' papers on the whole test set, instead of a budget for two
      cores.
  """
  return ConfigDict(
    dict(
      budget="full" if is_full else "two cores",  # a name for the report
      num_test=0 if is_full else 200,  # test images, stratified; 0 for all
      sets=("distilled", "random_subset", "full"),  # whose networks are attacked
      networks=(),  # names of predictors; () for all that were fitted
      num_networks=3,  # of each set and name, from as many distillations or subsets as there are
      attacks=(
        "fgsm_linf", "pgd_linf", "pgd_l2", "apgd_ce_linf", "apgd_dlr_linf", "apgd_t_linf",
        "square_linf", "deepfool", "carlini_wagner",
      ),
      linf_255=8.0,  # epsilon in 1/255, as is common on CIFAR-10
      l2_255=128.0,
      curve_255=(0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),  # of accuracy against epsilon, PGD l_inf
      convergence_tolerance=0.01,  # of accuracy, when the steps of PGD are doubled
      pgd=dict(
        num_steps=100 if is_full else 20,
        relative_step=0.25,  # over epsilon; Madry et al. 2018: 2/255 at 8/255
        num_restarts=5 if is_full else 2,
      ),
      apgd=dict(
        num_steps=100 if is_full else 20,  # Croce, Hein 2020: 100
        num_restarts=5 if is_full else 1,  # Croce, Hein 2020: 5, of the untargeted ones
        num_targets=9 if is_full else 3,  # likeliest wrong classes, a run each; 9 as published
      ),
      square=dict(num_queries=5000 if is_full else 500),  # 5000 in AutoAttack
      deepfool=dict(num_steps=50, num_candidates=10, overshoot=0.02),  # Moosavi-Dezfooli et al.
      carlini_wagner=dict(  # full: 9 searches, rate and weight as released; there 10000 steps
        num_searches=9 if is_full else 3,
        num_steps=1000 if is_full else 100,
        learning_rate=0.01 if is_full else 0.1,
        initial_weight=1e-3 if is_full else 1.0,
      ),
      corruptions=(
        "gaussian_noise", "shot_noise", "impulse_noise", "blur", "brightness", "contrast",
        "pixelation", "jpeg",
      ),
      index_weight=0.5,  # alpha of CREI, the share of RR
      num_bootstrap=2000,
    )
  )  # fmt: skip


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
    "robustness": robustness(is_full),
    "fairness": fairness(),
    "features": features(),
  }
