"""The house itself: files of one idea each, rooms in one order, a test for every file."""

import ast
import pathlib

from tests.distillers.cases import CASES

ROOT = pathlib.Path(__file__).parents[1]
_MOST_LINES = 400

_ROOMS = (
  "__init__", "main", "commands", "api", "results", "tasks", "errors", "study", "overview",
  "stages", "registry", "distillers", "evaluators", "experts", "fitting", "kernels", "models",
  "privacy", "config", "attacks", "augment", "statistics", "training", "io", "compilation", "data",
  "plots", "files", "memory", "random_streams", "backend", "tuning", "costs", "wording",
  "types",
)  # fmt: skip
"""Folders and single files of ddjax/: each imports from those after it alone."""

_EXCEPTIONS: tuple[tuple[str, str], ...] = ()
"""(room, what it imports all the same); at most four."""

_TESTED_BY = {  # what has no test file of its own name: through what uses it
  "attacks/ensemble_test.py": ("attacks/search.py",),
  "attacks/minimal_test.py": ("attacks/carlini_wagner.py", "attacks/deepfool.py"),
  "kernels/pooled_test.py": ("kernels/arccosine.py", "kernels/pairs.py", "kernels/streamed.py"),
  "backend_test.py": ("tuning.py",),
  "bad_input_test.py": ("config/command_line.py", "errors.py", "main.py"),
  "config/arguments_test.py": ("config/tables.py",),
  "configs_test.py": (
    "config/audit.py", "config/compare.py", "config/groups.py", "config/guarantee.py",
    "config/matching.py", "config/read.py", "config/robust.py", "registry.py",
    "tasks/registry.py",
  ),
  "data/load_test.py": ("data/source.py",),
  "data/own_test.py": ("data/folders.py", "data/interpret.py"),
  "distillers/dsa_test.py": (
    "config/loops.py", "distillers/class_batches.py", "distillers/updates.py",
  ),
  "distillers/kip_test.py": ("distillers/label_solve.py", "distillers/synthetic.py"),
  "distillers/protocol_test.py": ("training/parallel.py", "types.py"),
  "end_to_end_test.py": (
    "api.py", "stages/distill.py", "stages/fit.py", "stages/present.py", "stages/sessions.py",
    "tasks/distill.py", "tasks/start.py", "tasks/task.py",
  ),
  "evaluators/fairness_test.py": ("evaluators/report_keys.py",),
  "evaluators/privacy_test.py": ("evaluators/copy_check.py",),
  "evaluators/robustness_test.py": ("evaluators/attack_runs.py", "evaluators/battery.py"),
  "experts/buffer_test.py": ("experts/files.py",),
  "experts/train_test.py": ("random_streams.py", "stages/experts.py"),
  "io/containers_test.py": (
    "files/bounded.py", "files/plain_arrays.py", "io/foreign/containers.py", "io/pickle_data.py",
  ),
  "io/export_test.py": ("tasks/export.py",),
  "io/foreign_convert_test.py": (
    "config/foreign_group.py", "io/foreign/convert.py", "io/foreign/pixel_statistics.py",
  ),
  "io/foreign_readings_test.py": (
    "io/foreign/arrays.py", "io/foreign/foreign_set.py", "io/foreign/layouts.py",
    "io/foreign/named_arrays.py",
  ),
  "io/foreign_test.py": ("io/foreign/read.py",),
  "io/huggingface_test.py": (
    "io/foreign/arrow_files.py", "io/foreign/huggingface.py", "io/foreign/huggingface_folder.py",
    "io/foreign/parquet_process.py", "io/foreign/pictures.py",
  ),
  "io/named_files_test.py": ("io/foreign/named_files.py",),
  "io/report_test.py": ("io/cards.py", "io/page.py"),
  "io/safetensors_test.py": ("io/foreign/safetensors.py",),
  "memory_test.py": ("distillers/settings.py",),
  "models/architectures_test.py": (
    "models/alexnet.py", "models/lenet.py", "models/mlp.py", "models/resnet.py", "models/vgg.py",
  ),
  "models/precision_test.py": ("config/precision.py",),
  "plots/confusion_test.py": ("plots/matrices.py",),
  "plots/curves_test.py": ("plots/figures.py",),
  "plots/levels_test.py": ("plots/picture.py",),
  "plots/study_test.py": ("plots/study_curves.py", "plots/study_marks.py"),
  "results_test.py": ("io/notebook.py",),
  "fitting/fit_test.py": ("fitting/recipes.py",),
  "stages/curve_test.py": ("fitting/predictions.py",),
  "stages/shadows_test.py": ("data/pool.py",),
  "study/performance_test.py": ("study/published.py",),
  "tasks/evaluate_test.py": (
    "plots/architectures.py", "stages/baselines.py", "stages/choose.py", "stages/evaluate.py",
    "stages/pictures.py", "tasks/full_set.py",
  ),
  "tasks/experts_test.py": ("plots/experts.py",),
  "tasks/study_test.py": ("config/study.py", "study/code.py", "study/launchers.py"),
  "training/trainer_test.py": ("training/checkpoints.py",),
}  # fmt: skip


def _files():
  """Paths below ddjax/, without those that only make a folder a package."""
  paths = [path.relative_to(ROOT / "ddjax") for path in (ROOT / "ddjax").rglob("*.py")]
  return sorted(path for path in paths if path.name != "__init__.py" or len(path.parts) == 1)


def _room(parts):
  return parts[0].removesuffix(".py")


def _arrows():
  """{(room, room that it imports): a file that does}, also where a function imports."""
  found = {}
  for path in _files() + [path.relative_to(ROOT / "ddjax")
                          for path in (ROOT / "ddjax").glob("*/**/__init__.py")]:  # fmt: skip
    for node in ast.walk(ast.parse((ROOT / "ddjax" / path).read_text())):
      names = []
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{path} has a relative import"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
      for name in names:
        package, *rest = name.split(".")
        if package == "ddjax" and rest and _exists(rest[0]) and rest[0] != _room(path.parts):
          found.setdefault((_room(path.parts), rest[0]), str(path))
  return found


def _exists(room):
  return (ROOT / "ddjax" / room).is_dir() or (ROOT / "ddjax" / f"{room}.py").exists()


def test_no_function_takes_a_long_list():
  """Six arguments that a call must give and eight in all; more are a group with a name.

  Hyper-parameters of attacks and of methods' rows are given by name, as papers list them.
  """
  long = []
  for path in (ROOT / "ddjax").rglob("*.py"):
    is_row = path.parent.name in ("attacks", "config")
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.FunctionDef):
        args = node.args
        by_place = [one.arg for one in (*args.posonlyargs, *args.args)]
        by_place = by_place[by_place[:1] in (["self"], ["cls"]) :]
        count = len(by_place) + (0 if is_row else len(args.kwonlyargs))
        with_default = sum(one is not None for one in args.kw_defaults)
        needed = count - len(args.defaults) - (0 if is_row else with_default)
        if needed > 6 or count > 8:
          long.append(f"{path.relative_to(ROOT)}: {node.name}")
  assert long == []


def test_no_file_is_long():
  lengths = {
    str(path.relative_to(ROOT)): len(path.read_text().splitlines())
    for folder in ("ddjax", "tests", "benchmarks", "configs")
    for path in (ROOT / folder).rglob("*.py")
  }
  assert {name: length for name, length in lengths.items() if length > _MOST_LINES} == {}


def test_every_room_has_its_place():
  assert {_room(path.parts) for path in _files()} == set(_ROOMS)
  assert len(set(_ROOMS)) == len(_ROOMS)


def test_arrows_run_down_the_order_of_rooms():
  arrows, place = _arrows(), {room: number for number, room in enumerate(_ROOMS)}
  assert ("main", "tasks") in arrows and ("tasks", "stages") in arrows  # they are found at all
  up = {arrow: file for arrow, file in arrows.items() if place[arrow[0]] > place[arrow[1]]}
  assert {arrow: file for arrow, file in up.items() if arrow not in _EXCEPTIONS} == {}
  assert len(_EXCEPTIONS) < 5 and set(_EXCEPTIONS) <= set(up)


def test_no_two_rooms_import_each_other():
  arrows = _arrows()
  assert {(one, other) for one, other in arrows if (other, one) in arrows} == set()


def _own_tests(path):
  """Where the test of a file may lie; those of io/foreign/ lie in tests/io/."""
  folder = pathlib.Path("io") if path.parent == pathlib.Path("io/foreign") else path.parent
  return ROOT / "tests" / folder / f"{path.stem}_test.py"


def test_every_file_has_a_test():
  listed = {name for names in _TESTED_BY.values() for name in names}
  files = {str(path) for path in _files() if path.name != "__init__.py"}
  own = {str(path) for path in _files() if _own_tests(path).exists()}
  own |= {f"distillers/{case.method}.py" for case in CASES}  # protocol_test.py
  assert files - own - listed == set()  # a new one wants tests/.../NAME_test.py
  assert listed - files == set()  # gone or renamed
  assert [name for name in _TESTED_BY if not (ROOT / "tests" / name).exists()] == []
