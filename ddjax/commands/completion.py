"""`ddjax completion SHELL`: a script that completes commands, configs and data sets.

    source <(ddjax completion bash)          # in ~/.bashrc; zsh likewise, in ~/.zshrc
    ddjax completion fish | source           # in ~/.config/fish/config.fish

The script holds the names as they were when it was made.
"""

from typing import Callable, Sequence

from ddjax.config.find import carried
from ddjax.data.facts import FACTS
from ddjax.wording import look_up

_FLAGS = ("--config=", "--workdir=", "--overwrite", "--dry_run", "--help", "--version")
_SECTIONS = ("methods", "tasks", "data", "evaluators", "studies", "--runs=")

# bash breaks words at `=` and `:`, so `--config=kip:digits` is five words of COMP_WORDS.
_BASH = """\
_ddjax() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" line="${{COMP_LINE:0:COMP_POINT}}"
  local last="${{line##* }}" words=""
  case "$last" in
    --config=*:*) words="{data}"; current="${{last##*:}}" ;;
    --config=*) words="{configs}"; current="${{last#--config=}}" ;;
    --workdir=* | --runs=*) COMPREPLY=($(compgen -d -- "${{last#*=}}")); return ;;
    *)
      case "${{COMP_WORDS[1]}}" in
        list) words="{sections}" ;;
        show) COMPREPLY=($(compgen -d -- "$current")); return ;;
        completion) words="{shells}" ;;
        *) words="{flags}"; ((COMP_CWORD == 1)) && words="{commands} $words" ;;
      esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [[ "${{COMPREPLY[0]}}" == *= || "$words" == "{configs}" ]]; then
    compopt -o nospace 2>/dev/null
  fi
}}
complete -o default -F _ddjax ddjax"""

_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"

_FISH = """\
complete -c ddjax -f
complete -c ddjax -n __fish_is_first_arg -a "{commands}"
complete -c ddjax -n "__fish_seen_subcommand_from list" -a "{sections}"
complete -c ddjax -n "__fish_seen_subcommand_from show" -a "(__fish_complete_directories)"
complete -c ddjax -n "__fish_seen_subcommand_from completion" -a "{shells}"
complete -c ddjax -l config -x -a "{configs}"
complete -c ddjax -l workdir -x -a "(__fish_complete_directories)"
complete -c ddjax -l overwrite
complete -c ddjax -l dry_run"""

SHELLS: dict[str, Callable[[dict[str, str]], str]] = {
  "bash": lambda names: _BASH.format(**names),
  "zsh": lambda names: _ZSH + _BASH.format(**names),
  "fish": lambda names: _FISH.format(**names),
}


def script(shell: str, commands: Sequence[str]) -> str:
  """The script for a shell.

  Args:
    shell: of `SHELLS`.
    commands: words that may follow `ddjax`.
  Raises:
    ValueError: for another shell.
  """
  make = look_up(SHELLS, shell, "shell")
  lists = dict(
    commands=commands, configs=carried(), data=FACTS, flags=_FLAGS, sections=_SECTIONS,
    shells=SHELLS,
  )  # fmt: skip
  return make({name: " ".join(words) for name, words in lists.items()})
