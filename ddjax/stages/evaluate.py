"""Third stage: every evaluator's report, on models that are fitted once for all."""

import functools
import importlib.util
import itertools
from pathlib import Path
import time
from typing import Any, Callable, Mapping, NamedTuple

from absl import logging
from ml_collections import ConfigDict
import numpy as np

from ddjax import registry
from ddjax.config import compare, groups
from ddjax.data.load import RealData
from ddjax.files import atomic
from ddjax.fitting.host import Watch
from ddjax.random_streams import stream
from ddjax.stages import baselines, experts, parts, shadows
from ddjax.stages.fit import FITS
from ddjax.stages.prepare import Job, numerics
from ddjax.types import DistilledSet, EvaluationContext, Models, Report
from ddjax.wording import look_up


class Plan(NamedTuple):
  """The evaluators of a run, built: {kind: fit}, and {evaluator: (kinds of models, measure)}."""

  fits: dict[str, Callable]
  measures: dict[str, tuple[tuple[str, ...], Callable]]


class MissingPackageError(ValueError):
  """An evaluator's figures take a package that is not installed, whose name is `package`."""

  def __init__(self, evaluator: str, package: str):
    super().__init__(
      f"The evaluator {evaluator!r} needs {package}, which is not installed: install it (see "
      f"requirements.txt), or leave {evaluator!r} out of `evaluators`."
    )
    self.package = package


def plan(job: Job) -> Plan:
  """Builds the config's evaluators, so that a wrong setting is refused before anything is spent.

  Raises:
    ValueError: for an unknown evaluator, network or protocol, or fewer than one random subset or
      bootstrap replicate.
    MissingPackageError: for a package that an evaluator needs and that is not installed.
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
  known = registry.EVALUATORS
  chosen = {name: look_up(known, name, "evaluator") for name in config.evaluators}
  for name, one in chosen.items():
    for package in one.needs(job.real):
      if importlib.util.find_spec(package) is None:
        raise MissingPackageError(name, package)
  kinds = {name: one.kinds(config) for name, one in chosen.items()}
  fits = {kind: FITS[kind](job) for kind in dict.fromkeys(itertools.chain(*kinds.values()))}
  return Plan(
    fits, {name: (kinds[name], one.make(config, job.real.info)) for name, one in chosen.items()}
  )


def evaluate(
  job: Job,
  plan: Plan,
  distilled: DistilledSet,
  initial: DistilledSet | None = None,
  chosen: DistilledSet | None = None,
  watch: Watch = Watch(),
  origin: ConfigDict | None = None,
  scores: Path | None = None,
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
    scores: the folder for arrays that later comparisons between runs need; None keeps none.
  Returns:
    {evaluator: Report}, and the seconds of each, the fitting of models with the first that needs
    them.
  """
  is_balanced = len(distilled.labels[0]) == job.config.synthetic.ipc * job.real.info.num_classes
  labels = None if is_balanced else np.asarray(distilled.labels[0])
  sets = {"distilled": distilled, "random_subset": baselines.random_subsets(job, labels)}
  sets |= baselines.coresets(job, labels) | baselines.private_random(job, distilled, labels)
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
        logging.info("Fitting %s on %s.", registry.MODEL_KINDS[kind], ", ".join(sets))
        fitted[kind] = plan.fits[kind](sets, stream(job.config.seed, f"fit {kind}"), watch)
      for name, of_set in fitted[kind].items():
        merged.setdefault(name, {}).update(of_set)
    return merged

  def leave(name: str, arrays: dict[str, np.ndarray]) -> None:
    if scores is not None:
      atomic.write_npz(scores / f"{name}.npz", arrays)

  def measured(name: str, key: str) -> Report:
    kinds, measure = plan.measures[name]
    rng = stream(job.config.seed, f"measure {name}")
    pieces = parts.Pieces(name, key, watch)
    own = context._replace(keep=pieces.keep, check_stop=pieces.check_stop, leave=leave)
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
  config = job.config
  feature_fn = registry.feature_fn(config, job.real.info)

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
  job: Job,
  distilled: DistilledSet,
  watch: Watch = Watch(),
  scores: Path | None = None,
  planned: Plan | None = None,
) -> tuple[dict[str, Report], dict[str, float]]:
  """Evaluates a set from disk, without its step 0; see `evaluate`.

  Args:
    job: from `prepare_saved`.
    distilled: no replica axis.
    watch: as in `evaluate`.
    scores: as in `evaluate`.
    planned: from `plan`, of this job or of one that differs in its set alone, whose programs are
      then used again.
  """
  names = ("label_kind", "learning_rate", "decode_factor", "step", "member_hash", "real_data_hash")
  names += ("guarantee",)
  info = {name: distilled.info.get(name) for name in names}
  batch = DistilledSet(distilled.images[None], distilled.labels[None], info)
  planned = planned or plan(job)
  return evaluate(job, planned, batch, watch=watch, origin=origin_of(distilled), scores=scores)


def origin_of(distilled: DistilledSet) -> ConfigDict | None:
  """The config that made a saved set, where its record has one of a method known here."""
  config = distilled.info.get("config")
  if not isinstance(config, Mapping) or config.get("method") not in registry.DISTILLERS:
    return None
  return ConfigDict(config)
