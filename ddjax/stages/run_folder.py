"""The run folder: its name, its lock, and the rules by which a second start goes on.

A folder belongs to one config. Started again on it, a run resumes or, if finished, prints its
summary; a config that differs in a field that alters the trajectory is refused, by name.
"""

import contextlib
import json
import pathlib
import re
import shutil
from typing import Any, Iterable, Mapping

from absl import logging
from ml_collections import ConfigDict

from ddjax.config import compare
from ddjax.files import atomic, locks

CONFIG_NAME = "config.json"
LOCK_NAME = ".lock"
REPORT_NAME = "report.json"
SCORES_NAME = "scores"
"""A folder: what attacks gave each example, by evaluator."""


_UNFIT = re.compile(r"[^\w.=-]+")
_LONGEST_NAME = 60
_OTHER_FOLDER = "Choose another --workdir."
_OTHER_FOLDER_OR_ANEW = "Choose another --workdir, or --overwrite to start anew."


class RunFolderError(RuntimeError):
  """The run folder cannot be used for this run; says why and what to do.

  Attributes:
    problem: the sentence that says why.
    advice: what to do on a command line of this run alone, "" where that is plain. A study, whose
      --workdir and --overwrite are of all its cells, gives its own advice instead.
  """

  def __init__(self, problem: str, advice: str = ""):
    super().__init__(f"{problem} {advice}".rstrip())
    self.problem, self.advice = problem, advice


class FolderInUseError(RunFolderError):
  """Another process is at work in the run folder."""


def default_workdir(config: ConfigDict, overridden: Iterable[str] = ()) -> pathlib.Path:
  """`runs/METHOD-DATASET-ipcN-seedS`, with what sets the run apart from its config file.

  Of an evaluation `runs/evaluate-DATASET-PROTOCOL-of-SET-seedS`, SET the folder of the first set.

  Args:
    config: the resolved config.
    overridden: dotted fields that were set one by one; those that alter the trajectory go into a
      short hash, so that a changed length still finds the run that it extends.
  """
  plain = compare.plain(config)
  parts = [config.method] + ([config.data.name] if "data" in config else [])
  if "synthetic" in config:
    parts.append(f"ipc{config.synthetic.ipc}")
  parts += [config.variant] if config.variant else []
  parts += [f"of-{_sets_in_short(config.distilled)}"] if config.get("distilled") else []
  path = config.data.path if "data" in config else None
  parts += [compare.short_hash({"path": path})] if path else []
  parts.append(f"seed{config.seed}")
  fields = compare.trajectory_fields(compare.published(plain))  # no secret can be guessed from it
  changed = {name: fields[name] for name in overridden if name in fields and name != "seed"}
  parts += [compare.short_hash(changed)] if changed else []
  return pathlib.Path("runs") / "-".join(parts)


def fit_name(text: str) -> str:
  """A text as part of the name of a file or folder: other signs than letters become `-`."""
  return _UNFIT.sub("-", text).strip("-")


def _sets_in_short(sources: str) -> str:
  """`a,b/c.npz` -> `a-and-1-more`, fit for the name of a folder."""
  first, *others = (text.strip().partition("#")[0] for text in sources.split(","))
  parts = [part for part in pathlib.PurePath(first).parts if part not in ("distilled", "..")]
  name = fit_name(parts[-1] if parts else "set")[:_LONGEST_NAME]
  return name + (f"-and-{len(others)}-more" if others else "")


def steps_done(folder: pathlib.Path) -> int:
  """The step of the last checkpoint in a run folder; 0 where there is none."""
  names = [entry.name for entry in folder.glob("checkpoints/*") if entry.name.isdigit()]
  return max(map(int, names), default=0)


class RunFolder:
  """One run folder, locked while it is open; a context manager."""

  def __init__(self, workdir: str | pathlib.Path, overwrite: bool = False, is_writer: bool = True):
    """Entering it opens or makes the folder, locks it, and deletes an earlier run if asked.

    Args:
      workdir: the folder.
      overwrite: whether an earlier run in it is deleted.
      is_writer: false on all hosts but the first, which then neither lock nor write.
    Raises:
      FolderInUseError: on entering, if another process uses it.
      RunFolderError: on entering, if it cannot be written, or `overwrite` would delete a folder
        that holds something else than a run.
    """
    self.path = pathlib.Path(workdir)
    self._overwrite = overwrite
    self._is_writer = is_writer
    self._stack = contextlib.ExitStack()

  def __enter__(self) -> "RunFolder":
    if not self._is_writer:
      return self
    with contextlib.ExitStack() as stack:
      try:
        self.path.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context((self.path / LOCK_NAME).open("w"))
        is_free = locks.try_to_lock(lock)
      except OSError as error:
        raise RunFolderError(f"Cannot write to workdir {self.path}: {error}") from error
      if not is_free:
        raise FolderInUseError(f"Another process is at work in {self.path}.")
      if self._overwrite:
        self._clear()
      self._stack = stack.pop_all()
    return self

  def __exit__(self, *_) -> None:
    if self._is_writer and [entry.name for entry in self.path.iterdir()] == [LOCK_NAME]:
      (self.path / LOCK_NAME).unlink()  # refused before anything was written: leave no trace
      self.path.rmdir()
    self._stack.close()

  def _clear(self) -> None:
    content = [entry for entry in self.path.iterdir() if entry.name != LOCK_NAME]
    if content and not (self.path / CONFIG_NAME).exists():
      raise RunFolderError(
        f"--overwrite: {self.path} holds no {CONFIG_NAME}, so it is not a run; nothing was deleted."
      )
    # What makes it a run goes last, so that a broken-off clearing can be finished.
    for entry in sorted(content, key=lambda entry: entry.name == CONFIG_NAME):
      shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

  def claim(self, config: Mapping[str, Any], data_fingerprint: str, num_steps: int = 0) -> None:
    """Records the plain config, or holds it against the one on record.

    Args:
      config: as `compare.plain` gives it.
      data_fingerprint: of all data of the run.
      num_steps: the length of the distillation.
    Raises:
      RunFolderError: naming every field that alters the trajectory and differs, or the data; or if
        the run has already gone further than `num_steps`.
    """
    path = self.path / CONFIG_NAME
    if path.exists():
      old = self.read_json(CONFIG_NAME)
      changes = compare.differing_fields(old["config"], config)
      if old["data_fingerprint"] != data_fingerprint:
        changes.append(f"content of the data: {old['data_fingerprint']} -> {data_fingerprint}")
      if changes:
        raise RunFolderError(
          f"{self.path} holds a run with another config; differing: {'; '.join(changes)}.",
          _OTHER_FOLDER_OR_ANEW,
        )
    elif (self.path / "checkpoints").exists():
      raise RunFolderError(
        f"{self.path} holds checkpoints but no {CONFIG_NAME} that says of what.", _OTHER_FOLDER
      )
    if num_steps and self.steps_done() > num_steps:
      raise RunFolderError(
        f"{self.path} has already gone {self.steps_done()} steps, more than num_steps={num_steps}.",
        _OTHER_FOLDER_OR_ANEW,
      )
    if self._is_writer:
      atomic.write_json(path, {"config": config, "data_fingerprint": data_fingerprint})

  def steps_done(self) -> int:
    """The step of the last checkpoint; 0 where there is none."""
    return steps_done(self.path)

  def finished_report(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The report on disk, where it is of this very plain config but for the fields of the loop.

    None for a damaged one too, with a warning: it is then made again from what the folder holds.
    """
    try:
      report = self.read_json(REPORT_NAME)
      if report is None:
        return None
      old, new = dict(report["run"]["config"]), compare.published(config)
    except (RunFolderError, AttributeError, KeyError, TypeError, ValueError) as error:
      logging.warning("%s is damaged (%s); it is made again.", self.path / REPORT_NAME, error)
      return None
    for fields in (old, new):
      fields.pop("trainer", None)
    if old != new:
      return None
    logging.info("%s is finished; nothing to do.", self.path)
    return report

  def read_json(self, name: str) -> Any:
    """The content of a JSON file of the folder, or None where it is missing.

    Raises:
      RunFolderError: for a file that is not JSON.
    """
    try:
      return json.loads((self.path / name).read_text())
    except FileNotFoundError:
      return None
    except ValueError as error:
      raise RunFolderError(
        f"{self.path / name} is damaged ({error}).", _OTHER_FOLDER_OR_ANEW
      ) from error
