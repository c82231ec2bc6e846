"""Pages of the reference: fields from the source of the groups, docstrings as Markdown."""

import pathlib
import re
import textwrap

import ddjax
from ddjax.api import get_config
from ddjax.config.compare import flatten
from docs.tools import fields, reference
from tests.docs import pages

ROOT = pages.ROOT


def _documented() -> dict[str, list[fields.Field]]:
  found: dict[str, list[fields.Field]] = {}
  for section in fields.sections(ROOT):
    for field in section.fields:
      found.setdefault(field.name, []).append(field)
  return found


def test_every_field_of_every_config_is_in_the_table():
  arguments = {"study": "smoke", "export": "npz", "privacy": "digits,smoke", "kernel_ablation": ""}
  known, missing = _documented(), {}
  for path in sorted(pathlib.Path("configs").glob("*.py")):
    config = get_config(f"{path}:{arguments.get(path.stem, 'digits')}".removesuffix(":"))
    for name in flatten(config.to_dict()):
      if name.startswith(("plans.", "variants.")):  # of a study: whole configs
        continue
      if name not in known and name.rpartition(".")[0] not in known:
        missing.setdefault(name, path.name)
  assert missing == {}  # a new group wants a line in docs/tools/fields.py
  page = fields.pages(ROOT)["fields"]
  assert all(f"`{name}`" in page for name in known)


def test_fields_have_defaults_and_comments():
  known = {name: found[0] for name, found in _documented().items()}
  assert known["data.preprocessing"].default == "`'standardise'`"
  assert known["data.preprocessing"].comment == "or none, published, zca_kip, zca_kornia, zca_frepo"
  assert known["data.path"].default == "none (text)"
  assert known["privacy.num_splits"][1:3] == ("`16`", "`64`")
  assert known["precision"].comment.endswith("of the method compute: faster on accelerators only")
  assert known["privacy.num_steps"].comment.endswith("but see max_steps")
  assert known["privacy.max_steps"].comment.startswith("By method, the most steps")
  assert known["outer.student_steps"].comment == "N"  # of the docstring's arguments


def test_comments_are_told_apart():
  source = textwrap.dedent('''
    def group(ipc: int):
      """A group.

      Args:
        ipc: images per class.
      """
      return ConfigDict(
        dict(
          ipc=ipc, init="real",  # init: real or noise
          rate=1e-3,  # of the images,
          # and of the labels
          # Above a field of its own.
          steps=placeholder(int),
          inner=dict(size=5 if is_full else 2),
        )
      )
  ''')
  found = {field.name: field[1:] for field in fields.fields_of(source, "group", "x.")}
  assert found == {
    "x.ipc": ("by the config", "", "images per class"),
    "x.init": ("`'real'`", "", "real or noise"),
    "x.rate": ("`0.001`", "", "of the images, and of the labels"),
    "x.steps": ("none (whole number)", "", "Above a field of its own."),
    "x.inner.size": ("`2`", "`5`", ""),
  }


def test_docstrings_become_markdown(tmp_path):
  package = tmp_path / "ddjax"
  package.mkdir()
  (package / "one.py").write_text(
    textwrap.dedent('''
      """What the module holds: x_1 * y and `code_span`."""

      def visible(a: int, *, b: str = "c") -> list[str]:
        """Does it.

        An equation:
          L = |x_i|^2

        Args:
          a: f32[n], long
            and longer.
          b: a name.
        Returns:
          what came out.
        Raises:
          ValueError: if not.
        """

      def _hidden():
        """Not shown."""

      class Noun:
        """A noun.

        Attributes:
          size: of it.
        """
    ''')
  )
  text = reference.module(package / "one.py", package)
  assert "_hidden" not in text and "Not shown" not in text
  for part in (
    "## ddjax.one", r"x\_1 \* y and `code_span`.", "visible(a: int, *, b: str='c') -> list[str]",
    "```text\nL = |x_i|^2\n```", "**Args**\n\n- `a`: f32\\[n\\], long and longer.\n- `b`: a name.",
    "**Returns**\n\n- what came out.", "**Raises**\n\n- `ValueError`: if not.",
    "{py:class} Noun", "- `size`: of it.",
  ):  # fmt: skip
    assert part in text, part


def test_every_public_name_is_on_a_page():
  made = reference.pages(ROOT)
  assert reference.version(ROOT) == ddjax.__version__
  assert "{py:function} distill(" in made["python"]
  text = "".join(made.values())
  for name in ddjax.__all__:
    assert re.search(rf"\{{py:(?:function|class)\}} {name}\b", text), name
  missing = [
    f"{path.relative_to(ROOT)}:{name}"
    for path in (ROOT / "ddjax").rglob("*.py")
    for name in re.findall(r"^(?:def|class) ([A-Za-z]\w*)", path.read_text(), re.M)
    if not re.search(rf"\{{py:(?:function|class)\}} {name}\b", text)
  ]
  assert missing == []
  assert set(reference.pages(ROOT, rooms=["distillers"])) == set(made)
