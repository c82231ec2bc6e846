r"""Formulas as MathML, which browsers draw without a script or a network.

A renderer for Sphinx: `html_math_renderer = "mathml"`. A formula that cannot be converted stops the
build.
"""

from docutils import nodes
from latex2mathml import converter
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.writers.html5 import HTML5Translator


def convert(latex: str, display: str) -> str:
  """MathML of a formula.

  Args:
    latex: without its dollar signs.
    display: inline or block.
  Raises:
    ExtensionError: where it is not LaTeX that the converter knows, with the formula.
  """
  try:
    made = converter.convert(latex, display=display)
  except Exception as error:  # the converter's own kinds, and index errors
    raise ExtensionError(f"This formula cannot be converted: {latex}") from error
  if "\\" in made.partition("<annotation")[0]:
    raise ExtensionError(f"This formula has a command that is not known: {latex}")
  return made


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
  translator.body.append(convert(node.astext(), "inline"))
  raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
  translator.body.append(f'<div class="formula">{convert(node.astext(), "block")}</div>')
  raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
  """Adds the renderer."""
  app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
  return {"parallel_read_safe": True, "parallel_write_safe": True}
