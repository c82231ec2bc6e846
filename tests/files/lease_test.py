import json
import subprocess
import sys
import threading
import time

import fsspec
import pytest

from ddjax.files import lease
from ddjax.files.lease import Lease
from ddjax.files.remote import Remote, RemoteError


@pytest.fixture
def remote(tmp_path, monkeypatch):
  monkeypatch.setattr(lease, "RENEW_SECONDS", 0.1)
  monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)
  yield Remote(f"memory://{tmp_path}/run")
  fsspec.filesystem("memory").store.clear()


def test_two_runs_are_refused_one_after_the_other_is_not(remote):
  with Lease(remote), pytest.raises(RemoteError, match="Another run is at work in .*process"):
    Lease(remote).__enter__()
  assert remote.files() == {}
  with Lease(remote):
    assert list(remote.files()) == [lease.NAME]


def test_one_that_is_not_renewed_any_more_is_taken_over(remote):
  left = {"owner": "other", "machine": "elsewhere", "process": 1, "renewed": 3}
  remote.write(lease.NAME, json.dumps(left).encode())
  started = time.monotonic()
  with Lease(remote):
    assert time.monotonic() - started >= 1.0


def test_one_of_a_dead_process_of_this_machine_is_taken_at_once(remote, monkeypatch):
  monkeypatch.setattr(lease, "LEASE_SECONDS", 600.0)
  gone = subprocess.Popen([sys.executable, "-c", ""])
  gone.wait()
  left = {"owner": "other", "machine": lease.socket.gethostname(), "process": gone.pid}
  remote.write(lease.NAME, json.dumps(left).encode())
  with Lease(remote) as mine:
    mine.check()


def test_one_that_another_run_has_taken_is_not_used_any_more(remote):
  with Lease(remote) as mine:
    mine.check()
    taken = json.dumps({"owner": "other", "machine": "elsewhere", "process": 7}).encode()
    remote.write(lease.NAME, taken)
    time.sleep(0.5)
    with pytest.raises(lease.LeaseLostError, match="process 7 of elsewhere"):
      mine.check()
  assert json.loads(remote.read(lease.NAME))["owner"] == "other"  # and not given back


def _write_dead(remote):
  """A lease of a process of this machine that is gone."""
  gone = subprocess.Popen([sys.executable, "-c", ""])
  gone.wait()
  left = {"owner": "other", "machine": lease.socket.gethostname(), "process": gone.pid}
  remote.write(lease.NAME, json.dumps(left).encode())


def test_of_two_that_see_the_same_dead_holder_the_later_leaves_the_new_lease(remote, monkeypatch):
  _write_dead(remote)
  faster, is_dead = Lease(remote), lease._is_dead

  def meanwhile(holder):
    monkeypatch.setattr(lease, "_is_dead", is_dead)
    faster.__enter__()  # after the other's look at the old lease, before it deletes it
    return True

  monkeypatch.setattr(lease, "_is_dead", meanwhile)
  with pytest.raises(RemoteError, match="Another run is at work in"):
    Lease(remote).__enter__()
  faster.check()
  assert json.loads(remote.read(lease.NAME))["owner"] == faster._owner
  faster.__exit__()
  assert remote.files() == {}


def test_one_that_is_overtaken_just_after_it_took_over_gives_way(remote, monkeypatch):
  monkeypatch.setattr(lease, "RENEW_SECONDS", 4.0)  # it looks again after one second
  _write_dead(remote)
  other = json.dumps({"owner": "slower", "machine": "elsewhere", "process": 1}).encode()
  timer = threading.Timer(0.3, remote.write, (lease.NAME, other))
  timer.start()
  with pytest.raises(RemoteError, match="Another run has just begun"):
    Lease(remote).__enter__()
  timer.join()
  assert remote.read(lease.NAME) == other


def test_an_empty_lease_is_that_of_one_who_is_just_writing_it(remote):
  remote.write(lease.NAME, b"")
  other = json.dumps({"owner": "other", "machine": "elsewhere", "process": 7}).encode()
  timer = threading.Timer(0.3, remote.write, (lease.NAME, other))
  timer.start()
  with pytest.raises(RemoteError, match="process 7 of elsewhere"):
    Lease(remote).__enter__()
  timer.join()
  assert remote.read(lease.NAME) == other


def test_a_damaged_lease_is_watched_like_another(remote):
  remote.write(lease.NAME, b"{")
  with Lease(remote):
    pass
