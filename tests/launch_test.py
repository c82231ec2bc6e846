"""The scripts in launch/, run with stand-ins for Python, srun, scontrol and gcloud: no network."""

from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import shutil
import stat
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted([*ROOT.glob("launch/*.sh"), ROOT / ".ci/run"])

# As Python: answers the version check, makes a `.venv` that holds itself, and logs every call.
FAKE_PYTHON = """#!/usr/bin/env bash
echo "$*" >>"$FAKE_LOG"
case "$1 ${2-}" in
  "-c import importlib"*) exit "${FAKE_NEEDS:-0}" ;;
  "-c "*) exit "${FAKE_UNUSABLE:-0}" ;;
  "--version "*) echo "Python ${FAKE_VERSION:-3.12.0}" ;;
  "-m venv") rm -rf .venv && mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-m pip") sleep "${FAKE_SECONDS:-0}" && echo "pip says ${FAKE_PIP:-0}" && exit "${FAKE_PIP:-0}" ;;
  "-m ddjax.main") echo "asked for ${DDJAX_ACCELERATOR-nothing}" && ${FAKE_RUN:-exit 0} ;;
  "-m pytest") ${FAKE_RUN:-exit 0} ;;
esac
"""


def executable(path: Path, text: str) -> Path:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)
  path.chmod(path.stat().st_mode | stat.S_IXUSR)
  return path


class Checkout:
  """A copy of the scripts in an empty project, started from another directory."""

  def __init__(self, path: Path):
    self.root = path / "check out"  # a space, on purpose
    shutil.copytree(ROOT / "launch", self.root / "launch")
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-docs.txt"):
      shutil.copy(ROOT / name, self.root / name)
    self.bin = path / "bin"
    self.log = path / "calls.log"
    self.python = executable(self.bin / "python3.12", FAKE_PYTHON)

  def run(self, script: str, *arguments: str, **environment) -> subprocess.CompletedProcess:
    """Runs a script; `self.calls` then holds what it asked of the stand-ins."""
    self.log.write_text("")
    result = subprocess.run(
      ["bash", str(self.root / "launch" / script), *arguments],
      cwd=self.bin,
      env={
        "PATH": f"{self.bin}:/usr/bin:/bin",
        "PYTHON": str(self.python),
        "FAKE_LOG": str(self.log),
        **{name: str(value) for name, value in environment.items()},
      },
      capture_output=True,
      text=True,
      timeout=30,
    )
    lines = self.log.read_text().splitlines()
    programs = ("-c", "named -c", "import ", "sys.exit")  # lines of what `-c` was given
    self.calls = [line for line in lines if not line.startswith(programs)]
    return result

  def installed(self) -> list[str]:
    """What the last run asked of pip, from the first `-r` on, but not neural-tangents."""
    calls = [call for call in self.calls if call.startswith("-m pip") and "-r " in call]
    return [call[call.index("-r ") :].replace("-r .venv/", "-r ") for call in calls]


@pytest.fixture
def checkout(tmp_path):
  return Checkout(tmp_path)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_reads_the_script(script):
  subprocess.run(["bash", "-n", script], check=True)


def test_shellcheck_finds_nothing():
  shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.defpath}")
  if shellcheck is None:
    pytest.skip("shellcheck is not installed")
  result = subprocess.run([shellcheck, "-x", *SCRIPTS], cwd=ROOT, capture_output=True, text=True)
  assert result.returncode == 0, result.stdout


def test_ci_runs_the_readmes_test_command():
  ci = ROOT / ".ci/run"
  assert os.access(ci, os.X_OK)
  assert ci.read_text().splitlines()[1:] == ['exec bash "$(dirname "$0")/../launch/test.sh"']


def test_local_sets_up_once_then_runs_with_its_arguments(checkout):
  first = checkout.run("local.sh", "--config=configs/kip.py:digits", "--accelerator=cpu", "a b")
  assert first.returncode == 0, first.stderr
  assert checkout.installed() == ["-r requirements.txt"]
  assert checkout.calls[-1] == "-m ddjax.main --config=configs/kip.py:digits a b"
  assert "making .venv with Python 3.12.0 for cpu" in first.stderr
  # Without what neural-tangents asks for and ddjax does not need.
  (alone,) = [call for call in checkout.calls if "neural-tangents" in call]
  assert alone.endswith("--no-deps neural-tangents>=0.6.5,<0.7")
  required = (checkout.root / ".venv/requirements.txt").read_text()
  assert "\nfrozendict" in required and "\nneural-tangents" not in required

  second = checkout.run("local.sh", "--accelerator", "cpu")
  assert checkout.installed() == []
  assert checkout.calls[-1] == "-m ddjax.main"
  assert second.stderr == ""


def test_what_was_asked_for_reaches_the_run_and_what_was_found_does_not(checkout):
  for arguments in (["--accelerator=tpu"], ["--accelerator", "tpu"]):
    assert checkout.run("local.sh", *arguments).stdout == "asked for tpu\n"
  executable(checkout.bin / "nvidia-smi", "#!/usr/bin/env bash\necho 'GPU 0: H'\n")
  assert checkout.run("local.sh").stdout == "asked for nothing\n"


@pytest.mark.parametrize("arguments", [["--accelerator=cuda"], ["--accelerator", "cuda"]])
def test_the_accelerator_program_takes_the_python_that_is_named(checkout, arguments):
  executable(checkout.root / ".venv/bin/python", FAKE_PYTHON)
  named = executable(checkout.bin / "python3.11", FAKE_PYTHON.replace('"$*"', '"named $*"'))
  result = checkout.run("accelerator.sh", *arguments, "--minutes=1", PYTHON=named)
  assert result.returncode == 0, result.stderr
  program = f"-m benchmarks.accelerator {' '.join(arguments)} --minutes=1"
  assert checkout.calls[-1] == f"named {program}"
  result = checkout.run("accelerator.sh", *arguments, "--minutes=1", PYTHON="")
  assert checkout.calls[-1] == program


@pytest.mark.parametrize("arguments", [["--accelerator=cuda"], ["--accelerator", "cuda"]])
def test_the_accelerator_program_sets_up_for_what_was_asked(checkout, arguments):
  result = checkout.run("accelerator.sh", *arguments, FAKE_NEEDS=1)
  assert result.returncode == 0, result.stderr
  assert checkout.installed() == ["-r requirements.txt jax[cuda12]"]
  assert checkout.calls[-1] == f"-m benchmarks.accelerator {' '.join(arguments)}"


@pytest.mark.parametrize(
  "argument, package",
  [
    ("--workdir=gs://bucket/run", "gcsfs"),
    ("--workdir=s3://bucket/run", "s3fs"),
    ("--workdir=x", ""),
  ],
)
def test_what_an_address_needs_is_installed(checkout, argument, package):
  checkout.run("local.sh", "--accelerator=cpu")
  without = FAKE_PYTHON.replace(
    '  "-c "*)', '  "-c import gcsfs" | "-c import s3fs") exit 1 ;;\n  "-c "*)'
  )
  executable(checkout.root / ".venv/bin/python", without)
  done = checkout.run("local.sh", "--accelerator=cpu", argument)
  assert done.returncode == 0, done.stderr
  assert checkout.installed() == ([f"-r requirements.txt {package}"] if package else [])
  assert checkout.calls[-1] == f"-m ddjax.main {argument}"


def test_exit_code_is_the_runs(checkout):
  assert checkout.run("local.sh", FAKE_RUN="exit 143").returncode == 143
  assert checkout.run("test.sh", FAKE_RUN="exit 5").returncode == 5


def test_tests_add_to_the_same_environment(checkout):
  checkout.run("local.sh")
  checkout.run("test.sh", "-m", "slow")
  assert checkout.installed() == ["-r requirements-dev.txt"]
  wanted = (checkout.root / ".venv/requirements-dev.txt").read_text()
  assert all(f"\n{name}" in wanted for name in ("jax>", "pytest>", "sphinx>"))
  assert checkout.calls[-3:] == [
    "-m ruff check --quiet",
    "-m ruff format --check --quiet",
    "-m pytest -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder"
    " --max-worker-restart=0 -m slow",
  ]
  checkout.run("local.sh")
  assert checkout.installed() == []


@pytest.mark.parametrize("change", ["requirements", "python", "accelerator", "broken link"])
def test_stale_environment_is_made_anew(checkout, change):
  checkout.run("test.sh", "--accelerator=cpu")
  accelerator, environment = "cpu", {}
  match change:
    case "requirements":
      with open(checkout.root / "requirements.txt", "a") as file:
        file.write("another>=1\n")
    case "python":
      environment["FAKE_VERSION"] = "3.12.1"
    case "accelerator":
      accelerator = "cuda"
    case "broken link":
      python = checkout.root / ".venv/bin/python"
      python.unlink()
      python.symlink_to("/nowhere/python3.12")
  checkout.run("test.sh", f"--accelerator={accelerator}", **environment)
  assert "-m venv --clear .venv" in checkout.calls
  jax = " jax[cuda12]" if accelerator == "cuda" else ""
  assert checkout.installed() == [f"-r requirements.txt{jax}", f"-r requirements-dev.txt{jax}"]


@pytest.mark.parametrize("changed", ["requirements-dev.txt", "requirements-docs.txt"])
def test_changed_development_tools_leave_the_rest(checkout, changed):
  checkout.run("test.sh")
  with open(checkout.root / changed, "a") as file:
    file.write("another>=1\n")
  checkout.run("test.sh")
  assert checkout.installed() == ["-r requirements-dev.txt"]


def test_failed_installation_shows_its_log_and_is_not_taken_for_fresh(checkout):
  failed = checkout.run("local.sh", FAKE_PIP=7)
  assert failed.returncode == 1
  assert "pip says 7" in failed.stderr
  assert ".venv/install.log" in failed.stderr
  assert not any(call.startswith("-m ddjax.main") for call in checkout.calls)
  checkout.run("local.sh")
  assert checkout.installed() == ["-r requirements.txt"]


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")
def test_second_set_up_waits_for_the_first(checkout):
  with ThreadPoolExecutor() as pool:
    results = list(pool.map(lambda _: checkout.run("setup.sh", FAKE_SECONDS=0.5), range(2)))
  assert [result.returncode for result in results] == [0, 0]
  assert sum("making .venv" in result.stderr for result in results) == 1


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")
def test_a_run_does_not_hold_up_the_next_set_up(checkout):
  is_free = "flock --nonblock .venv.lock true"
  assert checkout.run("local.sh", FAKE_RUN=is_free).returncode == 0


def test_unusable_python_is_refused_by_name(checkout):
  result = checkout.run("local.sh", FAKE_UNUSABLE=1)
  assert result.returncode == 1
  assert f"PYTHON is '{checkout.python}'" in result.stderr
  assert not (checkout.root / ".venv").exists()


def test_without_any_python_it_says_what_to_install(checkout):
  for name in ("python3.13", "python3.11", "python3", "python"):
    shutil.copy(checkout.python, checkout.bin / name)
  result = checkout.run("local.sh", PYTHON="", FAKE_UNUSABLE=1)
  assert result.returncode == 1
  assert "No Python 3.11 to 3.13" in result.stderr


def test_newest_usable_python_is_taken(checkout):
  executable(checkout.bin / "python3.13", "#!/bin/sh\nexit 127\n")  # as a version manager's shim
  assert checkout.run("local.sh", PYTHON="").returncode == 0
  assert "-m venv --clear .venv" in checkout.calls


@pytest.mark.parametrize("arguments", [["--accelerator=gpu"], ["--accelerator"]])
def test_unknown_accelerator_is_refused(checkout, arguments):
  result = checkout.run("local.sh", *arguments)
  assert result.returncode == 1
  assert "it must be cpu, cuda or tpu" in result.stderr
  assert checkout.calls == []


def test_gpu_is_found(checkout):
  executable(checkout.bin / "nvidia-smi", "#!/bin/sh\necho 'GPU 0: some GPU'\n")
  checkout.run("setup.sh")
  assert checkout.installed() == ["-r requirements.txt jax[cuda12]"]


@pytest.mark.parametrize(("status", "is_requeued"), [(0, False), (1, False), (143, True)])
def test_slurm_queues_a_preempted_run_again(checkout, status, is_requeued):
  executable(checkout.bin / "srun", '#!/usr/bin/env bash\nexec "$@"\n')
  executable(checkout.bin / "scontrol", '#!/usr/bin/env bash\necho "scontrol $*" >>"$FAKE_LOG"\n')
  result = checkout.run(
    "slurm.sh",
    "--config=configs/kip.py",
    SLURM_SUBMIT_DIR=checkout.root,
    SLURM_JOB_ID=42,
    SLURM_JOB_NUM_NODES=1,
    FAKE_RUN=f"exit {status}",
  )
  assert result.returncode == status
  assert checkout.installed() == ["-r requirements.txt jax[cuda12]"]
  assert "-m ddjax.main --config=configs/kip.py" in checkout.calls
  assert ("scontrol requeue 42" in checkout.calls) == is_requeued


def test_tpu_vm_starts_one_worker_of_a_study_on_every_host(checkout):
  result = checkout.run("tpu_vm.sh", "--dry-run", "workers", "--config=configs/study.py:smoke")
  assert result.returncode == 0, result.stderr
  said = result.stderr.replace("\\", "")
  assert "--worker=all" in said and "configs/study.py:smoke" in said
  assert "TPU_PROCESS_BOUNDS=1,1,1" in said and "DDJAX_MULTIHOST" not in said


def test_tpu_vm_runs_on_every_host(checkout):
  result = checkout.run("tpu_vm.sh", "--dry-run", "run", "--config=configs/kip.py", TPU_NAME="pod")
  assert result.returncode == 0
  archive, copy, run = result.stderr.splitlines()
  assert archive.endswith("HEAD")
  assert "scp --zone=us-central2-b --worker=all" in copy
  assert "--worker=all" in run
  assert r"DDJAX_MULTIHOST=1\ bash\ ddjax/launch/local.sh\ --accelerator=tpu" in run
  assert run.endswith(r"--config=configs/kip.py pod")
  assert checkout.run("tpu_vm.sh", "fly").returncode == 2
