"""A stand-in for a GPU: the backend says so, and says nothing of costs and of memory.

Whole runs, from config to report, take the forms of an accelerator and give the figures that the
CPU's forms gave (`benchmarks/accelerator/reference.json`), within the tolerances of the check that
real accelerators are put to.
"""

import contextlib
import json

import jax
import pytest

from benchmarks.accelerator import check
import ddjax
from ddjax import registry
from ddjax.registry import EVALUATORS
from ddjax.tasks import distill
from ddjax.tasks.start import start

pytestmark = pytest.mark.usefixtures("unrendered_figures")
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


@contextlib.contextmanager
def _stand_in(statistics):
  """JAX as on a GPU with these statistics of memory."""
  jax.clear_caches()
  devices = jax.devices()[:1]
  shown = [_Device(device, statistics) for device in devices]
  jax.config.update("jax_debug_key_reuse", False)  # raises falsely under vmap of a branch
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "default_backend", lambda: "gpu")
    patch.setattr(jax.stages.Lowered, "cost_analysis", lambda self: None)
    patch.setattr(jax, "devices", lambda *_: devices)
    patch.setattr(jax, "local_devices", lambda *_, **__: shown)
    yield
  jax.config.update("jax_debug_key_reuse", True)
  jax.clear_caches()


@pytest.fixture(params=_STATISTICS.values(), ids=_STATISTICS)
def _gpu(request):
  with _stand_in(request.param):
    yield


_ROWS = [
  pytest.param(name, marks=[] if name in _FAST else pytest.mark.slow) for name in check.rows()
]


@pytest.mark.parametrize("name", _ROWS)
def test_a_run_gives_the_cpus_figures(name, _gpu):
  row = check.run_row(name, REFERENCE[name])
  assert row["ok"], row["problem"]


def _small_dm():
  """Two steps of DM on fake data, seen by networks: the least that walks both kinds of programs."""
  config = ddjax.get_config("configs/dm.py:fake,ipc=1,smoke").unlock()
  config.network.update(dict(name="convnet(depth=1)", width=4))
  config.outer.update(dict(num_steps=2, real_batch_size=8))
  config.evaluators = ("accuracy",)
  config.num_random_subsets = 2
  config.curve.models = "none"
  config.accuracy_evaluation.update(
    dict(networks=("convnet(depth=1)",), width=4, num_epochs=5, num_seeds=2, full_set="none")
  )
  return config


def test_a_method_of_networks_and_an_evaluator_give_the_cpus_figures(tmp_path, monkeypatch):
  found = {}
  for name in ("cpu", "gpu"):
    monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / f"cache {name}"))  # none finds the other's
    with _stand_in(None) if name == "gpu" else contextlib.nullcontext():
      result = distill.run(_small_dm(), tmp_path / name)
      assert result.report["run"]["hardware"]["num_devices"] == (1 if name == "gpu" else 4)
    found[name] = check._figures(tmp_path / name, result.report)
  assert any(name.startswith("accuracy") for name in found["cpu"]) and "loss 2" in found["cpu"]
  assert not check._differences(found["gpu"], found["cpu"])


# Beside the methods and evaluators above; the cells of studies are these same runs.
_TASKS = ("experts.py:fake,smoke", "full_set.py:fake,epochs=1", "evaluate.py:fake,audit,smoke")


@pytest.mark.slow
@pytest.mark.parametrize("name", _TASKS)
def test_a_task_runs_to_its_report(name, tmp_path, monkeypatch):
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / "cache"))
  config = ddjax.get_config(f"configs/{name}")
  if name.startswith("evaluate"):
    distill.run(ddjax.get_config("configs/kip.py:fake,smoke"), tmp_path / "set")
    config.distilled = str(tmp_path / "set")
  if name.startswith("experts"):
    config.experts.path = str(tmp_path / "experts")
  with _stand_in(None):
    start(config, workdir=str(tmp_path / "run"))
  assert (tmp_path / "run" / "report.html").exists()


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
