"""The completion of bash, asked as bash asks it; the other scripts hold the same names."""

import shutil
import subprocess

import pytest

from ddjax.commands import completion
from ddjax.commands.command import COMMANDS

# Words of the line as bash breaks them: at spaces, and before and after `=` and `:`.
_ASK = """
source "$1"
COMP_LINE="$2" COMP_POINT="${#2}"
read -ra COMP_WORDS <<<"$(sed 's/\\([=:]\\)/ \\1 /g' <<<"$2")"
[[ "$2" == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_ddjax
echo "${COMPREPLY[*]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
  "line, expected",
  [
    ("ddjax l", "list"),
    ("ddjax list eval", "evaluators"),
    ("ddjax completion z", "zsh"),
    ("ddjax --ov", "--overwrite"),
    ("ddjax --config=ki", "kip"),
    ("ddjax --config=kip:cif", "cifar10 cifar100"),
    ("ddjax --config=nothing", ""),
  ],
)
def test_bash(tmp_path, line, expected):
  script = tmp_path / "completion"
  script.write_text(completion.script("bash", tuple(COMMANDS)))
  done = subprocess.run(
    ["bash", "-c", _ASK, "bash", script, line], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == expected and done.stderr == ""


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_script_has_the_names(shell):
  script = completion.script(shell, ("list", "newest"))
  for name in ("newest", "label_solve", "evaluators"):
    assert name in script
  assert ("bashcompinit" in script) == (shell == "zsh")
