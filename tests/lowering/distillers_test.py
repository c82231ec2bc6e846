"""What distillations compile: the start, steps on every layout, and what is published."""

import jax
import numpy as np
import pytest

from ddjax.distillers import coreset, synthetic, unroll
from ddjax.distillers.settings import build_network
from ddjax.registry import DISTILLERS
from ddjax.training import parallel, trainer
from tests.distillers.cases import CASES, Case, make_config, make_distiller
from tests.lowering.lower import keys, lower, shapes

_CONVNET = {"network.name": "convnet(depth=1)", "augmentation": "crop"}
_MTT = _CONVNET | {"outer.num_segments": 4}
_FREPO = {"network.name": "frepo_convnet(depth=2,norm=batch)", "synthetic.use_flips": True}
_UNROLL = make_config(Case("", "mtt", {})).unroll
_OTHER_UNROLLS = [name for name in unroll.UNROLLS if name != _UNROLL]

# Each choice that leads to another program.
_CHOICES = [
  *(Case(f"coreset {name}", "coreset", {"coreset.method": name}) for name in coreset.METHODS),
  *(Case(f"kip {name}", "kip", {"synthetic.init": name}) for name in synthetic.INITS),
  *(Case(f"mtt {name}", "mtt", _MTT | {"unroll": name}) for name in _OTHER_UNROLLS),
]
# What the cases' perceptrons leave out, and what has no network that learns.
_CONVOLUTIONS = [
  *(
    Case(f"{name} convnet", name, _CONVNET)
    for name in ("dc", "dm", "dp_dm", "dsa", "fairdd", "idc", "ncfm", "robust_dm")
  ),
  Case("mtt convnet", "mtt", _MTT),
  Case("frepo convnet", "frepo", _FREPO),
]
_FAST = [case for case in CASES if case.name == "idc" or not case.is_slow]
_SLOW = [case for case in CASES if case not in _FAST]
# One for each factory.
_KERNELS = ("kip", "dp_kip", "robust_kip", "label_solve", "coreset")
_SHORT = [case for case in CASES if case.name in _KERNELS]
_SHORT += [case for case in _CONVOLUTIONS if case.method != "dc"]
_LONG = CASES + _CONVOLUTIONS


class _NoExperts:
  """Host data of the right shapes that nobody had to train."""

  num_experts, num_epochs = 2, 3

  def __init__(self, case: Case, info):
    config = make_config(case)
    network = build_network(config, info)
    image = jax.ShapeDtypeStruct((1, *info.image_shape), np.float32)
    params = jax.eval_shape(network.init, keys(), image)["params"]
    self._size = sum(leaf.size for leaf in jax.tree.leaves(params))

  def read(self, expert: int, epoch: int) -> np.ndarray:
    return np.full(self._size, epoch, np.float32)


def _lower_run(case: Case, num_devices: int = 1, num_replicas: int = 0, is_shadow: bool = False):
  """Lowers everything that a run of the case compiles."""
  layout = parallel.make_layout(num_devices, num_replicas, is_shadow)
  distiller, data, info = make_distiller(case, layout.axis_name)
  if is_shadow:  # splits, each with its own members
    data = data.replace(mask=np.ones((num_replicas, len(data.labels)), bool))
  rngs = keys(num_replicas) if num_replicas else keys()

  data = shapes(data)
  state = lower(lambda rngs, data: trainer.initialise(distiller, data, rngs, layout), rngs, data)
  extract = jax.vmap(distiller.extract, (layout.state_axes,)) if num_replicas else distiller.extract
  lower(extract, state)
  is_host_fed = distiller.batch_at is not None
  shard = parallel.device_numbers(layout)
  if is_host_fed:
    seeds = np.zeros((max(num_replicas, 1), 2), np.uint32)
    host_data = (_NoExperts(case, info),)
    shard = trainer.host_batches(distiller, host_data, seeds, trainer.Span(0, 3, 3), layout)
  program = parallel.make_program(distiller.step, layout, steps_per_call=3, is_host_fed=is_host_fed)
  placed = jax.eval_shape(lambda state: parallel.place_state(state, layout), state)
  lower(program, placed, data, np.int32(2), shard)


def _cases(cases, slow=()):
  marked = [pytest.param(case, id=case.name, marks=pytest.mark.slow) for case in slow]
  return pytest.mark.parametrize(
    "case", [*(pytest.param(case, id=case.name) for case in cases), *marked]
  )


def test_every_method_has_a_lowering_case():
  for cases in (CASES, _SHORT):
    factories = {DISTILLERS[case.method] for case in cases}
    missing = [name for name, factory in DISTILLERS.items() if factory not in factories]
    assert not missing, f"{missing[0]!r} has no lowering case."


@_cases(_FAST + _CHOICES, slow=_SLOW)
def test_one_device(case):
  _lower_run(case)


@_cases(_SHORT, slow=[case for case in _LONG if case not in _SHORT])
def test_replicas_with_rows_on_four_devices(case):
  _lower_run(case, num_devices=4, num_replicas=2)


@_cases(
  [case for case in _LONG if case.name == "idc convnet"],
  slow=[case for case in _LONG if case.name != "idc convnet"],
)
def test_shadow_runs_on_one_device(case):
  _lower_run(case, num_replicas=2, is_shadow=True)


@pytest.mark.slow
@_cases(_LONG)
def test_shadow_runs_on_four_devices(case):
  _lower_run(case, num_devices=4, num_replicas=4, is_shadow=True)


@pytest.mark.slow
@_cases(_LONG)
def test_rows_on_four_devices(case):
  _lower_run(case, num_devices=4)
