"""The one module that knows the backend, and what it says where a backend says nothing."""

import pathlib
from types import SimpleNamespace

import jax
import pytest

from ddjax import backend


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


@pytest.mark.parametrize(
  "platforms,has_device,is_said",
  [("", True, True), ("cpu", True, False), ("cuda,cpu", True, False), ("", False, False)],
)
def test_a_gpu_that_jax_does_not_see_is_named(monkeypatch, platforms, has_device, is_said):
  monkeypatch.setenv("JAX_PLATFORMS", platforms)
  monkeypatch.setattr(backend.os.path, "exists", lambda path: has_device and "nvidia" in path)
  said = backend.idle_accelerator()
  assert bool(said) == is_said
  assert not is_said or "/dev/nvidia0" in said and "--accelerator=cuda" in said


def test_an_unknown_backend_is_taken_for_an_accelerator(monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "metal")
  assert backend.traits() == backend.TRAITS["gpu"]


def test_traits_change_for_a_while():
  before = backend.traits()
  with backend.changed_traits(networks_at_once=3):
    assert backend.traits().networks_at_once == 3
  assert backend.traits() == before
  with pytest.raises(ValueError, match="'no_trait'"), backend.changed_traits(no_trait=1):
    pass


def test_no_other_module_asks_for_the_backend():
  folder = pathlib.Path(backend.__file__).parent
  words = ("default_backend", "memory_stats", "cost_analysis")
  asking = [
    path.name
    for path in sorted(folder.rglob("*.py"))
    if any(word in path.read_text() for word in words)
  ]
  assert asking == ["backend.py", "costs.py"]
