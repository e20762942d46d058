"""TensorBoard: hyperparameters, curves and pictures."""

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger

from parmtrain.loggers.published import Published


class TensorBoard(TensorBoardLogger):
    """Log for TensorBoard; arguments are those of Lightning's ``TensorBoardLogger``."""

    def publish(self, published: Published) -> None:
        """Log the pictures; TensorBoard holds no files, so the bundle stays where it is."""
        for name, path in published.pictures.items():
            with Image.open(path) as picture:
                self.experiment.add_image(name, np.asarray(picture.convert("RGB")), dataformats="HWC")
