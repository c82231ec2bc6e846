"""How the models that evaluators look at are fitted on every set of a run."""

from typing import Any, Callable

from ml_collections import ConfigDict

from ddjax.augment import siamese
from ddjax.data.facts import get_facts
from ddjax.data.load import RealData
from ddjax.evaluators.kernel import make_kernel_fit
from ddjax.fitting import protocols
from ddjax.fitting.fit import fit_full, make_fit
from ddjax.stages import baselines
from ddjax.stages.prepare import Job
from ddjax.training.parallel import local_devices
from ddjax.wording import nearest

FULL_SET = ("cached", "train", "none")


def _make_kernel_fit(job: Job) -> Callable:
  fit = make_kernel_fit(job.config, job.real.info, job.real.preprocessing)
  return lambda sets, rng, watch: fit(sets, rng)


def _make_network_fit(job: Job) -> Callable:
  config, real = job.config.accuracy_evaluation, job.real
  use_flip, devices = get_facts(real.info.name).use_flip, local_devices(job.layout)
  options: dict[str, Any] = dict(use_flip=use_flip, devices=devices)
  cached = ("random_subset", *baselines.CORESETS)
  fit = make_fit(config, real.info, real.preprocessing, cached_sets=cached, **options)
  if config.full_set not in FULL_SET:
    raise ValueError(
      f"accuracy_evaluation.full_set={config.full_set!r}. {nearest(config.full_set, FULL_SET)}"
    )

  extra = _make_extra_fits(config, real, options) if config.use_robust_scores else {}

  def fit_all(sets, rng, watch):
    models = fit(sets, rng, watch)
    if "random_subset" not in sets:  # snapshots, of which a validation split chooses
      return models
    for suffix, (names, fit_extra) in extra.items():
      fitted = fit_extra({name: sets[name] for name in names}, rng, watch)
      models |= {f"{name}_{suffix}": of_set for name, of_set in fitted.items()}
    if config.full_set != "none":
      is_trained = config.full_set == "train"
      full = fit_full(config, real, rng, is_trained=is_trained, watch=watch, **options)
      if full:  # by the same function as the others, so that attacks compile once for all
        predict_fn = {name: of_set.predict_fn for name, of_set in models["distilled"].items()}
        models["full"] = {
          name: of_set._replace(predict_fn=predict_fn[name]) for name, of_set in full.items()
        }
    return models

  return fit_all


def _make_extra_fits(config: ConfigDict, real: RealData, options: dict[str, Any]):
  """What the robust scores compare with: {suffix of the set's name: (sets, fit)}."""
  own = protocols.configure(config, options["use_flip"])
  changes = {}
  if own.labels != "hard":
    changes["hard_labels"] = (("distilled",), {"labels": "hard"})
  sets = ("distilled", "random_subset")
  if own.augmentation:
    changes["without_augmentation"] = (sets, {"augmentation": "none", "mix": "none"})
  else:
    dsa = siamese.DSA if options["use_flip"] else siamese.without_flip(siamese.DSA)
    changes["with_augmentation"] = (sets, {"augmentation": dsa})
  fits = {}
  for suffix, (names, fields) in changes.items():
    changed = config.copy_and_resolve_references()
    changed.update(fields)
    fits[suffix] = (
      names,
      make_fit(changed, real.info, real.preprocessing, cached_sets=("random_subset",), **options),
    )
  return fits


FITS: dict[str, Callable] = {"kernel": _make_kernel_fit, "networks": _make_network_fit}
"""By kind of models: (job) -> fit(sets, rng, watch)."""
