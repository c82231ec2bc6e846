"""Progress by a clock that the test turns."""

import io

from absl import logging
import pytest

from ddjax.training import progress


class Clock:
  seconds = 0.0

  def __call__(self):
    return self.seconds


@pytest.fixture
def lines(monkeypatch):
  lines = []
  monkeypatch.setattr(logging, "info", lambda text, *args: lines.append(text % args))
  return lines


def test_a_line_soon_and_then_one_a_minute(lines):
  clock = Clock()
  with progress.Progress(2000, 0, "kip digits", is_terminal=False, clock=clock) as shown:
    for second in range(1, 181):
      clock.seconds = second
      shown.update(10 * second, {"train/loss": 0.5})
  assert [int(line.split()[3]) for line in lines] == [50, 650, 1250]


def test_line_holds_step_metrics_speed_and_time_left(lines):
  clock = Clock()
  with progress.Progress(1000, 100, "kip", is_terminal=False, clock=clock) as shown:
    clock.seconds = 50.0  # compilation
    shown.update(110, {})
    clock.seconds = 60.0
    shown.update(130, {"train/accuracy": 0.5, "train/loss": 0.03125})
    clock.seconds = 115.0
    shown.update(240, {"accuracy": 0.5, "gradient_norm": 1.0, "loss": 0.03125})
  assert lines[-1] == (
    "kip: step 240 of 1000, loss 0.03125, accuracy 0.5, 2 steps/s, 6 min 20 s left"
  )


def test_what_is_counted_has_its_own_word(lines):
  clock = Clock()
  with progress.Progress(500, unit="image", is_terminal=False, clock=clock) as shown:
    for second in (10, 80):
      clock.seconds = second
      shown.update(10 * second, {})
  assert lines == ["image 100 of 500", "image 800 of 500, 10 images/s, 0.0 s left"]


def test_bar_shows_metrics_and_speed(monkeypatch, lines):
  terminal = io.StringIO()
  monkeypatch.setattr("sys.stderr", terminal)
  monkeypatch.setenv("FORCE_COLOR", "1")
  monkeypatch.setenv("COLUMNS", "160")
  monkeypatch.setenv("TERM", "xterm")
  clock = Clock()
  with progress.Progress(100, 20, "kip", is_terminal=True, clock=clock) as shown:
    shown.update(30, {"train/loss": 0.75})
    clock.seconds = 2.0
    shown.update(50, {"train/loss": 0.25})
  text = terminal.getvalue()
  for part in ("kip", "50/100", "loss 0.25", "10 steps/s", "5.0 s left"):
    assert part in text
  assert not lines
