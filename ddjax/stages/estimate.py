"""What a run will cost, said before it starts.

Operations are counted in the traced program (`ddjax.costs`), seconds follow from the speed of a
product on this machine and from what the backend's passes cost beside arithmetic
(`ddjax.backend`). An estimate only informs: what cannot be counted is "not known", and the run goes
on.
"""

import functools
import math
from types import MappingProxyType
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from absl import logging
import jax
from ml_collections import ConfigDict
import numpy as np

from ddjax import backend
from ddjax.fitting import protocols
from ddjax.stages import audit_cost, stage_cost
from ddjax.stages.prepare import Job
from ddjax.wording import duration

_COMPILATION = "compilation"


class Estimate(NamedTuple):
  """The cost of a run.

  Attributes:
    flops: floating point operations, by stage; None where they are not known.
    seconds: on this machine, by stage; the stage "compilation" is what a first start pays besides.
    most_seconds: the same of stages that end early, of which only a bound is known.
    memory_bytes: the peak of one call and the data; None likewise.
    text: a sentence for people.
  """

  flops: dict[str, float | None]
  seconds: dict[str, float | None]
  memory_bytes: int | None
  text: str
  most_seconds: Mapping[str, float] = MappingProxyType({})

  @property
  def total_seconds(self) -> float:
    """Of all stages that are known, compilation and bounds apart."""
    parts = (value for name, value in self.seconds.items() if name != _COMPILATION)
    return sum(value for value in parts if value is not None)

  def facts(self) -> dict[str, Any]:
    """The same for a report."""
    return {**self._asdict(), "most_seconds": dict(self.most_seconds)}


def _only_informs(fn: Callable[..., Estimate]) -> Callable[..., Estimate]:
  """The same function, which says "not known" with the reason where it fails."""

  @functools.wraps(fn)
  def guarded(*args, **kwargs) -> Estimate:
    try:
      return fn(*args, **kwargs)
    except Exception as error:  # whatever a backend, its plugin or a library raises
      reason = f"{type(error).__name__}: {error}".splitlines()[0]
      logging.warning("The cost of this run is not known (%s).", reason)
      return Estimate({}, {}, None, f"not known ({reason}).")

  return guarded


@_only_informs
def estimate(
  job: Job, experts: np.ndarray | None = None, origin: ConfigDict | None = None
) -> Estimate:
  """Estimates a run: the distillation, its running curve, and the evaluators of the config.

  `experts` are [flops, seconds, 0] of what has to be trained before, see `ddjax.stages.experts`;
  `origin` is the config that made a set from disk, where it is known. Kernels by
  `ddjax.kernels.cost`; networks by the operations of one image.
  """
  config = job.config
  if job.distiller.image_passes:
    stages = {"distill": stage_cost.matching(job)}
    if config.curve.models == "networks":
      stages[stage_cost.CURVE] = stage_cost.curve(job)
  else:
    stages = stage_cost.kernel_stages(job) if "kernel" in config and job.num_steps else {}
  by_kernels = () if job.distiller.image_passes else tuple(stages)
  if experts is not None:
    stages = {"experts": experts} | stages
  if "accuracy" in config.evaluators:
    num_support = config.synthetic.ipc * job.real.info.num_classes * job.distiller.decode_factor**2
    protocol = protocols.configure(config.accuracy_evaluation)
    count = stage_cost.num_networks(job)
    stages["evaluate accuracy"] = stage_cost.networks(job, num_support, count, protocol)
    if config.accuracy_evaluation.full_set == "train":  # unless the cache has them
      stages["train on the full set"] = stage_cost.full_set(job)
  if "privacy" in config.evaluators:
    stages["evaluate privacy"] = audit_cost.networks_of_splits(job, origin)
  return of_stages(job, stages, audit_cost.bounds(job, origin), by_kernels)


def estimate_full(job: Job) -> Estimate:
  """Estimates training networks on the full set, and testing them.

  Raises:
    ValueError: for settings with which they cannot be trained; all else is "not known".
  """
  evaluation = job.config.accuracy_evaluation
  protocol = protocols.configure(evaluation)
  if evaluation.full_epochs is not None and evaluation.full_epochs < 1:
    raise ValueError(
      f"accuracy_evaluation.full_epochs={evaluation.full_epochs} must be at least 1."
    )
  if evaluation.get("full_steps") is not None:
    protocols.of_steps(protocol, evaluation.full_steps)
  for name in evaluation.networks:
    stage_cost.network_of(job, name)
  return _estimate_full(job)


@_only_informs
def _estimate_full(job: Job) -> Estimate:
  return of_stages(job, {"train": stage_cost.full_set(job)})


@_only_informs
def of_stages(
  job: Job,
  stages: dict[str, np.ndarray],
  bounds: Mapping[str, np.ndarray] = MappingProxyType({}),
  by_kernels: Sequence[str] = (),
) -> Estimate:
  """The sum of the stages, each [flops, seconds, bytes of one call].

  `bounds` are stages that end early, likewise; `by_kernels` names the stages without a network.
  """
  flops = {name: _known(one[0]) for name, one in stages.items()}
  seconds = {name: _known(one[1]) for name, one in stages.items()}
  peak = max((one[2] for one in stages.values() if math.isfinite(one[2])), default=0)
  memory = int(peak) + sum(leaf.nbytes for leaf in jax.tree.leaves(job.data))
  most = {name: float(one[1]) for name, one in bounds.items() if math.isfinite(one[1])}
  limits = [f"{name} up to {duration(value)} more" for name, value in most.items()]
  if not stages:
    parts = [f"{memory / 2**30:.2g} GiB of data", *limits, "no estimate of compilation"]
    return Estimate(flops, seconds, memory, f"{'; '.join(parts)}.", most)
  others = [name for name, one in {**stages, **bounds}.items() if not math.isfinite(one[1])]
  of_networks, of_kernels = backend.traits().compile_seconds
  seconds[_COMPILATION] = sum(of_kernels if name in by_kernels else of_networks for name in stages)
  found = Estimate(flops, seconds, memory, "", most)
  text = f"{sum(value or 0 for value in flops.values()) / 1e12:.3g} TFLOP, "
  text += f"{memory / 2**30:.2g} GiB, about {duration(found.total_seconds)} ("
  known = {name: value for name, value in seconds.items() if value is not None}
  text += ", ".join(
    f"{name} {duration(value)}" for name, value in known.items() if name != _COMPILATION
  )
  text += f"; compilation at a first start up to {duration(seconds[_COMPILATION] or 0.0)} more"
  text += "".join(f"; {limit}" for limit in limits)
  text += f"; {', '.join(others)} not counted)." if others else ")."
  return found._replace(text=text)


def joined(estimates: Mapping[str, Estimate]) -> Estimate:
  """Of several pieces of work one after another: {label: estimate}."""
  flops, seconds, most = {}, {}, {}
  for label, one in estimates.items():
    most |= {f"{name} of {label}": value for name, value in one.most_seconds.items()}
    flops |= {f"{name} of {label}": value for name, value in one.flops.items()}
    seconds |= {
      name if name == _COMPILATION else f"{name} of {label}": value
      for name, value in one.seconds.items()
    }
  memory = [one.memory_bytes for one in estimates.values() if one.memory_bytes is not None]
  text = " ".join(f"{label}: {one.text}" for label, one in estimates.items())
  return Estimate(flops, seconds, max(memory, default=None), text, most)


def _known(value: float) -> float | None:
  return float(value) if math.isfinite(value) else None
