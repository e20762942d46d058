"""The folders of YAML files: parmtrain's, and one of your own."""

from pathlib import Path

from parmtrain.errors import ConfigError


def config_folder() -> Path:
    """Return the folder of the YAML files: inside an installed package, or next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def require_folder(config_dir: str | Path | None) -> None:
    """Raise a ``ConfigError`` unless a folder of YAML files exists, with names of its own, or none is given."""
    if config_dir is None:
        return
    if not (isinstance(config_dir, str | Path) and Path(config_dir).is_dir()):
        raise ConfigError([f"--config-dir {config_dir}: folder not found"])
    for path in sorted(Path(config_dir).glob("*/*.yaml")):
        name = path.relative_to(config_dir)
        if (config_folder() / name).is_file():
            raise ConfigError([f"--config-dir {config_dir}: {name} has the name of an option of parmtrain; rename it"])
