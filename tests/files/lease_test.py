import json
import subprocess
import sys
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
    with pytest.raises(RemoteError, match="process 7 of elsewhere"):
      mine.check()
  assert json.loads(remote.read(lease.NAME))["owner"] == "other"  # and not given back


def test_a_damaged_lease_is_watched_like_another(remote):
  remote.write(lease.NAME, b"{")
  with Lease(remote):
    pass
