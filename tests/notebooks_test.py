"""The notebooks run in a fresh kernel, and show what is saved in them."""

import os
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_MOST_BYTES = 300_000


def _read(path):
  return pytest.importorskip("nbformat").read(path, as_version=4)


def _code(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _shown(cell):
  """The kinds of its outputs, and the words in them; numbers may differ between machines.

  Without warnings: a busy machine has its own, such as of the disk's speed.
  """
  found = []
  for output in (one for one in cell.outputs if one.get("name") != "stderr"):
    data = output.get("data", {"text/plain": output.get("text", "")})
    words = re.findall(r"[A-Za-z_]{2,}", data.get("text/plain", ""))
    found.append((output.output_type, output.get("name"), sorted(data), words))
  return found


def test_there_are_notebooks():
  assert [path.stem for path in NOTEBOOKS] == ["add_a_method", "audit_a_set", "quickstart"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_saved_as_it_ran(path):
  assert path.stat().st_size < _MOST_BYTES
  notebook = _read(path)
  pytest.importorskip("nbformat").validate(notebook)
  cells = _code(notebook)
  assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
  outputs = [output for cell in cells for output in cell.outputs]
  assert any("image/png" in output.get("data", {}) for output in outputs)
  assert any("text/html" in output.get("data", {}) for output in outputs)
  assert all(output.output_type != "error" for output in outputs)
  assert all(output.get("name") != "stderr" for output in outputs)  # no warning


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_the_same(path, tmp_path):
  client = pytest.importorskip("nbclient")
  pytest.importorskip("ipykernel")
  saved, fresh = _read(path), _read(path)
  for cell in _code(fresh):
    cell.outputs, cell.execution_count = [], None
  # The flags of tests/conftest.py are for tests that compile more than they compute.
  environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
  environment |= {"PYTHONPATH": str(ROOT)}
  for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
    environment[name] = str(tmp_path / name.lower())
  resources = {"metadata": {"path": str(tmp_path)}}
  client.NotebookClient(fresh, timeout=500, resources=resources).execute(env=environment)
  for cell, expected in zip(_code(fresh), _code(saved), strict=True):
    assert _shown(cell) == _shown(expected), cell.source
  assert list(tmp_path.glob("runs/*/report.html"))
