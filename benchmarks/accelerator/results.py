"""The results of a session on an accelerator: one JSON file, kept whole at every moment."""

import datetime
import json
from pathlib import Path
import subprocess
import threading
from typing import Any

from ddjax.files import atomic

FORMAT = 1
NAME = "results.json"
PARTS = ("check", "speed", "reproduce")


class ResultsError(RuntimeError):
  """The results file cannot be used; says why."""


class Results:
  """The file `results.json` of a folder: facts of the machine, and rows by part and name.

  A row is written the moment it is there, so whoever is killed loses the row at work and no other.
  A row with `"done": True` is never made again. Rows come from several threads, and each carries
  the commit that made it: the same folder may be gone on with by a later one.
  """

  def __init__(self, folder: Path):
    """Opens or makes the folder.

    Raises:
      ResultsError: for a folder that cannot be written, or a file that is damaged or of another
        version; it is left as it is.
    """
    self.path = folder / NAME
    self._lock = threading.RLock()
    try:
      folder.mkdir(parents=True, exist_ok=True)
      (folder / ".writable").touch()
      (folder / ".writable").unlink()
    except OSError as error:
      raise ResultsError(f"--out={folder} cannot be written: {error}") from error
    self.content: dict[str, Any] = {"format": FORMAT, "facts": {}} | {part: {} for part in PARTS}
    if not self.path.exists():
      return
    try:
      found = json.loads(self.path.read_text())
      version = found["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
      raise ResultsError(f"{self.path} is damaged ({error}); choose another --out.") from error
    if version != FORMAT:
      raise ResultsError(
        f"{self.path} is of version {version}, this program writes {FORMAT}; choose another --out."
      )
    if not all(isinstance(found.get(part), dict) for part in ("facts", *PARTS)):
      raise ResultsError(f"{self.path} is damaged (a part is missing); choose another --out.")
    self.content = found

  def set_facts(self, facts: dict[str, Any]) -> None:
    """Records what the rows were measured on.

    Raises:
      ResultsError: where the rows on record are of other hardware.
    """
    with self._lock:
      old = self.content["facts"].get("device")
      if old and old != facts.get("device"):
        raise ResultsError(f"{self.path} is of {old!r}, this is {facts.get('device')!r}.")
      self.content["facts"] |= facts
      self.save()

  def is_done(self, part: str, name: str) -> bool:
    """Whether a row needs no more work: it is whole, or shorter than published on purpose."""
    row = self.content[part].get(name, {})
    return bool(row.get("done") or row.get("ended"))

  def add(self, part: str, name: str, row: dict[str, Any]) -> None:
    """Writes a row, in place of an earlier one."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with self._lock:
      made = {"commit": self.content["facts"].get("commit")} | row | {"time": now}
      self.content[part][name] = made
      self.save()

  def add_reason(self, part: str, name: str, problem: str) -> None:
    """Says why a row was not made, where there is none of before that says more."""
    with self._lock:
      if name not in self.content[part]:
        self.add(part, name, {"ok": False, "problem": problem, "done": False})

  def save(self) -> None:
    """Writes the file whole."""
    with self._lock:
      atomic.write_json(self.path, self.content)


def commit() -> tuple[str, str]:
  """The commit of the working tree, with "+" where it was changed, and why it is not known.

  Returns:
    (commit, ""), or ("unknown", reason).
  """
  try:
    options = dict(capture_output=True, text=True, check=True, timeout=10)
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], **options).stdout.strip()
    dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], **options).stdout.strip()
    return head + ("+" if dirty else ""), ""
  except subprocess.CalledProcessError as error:
    return "unknown", (error.stderr or str(error)).strip().splitlines()[-1]
  except (OSError, subprocess.SubprocessError) as error:
    return "unknown", str(error)
