"""The Markdown files that people read, and what stands in them."""

import functools
import pathlib
import re
import shlex
from typing import Iterator, NamedTuple

from docs.tools import fields, notebooks, reference

ROOT = pathlib.Path(__file__).parents[2]
FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.M | re.S)
_INDENTED = re.compile(r"(?:^    \S.*\n(?:^(?:    .*|)\n)*)", re.M)
_SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
_STARTS = ("python ", "python3.12 ", ".venv/bin/python -", ".venv/bin/pip ", "bash ", "sbatch ",
           "pip ", "ray ", "kubectl ", "--config", "configs/")  # fmt: skip


def sources() -> list[pathlib.Path]:
  """The README, the pages of the site, and what stands beside the code."""
  pages = [path for path in (ROOT / "docs").rglob("*.md") if not is_made(path)]
  others = ("README.md", "CONTRIBUTING.md", "launch/README.md")
  return [*(ROOT / name for name in others), *sorted(pages)]


def is_made(path: pathlib.Path) -> bool:
  """Whether the build of the site made the file."""
  return {"made", "_build"} & set(path.relative_to(ROOT).parts) != set()


@functools.cache
def made_pages() -> dict[str, str]:
  """{"docs/.../made/NAME.md": text} of the pages that the build makes."""
  made = {"reference": reference.pages(ROOT) | fields.pages(ROOT)}
  made["notebooks"] = notebooks.pages(ROOT)
  return {
    f"docs/{part}/made/{name}.md": text
    for part, pages in made.items()
    for name, text in pages.items()
  }


class Command(NamedTuple):
  """Something to type: where it stands, and its text on one line."""

  file: str
  text: str


def commands(path: pathlib.Path) -> Iterator[Command]:
  """Commands in blocks and in code spans, and what configs and their fields are set to."""
  text, name = path.read_text(), str(path.relative_to(ROOT))
  for match in FENCE.finditer(text):
    if match["kind"] in ("bash", ""):
      yield from (Command(name, line) for line in _lines(match["body"]))
  prose = FENCE.sub("", text)
  for match in _INDENTED.finditer(prose):
    yield from (Command(name, line) for line in _lines(match[0]))
  for match in _SPAN.finditer(_INDENTED.sub("", prose)):
    span = " ".join(match[1].split())
    if _is_command(span):
      yield Command(name, span)


def _lines(block: str) -> list[str]:
  joined = re.sub(r"\\\n\s*", " ", block)
  return [line.strip() for line in joined.splitlines() if _is_command(line.strip())]


def _is_command(text: str) -> bool:
  return re.sub(r"^([A-Z_]+=\S+ )+", "", text).startswith(_STARTS)


def words(command: Command) -> list[str]:
  """The words of a command, without variables in front."""
  found = shlex.split(command.text)
  while found and re.fullmatch(r"[A-Z_]+=.*", found[0]):
    found = found[1:]
  return found


def spans(text: str) -> list[str]:
  """Code spans outside of blocks."""
  return _SPAN.findall(FENCE.sub("", text))
