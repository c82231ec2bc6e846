"""Runs in remote folders: fsspec's memory, and file:// where a process is killed."""

import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time

import fsspec
import numpy as np
import pytest

import ddjax
from ddjax import errors
from ddjax.api import get_config
from ddjax.files import lease
from ddjax.files.remote import Remote, RemoteError
from ddjax.stages import mirror
from ddjax.stages.mirror import Mirror, local_folder, mirrored
from ddjax.training.trainer import PreemptedError, StopRequest

ROOT = pathlib.Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("unrendered_figures")


@pytest.fixture
def address(tmp_path, monkeypatch):
  """A remote folder, and a machine of its own."""
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / "machine"))
  monkeypatch.setattr(lease, "RENEW_SECONDS", 0.2)
  monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)
  yield f"memory://{tmp_path.name}/run"
  fsspec.filesystem("memory").store.clear()


def _config(**fields):
  config = get_config("configs/kip.py:fake,ipc=2")
  own = {
    "num_devices": 1,
    "kernel.engine": "closed_form",  # neural-tangents takes a third of a run to trace
    "evaluators": ("kernel",),
    "outer.schedule": "constant",
    "outer.num_steps": 8,
    "curve.steps": (8,),
    "trainer.checkpoint_every_steps": 4,
    "trainer.steps_per_call": 1,
    "trainer.tensorboard": False,
  }
  config.update_from_flattened_dict(
    own | {name.replace("__", "."): value for name, value in fields.items()}
  )
  return config


def _names(address):
  return set(Remote(address).files())


def _content(folder):
  """{name: content} of what is mirrored of a local folder; of checkpoints the names alone."""
  return {
    name: None if path.is_dir() else path.read_bytes()
    for name, path in mirror._entries(pathlib.Path(folder)).items()
  }


def test_what_is_new_changed_or_gone_is_copied(address):
  with mirrored(address) as folder:
    assert folder == local_folder(address)
    (folder / "figures").mkdir(parents=True)
    (folder / "a").write_text("1")
    (folder / ".hidden").write_text("1")
    (folder / "figures" / "b.png").write_bytes(b"22")
  assert Remote(address).read("a") == b"1"
  assert _names(address) == {"a", "figures/b.png", mirror.VERSION_NAME}
  with mirrored(address) as folder:
    (folder / "a").write_text("changed")
    (folder / "figures" / "b.png").unlink()
  assert _names(address) == {"a", mirror.VERSION_NAME}
  assert Remote(address).read("a") == b"changed"


def test_nothing_is_copied_twice_and_nothing_written_where_nothing_is_new(address, monkeypatch):
  with mirrored(address) as folder:
    folder.mkdir()
    (folder / "a").write_text("1")
  written, write = [], Remote.write
  monkeypatch.setattr(
    Remote, "write", lambda self, name, *rest, **more: written.append(name) or write(
      self, name, *rest, **more))  # fmt: skip
  with mirrored(address):
    pass
  assert set(written) == {lease.NAME}


def test_a_run_leaves_remotely_what_it_leaves_here_and_a_second_machine_finds_it_finished(
  address, tmp_path, monkeypatch
):
  first = ddjax.distill(_config(), address)
  here = _content(first.workdir)
  assert {"report.json", "distilled/distilled.npz", "checkpoints/8.tar", "config.json"} < set(here)
  assert _names(address) == {*here, mirror.VERSION_NAME}
  assert Remote(address).read("report.json") == here["report.json"]
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / "other"))
  again = ddjax.distill(_config(), address)
  assert again.workdir != first.workdir and again.report == json.loads(here["report.json"])
  assert _content(again.workdir) == here


def _stopped_after(monkeypatch, num_calls):
  """Makes the next run stop on request after so many looks."""
  looks = iter(range(num_calls))
  monkeypatch.setattr(StopRequest, "__bool__", lambda self: next(looks, None) is None)


def test_a_second_machine_goes_on_to_the_same_bits(address, tmp_path, monkeypatch):
  with monkeypatch.context() as patch:
    _stopped_after(patch, 5)
    with pytest.raises(PreemptedError, match="at step 5"):
      ddjax.distill(_config(), address)
  assert "checkpoints/5.tar" in _names(address) and "report.json" not in _names(address)
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / "other"))
  ended = ddjax.distill(_config(), address)
  whole = ddjax.distill(_config(), str(tmp_path / "whole"))
  np.testing.assert_array_equal(ddjax.load(ended.workdir).images, ddjax.load(whole.workdir).images)
  assert ended.report["reports"] == whole.report["reports"]


def test_a_reader_never_sees_a_report_without_its_set(address, monkeypatch):
  written, write = [], Remote.write

  def watched(self, name, *rest, **more):
    done = write(self, name, *rest, **more)
    written.append((name, set(self.files())))
    return done

  monkeypatch.setattr(Remote, "write", watched)
  monkeypatch.setattr(mirror, "_EVERY_SECONDS", 0.01)  # at all moments of the run
  ddjax.distill(_config(), address)
  for name, there in written:
    if "report.json" in there:
      assert {"report.html", "figures/images.png", "distilled/distilled.npz"} < there
    if "distilled/info.json" in there:
      assert "distilled/distilled.npz" in there
    if any(name.startswith("checkpoints") for name in there):
      assert "config.json" in there
  assert [name for name, _ in written if name.startswith("report.")][-1] == "report.json"


@pytest.mark.parametrize("every", [0.01, 1000.0])
def test_a_remote_that_fails_in_the_middle_loses_nothing(address, monkeypatch, caplog, every):
  """After copies that succeeded, or in the very first one."""
  monkeypatch.setattr(mirror, "_EVERY_SECONDS", every)
  count, put = [], Remote.write

  def failing(self, name, *rest, **more):
    count.append(name)
    if len(count) > 6:
      raise RemoteError(f"Cannot write to {self.address}: the line is dead.")
    return put(self, name, *rest, **more)

  with monkeypatch.context() as patch:
    patch.setattr(Remote, "write", failing)
    with pytest.raises(
      errors.EXPECTED, match="line is dead.*All of the run lies in .*same command"
    ):
      ddjax.distill(_config(), address)
  folder = local_folder(address)
  here = _content(folder)
  assert (folder / "report.json").exists() and not {*here} <= _names(address)
  ended = ddjax.distill(_config(), address)  # finished: only copies
  assert _content(ended.workdir) == here
  assert _names(address) == {*here, mirror.VERSION_NAME}
  assert all(Remote(address).read(name) == content for name, content in here.items() if content)


def test_what_another_machine_went_on_with_wins_and_the_rest_is_set_aside(
  address, tmp_path, monkeypatch
):
  def write(text, is_copied=True):
    with monkeypatch.context() as patch:
      if not is_copied:
        patch.setattr(Mirror, "copy", lambda self: None)
      with mirrored(address) as folder:
        folder.mkdir(exist_ok=True)
        (folder / "a").write_text(text)

  write("first")
  write("never copied", is_copied=False)
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / "other"))
  write("of the other")
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / "machine"))
  with mirrored(address) as folder:
    assert (folder / "a").read_text() == "of the other"
  (aside,) = folder.parent.glob("*-aside-*")
  assert (aside / "a").read_text() == "never copied"


def test_a_cache_folder_that_was_emptied_takes_nothing_away_there(address):
  ended = ddjax.distill(_config(), address)
  names = _names(address)
  shutil.rmtree(ended.workdir)
  again = ddjax.distill(_config(), address)
  assert again.report["reports"] == ended.report["reports"] and _names(address) == names


def test_two_runs_on_one_address_are_refused(address, tmp_path, monkeypatch):
  with mirrored(address):
    with pytest.raises(RemoteError, match="Another run is at work in .*on this machine"):
      Mirror(address, local_folder(address)).__enter__()
    monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / "other"))
    with pytest.raises(RemoteError, match="Another run is at work in"):
      ddjax.distill(_config(), address)


def _steal(address):
  """Another run takes the folder, once a checkpoint is there."""
  deadline = time.monotonic() + 60
  while "checkpoints/4.tar" not in _names(address) and time.monotonic() < deadline:
    time.sleep(0.01)
  taken = json.dumps({"owner": "other", "machine": "elsewhere", "process": 7}).encode()
  Remote(address).write(lease.NAME, taken)


def test_a_run_whose_folder_another_run_has_taken_stops(address, monkeypatch, caplog):
  monkeypatch.setattr(mirror, "_EVERY_SECONDS", 0.02)
  thief = threading.Thread(target=_steal, args=(address,))
  thief.start()
  many = 10**6  # steps, which would take an hour
  with pytest.raises(
    errors.EXPECTED, match="process 7 of elsewhere.*what it had lies in .*machine"
  ):
    ddjax.distill(
      _config(outer__num_steps=many, curve__steps=(many,), trainer__checkpoint_every_steps=4),
      address,
    )
  thief.join()
  assert caplog.text.count("The run stops at its next step.") == 1
  assert "tried again later" not in caplog.text
  folder = local_folder(address)
  assert not (folder / "report.json").exists() and list((folder / "checkpoints").iterdir())
  assert json.loads(Remote(address).read(lease.NAME))["owner"] == "other"


def test_a_lease_lost_in_what_cannot_stop_is_an_error_at_its_end(address, monkeypatch, caplog):
  with (
    pytest.raises(lease.LeaseLostError, match="what it had lies in"),
    mirrored(address) as folder,
  ):
    Remote(address).write(lease.NAME, b'{"owner": "other"}')
    folder.mkdir()
    (folder / "a").write_text("1")
    time.sleep(0.6)
  assert _names(address) == {lease.NAME}


def test_a_refused_config_leaves_nothing_there(address):
  with pytest.raises(ValueError, match="num_steps=-1"):
    ddjax.distill(_config(outer__num_steps=-1), address)
  assert _names(address) == set()


def test_overwrite_clears_what_is_there(address):
  ddjax.distill(_config(), address)
  Remote(address).write("figures/old.png", b"1")
  ddjax.distill(_config(outer__num_steps=4, curve__steps=(4,)), address, overwrite=True)
  assert "checkpoints/4.tar" in _names(address) and "checkpoints/8.tar" not in _names(address)
  assert "figures/old.png" not in _names(address)


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path):
  for name in ("../outside", "a/../../outside", "/outside"):
    with pytest.raises(RemoteError, match="leads out"):
      mirror._write(tmp_path / "run", name, b"1")
  assert not (tmp_path / "outside").exists()


def test_a_damaged_checkpoint_there_is_one_sentence(address, tmp_path):
  Remote(address).write("checkpoints/4.tar", b"no tar")
  with pytest.raises(RemoteError, match="Cannot unpack checkpoints/4.tar"):
    ddjax.distill(_config(), address)


def test_killed_a_second_machine_goes_on(tmp_path):
  address = f"file://{tmp_path / 'bucket' / 'run'}"
  command = [
    sys.executable, "-c",
    "from ddjax.stages import mirror; mirror._EVERY_SECONDS = 0.05\n"
    "from ddjax.files import lease; lease.RENEW_SECONDS, lease.LEASE_SECONDS = .2, 1.\n"
    "from ddjax.main import console; console()",
    "--config=configs/kip.py:fake,ipc=2", "--config.evaluators=('kernel',)",
    "--config.kernel.engine=closed_form",
    "--config.curve.models=none", "--config.outer.schedule=constant", "--config.num_devices=1",
    "--config.outer.num_steps=400", "--config.trainer.checkpoint_every_steps=20",
    "--config.trainer.steps_per_call=1", f"--workdir={address}",
  ]  # fmt: skip

  def start(machine):
    environment = os.environ | {"DDJAX_CACHE_DIR": str(tmp_path / machine)}
    return subprocess.Popen(
      command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

  process = start("first")
  deadline = time.monotonic() + 60
  there = tmp_path / "bucket" / "run" / "checkpoints"
  while not any(there.glob("*.tar")) and time.monotonic() < deadline:
    time.sleep(0.01)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  reached = max(int(path.stem) for path in there.glob("*.tar"))
  assert 0 < reached < 400 and not (there.parent / "report.json").exists()
  process = start("second")
  printed, told = process.communicate()
  assert process.returncode == 0, told
  assert f"Resuming {tmp_path / 'second'}" in told and f"Copied to {address}" in printed
  assert (there / "400.tar").exists()
  assert ddjax.load(there.parent).info["step"] == 400


@pytest.mark.parametrize("kind", ["link", "outside"])
def test_a_checkpoint_that_leads_elsewhere_is_refused(tmp_path, kind):
  packed = io.BytesIO()
  with tarfile.open(fileobj=packed, mode="w") as tar:
    member = tarfile.TarInfo("link" if kind == "link" else "../../../mine.txt")
    if kind == "link":
      member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar.addfile(member, io.BytesIO())
  with pytest.raises(RemoteError, match="no plain file of the checkpoint"):
    mirror._write(tmp_path, "checkpoints/5.tar", packed.getvalue())
  assert not list((tmp_path / "checkpoints").iterdir()) and not (tmp_path / "mine.txt").exists()
