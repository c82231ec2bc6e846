"""Writes every table of results anew: `python -m docs.tools`.

`--check` writes nothing, and ends with 1 where a file would change.
"""

import sys

from docs.tools import blocks


def main(arguments: list[str]) -> int:
  """Fills the made parts of the README and the pages; returns the exit code."""
  if arguments not in ([], ["--check"]):
    print(__doc__, file=sys.stderr)
    return 2
  changed = []
  for path in blocks.sources():
    text = path.read_text()
    if (new := blocks.filled(text)) != text:
      changed.append(path.relative_to(blocks.ROOT))
      if not arguments:
        path.write_text(new)
  for path in changed:
    print(f"{path} {'would change' if arguments else 'written'}")
  return 1 if arguments and changed else 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
