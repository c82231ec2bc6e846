"""The one module that knows the backend, and what it says where a backend says nothing."""

import fnmatch
import json
import os
import pathlib
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

import ddjax
from ddjax import backend, tuning


def _device(stats):
  def memory_stats():
    if isinstance(stats, Exception):
      raise stats
    return stats

  return SimpleNamespace(memory_stats=memory_stats)


@pytest.mark.parametrize(
  "stats,limit",
  [
    (None, None),
    ({}, None),
    ({"bytes_in_use": 3}, None),
    ({"bytes_limit": 0}, None),
    ({"bytes_limit": 2**37, "peak_bytes_in_use": 5}, 2**37),
    (RuntimeError("UNIMPLEMENTED"), None),
  ],
)
def test_a_device_that_says_nothing_of_its_memory(monkeypatch, stats, limit):
  monkeypatch.setattr(jax, "local_devices", lambda: [_device(stats)])
  assert backend.memory_limit() == limit


def test_hardware_that_cannot_be_named(monkeypatch):
  def fail():
    raise RuntimeError("no devices")

  monkeypatch.setattr(jax, "devices", fail)
  found = backend.hardware()
  assert found["platform"] is None and found["device"] is None and found["num_devices"] >= 1


def test_the_processor_is_named_with_the_cores_that_may_be_used(monkeypatch):
  monkeypatch.setattr(backend.os, "sched_getaffinity", lambda _: {3}, raising=False)
  assert backend.processor.__wrapped__().endswith(", 1 core")

  def fail(*_, **__):
    raise OSError("no such file")

  monkeypatch.setattr(backend.pathlib.Path, "read_text", fail)
  monkeypatch.setattr(backend.platform, "processor", lambda: "")
  monkeypatch.setattr(backend.platform, "machine", lambda: "")
  assert backend.processor.__wrapped__() == "CPU, 1 core"


@pytest.mark.parametrize(
  "platforms,has_device,is_said",
  [("", True, True), ("cpu", True, False), ("cuda,cpu", True, False), ("", False, False)],
)
def test_a_gpu_that_jax_does_not_see_is_named(monkeypatch, platforms, has_device, is_said):
  monkeypatch.setenv("JAX_PLATFORMS", platforms)
  found = ["/dev/nvidia0"] if has_device else []
  monkeypatch.setattr(backend.glob, "glob", lambda pattern: found if "nvidia" in pattern else [])
  said = backend.idle_accelerator()
  assert bool(said) == is_said
  assert not is_said or "/dev/nvidia0" in said and "--accelerator=cuda" in said


def test_a_second_gpu_and_a_tpu_behind_vfio_are_devices_too():
  names = [
    pattern.removeprefix("/dev/") for kind in backend._DEVICE_FILES.values() for pattern in kind
  ]
  for device in ("nvidia3", "accel2", "vfio/7"):
    assert any(fnmatch.fnmatch(device, name) for name in names)
  for other in ("nvidiactl", "nvidia-uvm", "vfio/vfio"):
    assert not any(fnmatch.fnmatch(other, name) for name in names)


@pytest.mark.parametrize("wanted", ["cuda", "tpu"])
def test_another_accelerator_than_was_asked_for_is_refused(monkeypatch, wanted):
  monkeypatch.setenv("DDJAX_ACCELERATOR", wanted)
  with pytest.raises(backend.BackendError, match=f"--accelerator={wanted}, but JAX computes on"):
    backend.begin()
  monkeypatch.setenv("DDJAX_ACCELERATOR", "cpu")
  backend.begin()
  monkeypatch.setenv("DDJAX_ACCELERATOR", "gpu")
  with pytest.raises(backend.BackendError, match="DDJAX_ACCELERATOR='gpu' must be one of"):
    backend.begin()


@pytest.mark.parametrize("error", [RuntimeError("Unable to load.\nMore."), AssertionError()])
def test_a_backend_that_does_not_start_is_one_sentence(monkeypatch, error):
  def fail():
    raise error

  monkeypatch.setattr(jax, "default_backend", fail)
  monkeypatch.setenv("JAX_PLATFORMS", "cuda")
  with pytest.raises(backend.BackendError, match="JAX does not start under JAX_PLATFORMS=cuda: "):
    backend.begin()


def test_the_command_line_and_python_hold_to_what_was_asked_for(monkeypatch, tmp_path):
  environment = os.environ | {"DDJAX_ACCELERATOR": "cuda", "JAX_PLATFORMS": "cpu"}
  command = [sys.executable, "-m", "ddjax.main", "--config=configs/kip.py", f"--workdir={tmp_path}"]
  run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
  assert run.returncode == 1 and "Error: --accelerator=cuda, but JAX computes on" in run.stderr
  monkeypatch.setenv("DDJAX_ACCELERATOR", "cuda")
  with pytest.raises(ValueError, match="--accelerator=cuda"):
    ddjax.distill(ddjax.get_config("configs/kip.py"), str(tmp_path / "run"))
  with pytest.raises(ValueError, match="--accelerator=cuda"):
    ddjax.evaluate(str(tmp_path))
  assert not (tmp_path / "run").exists()


def test_why_something_is_not_known_is_said_once(monkeypatch, caplog):
  def fail():
    raise RuntimeError("UNIMPLEMENTED")

  backend._say_once.cache_clear()
  monkeypatch.setattr(jax, "local_devices", lambda: [SimpleNamespace(memory_stats=fail)])
  with caplog.at_level("INFO", logger="absl"):
    assert backend.memory_limit() is backend.peak_memory() is backend.memory_limit() is None
  said = [line for line in caplog.messages if "UNIMPLEMENTED" in line]
  assert said == ["Not known: a device's memory (RuntimeError: UNIMPLEMENTED)."]


def test_an_unknown_backend_is_taken_for_an_accelerator(monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "metal")
  assert backend.traits() == tuning.TRAITS["gpu"]


def test_traits_change_for_a_while():
  before = backend.traits()
  with backend.changed_traits(networks_at_once=3):
    assert backend.traits().networks_at_once == 3
  assert backend.traits() == before
  with pytest.raises(ValueError, match="'no_trait'"), backend.changed_traits(no_trait=1):
    pass


def test_estimates_for_another_machine_end_with_their_block():
  before = backend.traits()
  with backend.estimated_for("h200"):
    assert backend.traits() == tuning.TRAITS["gpu"]
    assert backend.assumed_flops_per_second() == tuning.MACHINES["h200"].flops_per_second
  assert backend.traits() == before and backend.assumed_flops_per_second() is None
  with pytest.raises(ValueError, match="Unknown machine 'h20'. Did you mean 'h200'"):
    with backend.estimated_for("h20"):
      pass


@pytest.mark.parametrize("name", tuning.MACHINES)
def test_the_speed_of_another_machine_is_the_recorded_one(name):
  machine = tuning.MACHINES[name]
  recorded = json.loads(pathlib.Path(machine.source).read_text())
  speed = recorded["speed"]["peaks"]["cases"]["flops_highest"]
  assert machine.flops_per_second == pytest.approx(speed, rel=1e-3)
  assert machine.title == recorded["facts"]["device"]


def test_no_other_module_asks_for_the_backend():
  folder = pathlib.Path(backend.__file__).parent
  words = ("default_backend", "memory_stats", "cost_analysis")
  asking = [
    path.name
    for path in sorted(folder.rglob("*.py"))
    if any(word in path.read_text() for word in words)
  ]
  assert asking == ["backend.py", "costs.py"]
