"""Third stage: models fitted once on every set, and every evaluator's report."""

import functools
import itertools
import time
from typing import Any, Callable, Mapping, NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from ddjax import registry
from ddjax.augment import siamese
from ddjax.config import compare, groups
from ddjax.config.arguments import nearest
from ddjax.data.batches import standardise
from ddjax.data.facts import get_facts
from ddjax.data.load import RealData
from ddjax.distillers import synthetic
from ddjax.evaluators import protocols
from ddjax.evaluators.accuracy import make_accuracy_evaluator
from ddjax.evaluators.fairness import make_fairness_evaluator
from ddjax.evaluators.features import make_features_evaluator
from ddjax.evaluators.fit import fit_full, make_fit
from ddjax.evaluators.kernel import make_kernel_evaluator, make_kernel_fit
from ddjax.evaluators.privacy import make_privacy_evaluator
from ddjax.evaluators.robustness import make_robustness_evaluator
from ddjax.models.build import build
from ddjax.random_streams import stream
from ddjax.stages import baselines, experts, parts, shadows
from ddjax.stages.prepare import Job, numerics
from ddjax.training.fitting import Watch
from ddjax.training.parallel import local_devices
from ddjax.types import Array, DistilledSet, EvaluationContext, Models, Report


class Evaluation(NamedTuple):
  """An evaluator: (config) -> the kinds of models it looks at, and (job) -> measure."""

  kinds: Callable[[ConfigDict], tuple[str, ...]]
  make: Callable


def _make_kernel_fit(job: Job) -> Callable:
  fit = make_kernel_fit(job.config, job.real.info, job.real.preprocessing)
  return lambda sets, rng, watch: fit(sets, rng)


def _make_network_fit(job: Job) -> Callable:
  config, real = job.config.accuracy_evaluation, job.real
  options = dict(use_flip=get_facts(real.info.name).use_flip, devices=local_devices(job.layout))
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
    dsa = protocols.DSA if options["use_flip"] else siamese.without_flip(protocols.DSA)
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


FULL_SET = ("cached", "train", "none")
FITS: dict[str, Callable] = {"kernel": _make_kernel_fit, "networks": _make_network_fit}
"""By kind of models: (job) -> fit(sets, rng, watch)."""


def _chosen_kinds(config: ConfigDict) -> tuple[str, ...]:
  """The kinds of models that the run's own accuracies are of; networks where it has none."""
  kinds = {"accuracy": "networks", "kernel": "kernel"}
  return tuple(kind for name, kind in kinds.items() if name in config.evaluators) or ("networks",)


def _attacked_kinds(config: ConfigDict) -> tuple[str, ...]:
  """The kinds of models that `robustness.networks` names; where it names none, `_chosen_kinds`."""
  named = {"kernel" if name == "kernel" else "networks" for name in config.robustness.networks}
  return tuple(kind for kind in _WORDS if kind in named) or _chosen_kinds(config)


def _make_accuracy(job: Job) -> Callable[..., Report]:
  use_flip = get_facts(job.real.info.name).use_flip
  return make_accuracy_evaluator(job.config.accuracy_evaluation, job.real.info, use_flip=use_flip)


def _make_robustness(job: Job) -> Callable[..., Report]:
  return make_robustness_evaluator(job.config.robustness, job.real.info)


def _make_fairness(job: Job) -> Callable[..., Report]:
  return make_fairness_evaluator(job.config.fairness, job.real.info)


def _make_features(job: Job) -> Callable[..., Report]:
  return make_features_evaluator(job.config.features, job.real.info, _feature_fn(job))


def _feature_fn(job: Job) -> Callable[[Any, Array], Array]:
  """(params, images as networks see them) -> features f32[b d] of the first architecture."""
  evaluation, num_classes = job.config.accuracy_evaluation, job.real.info.num_classes
  width = evaluation.width or None
  network = build(evaluation.networks[0], num_classes=num_classes, width=width)
  return lambda params, images: network.apply(params, images, return_features=True)[1]


_WORDS = {"kernel": "kernel predictors", "networks": "networks"}
EVALUATORS: dict[str, Evaluation] = {
  "kernel": Evaluation(
    lambda config: ("kernel",), lambda job: make_kernel_evaluator(job.config, job.real.info)
  ),
  "accuracy": Evaluation(lambda config: ("networks",), _make_accuracy),
  "robustness": Evaluation(_attacked_kinds, _make_robustness),
  "fairness": Evaluation(_chosen_kinds, _make_fairness),
  "features": Evaluation(lambda config: ("networks",), _make_features),
  "privacy": Evaluation(
    lambda config: ("networks",), lambda job: make_privacy_evaluator(job.config.privacy)
  ),
}


class Plan(NamedTuple):
  """The evaluators of a run, built: {kind: fit}, and {evaluator: (kinds of models, measure)}."""

  fits: dict[str, Callable]
  measures: dict[str, tuple[tuple[str, ...], Callable]]


def plan(job: Job) -> Plan:
  """Builds the config's evaluators, so that a wrong setting is refused before anything is spent.

  Raises:
    ValueError: for an unknown evaluator, network or protocol, or fewer than one random subset or
      bootstrap replicate.
  """
  config = job.config
  counts = {
    "num_random_subsets": config.num_random_subsets,
    "kernel_evaluation.num_bootstrap": config.kernel_evaluation.num_bootstrap,
    "accuracy_evaluation.num_bootstrap": config.accuracy_evaluation.num_bootstrap,
    "accuracy_evaluation.num_seeds": config.accuracy_evaluation.num_seeds,
    "accuracy_evaluation.random_subset_seeds": config.accuracy_evaluation.random_subset_seeds,
    "accuracy_evaluation.full_seeds": config.accuracy_evaluation.full_seeds,
  }
  for name, count in counts.items():
    if count < 1:
      raise ValueError(f"{name}={count} must be at least 1.")
  baselines.check(job)
  chosen = {name: registry.look_up(EVALUATORS, name, "evaluator") for name in config.evaluators}
  kinds = {name: one.kinds(config) for name, one in chosen.items()}
  fits = {kind: FITS[kind](job) for kind in dict.fromkeys(itertools.chain(*kinds.values()))}
  return Plan(fits, {name: (kinds[name], one.make(job)) for name, one in chosen.items()})


def evaluate(
  job: Job,
  plan: Plan,
  distilled: DistilledSet,
  initial: DistilledSet | None = None,
  chosen: DistilledSet | None = None,
  watch: Watch = Watch(),
  origin: ConfigDict | None = None,
) -> tuple[dict[str, Report], dict[str, float]]:
  """Runs the evaluators on a distilled set, beside its step 0 and random subsets.

  Args:
    job: from `prepare`.
    plan: the evaluators, from `plan`.
    distilled: leading replica axis.
    initial: the same at step 0, where it is known.
    chosen: the snapshots that a validation split chose, where it did.
    watch: of the fitting of networks: progress, stop request, where unfinished ones and finished
      reports are kept.
    origin: the config that distils the set again, for shadow runs; None where it is not known.
  Returns:
    {evaluator: Report}, and the seconds of each, the fitting of models with the first that needs
    them.
  """
  is_balanced = len(distilled.labels[0]) == job.config.synthetic.ipc * job.real.info.num_classes
  labels = None if is_balanced else distilled.labels[0]
  sets = {"distilled": distilled, "random_subset": random_subsets(job, labels)}
  sets |= baselines.coresets(job, labels)
  if initial is not None:
    sets["initial"] = initial
  if chosen is not None:
    sets["chosen"] = chosen
  reports, seconds, fitted = {}, {}, {}
  context = _context(job, sets, watch, origin)

  def models_of(kinds: tuple[str, ...]) -> dict[str, dict[str, Models]]:
    merged: dict[str, dict[str, Models]] = {}
    for kind in kinds:
      if kind not in fitted:
        logging.info("Fitting %s on %s.", _WORDS[kind], ", ".join(sets))
        fitted[kind] = plan.fits[kind](sets, stream(job.config.seed, f"fit {kind}"), watch)
      for name, of_set in fitted[kind].items():
        merged.setdefault(name, {}).update(of_set)
    return merged

  def measured(name: str, key: str) -> Report:
    kinds, measure = plan.measures[name]
    rng = stream(job.config.seed, f"measure {name}")
    pieces = parts.Pieces(name, key, watch)
    own = context._replace(keep=pieces.keep, check_stop=pieces.check_stop)
    return measure(models_of(kinds), job.real, rng, own)

  plain = compare.plain(job.config)
  plain = {name: plain[name] for name in plain if name not in ("evaluators", "trainer")}
  facts = [distilled.info, job.real.preprocessing.digest(), origin and compare.plain(origin)]
  for name, (kinds, _) in plan.measures.items():
    started = time.monotonic()
    key = parts.part_key([name, kinds, plain, facts], distilled)
    reports[name] = parts.finished(watch.folder, key, functools.partial(measured, name, key))
    seconds[name] = time.monotonic() - started
  return reports, seconds


def _context(
  job: Job, sets: dict[str, DistilledSet], watch: Watch, origin: ConfigDict | None
) -> EvaluationContext:
  """What evaluators of the audit need besides models."""
  config, feature_fn = job.config, _feature_fn(job)

  reason = "the set's record has no config of a method known here: it cannot be distilled again"
  if origin is None:
    return EvaluationContext(sets, None, reason, feature_fn)
  origin = origin.copy_and_resolve_references().unlock()
  for field in ("num_devices", "memory_budget_gb"):  # of this machine
    origin[field] = config[field]
  fields = origin.get("trainer", {})
  origin.trainer = {**groups.trainer(), **fields}  # with those that are newer than the set
  try:
    own = shadows.shadow_config(origin, config.privacy)
    if registry.DISTILLERS[own.method](own, job.real.info).experts is not None:
      experts.protocol_of(own)
  except (AttributeError, KeyError) as error:
    reason = f"the set's config is of another version of ddjax: {error}"
    return EvaluationContext(sets, None, reason, feature_fn)
  if own.synthetic.get("init") == "saved":
    reason = (
      "the set began with a saved one, which knows more than the members of a split; name another "
      "start, such as --config.privacy.init=real"
    )
    return EvaluationContext(sets, None, reason, feature_fn)

  def run_shadows():
    key = [job.real.fingerprint, compare.plain(origin), compare.plain(config.privacy)]
    folder = job.workdir / "fits" / f"shadows-{compare.short_hash(key)}"
    with numerics(origin):
      found = shadows.run_shadows(
        origin, config.privacy, config.accuracy_evaluation, job.real, folder, watch
      )
    checks = _differences(found.settings, origin, sets["distilled"].info or {}, job.real)
    return found._replace(settings=found.settings | {"checks": checks})

  return EvaluationContext(sets, run_shadows, "", feature_fn)


def _differences(
  of_splits: Mapping[str, Any], origin: ConfigDict, info: Mapping[str, Any], real: RealData
) -> list[str]:
  """Where the splits' distillations are not the set's own, in one sentence.

  Args:
    of_splits: `Shadows.settings`.
    origin: the config of the set.
    info: of the set; its `step`, and whether it was made of the real set's train images.
    real: the real set.
  """
  outer = origin.get("outer", {})
  is_whole = origin.get("member_fraction", 1.0) == 1 and not info.get("member_hash")
  is_known = is_whole and info.get("real_data_hash") in (None, real.fingerprint)
  of_set = {
    "steps": ("num_steps", info.get("step") or outer.get("num_steps")),
    "images per class": ("ipc", origin.synthetic.ipc),
    "beginning": ("init", origin.synthetic.get("init")),
    "experts": ("num_experts", origin.get("experts", {}).get("num_experts")),
    "examples a target batch": ("target_batch_size", outer.get("target_batch_size")),
    "real examples": ("num_members", len(real.train_labels) if is_known else None),
  }
  told = [
    f"{of_splits[key]} {name} (the set: {value})"
    for name, (key, value) in of_set.items()
    if value and of_splits[key] and of_splits[key] != value
  ]
  if not told:
    return []
  return [
    "Attacks with shadow runs are on distillations of the splits' own, which differ from the "
    f"set's: {'; '.join(told)}."
  ]


def evaluate_saved(
  job: Job, distilled: DistilledSet, watch: Watch = Watch()
) -> tuple[dict[str, Report], dict[str, float]]:
  """Evaluates a set from disk, without its step 0; see `evaluate`.

  Args:
    job: from `prepare_saved`.
    distilled: no replica axis.
    watch: as in `evaluate`.
  """
  names = ("label_kind", "learning_rate", "decode_factor", "step", "member_hash", "real_data_hash")
  info = {name: distilled.info.get(name) for name in names}
  batch = DistilledSet(distilled.images[None], distilled.labels[None], info)
  return evaluate(job, plan(job), batch, watch=watch, origin=origin_of(distilled))


def origin_of(distilled: DistilledSet) -> ConfigDict | None:
  """The config that made a saved set, where its record has one of a method known here."""
  config = distilled.info.get("config")
  if not isinstance(config, Mapping) or config.get("method") not in registry.DISTILLERS:
    return None
  return ConfigDict(config)


def random_subsets(job: Job, labels: np.ndarray | None = None) -> DistilledSet:
  """Random subsets of equal size f32[s n h w c], labels of the method's kind.

  Args:
    job: the run.
    labels: f32[n k] of a set; a subset has as many of each class. None for `ipc` of each.
  """
  ipc, info = job.config.synthetic.ipc, job.real.info
  rngs = jax.random.split(stream(job.config.seed, "random subset"), job.config.num_random_subsets)
  data = jax.tree.map(jnp.asarray, jax.device_get(job.data))
  data = data.replace(mask=jnp.ones(len(data.labels), bool))  # of the whole train set
  rows = jax.vmap(lambda rng: synthetic.draw_members(rng, data, ipc).reshape(-1))(rngs)
  is_centred = job.distiller.label_kind == "centred"
  subset_labels = np.asarray(synthetic.one_hot_labels(info.num_classes, ipc, is_centred))
  if labels is not None:
    kept = baselines.first_of_each_class(labels, ipc)
    rows, subset_labels = rows[:, kept], subset_labels[kept]
  return DistilledSet(
    images=np.asarray(standardise(data.images[rows], data)),
    labels=np.broadcast_to(subset_labels, (len(rows), *subset_labels.shape)),
    info={"label_kind": job.distiller.label_kind},
  )
