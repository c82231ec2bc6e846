"""Finished pieces of an evaluation: kept, read again, made again where damaged, stopped between."""

import logging

import numpy as np
import pytest

from ddjax.fitting.host import Watch
from ddjax.stages import parts
from ddjax.stages.parts import EvaluationStoppedError, Pieces

KEY = "part-robustness-0123.json"


def _count(calls, value):
  def make():
    calls.append(value)
    return {"distilled/is_fooled": np.array([[value]])}

  return make


def test_a_finished_piece_is_not_made_again(tmp_path):
  calls = []
  for value in (1, 2):  # the second run of the same command
    pieces = Pieces("robustness", KEY, Watch(tmp_path))
    kept = pieces.keep("convnet(depth=2) pgd within 8 {'num_steps': 40}", _count(calls, value))
    np.testing.assert_array_equal(kept["distilled/is_fooled"], [[1]])
  assert calls == [1]
  other = Pieces("robustness", "part-robustness-4567.json", Watch(tmp_path))
  other.keep("convnet(depth=2) pgd within 8 {'num_steps': 40}", _count(calls, 3))
  assert calls == [1, 3]


def test_a_damaged_piece_is_made_again(tmp_path):
  calls, pieces = [], Pieces("robustness", KEY, Watch(tmp_path))
  pieces.keep("clean", _count(calls, 1))
  (path,) = tmp_path.rglob("*.npz")
  path.write_bytes(path.read_bytes()[:40])
  kept = pieces.keep("clean", _count(calls, 2))
  np.testing.assert_array_equal(kept["distilled/is_fooled"], [[2]])
  assert calls == [1, 2]


def test_a_request_to_stop_is_heard_before_a_piece_and_names_the_evaluator(tmp_path):
  calls, pieces = [], Pieces("robustness", KEY, Watch(tmp_path, stop_request=True))
  with pytest.raises(EvaluationStoppedError, match="in the evaluation of robustness"):
    pieces.keep("clean", _count(calls, 1))
  with pytest.raises(EvaluationStoppedError):
    pieces.check_stop()
  assert not calls


def test_without_a_folder_nothing_is_kept():
  calls, pieces = [], Pieces("robustness", KEY, Watch())
  for value in (1, 2):
    pieces.keep("clean", _count(calls, value))
  assert calls == [1, 2]


@pytest.mark.parametrize("threshold,lines", [(60.0, 0), (-1.0, 1)])
def test_a_long_piece_is_named_in_the_log(threshold, lines, monkeypatch, caplog):
  monkeypatch.setattr(parts, "_SAID_SECONDS", threshold)
  with caplog.at_level(logging.INFO, "absl"):
    Pieces("robustness", KEY, Watch()).keep("convnet square_linf", _count([], 1))
  assert caplog.text.count("robustness: convnet square_linf, 0.0 s.") == lines
