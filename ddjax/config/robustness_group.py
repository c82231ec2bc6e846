"""The group `robustness`: which attacks, how strong, on how many images and networks."""

from ml_collections import ConfigDict


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
