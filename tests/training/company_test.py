import time

import pytest

from ddjax.training.company import Company, HostsError


class _Store:
  """What JAX's client does, for hosts that are threads of one process."""

  def __init__(self):
    self.entries, self.is_dead = {}, False

  def key_value_set(self, key, value, allow_overwrite=False):
    assert allow_overwrite or key not in self.entries
    self._check()
    self.entries[key] = value

  def key_value_dir_get(self, key):
    self._check()
    return [entry for entry in list(self.entries.items()) if entry[0].startswith(key)]

  def _check(self):
    if self.is_dead:
      raise RuntimeError("UNAVAILABLE: nobody listens\nmore")


@pytest.fixture
def hosts():
  store, told = _Store(), ([], [])
  both = [Company(store, number, 2, 1.0, told[number].append) for number in range(2)]
  yield store, both, told
  for host in both:
    host.close()


def _until(condition, seconds=5.0):
  deadline = time.monotonic() + seconds
  while not condition() and time.monotonic() < deadline:
    time.sleep(0.01)
  assert condition()


def test_hosts_that_are_well_hear_nothing_of_each_other(hosts):
  _, both, told = hosts
  for host in both:
    host.start()
  time.sleep(1.6)
  assert told == ([], [])


def test_a_host_that_falls_silent_is_missed(hosts):
  _, both, told = hosts
  for host in both:
    host.start()
  time.sleep(0.5)
  both[1].close()
  _until(lambda: told[0])
  assert told[0][0].startswith("Host 1 of 2 has not answered for 1 s.")
  assert "same command goes on" in told[0][0]


def test_a_host_that_never_came_is_missed(hosts):
  _, both, told = hosts
  both[0].start()
  _until(lambda: told[0])
  assert "Host 1 of 2 has not answered" in told[0][0]


def test_the_first_host_is_missed_by_its_store(hosts):
  store, both, told = hosts
  both[1].start()
  store.is_dead = True
  _until(lambda: told[1])
  assert "The first host does not answer any more (UNAVAILABLE: nobody listens)." in told[1][0]


def test_a_host_that_fails_says_why_and_one_that_is_done_is_not_missed(hosts):
  _, both, told = hosts
  both[0].start()
  both[1].tell_end()
  time.sleep(1.6)
  assert not told[0]
  both[1].tell_end("Error: no such file.")
  _until(lambda: told[0])
  assert "Host 1 of 2 stopped: Error: no such file." in told[0][0]


def test_a_host_that_only_writes_what_it_has_may_finish(hosts):
  _, both, told = hosts
  with both[0].finishing():
    both[0].start()
    both[1].tell_end("Error: diverged.")
    time.sleep(1.6)
    assert not told[0]
  _until(lambda: told[0])


def test_a_request_to_stop_reaches_all(hosts):
  _, both, _ = hosts
  for host in both:
    host.start()
  assert not any(host.is_stop_asked for host in both)
  both[1].ask_to_stop()
  assert both[1].is_stop_asked
  _until(lambda: both[0].is_stop_asked)


def test_waiting_for_the_first_host(hosts):
  _, both, _ = hosts
  for words in ("done", "again"):
    both[0].post(words)
    assert both[1].wait() == words
  both[0].tell_end("Error: full disk.")
  with pytest.raises(HostsError, match="The first host stopped: Error: full disk."):
    both[1].wait()


def test_waiting_for_the_ends(hosts):
  _, both, _ = hosts
  both[0].tell_end()
  assert not both[0].wait_for_ends(0.2)
  both[1].tell_end("Error")
  assert both[0].wait_for_ends(5)
