"""A logger outside the package, which writes down what it gets."""

import json
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger

from parmtrain.loggers import Published


class Notebook(CSVLogger):
    """Keep the names of what a run has to show.

    Args:
        save_dir: Folder to write.
        title: What to call the file.
    """

    def __init__(self, save_dir: str, title: str) -> None:
        super().__init__(save_dir, name=None)
        self.path = Path(save_dir) / f"{title}.json"

    def publish(self, published: Published) -> None:
        """Write down what there is."""
        content = {"name": published.name, "pictures": sorted(published.pictures)}
        self.path.write_text(json.dumps(content), encoding="utf-8")
