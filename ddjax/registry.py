"""Names to factories: to add a method or an evaluator, add its line here."""

from typing import Any, Callable, NamedTuple

from ml_collections import ConfigDict

from ddjax.data.facts import get_facts
from ddjax.data.load import RealData
from ddjax.distillers.coreset import make_coreset
from ddjax.distillers.dm import make_dm
from ddjax.distillers.dp_dm import make_dp_dm
from ddjax.distillers.dp_kip import make_dp_kip
from ddjax.distillers.dsa import make_dsa
from ddjax.distillers.fairdd import make_fairdd
from ddjax.distillers.frepo import make_frepo
from ddjax.distillers.idc import make_idc
from ddjax.distillers.kip import make_kip
from ddjax.distillers.label_solve import make_label_solve
from ddjax.distillers.mtt import make_mtt
from ddjax.distillers.ncfm import make_ncfm
from ddjax.distillers.robust_dm import make_robust_dm
from ddjax.distillers.robust_kip import make_robust_kip
from ddjax.evaluators.accuracy import make_accuracy_evaluator
from ddjax.evaluators.fairness import make_fairness_evaluator
from ddjax.evaluators.features import make_features_evaluator
from ddjax.evaluators.kernel import make_kernel_evaluator
from ddjax.evaluators.privacy import make_privacy_evaluator
from ddjax.evaluators.robustness import make_robustness_evaluator
from ddjax.models.build import build, features_of
from ddjax.types import Array, DatasetInfo, Distiller, Report

DISTILLERS: dict[str, Callable[..., Distiller]] = {
  "coreset": make_coreset,
  "datm": make_mtt,
  "dc": make_dsa,
  "dm": make_dm,
  "dp_dm": make_dp_dm,
  "dp_kip": make_dp_kip,
  "dsa": make_dsa,
  "fairdd": make_fairdd,
  "frepo": make_frepo,
  "idc": make_idc,
  "kip": make_kip,
  "label_solve": make_label_solve,
  "mtt": make_mtt,
  "ncfm": make_ncfm,
  "robust_dm": make_robust_dm,
  "robust_kip": make_robust_kip,
}

MODEL_KINDS = {"kernel": "kernel predictors", "networks": "networks"}
"""Kinds of models that evaluators look at, in words."""


class Evaluator(NamedTuple):
  """An evaluator of a run.

  Attributes:
    make: (config, info) -> measure(models, dataset, rng, context) -> Report.
    kinds: (config) -> the kinds of models that it looks at.
    needs: (data set) -> packages that its figures take and that an installation may lack.
  """

  make: Callable[[ConfigDict, DatasetInfo], Callable[..., Report]]
  kinds: Callable[[ConfigDict], tuple[str, ...]] = lambda config: ("networks",)
  needs: Callable[[RealData], tuple[str, ...]] = lambda real: ()


def feature_fn(config: ConfigDict, info: DatasetInfo) -> Callable[[Any, Array], Array]:
  """(params, images as networks see them) -> features f32[b d] of the first architecture."""
  evaluation = config.accuracy_evaluation
  width = evaluation.width or None
  network = build(evaluation.networks[0], num_classes=info.num_classes, width=width)
  return lambda params, images: features_of(network, params, images)


def _chosen_kinds(config: ConfigDict) -> tuple[str, ...]:
  """The kinds of models that the run's own accuracies are of; networks where it has none."""
  kinds = {"accuracy": "networks", "kernel": "kernel"}
  return tuple(kind for name, kind in kinds.items() if name in config.evaluators) or ("networks",)


def _attacked_kinds(config: ConfigDict) -> tuple[str, ...]:
  """The kinds of models that `robustness.networks` names; where it names none, `_chosen_kinds`."""
  named = {"kernel" if name == "kernel" else "networks" for name in config.robustness.networks}
  return tuple(kind for kind in MODEL_KINDS if kind in named) or _chosen_kinds(config)


def _make_accuracy(config: ConfigDict, info: DatasetInfo) -> Callable[..., Report]:
  use_flip = get_facts(info.name).use_flip
  return make_accuracy_evaluator(config.accuracy_evaluation, info, use_flip=use_flip)


EVALUATORS: dict[str, Evaluator] = {
  "kernel": Evaluator(make_kernel_evaluator, lambda config: ("kernel",)),
  "accuracy": Evaluator(_make_accuracy),
  "robustness": Evaluator(
    lambda config, info: make_robustness_evaluator(config.robustness, info), _attacked_kinds
  ),
  "fairness": Evaluator(
    lambda config, info: make_fairness_evaluator(config.fairness, info),
    _chosen_kinds,
    lambda real: () if real.test_groups is None else ("fairlearn",),
  ),
  "features": Evaluator(
    lambda config, info: make_features_evaluator(config.features, info, feature_fn(config, info))
  ),
  "privacy": Evaluator(
    lambda config, info: make_privacy_evaluator(config.privacy),
    needs=lambda real: ("jax_privacy",),
  ),
}
