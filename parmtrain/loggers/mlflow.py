"""MLflow: parameters, curves, pictures, and the bundle as artifacts."""

from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import MLFlowLogger

from parmtrain.loggers.published import Published


class MLflow(MLFlowLogger):
    """Log to MLflow.

    Args:
        save_dir: Folder of a database ``mlflow.db`` and its artifacts, where there is no server.
        tracking_uri: Address of a server, or of a database; None for that folder.
        more: Other arguments of Lightning's ``MLFlowLogger``.
    """

    def __init__(self, save_dir: str, tracking_uri: str | None = None, **more: Any) -> None:
        if tracking_uri is None:
            folder = Path(save_dir).absolute()
            tracking_uri = f"sqlite:///{folder}/mlflow.db"
            more = {"artifact_location": (folder / "artifacts").as_uri(), **more}
        super().__init__(tracking_uri=tracking_uri, save_dir=save_dir, **more)

    def publish(self, published: Published) -> None:
        """Log the pictures, and the bundle in a folder ``bundle``."""
        for path in published.pictures.values():
            self.experiment.log_artifact(self.run_id, str(path), "pictures")
        self.experiment.log_artifacts(self.run_id, str(published.bundle), "bundle")
