"""Weights & Biases: configuration, curves, pictures, and the bundle as an artifact."""

import wandb
from pytorch_lightning.loggers import WandbLogger

from parmtrain.loggers.published import Published


class Wandb(WandbLogger):
    """Log to Weights & Biases; arguments are those of Lightning's ``WandbLogger``."""

    def publish(self, published: Published) -> None:
        """Log the pictures, and the bundle as an artifact of type ``parity-bundle``."""
        for name, path in published.pictures.items():
            self.log_image(name, [str(path)])
        artifact = wandb.Artifact(published.name, type="parity-bundle", metadata=published.about)
        artifact.add_dir(str(published.bundle))
        self.experiment.log_artifact(artifact)
