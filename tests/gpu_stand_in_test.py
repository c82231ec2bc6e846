"""A stand-in for a GPU: the backend says so, and says nothing of costs and of memory.

Whole runs, from config to report, take the forms of an accelerator and give the figures that the
CPU's forms gave (`benchmarks/accelerator/reference.json`), within the tolerances of the check that
real accelerators are put to.
"""

import json

import jax
import pytest

from benchmarks.accelerator import check
from ddjax import registry
from ddjax.registry import EVALUATORS

REFERENCE = json.loads(check.REFERENCE.read_text())
_FAST = ("method kip", "method label_solve")  # the programs of networks take a minute to compile
_STATISTICS = {
  "without statistics of memory": None,
  "with a GPU's": {"bytes_limit": 2**37, "bytes_in_use": 2**20, "peak_bytes_in_use": 2**21},
}


class _Device:
  """A device that keeps other statistics of its memory than the one it stands for."""

  def __init__(self, device, stats):
    self._device, self._stats = device, stats

  def memory_stats(self):
    return self._stats

  def __getattr__(self, name):
    return getattr(self._device, name)


@pytest.fixture(params=_STATISTICS.values(), ids=_STATISTICS)
def _gpu(monkeypatch, request):
  jax.clear_caches()
  devices = jax.devices()[:1]
  shown = [_Device(device, request.param) for device in devices]
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", lambda self: None)
  monkeypatch.setattr(jax, "devices", lambda *_: devices)
  monkeypatch.setattr(jax, "local_devices", lambda *_, **__: shown)
  jax.config.update("jax_debug_key_reuse", False)  # raises falsely under vmap of a branch
  yield
  jax.config.update("jax_debug_key_reuse", True)
  jax.clear_caches()


_ROWS = [
  pytest.param(name, marks=[] if name in _FAST else pytest.mark.slow) for name in check.rows()
]


@pytest.mark.parametrize("name", _ROWS)
def test_a_run_gives_the_cpus_figures(name, _gpu):
  row = check.run_row(name, REFERENCE[name])
  assert row["ok"], row["problem"]


def test_every_method_and_evaluator_has_a_reference():
  names = [f"method {name}" for name in registry.DISTILLERS]
  names += [f"evaluator {name}" for name in EVALUATORS]
  assert set(REFERENCE) == set(check.rows()) == set(names)


def test_a_wrong_figure_is_named():
  expected = REFERENCE["method dm"]
  assert not check._differences(expected, expected)
  wrong = expected | {"loss 2": 1.02 * expected["loss 2"]}
  assert check._differences(wrong, expected)[0].startswith("loss 2 is ")
  del wrong["loss 1"]
  assert check._differences(wrong, expected)[0] == "loss 1 is missing"


def test_a_row_that_fails_says_where(monkeypatch):
  def fail(*_):
    raise TypeError("'NoneType' object is not subscriptable")

  monkeypatch.setattr(check.distill, "run", fail)
  row = check.run_row("method dm", {})
  assert not row["ok"] and "TypeError: 'NoneType' object" in row["problem"]
