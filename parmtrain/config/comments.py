"""What the comments of the YAML files say: one sentence for each option, and one for each key."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parmtrain.config.folder import config_folder

LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w@/.]+):(?: (?P<value>[^#]*?))?(?: *# (?P<comment>.*))?$")
SENTENCE = re.compile(r"(?<=[a-z0-9)\]]\.)(?<!\bv\.)(?<!\bg\.) (?=[A-Z`(])")
PACKAGE = re.compile(r"^# @package (?P<name>\S+)$", re.MULTILINE)
GLOBAL, CONFIG = "_global_", "config.yaml"


@dataclass(frozen=True)
class Key:
    """One line of a YAML file that gives a key a value.

    Args:
        file: The file.
        key: The key in the configuration, with dots.
        value: Its value as it is written; empty for a node.
        comment: What is written behind it.
    """

    file: Path
    key: str
    value: str
    comment: str


def folders(config_dir: str | Path | None = None) -> list[Path]:
    """Return the folders that hold YAML files: parmtrain's, and your own."""
    return [config_folder(), *([] if config_dir is None else [Path(config_dir)])]


def groups(config_dir: str | Path | None = None) -> list[str]:
    """Return the names of the groups of options.

    Example:
        >>> "code" in groups(), "task" in groups()
        (True, True)
    """
    return sorted({path.parent.name for folder in folders(config_dir) for path in folder.glob("*/*.yaml")})


def options_of(group: str, config_dir: str | Path | None = None) -> dict[str, Path]:
    """Return the options of a group and their files, parmtrain's first."""
    return {path.stem: path for folder in folders(config_dir) for path in sorted(folder.glob(f"{group}/*.yaml"))}


def about(path: Path) -> str:
    """Return the comment at the beginning of a YAML file, as one line.

    Example:
        >>> about(options_of("code")["lowres_own"]).partition(". ")[0]
        "k small pictures instead of one, all of them run by F's own network, which starts from F's weights"
    """
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# @"):
            continue
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def sentence(path: Path) -> str:
    """Return the first sentence of that comment.

    Example:
        >>> sentence(options_of("code")["sum"])
        'P = X_1 + … + X_k, for queries of any shape.'
    """
    return SENTENCE.split(about(path), maxsplit=1)[0]


def keys_of(path: Path) -> Iterator[Key]:
    """Yield the keys of a YAML file, as they are called in the configuration.

    Example:
        >>> [one.value for one in keys_of(options_of("optim")["adam"]) if one.key == "optim.lr"]
        ['0.003']
    """
    text = path.read_text(encoding="utf-8")
    stated = PACKAGE.search(text)
    package = stated["name"] if stated else GLOBAL if path.name == CONFIG else path.parent.name
    above: list[tuple[int, str]] = [] if package == GLOBAL else [(-1, package)]
    for line in text.splitlines():
        found = LINE.match(line)
        if found is None or found["key"] == "defaults":
            continue
        indent = len(found["indent"])
        while above and above[-1][0] >= indent:
            above.pop()
        name = ".".join([*(part for _, part in above), found["key"]])
        above.append((indent, found["key"]))
        yield Key(path, name, (found["value"] or "").strip(), found["comment"] or "")


def lines_about(key: str, config_dir: str | Path | None = None) -> list[Key]:
    """Return every line of a YAML file that gives a key, or one below it, a value."""
    files = [
        path for folder in folders(config_dir) for path in sorted([*folder.glob("*.yaml"), *folder.glob("*/*.yaml")])
    ]
    return [one for path in files for one in keys_of(path) if one.key == key or one.key.startswith(f"{key}.")]
