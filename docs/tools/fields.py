"""The table of config fields, from the source of the groups: names, defaults, comments."""

import ast
import io
import pathlib
import re
import tokenize
from typing import Iterable, NamedTuple

from docs.tools import reference


class Field(NamedTuple):
  """A config field: dotted name, default as written, default of `audit,full`, comment."""

  name: str
  default: str
  full: str
  comment: str


GROUPS = (  # (file, function, prefix of its fields, title), in the order of the page
  ("ddjax/config/groups.py", "base", "", "Every distillation"),
  ("ddjax/config/groups.py", "evaluation", "", "Evaluations without a distillation"),
  ("ddjax/config/groups.py", "data", "data.", "Data"),
  ("ddjax/config/groups.py", "trainer", "trainer.", "The loop"),
  ("ddjax/config/groups.py", "curve", "curve.", "The running curve"),
  ("ddjax/config/groups.py", "kernel", "kernel.", "Kernel"),
  ("ddjax/config/groups.py", "kernel_evaluation", "kernel_evaluation.", "By a kernel"),
  ("ddjax/config/groups.py", "accuracy_evaluation", "accuracy_evaluation.", "By networks"),
  ("ddjax/config/groups.py", "kip", "", "KIP"),
  ("configs/label_solve.py", "get_config", "", "Label Solve"),
  ("ddjax/config/groups.py", "matching", "", "DC, DSA, DM and IDC"),
  ("ddjax/config/matching.py", "make_gradient_config", "", "DC and DSA besides"),
  ("configs/dm.py", "get_config", "", "DM besides"),
  ("ddjax/config/guarantee.py", "guarantee", "guarantee.", "DP-KIP and DP-DM besides"),
  ("configs/idc.py", "get_config", "", "IDC besides"),
  ("configs/fairdd.py", "fair", "fair.", "FairDD besides"),
  ("ddjax/config/robust.py", "robust", "robust.", "Robust KIP and robust DM besides"),
  ("ddjax/config/groups.py", "trajectories", "", "MTT"),
  ("ddjax/config/groups.py", "experts", "experts.", "Experts"),
  ("ddjax/config/groups.py", "coreset", "coreset.", "Coresets"),
  ("ddjax/config/audit.py", "privacy", "privacy.", "Audit: privacy"),
  ("ddjax/config/audit.py", "robustness", "robustness.", "Audit: robustness"),
  ("ddjax/config/audit.py", "fairness", "fairness.", "Audit: fairness"),
  ("ddjax/config/audit.py", "features", "features.", "Audit: features"),
  ("ddjax/config/foreign_group.py", "foreign", "foreign.", "Other projects' files"),
  ("configs/evaluate.py", "get_config", "", "What is evaluated"),
  ("configs/export.py", "get_config", "", "Export"),
  ("ddjax/config/study.py", "make_study", "", "Study"),
)
_PARTS = ("outer", "synthetic")  # groups that several functions add fields to
_TYPES = {"str": "text", "int": "whole number", "float": "number", "bool": "True or False"}


class _Reader:
  """Reads the fields of one function."""

  def __init__(self, source: str, function: str):
    self.comments = {
      token.start[0]: (token.string.removeprefix("#").strip(), token.line[: token.start[1]].strip())
      for token in tokenize.generate_tokens(io.StringIO(source).readline)
      if token.type == tokenize.COMMENT
    }
    self.node = next(
      node
      for node in ast.parse(source).body
      if isinstance(node, ast.FunctionDef) and node.name == function
    )
    arguments = re.findall(r"^    (\w+): (.+)$", ast.get_docstring(self.node, clean=False), re.M)
    self.arguments = {name: text.removesuffix(".") for name, text in arguments}

  def fields(self, prefix: str) -> list[Field]:
    """All of them, those of what is returned or called `config` first."""
    first, then = [], []
    for one in ast.walk(self.node):
      if isinstance(one, ast.Return) and one.value is not None:
        first += self.members(one.value, prefix)
      elif isinstance(one, ast.Assign):
        target = one.targets[0]
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "config":
          then += self.field(target.attr, one.value, prefix, one.lineno, one.end_lineno)
        elif isinstance(target, ast.Name) and target.id == "config":
          first += self.members(one.value, prefix)
        elif isinstance(target, ast.Name) and target.id in _PARTS:
          then += self.field(target.id, one.value, prefix, one.lineno, one.end_lineno)
      elif isinstance(one, ast.Call) and ast.unparse(one.func).endswith(".update") and one.args:
        place = ast.unparse(one.func).removesuffix(".update").removeprefix("config")
        place = f"{place.removeprefix('.')}." if place else ""
        then += self.members(one.args[0], f"{prefix}{place}")
      elif isinstance(one, ast.keyword) and one.arg in _PARTS and _as_dict(one.value) is not None:
        then += self.members(one.value, f"{prefix}{one.arg}.")
    return list({field.name: field for field in [*first, *then]}.values())

  def members(self, node: ast.expr, prefix: str) -> list[Field]:
    """The fields of a `dict(...)`."""
    call = _as_dict(node)
    if call is None:
      return []
    found = []
    names = {keyword.arg for keyword in call.keywords}
    for keyword in call.keywords:
      if keyword.arg:
        end = keyword.value.end_lineno
        found += self.field(keyword.arg, keyword.value, prefix, keyword.lineno, end, names)
    return found

  def field(self, name, value, prefix, line, end, siblings=()) -> list[Field]:
    """One field, or those of the group that it is; none where that has a table of its own."""
    if _as_dict(value) is not None:
      return self.members(value, f"{prefix}{name}.")
    if isinstance(value, ast.Call) and _is_group(value):
      return []
    comment = self.comment(name, line, end, siblings) or self.arguments.get(name, "")
    if ast.unparse(value) == "ConfigDict()" and not comment:
      return []
    return [Field(prefix + name, *_defaults(value), comment)]

  def comment(self, name: str, line: int, end: int, siblings: Iterable[str]) -> str:
    """The comment behind a field and below it; or, where there is none, the one above it."""
    if end in self.comments:
      parts = [self.comments[end][0]]
      while self.is_continued(end + 1):
        end += 1
        parts.append(self.comments[end][0])
      label, colon, rest = " ".join(parts).partition(": ")
      if colon and label in siblings:  # of one of several fields on a line
        return rest if label == name else ""
      return " ".join(parts)
    parts = []
    while line - 1 in self.comments and not self.comments[line - 1][1]:
      line -= 1
      parts.insert(0, self.comments[line][0])
      if not self.is_continued(line):
        return " ".join(parts)
    return ""

  def is_continued(self, line: int) -> bool:
    """Whether a line goes on with the comment above: it is a comment that begins no sentence."""
    text, code = self.comments.get(line, ("", "code"))
    return not code and not re.match(r"[A-Z][a-z]", text)


def fields_of(source: str, function: str, prefix: str) -> list[Field]:
  """The fields that a function makes, in order.

  Args:
    source: of the module.
    function: its name.
    prefix: in front of every name.
  """
  return _Reader(source, function).fields(prefix)


def _as_dict(node: ast.expr) -> ast.Call | None:
  """The `dict(...)` call of `ConfigDict(dict(...))`, `dict(...) | more` or itself, else None."""
  if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
    return _as_dict(node.left)
  if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
    if node.func.id == "dict" and node.keywords:
      return node
    if node.func.id == "ConfigDict" and node.args:
      return _as_dict(node.args[0])
  return None


def _is_group(call: ast.Call) -> bool:
  """Whether a call makes a group that has a table of its own."""
  name = ast.unparse(call.func).removeprefix("groups.").removeprefix("foreign_group.")
  return name in {function for _, function, _, _ in GROUPS}


def _defaults(value: ast.expr) -> tuple[str, str]:
  """(default, default of `audit,full`) as a reader is to see them."""
  if isinstance(value, ast.IfExp) and ast.unparse(value.test) == "is_full":
    return _written(value.orelse), _written(value.body)
  return _written(value), ""


def _written(value: ast.expr) -> str:
  if isinstance(value, ast.Call) and ast.unparse(value.func) == "placeholder":
    kind = ast.unparse(value.args[0])
    return f"none ({_TYPES.get(kind, kind)})"
  text = ast.unparse(value)
  if isinstance(value, ast.Constant | ast.Tuple | ast.UnaryOp | ast.BinOp) and "(" not in text[1:]:
    return f"`{text}`"
  return "by the config"


class Section(NamedTuple):
  """A table of the page: its title, the file that it is from, its fields."""

  title: str
  file: str
  fields: list[Field]


def sections(root: pathlib.Path) -> list[Section]:
  """The tables of the page: `GROUPS`, then every other function that makes fields of its own.

  What a config file adds is shown where no table before has the field.

  Args:
    root: of the repository.
  """
  sources = {
    str(path.relative_to(root)): path.read_text()
    for folder in ("ddjax/config", "configs")
    for path in sorted((root / folder).glob("*.py"))
  }
  listed = {group[:2] for group in GROUPS}
  others = [
    (file, node.name, _prefix(node.name, sources.values()), _title(file, node))
    for file, source in sources.items()
    for node in ast.parse(source).body
    if isinstance(node, ast.FunctionDef) and (file, node.name) not in listed
  ]
  made, seen = [], set()
  for file, function, prefix, title in (*GROUPS, *others):
    found = fields_of(sources[file], function, prefix)
    if file.startswith("configs/") or (file, function) not in listed:
      found = [field for field in found if field.name not in seen]
    seen |= {field.name for field in found}
    if found:
      made.append(Section(title, file, found))
  return made


def _prefix(function: str, sources: Iterable[str]) -> str:
  """`data.` of a group that is used as `data=data(...)`; nothing of one that is a config."""
  used = rf"\b(\w+)=(?:\w+\.)?{function}\("
  match = next(filter(None, (re.search(used, source) for source in sources)), None)
  return f"{match[1]}." if match else ""


def _title(file: str, node: ast.FunctionDef) -> str:
  name = pathlib.Path(file).stem
  if file.startswith("configs/"):
    return f"{name} besides"
  return (ast.get_docstring(node) or name).splitlines()[0].removesuffix(".")


def pages(root: pathlib.Path) -> dict[str, str]:
  """{"fields": Markdown} of the table.

  Args:
    root: of the repository.
  """
  parts = [
    "# Config fields",
    "Every field can be set from the command line: `--config.NAME=VALUE`. A default that says "
    '"by the config" is set by the table in the config file, as a rule by data set and ipc. '
    '"None" fields are absent until they are set. The tables are made from the source.',
  ]
  for section in sections(root):
    parts += [f"## {section.title}", f"From `{section.file}`.", _table(section.fields)]
  return {"fields": "\n\n".join(parts) + "\n"}


def _table(found: list[Field]) -> str:
  has_full = any(field.full for field in found)
  heads = ["field", "default", *["with `audit,full`"] * has_full, "meaning"]
  lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
  for field in found:
    middle = [field.full] * has_full
    cells = [f"`{field.name}`", field.default, *middle, reference.escaped(field.comment)]
    lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
  return "\n".join(lines)
