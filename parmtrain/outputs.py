"""Tables and plots that commands write side by side into a folder, and which of them are another's."""

import re
from dataclasses import dataclass
from pathlib import Path

TABLE = "table.csv"


@dataclass(frozen=True)
class Outputs:
    """What a command writes into a folder of the user's choice, beside ``table.csv``.

    Args:
        command: The command.
        column: First column of its table.
        more: Its other files.
        sign: A folder that is there only if the command made it.
    """

    command: str
    column: str
    more: tuple[str, ...]
    sign: str = ""

    def in_the_way(self, folder: Path) -> str | None:
        """Return what a folder holds that the command must not overwrite or mix with its own files; None if nothing.

        Args:
            folder: The folder, which need not exist.

        Example:
            >>> import tempfile
            >>> folder = Path(tempfile.mkdtemp())
            >>> ADVICE.in_the_way(folder)
            >>> _ = (folder / "table.csv").write_text("code,k,r")
            >>> (ADVICE.in_the_way(folder) or "").replace(str(folder), "…")
            'holds …/table.csv, which parmtrain advise did not write'
            >>> COMPARISON.in_the_way(folder)
        """
        for path in (folder / TABLE, *(folder / name for name in self.more)):
            if path.is_dir():
                return f"holds a folder {path}, where {self.command} writes a file"
        table, ours = folder / TABLE, [folder / name for name in self.more if (folder / name).exists()]
        if table.exists() and _first_column(table) != self.column:
            return f"holds {table}, which {self.command} did not write"
        if (table.exists() and ours) or (self.sign and (folder / self.sign).is_dir()):
            return None
        others = [folder / name for one in EVERY if one is not self for name in one.more if (folder / name).exists()]
        if others:
            return f"holds {others[0]}, which {self.command} did not write"
        if ours and not table.exists():
            return f"holds {ours[0]} without a {TABLE}, which {self.command} may not have written"
        return None

    def there(self, folder: Path) -> list[str]:
        """Return the names of its files that are in a folder.

        Args:
            folder: The folder, which need not exist.
        """
        return [name for name in (TABLE, *self.more) if (folder / name).is_file()]


COMPARISON = Outputs("parmtrain compare", "code", ("table.md", "codes.png", "searched.png"), sign="runs")
ADVICE = Outputs("parmtrain advise", "strategy", ("advice.png",))
SIMULATION = Outputs("parmtrain simulate", "strategy", ("latency.png",))
EVERY = (COMPARISON, ADVICE, SIMULATION)


def _first_column(table: Path) -> str:
    try:
        with open(table, encoding="utf-8-sig", errors="replace") as file:
            return re.split(r"[,;\t]", file.readline(1000).strip())[0].strip('"')
    except OSError:
        return ""
