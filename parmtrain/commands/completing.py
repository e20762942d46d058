"""Complete command lines in a shell: ``eval "$(parmtrain completion bash)"``, in ``~/.bashrc`` for good."""

import sys
from collections.abc import Iterator

from parmtrain.arguments import Arguments
from parmtrain.command import DONE, FAILED, ending_quietly, say
from parmtrain.commands.setting_names import setting_names
from parmtrain.commands.table import COMMANDS, TRAIN

OF_A_RUN = ("train", "check", "compare", "help")
SHELLS = {
    "bash": """_parmtrain() {
    local line="${COMP_LINE:0:COMP_POINT}" word prefix
    word="${line##* }"
    case "$word" in *=*) prefix="${word%"${word##*=}"}" ;; esac
    mapfile -t COMPREPLY < <(parmtrain completion --line "$line" 2>/dev/null)
    COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
}
complete -o default -o nospace -F _parmtrain parmtrain
""",
    "zsh": """_parmtrain() {
    local -a words_there
    words_there=("${(@f)$(parmtrain completion --line "$LBUFFER" 2>/dev/null)}")
    compadd -S '' -- $words_there || _files
}
compdef _parmtrain parmtrain
""",
    "fish": """complete -c parmtrain -a '(parmtrain completion --line (commandline -cp | string collect) 2>/dev/null)'
""",
}


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Print a script for a shell, or what may come next on a line; return the exit status."""
    parser = Arguments(
        "completion",
        "Print what completes the command in a shell.",
        example='bash, and for good in ~/.bashrc: eval "$(parmtrain completion bash)"',
    )
    parser.add_argument("shell", nargs="?", choices=sorted(SHELLS), help="the shell")
    parser.add_argument("--line", help="print what may come next on this command line, as the scripts ask")
    given = parser.read(arguments)
    if given.line is not None:
        for candidate in candidates(given.line):
            print(candidate)
        return DONE
    if given.shell is None:
        say(f"completion: must be given a shell, one of {', '.join(sorted(SHELLS))}")
        return FAILED
    print(SHELLS[given.shell], end="")
    return DONE


def candidates(line: str) -> list[str]:
    """Return what the last word of a command line may become.

    Example:
        >>> candidates("parmtrain sim"), candidates("parmtrain task=cifar1")
        (['simulate'], ['task=cifar10', 'task=cifar100'])
        >>> candidates("parmtrain serve metrics")
        ['metrics_port=']
    """
    start, _, word = line.rpartition(" ")
    before = start.split()[1:]
    command = before[0] if before and before[0] in COMMANDS else TRAIN
    words: list[str] = [] if before else list(COMMANDS)
    if command in OF_A_RUN:
        words += [*_of_a_run(word, command == "help"), *(COMMANDS if command == "help" else [])]
    elif command == "list":
        from parmtrain.config.comments import groups

        words += groups()
    elif (where := COMMANDS[command].settings_under(before)) is not None:
        words += [f"{name}=" for name in setting_names(where)] + [one for one in COMMANDS[command].settings if one]
    elif command == "completion":
        words += sorted(SHELLS)
    return sorted({one for one in words if one.startswith(word)})


def _of_a_run(word: str, explains: bool) -> Iterator[str]:
    """Yield keys of a run, or the options of a group once it is named."""
    from parmtrain.config.comments import groups, keys_of, options_of
    from parmtrain.config.folder import config_folder

    group, equals, _ = word.partition("=")
    if equals:
        name = group.partition("@")[0]
        yield from (f"{group}={option}" for option in options_of(name))
        return
    end = "" if explains else "="
    yield from (f"{name}{end}" for name in groups())
    yield from (f"{one.key}{end}" for one in keys_of(config_folder() / "config.yaml") if one.value)
    yield from (f"{one.key}{end}" for one in keys_of(options_of("trainer")["default"]))


if __name__ == "__main__":
    sys.exit(main())
