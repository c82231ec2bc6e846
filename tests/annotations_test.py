"""The type checker: nothing is wrong in what `[tool.pyright]` of pyproject.toml checks."""

import json
import os
import pathlib
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]
_WRONG = """import ddjax
import ddjax.types

length: int = ddjax.load("runs/mine")
ddjax.types.DistilledSet("images")
"""


def test_all_of_ddjax_is_checked():
  assert SETTINGS["include"] == ["ddjax"] and SETTINGS["exclude"] == ["**/__pycache__"]


def test_annotations_hold_and_wrong_uses_are_found(tmp_path):
  wrong = tmp_path / "wrong.py"
  wrong.write_text(_WRONG)
  files = [str(path) for path in (wrong, *(ROOT / "ddjax").rglob("*.py"))]
  result = subprocess.run(
    [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, *files],
    cwd=ROOT, capture_output=True, text=True,
    env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
  )  # fmt: skip
  found = json.loads(result.stdout)
  errors = [one for one in found["generalDiagnostics"] if one["severity"] == "error"]
  places = {(one["file"], one["range"]["start"]["line"] + 1) for one in errors}
  assert places == {(str(wrong), 4), (str(wrong), 5)}
  assert found["summary"]["filesAnalyzed"] > 200  # nothing would be wrong in none
