"""Made parts of Markdown files: what stands between two marks is written by `python -m docs.tools`.

A part begins with a line `<!-- made: NAME -->` and ends with `<!-- end -->`. Its name is `methods`
(the table of the README), `method PAGE`, `h200 TABLE`, `cpu TABLE` or `study`.
"""

import pathlib
import re

from docs.tools import h200, methods, study, tables

ROOT = pathlib.Path(__file__).parents[2]
_BLOCK = re.compile(r"(<!-- made: (?P<name>[^>]+?) -->\n).*?(<!-- end -->)", re.S)


def made(name: str) -> str:
  """What stands in the part of that name.

  Raises:
    ValueError: for a name that nothing makes.
  """
  kind, _, rest = name.partition(" ")
  if kind == "methods":
    return tables.markdown(methods.overview())
  if kind == "method" and rest in {one.get("page") for one in methods.methods()}:
    return tables.markdown(methods.of_page(rest))
  if kind == "h200" and rest in h200.TABLES:
    return tables.markdown(h200.TABLES[rest]())
  if kind == "cpu" and rest in methods.cpu_tables():
    return tables.markdown(methods.cpu_tables()[rest])
  if kind == "study":
    return study.text()
  raise ValueError(f"Nothing makes the part {name!r}.")


def names(text: str) -> list[str]:
  """The names of the made parts of a text, in order."""
  return [match["name"] for match in _BLOCK.finditer(text)]


def filled(text: str) -> str:
  """The text with every made part as it is to be.

  Raises:
    ValueError: for an unknown name, or a part without its end.
  """
  begun = text.count("<!-- made: ")
  if begun != len(names(text)):
    raise ValueError(f"{begun} parts begin with `<!-- made: ... -->`, {len(names(text))} end.")
  return _BLOCK.sub(lambda match: f"{match[1]}\n{made(match['name'])}\n\n{match[3]}", text)


def sources() -> list[pathlib.Path]:
  """The README and the pages of the site."""
  return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
