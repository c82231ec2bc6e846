"""Pages of the reference from docstrings, read from the source without importing it.

Google style sections (Args, Returns, Raises, Attributes) become lists, indented blocks become
literal ones, and everything else is kept as it is written.
"""

import ast
import inspect
import pathlib
import re
from typing import Collection

_SECTIONS = ("Args", "Returns", "Raises", "Attributes")
_SPECIAL = re.compile(r"([\\*_\[\]<>$|{}#~^])")
_ENTRY = re.compile(r"(\*{0,2}\w+(?: \([^)]*\))?): (.*)", re.S)

ROOMS = {
  "tasks": "What can be run, a file each.",
  "study": "A grid of runs: cells, workers, tables, the page.",
  "stages": "The steps that tasks share.",
  "distillers": "The methods.",
  "privacy": "Differential privacy of a distillation.",
  "evaluators": "An axis of the evaluation each.",
  "experts": "Expert trajectories.",
  "fitting": "Networks trained on a set.",
  "kernels": "Kernels and ridge regression.",
  "models": "The networks.",
  "config": "Groups of config fields, and how configs are read.",
  "attacks": "Adversarial examples, corruptions, scores of membership.",
  "augment": "Augmentation.",
  "statistics": "Intervals, tests and figures; knows nothing of images.",
  "training": "The loop, devices, checkpoints, metrics.",
  "io": "Distilled sets, other projects' files, exports, reports.",
  "data": "Real sets.",
  "plots": "Figures.",
  "files": "Files that are written whole, locks, leases, remote folders.",
}
"""What the folders of ddjax/ hold. Each has a page; `single` is that of the files beside them."""


def version(root: pathlib.Path) -> str:
  """`ddjax.__version__`, read from the source."""
  return re.search(r'^__version__ = "([^"]+)"', (root / "ddjax/__init__.py").read_text(), re.M)[1]


def folders(root: pathlib.Path) -> list[str]:
  """The folders of ddjax/ that hold modules: those of `ROOMS` in its order, then the others."""
  found = sorted(path.parent.name for path in (root / "ddjax").glob("*/__init__.py"))
  order = list(ROOMS)
  return sorted(found, key=lambda room: order.index(room) if room in ROOMS else len(order))


def pages(root: pathlib.Path, rooms: Collection[str] | None = None) -> dict[str, str]:
  """{name: Markdown} of every page.

  Args:
    root: of the repository.
    rooms: folders whose modules are written, None for all; the pages of the others have only their
      title.
  """
  rooms = folders(root) if rooms is None else rooms
  package = root / "ddjax"
  made = {}
  for room in folders(root):
    files = sorted((package / room).rglob("*.py")) if room in rooms else []
    made[room] = _page(f"ddjax.{room}", ROOMS.get(room, ""), files, package)
  public = [package / "api.py", package / "results.py"]
  made["python"] = _page("From Python", "What `import ddjax` gives.", public, package)
  known = {"__init__.py", *(path.name for path in public)}
  singles = sorted(path for path in package.glob("*.py") if path.name not in known)
  made["single"] = _page("Single modules", "Files of ddjax/ itself.", singles, package)
  return made


def module(path: pathlib.Path, package: pathlib.Path) -> str:
  """The Markdown of one module: its docstring, its public functions and classes."""
  tree = ast.parse(path.read_text())
  name = ".".join(["ddjax", *path.relative_to(package).with_suffix("").parts])
  name = name.removesuffix(".__init__")
  parts = [f"## {name}", f":::{{py:module}} {name}\n:::", *_text(ast.get_docstring(tree))]
  for node in tree.body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
      parts.append(_member(node))
  return "\n\n".join(parts)


def _page(title: str, what: str, files: list[pathlib.Path], package: pathlib.Path) -> str:
  shown = [module(path, package) for path in files if _has_something(path)]
  return "\n\n".join([f"# {title}", what, *shown]) + "\n"


def _has_something(path: pathlib.Path) -> bool:
  tree = ast.parse(path.read_text())
  return any(
    isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    for node in tree.body
  )


def _member(node: ast.FunctionDef | ast.ClassDef) -> str:
  """A function or class as a directive of Sphinx's Python domain."""
  if isinstance(node, ast.FunctionDef):
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    head = f"{{py:function}} {node.name}({ast.unparse(node.args)}){returns}"
  else:
    head = f"{{py:class}} {node.name}"
  body = "\n\n".join(_text(ast.get_docstring(node)))
  return f"::::{head}\n\n{body}\n::::"


def _text(docstring: str | None) -> list[str]:
  """Paragraphs of a docstring as Markdown."""
  if not docstring:
    return []
  blocks, section = [], ""
  for block in _blocks(inspect.cleandoc(docstring).splitlines()):
    heading = block[0].strip().removesuffix(":")
    if block[0] == f"{heading}:" and heading in _SECTIONS:
      section, block = heading, block[1:]
      blocks.append(f"**{section}**")
      blocks.append(_entries(block))
    elif block[0].startswith("  "):
      blocks.append("```text\n" + inspect.cleandoc("\n".join(["", *block])) + "\n```")
    else:
      blocks.append(escaped(" ".join(line.strip() for line in block)))
  return [block for block in blocks if block]


def _blocks(lines: list[str]) -> list[list[str]]:
  """Runs of lines that belong together: paragraphs, indented blocks, sections."""
  found: list[list[str]] = []
  is_new = True
  for line in lines:
    if not line.strip():
      is_new = True
      continue
    heading = line.removesuffix(":")
    in_section = found and found[-1][0].removesuffix(":") in _SECTIONS and line.startswith("  ")
    changes = found and line.startswith("  ") != found[-1][-1].startswith("  ") and not in_section
    if heading != line and heading in _SECTIONS or ((is_new or changes) and not in_section):
      found.append([line])
    else:
      found[-1].append(line)
    is_new = False
  return found


def _entries(lines: list[str]) -> str:
  """`name: what it is` entries as a list; text without names as a paragraph."""
  entries: list[str] = []
  for line in lines:
    is_new = not line.startswith("    ") and _ENTRY.match(line.strip())
    if is_new or not entries:
      entries.append(line.strip())
    else:
      entries[-1] += " " + line.strip()
  made = []
  for entry in entries:
    match = _ENTRY.match(entry)
    made.append(f"- `{match[1]}`: {escaped(match[2])}" if match else f"- {escaped(entry)}")
  return "\n".join(made)


def escaped(text: str) -> str:
  """Text whose characters Markdown would take for marks, code spans left alone."""
  parts = re.split(r"(`[^`]*`)", text)
  return "".join(part if part.startswith("`") else _SPECIAL.sub(r"\\\1", part) for part in parts)
