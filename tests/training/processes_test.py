"""With one process; with two, see `tests/several_hosts_test.py`."""

import jax
from jax.experimental import multihost_utils
import numpy as np
import pytest

from ddjax.training import hosts, parallel, processes
from ddjax.training.processes import StopAskedError, on_main_process


def test_one_process_does_its_work_and_hands_back_what_it_has():
  tree = {"a": np.float32([-0.0, 1.0])}
  assert processes.count() == 1
  assert on_main_process(lambda: 3) == 3
  assert processes.from_main_process(tree) is tree


class _Company:
  """What the first host posts, and the others hear."""

  def __init__(self, words=""):
    self.words = words

  def post(self, words):
    self.words = words

  def wait(self):
    return self.words


@pytest.fixture
def two(monkeypatch):
  """Makes this process believe that it is the given one of two."""

  def be(number, words=""):
    company = _Company(words)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: number)
    monkeypatch.setattr(hosts, "_company", company)
    return company

  return be


def test_the_first_of_two_works_alone_and_says_how_it_ended(two):
  company = two(0)
  assert on_main_process(lambda: processes.count()) == 1 and processes.count() == 2
  assert company.words == "done"

  def stopped():
    raise StopAskedError("Stopped on request at step 7.")

  with pytest.raises(StopAskedError, match="at step 7"):
    on_main_process(stopped)
  assert company.words == "Stopped on request at step 7." and processes.count() == 2


def test_the_second_of_two_waits_and_hears_how_it_ended(two):
  two(1, "done")
  assert on_main_process(lambda: pytest.fail("not here")) is None
  two(1, "Stopped on request at step 7.")
  with pytest.raises(StopAskedError, match="at step 7"):
    on_main_process(lambda: None)
  two(1, "failed")
  with pytest.raises(hosts.HostsError, match="first host stopped with an error"):
    on_main_process(lambda: None)


def test_arrays_of_the_first_process_come_bit_for_bit(two, monkeypatch):
  sent = {
    "a": np.float32([[-0.0, np.nan], [1e-40, 2.5]]),
    "b": np.arange(3, dtype=np.uint8),
    "c": np.float64(-0.0),
    "d": np.array([True, False]),
  }
  wire = []
  monkeypatch.setattr(
    multihost_utils, "broadcast_one_to_all", lambda words: wire.append(words) or wire[0]
  )
  two(0)
  processes.from_main_process(sent)
  two(1)
  found = processes.from_main_process(jax.tree.map(np.zeros_like, sent))
  assert wire[0].dtype == np.uint32
  for name, leaf in sent.items():
    assert found[name].dtype == leaf.dtype and found[name].shape == leaf.shape
    assert found[name].tobytes() == leaf.tobytes()


def test_a_layout_takes_equally_many_devices_of_every_host(monkeypatch):
  monkeypatch.setattr(processes, "count", lambda: 3)
  with pytest.raises(ValueError, match="num_devices=4 does not divide over 3 hosts"):
    parallel.make_layout(4)


def test_alone_a_layout_takes_the_devices_of_this_host(two, monkeypatch):
  own = jax.devices()[:2]
  monkeypatch.setattr(jax, "local_devices", lambda: own)
  two(0)
  with processes.alone():
    assert parallel.make_layout().devices == tuple(own)
    assert parallel.make_layout(4).devices == tuple(own)  # four of both hosts together
