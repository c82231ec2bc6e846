"""The installed package: what a wheel holds, its extras, and a run from another folder."""

import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def _project():
  return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_with_modules_is_a_package():
  folders = {path.parent for path in (ROOT / "ddjax").rglob("*.py")}
  assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_other_file_is_package_data():
  listed = set()
  for package, patterns in _project()["tool"]["setuptools"]["package-data"].items():
    for pattern in patterns:
      listed |= set((ROOT / package.replace(".", "/")).glob(pattern))
  others = {
    path
    for path in (ROOT / "ddjax").rglob("*")
    if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
  }
  assert others == listed and ROOT / "ddjax" / "py.typed" in others


def test_configs_import_nothing_but_what_is_installed():
  for path in (ROOT / "configs").glob("*.py"):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.ImportFrom):
        assert node.module.split(".")[0] in ("ddjax", "ml_collections"), path
      if isinstance(node, ast.Import):
        names = {alias.name for alias in node.names}
        assert names <= sys.stdlib_module_names, path


@pytest.mark.parametrize("extra", ["dev", "docs"])
def test_an_extra_is_its_file_of_requirements(extra):
  lines = (ROOT / f"requirements-{extra}.txt").read_text().splitlines()
  wanted = [line.partition("  #")[0] for line in lines if re.match(r"\w", line)]
  wanted = ["ddjax[docs]"] * (extra == "dev") + wanted
  extras = _project()["project"]["optional-dependencies"]
  assert extras[extra] == wanted and {"cuda", "tpu"} < set(extras)


def _run(*command, **options):
  done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
  assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
  return done.stdout


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_runs_from_another_folder(tmp_path):
  """Needs a package index, 3 GB of disk and some minutes."""
  source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
  files = _run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
  for name in files.splitlines():  # setuptools writes beside the sources
    if (ROOT / name).is_file():
      (source / name).parent.mkdir(parents=True, exist_ok=True)
      (source / name).write_bytes((ROOT / name).read_bytes())
  _run(sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--quiet", "-w", tmp_path)
  (wheel,) = tmp_path.glob("*.whl")
  held = zipfile.ZipFile(wheel).namelist()
  for folder, inside in (("configs", "ddjax/configs"), ("ddjax", "ddjax")):
    for path in (source / folder).rglob("*.py"):
      assert f"{inside}/{path.relative_to(source / folder).as_posix()}" in held
  assert not [name for name in held if not name.startswith(("ddjax/", "ddjax-"))]

  _run(sys.executable, "-m", "venv", tmp_path / "venv")
  scripts = tmp_path / "venv" / "bin"
  _run(scripts / "python", "-m", "pip", "install", "--quiet", "--no-compile", wheel)
  elsewhere.mkdir()
  cache = {"DDJAX_CACHE_DIR": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu"}
  here = {"cwd": elsewhere, "env": {"PATH": os.defpath, "HOME": str(tmp_path)} | cache}
  assert "\n  kip " in _run(scripts / "ddjax", "list", **here)
  said = _run(scripts / "ddjax", "--config=kip:digits,smoke", **here)
  run = elsewhere / "runs" / "kip-digits-ipc10-smoke-seed0"
  assert "kernel test accuracy" in said and (run / "report.html").exists()
  assert run.name in (elsewhere / "runs" / "index.html").read_text()
  assert "State: finished" in _run(scripts / "ddjax", "show", run, **here)
  (elsewhere / "my_config.py").write_text(
    "from ddjax.config.read import get_config as read\n\n\n"
    "def get_config(arg=None):\n  return read('dm:fake,ipc=1,smoke')\n"
  )
  assert "Estimate: " in _run(scripts / "ddjax", "--config=my_config.py", "--dry_run", **here)
  assert "task: study" in _run(scripts / "ddjax", "--config=study:smoke", "--dry_run", **here)


@pytest.mark.slow
def test_the_front_of_the_package_is_clean_under_pyright():
  """What `include` of pyproject.toml names; `pip install 'pyright[nodejs]'` brings the program."""
  program = shutil.which("pyright")
  if program is None:
    pytest.skip("pyright is not installed")
  assert "0 errors, 0 warnings" in _run(program, "--pythonpath", sys.executable, cwd=ROOT)
