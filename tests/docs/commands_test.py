"""Every command in the README and the pages: its config is loaded with all that it sets."""

import functools
import pathlib
import re
import sys
import textwrap
from unittest import mock
import warnings

from absl import flags
from ml_collections import config_flags
import pytest

from ddjax.api import get_config
from ddjax.config.check import check_numbers
from ddjax.config.compare import flatten
from ddjax.distillers.coreset import METHODS as CORESETS
from ddjax.fitting.protocols import PROTOCOLS
from ddjax.registry import DISTILLERS, EVALUATORS
from ddjax.tasks.start import TASKS
from tests.docs import pages

ROOT = pages.ROOT
_STAND_INS = (  # what capital words in a command stand for
  (r"configs/coreset\.py:cifar10,method=NAME", "configs/coreset.py:cifar10,method=herding"),
  (r"\[,family=conv,depth=2\]", ",family=conv,depth=2"),
  (r"\bMETHOD\b", "dm"),
  (r":(?:DATASET|NAME)\b", ":digits"),
  (r":PRESET\b", ":smoke"),
  (r"=(?:N|S|STEPS)\b", "=2"),
)
_SKETCHES = (
  "--config", "--config=", "--config.FIELD=VALUE", "--config.FIELD", "--config.NAME=VALUE",
  "--config.foreign.FIELD=VALUE", "--config.foreign.", "configs/", "configs/METHOD.py",
  "configs/TASK.py",
)  # fmt: skip
"""Spans that speak of the command line and are no command."""
_OPTIONS = ("workdir", "coordinator")
_FLAGS = ("overwrite", "dry_run")
_NUMBERS = ("num_processes", "process_number")
_GROUPS = {
  "data", "outer", "synthetic", "kernel", "trainer", "curve", "network", "experts", "coreset",
  "privacy", "robustness", "fairness", "features", "foreign", "accuracy_evaluation",
  "kernel_evaluation", "matching", "mix", "axes", "slurm", "guarantee", "pool",
}  # fmt: skip
_NO_FIELDS = (".py", ".npz", ".pt", ".json", ".sh", "data.mask")
"""Ends of spans that look like a field and are none."""

COMMANDS = [command for path in pages.sources() for command in pages.commands(path)]


def test_there_are_commands():
  files = {command.file for command in COMMANDS}
  assert len(COMMANDS) > 150 and {"README.md", "docs/guides/commands.md"} <= files
  texts = [command.text for command in COMMANDS]
  assert "bash launch/local.sh --config=configs/kip.py" in texts and "bash launch/test.sh" in texts


@functools.cache
def _known_fields() -> dict[str, str]:
  """{dotted field: a config argument that has it}, of every config."""
  arguments = {"study": "smoke", "export": "npz", "privacy": "digits,smoke", "kernel_ablation": ""}
  known = {}
  for path in sorted(pathlib.Path("configs").glob("*.py")):
    argument = f"{path}:{arguments.get(path.stem, 'digits')}".removesuffix(":")
    for name in flatten(get_config(argument).to_dict()):
      known.setdefault(name, argument)
  return known


def _load(arguments: list[str]):
  """The config that the arguments of `ddjax.main` stand for, as the command line makes it."""
  values = flags.FlagValues()
  holder = config_flags.DEFINE_config_file("config", None, "", lock_config=True, flag_values=values)
  for name in _OPTIONS:
    flags.DEFINE_string(name, None, "", flag_values=values)
  for name in _FLAGS:
    flags.DEFINE_bool(name, False, "", flag_values=values)
  for name in _NUMBERS:
    flags.DEFINE_integer(name, None, "", flag_values=values)
  argv = ["ddjax", *arguments]
  with warnings.catch_warnings(), mock.patch.object(sys, "argv", argv):
    warnings.simplefilter("ignore", DeprecationWarning)  # of how ml_collections reads config files
    left = values(argv)  # it finds fields that are set in sys.argv, whatever it is given
  assert left == ["ddjax"], f"{left[1:]} are no flags"
  return holder.value


def _check(config) -> None:
  """What can be known of a config without data."""
  check_numbers(config)
  assert config.task in TASKS
  if config.task == "distill":
    assert config.method in DISTILLERS
  if "coreset" in config:
    assert config.coreset.method in CORESETS
  if "evaluators" in config:
    assert set(config.evaluators) <= set(EVALUATORS)
  if "accuracy_evaluation" in config:
    assert config.accuracy_evaluation.protocol in PROTOCOLS


def _run(arguments: list[str]) -> bool:
  """Loads and checks a config; False where the arguments are a sketch with dots."""
  arguments = [word for word in arguments if not word.startswith("--accelerator")]
  if not arguments:
    return False
  if any(word.endswith("...") for word in arguments):
    assert not any(word.startswith("--config=") and word[-3:] != "..." for word in arguments)
    return False
  fields = [word for word in arguments if word.startswith("--config.")]
  if fields and not any(word.startswith("--config=") for word in arguments):
    for word in fields:  # each by itself, with a config that has it
      name, has_value, _ = word.removeprefix("--config.").partition("=")
      argument = _known_fields()[name]  # KeyError: no config has such a field
      if has_value:
        _load([f"--config={argument}", word])
    return True
  _check(_load(arguments))
  return True


def _module_options(module: str, options: list[str]) -> None:
  """A benchmark's module is there, and it knows these options."""
  path = ROOT / f"{module.replace('.', '/')}.py"
  files = [path] if path.exists() else sorted((ROOT / module.replace(".", "/")).glob("*.py"))
  assert files, f"no module {module}"
  source = "".join(file.read_text() for file in [*files, ROOT / "benchmarks/harness.py"])
  for option in options:
    if option.startswith("--"):
      name = option[2:].partition("=")[0]
      assert re.search(rf"""["'](?:--)?{name}["']|\b{name}\b""", source), f"{module}: {option}"


def _try(command: pages.Command) -> str:
  """Checks a command; returns what kind it is.

  Raises:
    AssertionError, or an error of absl or ml_collections, where it could not be run.
  """
  text = command.text
  for pattern, value in _STAND_INS:
    text = re.sub(pattern, value, text)
  words = pages.words(pages.Command(command.file, text))
  if command.text in _SKETCHES or words[0] == "sbatch" and words[-1] == "...":
    return "sketch"
  if "ddjax.main" in words:
    return "run" if _run(words[words.index("ddjax.main") + 1 :]) else "sketch"
  if words[0].startswith("configs/"):
    path = words[0].partition(":")[0]
    assert (ROOT / path).is_file(), f"no file {path}"
    is_sketch = words[0].endswith(("...", "/")) or ":" not in words[0] and len(words) == 1
    return "sketch" if is_sketch else "run" * _run([f"--config={words[0]}", *words[1:]])
  if words[0].startswith("--config"):
    return "run" if _run(words) else "sketch"
  scripts = [word for word in words if word.startswith("launch/") and word.endswith(".sh")]
  if scripts:
    assert (ROOT / scripts[0]).is_file(), scripts[0]
    rest = words[words.index(scripts[0]) + 1 :]
    if scripts[0] == "launch/test.sh":
      paths = [word for word in rest if "/" in word]
      assert all((ROOT / path).exists() for path in paths), paths
    elif scripts[0] == "launch/accelerator.sh":
      _module_options("benchmarks.accelerator", rest)
    elif any(word.startswith("--config=") for word in rest):
      return "run" if _run([word for word in rest if word not in ("run", "workers")]) else "sketch"
    return "script"
  if "-m" in words and words[words.index("-m") + 1].startswith("benchmarks."):
    module = words[words.index("-m") + 1]
    if module != "benchmarks.NAME":
      _module_options(module, words[words.index("-m") + 2 :])
    return "benchmark"
  if "-m" in words and words[words.index("-m") + 1] == "docs.tools":
    assert (ROOT / "docs/tools/__main__.py").is_file()
    return "docs"
  if words[:1] == ["pip"] or ".venv/bin/pip" in words[0]:
    for name, file in zip(words, words[1:]):
      assert name != "-r" or (ROOT / file).is_file(), file
    return "pip"
  known = ("-m ruff", "-m pyright", "-m sphinx", "kubectl apply", "python3.", "bash launch/")
  assert any(start in text for start in known), "a command of no known kind"
  return "tool"


def test_every_command_can_be_run():
  wrong, kinds = {}, {}
  for command in COMMANDS:
    try:
      kinds.setdefault(_try(command), []).append(command)
    except Exception as error:  # of absl, ml_collections and the configs
      wrong[command] = f"{type(error).__name__}: {error}"
  assert wrong == {}
  assert len(kinds["run"]) > 120 and len(kinds["script"]) > 5 and len(kinds["benchmark"]) > 10


@pytest.mark.parametrize(
  "text",
  [
    "python -m ddjax.main --config=configs/dm.py:digit,ipc=1",
    "python -m ddjax.main --config=configs/dm.py:digits,ipcs=1",
    "python -m ddjax.main --config=configs/dm.py --config.outer.learning_rat=1.0",
    "python -m ddjax.main --config=configs/dm.py --config.outer.num_steps=many",
    "python -m ddjax.main --config=configs/dm.py --config.evaluators=\"('accurate',)\"",
    "python -m ddjax.main --config=configs/dm.py --dryrun",
    "python -m ddjax.main --config=configs/none.py",
    "--config.outer.learning_rat=1.0",
    "bash launch/locale.sh --config=configs/dm.py",
    "bash launch/accelerator.sh --hours=1",
    "bash launch/test.sh tests/nothing",
    "python -m benchmarks.nothing",
    "python -m benchmarks.mtt_step --nothing=1",
    "pip install -r requirements-none.txt",
    "python nothing.py",
  ],
)
def test_a_wrong_command_is_found(text):
  with pytest.raises(Exception):  # noqa: B017  # of absl, ml_collections and the configs
    _try(pages.Command("here", text))


def test_fields_that_are_named_alone_are_there():
  known = _known_fields()
  groups = {name[:end] for name in known for end in range(len(name)) if name[end] == "."}
  wrong, count = set(), 0
  for path in pages.sources():
    for span in pages.spans(path.read_text()):
      name = span.partition("=")[0]
      if re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", name) and name.split(".")[0] in _GROUPS:
        count += 1
        if name not in known and name not in groups and not name.endswith(_NO_FIELDS):
          wrong.add((str(path.relative_to(ROOT)), span))
  assert wrong == set() and count > 60


def test_python_blocks_are_python():
  blocks = [
    (path.name, textwrap.dedent(match["body"]))
    for path in pages.sources()
    for match in pages.FENCE.finditer(path.read_text())
    if match["kind"] == "python"
  ]
  assert len(blocks) > 4
  for name, body in blocks:
    body = body if not body.startswith('"') else f"{{{body}}}"  # a row of a table
    compile(body, name, "exec")
    for call in re.findall(r"\bddjax\.(\w+)\(", body):
      import ddjax

      assert call in ddjax.__all__, (name, call)
