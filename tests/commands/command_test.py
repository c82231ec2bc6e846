"""Words after `ddjax`: which command they name, and what is said of wrong ones."""

import subprocess
import sys

import pytest

import ddjax
from ddjax import commands


def test_list_has_every_part(capsys):
  assert commands.run(["list"]) == 0
  said = capsys.readouterr().out
  for line in ("  kip ", "  evaluate ", "  cifar10 ", "  robustness ", "  smoke "):
    assert f"\n{line}" in said


def test_the_version(capsys):
  assert commands.run(["--version"]) == 0
  assert capsys.readouterr().out == f"ddjax {ddjax.__version__}\n"


@pytest.mark.parametrize(
  "words, code, sentence",
  [
    (["lst"], 2, "Unknown command 'lst'. Did you mean 'list'?"),
    (["list", "metods"], 1, "Unknown part of the list 'metods'. Did you mean 'methods'?"),
    (["show", "nowhere"], 1, "There is no folder 'nowhere'."),
    (["list", "--runs=nowhere"], 1, "There is no folder 'nowhere'."),
    (["completion", "bsh"], 1, "Unknown shell 'bsh'. Did you mean 'bash'?"),
  ],
)
def test_a_wrong_word_is_one_sentence(capsys, monkeypatch, tmp_path, words, code, sentence):
  monkeypatch.chdir(tmp_path)
  assert commands.run(words) == code
  said = capsys.readouterr()
  assert said.err.startswith(f"Error: {sentence}") and said.err.count("\n") == 1 and not said.out


@pytest.mark.parametrize(
  "words, sentence",
  [
    (["show"], "the following arguments are required: folder"),
    (["list", "--rns=x"], "unrecognized arguments: --rns=x"),
    (["list", "data", "--runs=x"], "--runs=x lists runs; it goes without 'data'"),
  ],
)
def test_wrong_arguments_are_one_sentence_too(capsys, words, sentence):
  with pytest.raises(SystemExit) as ended:
    commands.run(words)
  said = capsys.readouterr().err
  assert ended.value.code == 2 and sentence in said and said.count("\n") == 1


def test_main_hands_words_to_commands_and_flags_to_the_config():
  def call(*arguments):
    program = "import ddjax.main; ddjax.main.console()"
    return subprocess.run(
      [sys.executable, "-c", program, *arguments], capture_output=True, text=True
    )

  done = call("lst")
  assert done.returncode == 2 and done.stderr.startswith("Error: Unknown command 'lst'")
  done = call("--config=kpi")
  assert done.returncode == 2 and "Error: Unknown config 'kpi'. Did you mean 'kip'?" in done.stderr
