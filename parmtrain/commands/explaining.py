"""What a command, a key or an option means: ``parmtrain help KEY [key=value …]``."""

import sys
from collections.abc import Iterator, Sequence

from omegaconf import OmegaConf
from rich.text import Text

from parmtrain.arguments import Arguments
from parmtrain.command import DONE, Terminal, ending_quietly, exit_status
from parmtrain.commands.table import COMMANDS, overview, run
from parmtrain.config.comments import groups, keys_of, lines_about, options_of, sentence
from parmtrain.config.folder import config_folder, require_folder
from parmtrain.errors import ConfigError
from parmtrain.mistakes import did_you_mean

SHOWN = 12  # lines of YAML files about one key


@ending_quietly
def main(arguments: list[str] | None = None) -> int:
    """Explain what the command line asks for; return the exit status."""
    parser = Arguments(
        "help",
        "Explain a command (compare), a key of a run (trainer.max_epochs), a group of options (code), or one "
        "(code=lowres); without any, say which commands there are.",
        example="trainer.max_epochs task=cifar10",
    )
    parser.add_argument(
        "key", metavar="KEY", nargs="?", help="a command, a key, a group, or an option of one as GROUP=OPTION"
    )
    parser.add_argument("overrides", nargs="*", help="overrides, under which the value of the key is shown")
    parser.add_config_dir()
    given = parser.read(arguments)
    if given.key is None:
        print(overview())
        return DONE
    if given.key in COMMANDS:
        if given.key in groups(given.config_dir):
            print(f"{given.key}=… of a run is a group of options: parmtrain list {given.key}\n")
        return run(given.key, ["--help"])

    def work() -> None:
        require_folder(given.config_dir)
        for line in explained(given.key, given.overrides, given.config_dir):
            Terminal(wide=True).print(Text(line))

    return exit_status(work)


def explained(key: str, overrides: Sequence[str] = (), config_dir: str | None = None) -> Iterator[str]:
    """Yield lines that explain a key, a group or an option.

    Raises:
        ConfigError: If there is none of that name.

    Example:
        >>> next(explained("groups")), next(explained("trainer.max_epochs", ["task=cub200"]))
        ('groups: 64', 'trainer.max_epochs: 30')
    """
    key, _, option = key.partition("=")
    known = groups(config_dir)
    if key in known and option:
        yield from _option(key, option, config_dir)
    elif key in known:
        yield f"{key}=…, one of:"
        yield from (f"  {name}: {sentence(path)}" for name, path in options_of(key, config_dir).items())
    else:
        yield from _key(key, overrides, config_dir)


def _option(group: str, option: str, config_dir: str | None) -> Iterator[str]:
    there = options_of(group, config_dir)
    if option not in there:
        raise ConfigError([f"{group}={option}: must be one of {', '.join(there)}{did_you_mean(option, there)}"])
    yield f"{group}={option}, in {there[option]}:"
    yield from there[option].read_text(encoding="utf-8").splitlines()


def _key(key: str, overrides: Sequence[str], config_dir: str | None) -> Iterator[str]:
    """Yield the value of a key, the comments on it, and where else it is given."""
    from parmtrain.config.compose import compose

    cfg = compose(*overrides, config_dir=config_dir)
    missing = object()
    value = OmegaConf.select(cfg, key, default=missing)
    lines = lines_about(key, config_dir)
    if value is missing and not lines:
        every = [one.key for path in [config_folder() / "config.yaml"] for one in keys_of(path)]
        meant = did_you_mean(key, [*every, *groups(config_dir)])
        raise ConfigError([f"{key}: no key of a run has this name{meant}"])
    if value is not missing:
        shown = OmegaConf.to_yaml(value).rstrip() if OmegaConf.is_config(value) else _plain(value)
        yield f"{key}:{chr(10) if chr(10) in shown else ' '}{shown}"
    own = [one for one in lines if one.key == key]
    yield from dict.fromkeys(f"  {one.comment}" for one in own if one.comment)
    yield from (f"  {one.key}: {one.comment}" for one in lines if one.key != key and one.comment)
    others = [one for one in own if one.file.parent != config_folder() and one.value]
    yield from (f"  {one.value} in {one.file.parent.name}={one.file.stem}" for one in others[:SHOWN])
    if len(others) > SHOWN:
        yield f"  … and in {len(others) - SHOWN} more files"


def _plain(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    sys.exit(main())
