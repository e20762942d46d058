"""Trained bundles that come with parmtrain: ``example:digits`` wherever a bundle's folder is taken."""

from pathlib import Path

from parmtrain.errors import ExportError

PREFIX = "example:"
FOLDER = Path(__file__).resolve().parents[1] / "examples"


def examples() -> list[str]:
    """Return the names of the examples.

    Example:
        >>> "digits" in examples()
        True
    """
    return sorted(path.name for path in FOLDER.iterdir() if (path / "bundle.json").is_file())


def located(folder: Path) -> Path:
    """Return the folder of a bundle: the one given, or that of an example.

    Raises:
        ExportError: If there is no such example.

    Example:
        >>> located(Path("runs/mine")) == Path("runs/mine"), located(Path("example:digits")).name
        (True, 'digits')
    """
    name = str(folder)
    if not name.startswith(PREFIX) or folder.exists():
        return folder
    if (own := name.removeprefix(PREFIX)) not in examples():
        raise ExportError(f"{name} must be one of {', '.join(PREFIX + one for one in examples())}")
    return FOLDER / own
