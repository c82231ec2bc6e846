"""What all benchmarks share: the device that is asked for, and baselines that may fail."""

import ast
import functools
import os
from pathlib import Path
import subprocess
import sys

import pytest

from benchmarks import harness

_FOLDER = Path("benchmarks")
_NO_JAX = ("paired_runs", "refusals")  # reports that there are; commands of their own


def _mains():
  found = {}
  for path in sorted(_FOLDER.glob("*.py")):
    for node in ast.parse(path.read_text()).body:
      if isinstance(node, ast.FunctionDef) and node.name == "main" and path.stem not in _NO_JAX:
        found[path.stem] = node
  return found


@pytest.mark.parametrize("name", list(_mains()))
def test_every_benchmark_computes_where_it_is_told(name):
  calls = [
    ast.unparse(node.func) for node in ast.walk(_mains()[name]) if isinstance(node, ast.Call)
  ]
  assert "harness.use_device" in calls
  assert "jax.config.update" not in calls


@pytest.mark.skipif("cuda" in os.environ.get("JAX_PLATFORMS", ""), reason="there is a GPU")
def test_a_device_that_is_not_there_is_a_sentence():
  command = [sys.executable, "-m", "benchmarks.trainer_overhead", "--device=gpu"]
  run = subprocess.run(command, capture_output=True, text=True, timeout=120)
  assert run.returncode == 1 and run.stderr.splitlines()[-1].startswith("Error: --device=gpu")
  assert "Traceback" not in run.stderr


def test_agreement_without_pytorch_is_a_sentence(tmp_path, monkeypatch):
  (tmp_path / "torch.py").write_text("raise ImportError('none')\n")
  monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.getcwd()]))
  command = [sys.executable, "-m", "benchmarks.matching_agreement"]
  run = subprocess.run(command, capture_output=True, text=True, timeout=120)
  assert run.returncode == 1 and "Error: This benchmark compares with PyTorch" in run.stderr
  assert "Traceback" not in run.stderr


def _calls(*parts):
  """A `make_call` that another process can read: it returns the call of these parts."""
  return functools.partial(functools.partial, *parts)


@pytest.mark.parametrize(
  "make_call,message",
  [
    (functools.partial(open, "/no/such/library"), "FileNotFoundError: .* '/no/such/library'"),
    (_calls(divmod, 1, 0), "ZeroDivisionError: "),
    (_calls(os._exit, 1), "its process ended"),
  ],
)
def test_a_baseline_that_fails_at_its_first_call_is_named(make_call, message):
  with pytest.raises(harness.BaselineError, match=message), harness.other_process(make_call):
    pass


def test_a_baseline_that_answers():
  with harness.other_process(_calls(int)) as call:
    seconds = harness.take_turns({"ours": lambda: None, "theirs": call}, num_rounds=2)
  assert len(seconds["ours"]) == len(seconds["theirs"]) == 2


def test_a_baseline_that_ends_on_the_way_is_left_out(capsys):
  count = 0

  def theirs():
    nonlocal count
    count += 1
    if count == 3:
      raise harness.BaselineError("its process ended")

  seconds = harness.take_turns({"ours": lambda: None, "installed": theirs}, num_rounds=4)
  assert list(seconds) == ["ours"] and len(seconds["ours"]) == 4
  assert "'installed' is left out: its process ended" in capsys.readouterr().out
  assert harness.compare_with(seconds, {"case": "installed"})["case"].theirs is None
