"""Compiled programs kept between processes: a second start compiles nothing."""

import json
import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pytest

from ddjax import compilation

_PROGRAM = """
import json
from ddjax import compilation
folder = compilation.use_cache()
import jax, jax.numpy as jnp
with compilation.counted() as count:
  jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((4, 4))).block_until_ready()
print(json.dumps(count.facts() | {"folder": folder and str(folder)}))
"""


def _start(cache, **environment):
  own = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
  own |= {"JAX_PLATFORMS": "cpu", "DDJAX_CACHE_DIR": str(cache)} | environment
  run = subprocess.run(
    [sys.executable, "-c", _PROGRAM], env=own, capture_output=True, text=True, timeout=120
  )
  assert run.returncode == 0, run.stderr
  return json.loads(run.stdout.splitlines()[-1]), run.stderr


def test_a_second_start_compiles_nothing_and_halves_are_removed(tmp_path):
  first, _ = _start(tmp_path)
  assert first["programs_compiled"] > 0 and first["folder"].startswith(str(tmp_path / "compiled"))
  second, _ = _start(tmp_path)
  assert second["programs_compiled"] == 0
  assert second["programs_from_cache"] == first["programs_compiled"]
  folder = os.path.join(tmp_path, "compiled", os.listdir(tmp_path / "compiled")[0])
  times = [name for name in os.listdir(folder) if name.endswith("-atime")]
  for name in times:  # as a process leaves them that was killed while it wrote
    os.remove(os.path.join(folder, name))
    with open(os.path.join(folder, name.replace("-atime", "-cache")), "r+b") as file:
      file.truncate(10)
  third, messages = _start(tmp_path)
  assert third["programs_compiled"] == first["programs_compiled"]
  assert "Error reading" not in messages


def test_it_can_be_turned_off(tmp_path):
  found, _ = _start(tmp_path, DDJAX_COMPILATION_CACHE="0")
  assert found["folder"] is None and not (tmp_path / "compiled").exists()
  assert found["programs_compiled"] > 0


def test_a_folder_of_the_users_own_keeps_small_programs_too(tmp_path):
  own = tmp_path / "own"
  first, _ = _start(tmp_path, JAX_COMPILATION_CACHE_DIR=str(own))
  assert first["programs_compiled"] > 0 and first["folder"] == str(own)
  second, _ = _start(tmp_path, JAX_COMPILATION_CACHE_DIR=str(own))
  assert second["programs_compiled"] == 0
  assert not (tmp_path / "compiled").exists()


def test_thresholds_of_the_users_own_stay(monkeypatch, tmp_path):
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
  monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "7")
  set_fields = []
  monkeypatch.setattr(jax.config, "update", lambda name, value: set_fields.append(name))
  compilation.use_cache()
  assert set_fields == ["jax_persistent_cache_min_entry_size_bytes"]


def test_without_filelock_runs_go_without_the_cache(monkeypatch, tmp_path, caplog):
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path))
  monkeypatch.setitem(sys.modules, "filelock", None)
  assert compilation.use_cache() is None
  assert "cannot be kept" in caplog.text and "filelock" in caplog.text


@pytest.mark.slow
def test_a_second_start_of_a_real_run_compiles_nothing(tmp_path):
  found = []
  for start in range(2):
    own = os.environ | {"JAX_PLATFORMS": "cpu", "DDJAX_CACHE_DIR": str(tmp_path / "cache")}
    own.pop("JAX_COMPILATION_CACHE_DIR", None)
    folder = tmp_path / f"run{start}"
    command = [sys.executable, "-m", "ddjax.main", f"--workdir={folder}"]
    command += ["--config=configs/dm.py:digits,ipc=1,smoke"]
    subprocess.run(command, env=own, capture_output=True, text=True, timeout=600, check=True)
    found.append(json.loads((folder / "report.json").read_text())["run"]["compilation"])
  assert found[0]["programs_compiled"] > 0 and found[1]["programs_compiled"] == 0, found


def test_a_wrong_word_is_refused(monkeypatch):
  monkeypatch.setenv("DDJAX_COMPILATION_CACHE", "off")
  with pytest.raises(ValueError, match="DDJAX_COMPILATION_CACHE='off' must be 0 or 1"):
    compilation.use_cache()


def test_a_folder_that_cannot_be_made_costs_time_only(tmp_path, monkeypatch):
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / "file"))
  assert compilation.use_cache() is None


def test_counts_begin_and_end_with_the_block():
  with compilation.counted() as count:
    jax.jit(lambda x: x * time.monotonic())(jnp.ones(3))
  before = count.facts()
  assert before["programs_compiled"] + before["programs_from_cache"] > 0
  jax.jit(lambda x: x + time.monotonic())(jnp.ones(3))
  assert count.facts() == before
