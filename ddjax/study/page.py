"""STAND-IN"""

from ddjax.files import atomic


def write(folder, study):
  atomic.write_json(folder / "study.json", study)
