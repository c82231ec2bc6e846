"""The task "evaluate": sets from disk, ours or others', see `configs/evaluate.py`."""

import json
import pathlib
import shutil
import time
from typing import Any, Mapping

from absl import logging
from ml_collections import ConfigDict

from ddjax.config import compare
from ddjax.data.load import RealData
from ddjax.io.distilled import set_digest
from ddjax.io.foreign.convert import check_alone, is_own, load_any, open_foreign
from ddjax.io.foreign.foreign_set import ForeignSet, split_options
from ddjax.stages import estimate as costs
from ddjax.stages import prepare, present, shadows
from ddjax.stages.evaluate import Plan, evaluate_saved, origin_of, plan
from ddjax.stages.pictures import Evaluated
from ddjax.stages.prepare import (
  Job,
  data_fingerprint,
  load,
  numerics,
  prepare_saved,
)
from ddjax.stages.run_folder import SCORES_NAME, RunFolder
from ddjax.stages.sessions import begin, watch_of
from ddjax.tasks.task import Outcome, outcome
from ddjax.training.parallel import is_main_process
from ddjax.training.trainer import StopRequest
from ddjax.types import DistilledSet, Report

Sources = Mapping[str, tuple[str, dict[str, Any]]]
"""{label: (path, its own options)}."""
_NEAR_CHANCE = 1.25  # times chance; a random subset of one image a class is above it
_LABELS_OF_CURVES = ("distilled", "random subset", "full set")


def run(config: ConfigDict, workdir: pathlib.Path, *, overwrite: bool = False) -> Outcome:
  """Evaluates the sets at `config.distilled` and writes a report.

  Networks, shadow runs and reports that a killed evaluation has finished are not made again.

  Args:
    config: see `configs/evaluate.py`; `distilled` is a path, or several with commas between them.
    workdir: the run folder.
    overwrite: whether to delete an earlier run in it.
  Returns:
    with the report: `reports` of the first set, and where there are several, `sets` with
    the label and the reports of each.
  Raises:
    ValueError, FileNotFoundError: for a set that is missing, damaged, or does not suit the data.
  """
  with numerics(config), RunFolder(workdir, overwrite, is_writer=is_main_process()) as folder:
    started = time.monotonic()
    sources = _sources_of(config)
    opened = _open(sources, config)
    real = load(config)
    sets = _load(sources, opened, real, config)
    jobs = {
      label: prepare_saved(_with_own_kernel(config, one), folder.path, real, one)
      for label, one in sets.items()
    }
    plans = _plans(jobs)
    first = next(iter(jobs))
    digests = {label: set_digest(one) for label, one in sets.items()}
    claimed = "-".join([data_fingerprint(jobs[first].real), *digests.values()])
    folder.claim(compare.plain(config), claimed)  # notices another set under the same path
    if (report := folder.finished_report(compare.plain(config))) is not None:
      return outcome(folder.path, report)
    planned = _estimates(jobs, sets)
    for label, job in jobs.items():
      begin(job, planned[label])
    seconds = {"data": time.monotonic() - started}
    reports = {}
    with StopRequest() as stop:
      for label, job in jobs.items():
        if len(jobs) > 1:
          logging.info("Evaluating %s.", label)
        scores = folder.path / SCORES_NAME / (label if len(jobs) > 1 else "")
        reports[label], taken = evaluate_saved(
          job,
          sets[label],
          watch_of(job, stop),
          scores if is_main_process() else None,
          plans[label],
        )
        suffix = f" of {label}" if len(jobs) > 1 else ""
        seconds |= {f"evaluate {name}{suffix}": value for name, value in taken.items()}
    doubts = [
      f"{label}: {doubt}"
      for label, of_set in reports.items()
      for doubt in near_chance(
        of_set, real.info.num_classes, sets[label].info if opened[label] is None else None
      )
    ]
    for doubt in doubts:
      logging.warning("%s", doubt)
    facts = _facts_of(sets) | {
      "distilled": [path for path, _ in sources.values()],
      "set_sha256": list(digests.values()),
      "remarks": [
        f"{label}: {remark}" for label, one in sets.items() for remark in _remarks(one, real)
      ]
      + doubts,
      "seconds": seconds,
      "estimates": planned[first].facts(),
      "config": compare.plain(config),  # as given: a second start finds it finished
    }
    evaluated = {
      label: Evaluated(
        one.replace(images=one.images[None], labels=one.labels[None]),
        reports[label],
        one.info["preprocessing"],
      )
      for label, one in sets.items()
    }
    report = present.present_sets(jobs[first], evaluated, facts)
    shutil.rmtree(folder.path / "fits", ignore_errors=True)
  return outcome(folder.path, report)


def _facts_of(sets: Mapping[str, DistilledSet]) -> dict[str, Any]:
  """Where the sets come from; of several by label, and of all together what they share."""
  names = ("method", "ipc", "seed", "step", "label_kind", "code_version")
  facts = {
    label: {name: one.info.get(name) for name in names}
    | {"preprocessing": one.info["preprocessing"].kind}
    for label, one in sets.items()
  }
  first, *others = facts.values()
  if not others:
    return first
  shared = {
    name: value if all(other[name] == value for other in others) else None
    for name, value in first.items()
  }
  methods = dict.fromkeys(str(one["method"]) for one in facts.values() if one["method"])
  return shared | {"method": ", ".join(methods) or None, "sets": facts}


def _plans(jobs: Mapping[str, Job]) -> dict[str, Plan]:
  """{label: plan}; jobs that differ in their sets alone share one, whose programs compile once."""
  made: dict[str, Plan] = {}
  plans = {}
  for label, job in jobs.items():
    facts = [compare.plain(job.config), job.real.preprocessing.digest(), job.distiller.label_kind]
    key = json.dumps(facts, sort_keys=True)
    plans[label] = made[key] = made.get(key) or plan(job)
  return plans


def estimate(config: ConfigDict) -> costs.Estimate:
  """What `run` would cost."""
  with numerics(config):
    sources = _sources_of(config)
    opened = _open(sources, config)
    real = load(config)
    sets = _load(sources, opened, real, config)
    jobs = {
      label: prepare_saved(_with_own_kernel(config, one), pathlib.Path(), real, one)
      for label, one in sets.items()
    }
    _plans(jobs)
    return costs.joined(_estimates(jobs, sets))


def _estimates(
  jobs: Mapping[str, Job], sets: Mapping[str, DistilledSet]
) -> dict[str, costs.Estimate]:
  """{label: estimate}; of sets that were made and are judged alike it is counted once."""
  made: dict[str, costs.Estimate] = {}
  found = {}
  for label, job in jobs.items():
    origin = origin_of(sets[label])
    facts = [compare.plain(job.config), origin and compare.plain(origin)]
    key = json.dumps(facts, sort_keys=True)
    found[label] = made[key] = made.get(key) or costs.estimate(job, origin=origin)
  return found


def _sources_of(config: ConfigDict) -> dict[str, tuple[str, dict[str, Any]]]:
  """{label: (path, its own options)} of the sets; a label is the end of a path, as long as need."""
  texts = [text.strip() for text in (config.distilled or "").split(",") if text.strip()]
  sources = [split_options(text) for text in texts]
  paths = [path for path, _ in sources]
  if not paths:
    raise ValueError(
      "config.distilled is missing: a run folder, a `distilled` folder, a file, or several of them "
      "with commas between."
    )
  if len(set(paths)) < len(paths):
    raise ValueError(f"config.distilled={config.distilled!r} names a set twice.")
  parts = [pathlib.PurePath(path).parts for path in paths]
  length = 1
  while len({part[-length:] for part in parts}) < len(parts) or (
    len(parts) > 1
    and length < min(map(len, parts))
    and any("/".join(part[-length:]) in _LABELS_OF_CURVES for part in parts)
  ):
    length += 1
  return {"/".join(part[-length:]): one for part, one in zip(parts, sources, strict=True)}


def _options(sources: Sources, config: ConfigDict) -> dict[str, dict[str, Any]]:
  """{label: options}; among several sets, `config.foreign` is not for those of our own."""
  common = config.foreign.to_dict()
  are_own = {label: is_own(pathlib.Path(path)) for label, (path, _) in sources.items()}
  is_mixed = len(set(are_own.values())) > 1
  return {
    label: ({} if is_mixed and are_own[label] else common) | options
    for label, (_, options) in sources.items()
  }


def _open(sources: Sources, config: ConfigDict) -> dict[str, ForeignSet | None]:
  """{label: another project's set as it lies there, None for ours}; real data are not read."""
  options, opened = _options(sources, config), {}
  for label, (path, _) in sources.items():
    opened[label] = open_foreign(path, options[label])
    if opened[label] is not None:
      check_alone(opened[label], config.data, options[label]["preprocessing"])
  return opened


def _load(
  sources: Sources, opened: Mapping[str, ForeignSet | None], real: RealData, config: ConfigDict
) -> dict[str, DistilledSet]:
  """{label: set}, ours or another project's."""
  options = _options(sources, config)
  return {
    label: load_any(path, real, options[label], opened[label])
    for label, (path, _) in sources.items()
  }


def _remarks(distilled: DistilledSet, real: RealData) -> list[str]:
  """What its reader assumed, and where it was made from other real images, in sentences."""
  remarks = list(distilled.info.get("remarks", ()))
  if (doubt := prepare.doubt_of_origin(distilled, real)) is not None:
    remarks.append(doubt)
  if distilled.info.get("member_hash"):
    remarks.append(
      "it was made from a part of the train images; attacks without shadow runs and the copy check "
      "take all of them as members."
    )
  return remarks


def near_chance(
  reports: Mapping[str, Report], num_classes: int, info: Mapping[str, Any] | None = None
) -> list[str]:
  """Sentences on networks that learned next to nothing from a set.

  Args:
    reports: {evaluator: Report} of one set.
    num_classes: k; chance is 1/k.
    info: of a set of ours; None for another project's, of which less is known.
  """
  report = reports.get("accuracy")
  if report is None:
    return []
  known = {network: report.scalars.get(network) for network in report.settings["architectures"]}
  if info is None:
    reason = (
      "As a rule its preprocessing (foreign.preprocessing, foreign.space), the kind of its labels "
      "(foreign.label_kind) or the learning rate (accuracy_evaluation.learning_rate) is not what "
      "it was made for."
    )
  else:
    reason = (
      f"It was distilled for {info.get('step')} steps; more steps, or longer training of the "
      "networks (accuracy_evaluation.protocol), may help."
    )
  return [
    f"{network} learned next to nothing from the set: accuracy {accuracy:.3f}, "
    f"chance {1 / num_classes:.3f}. {reason}"
    for network, accuracy in known.items()
    if accuracy is not None and accuracy < _NEAR_CHANCE / num_classes
  ]


def _with_own_kernel(config: ConfigDict, distilled: DistilledSet) -> ConfigDict:
  """With the kernel that a set was made for among what an audit attacks."""
  origin = origin_of(distilled)
  if origin is None or "kernel" in config.evaluators or "robustness" not in config.evaluators:
    return config
  if shadows.predictor_of(origin, config.privacy) != "kernel":
    return config
  config = config.copy_and_resolve_references().unlock()
  config.evaluators = ("kernel", *config.evaluators)
  config.kernel, config.ridge = origin.kernel, origin.ridge
  return config
