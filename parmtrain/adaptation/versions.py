"""Versions of a bundle in a folder, of which a link names the one that serves."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from parmtrain.adaptation.shadow import Learned
from parmtrain.bundle import Bundle
from parmtrain.bundle.description import CARD, CONFIDENCE, DESCRIPTION, TORCHSCRIPT, parity_model
from parmtrain.bundle.formats import format_named
from parmtrain.deployed import fingerprint
from parmtrain.errors import DataError
from parmtrain.files import replacing, write_json

CURRENT, HISTORY = "current", "history.json"


class Versions:
    """Bundles ``0000``, ``0001``, … in a folder; the link ``current`` names the one that serves.

    The link is replaced at once, so whoever opens it finds a whole bundle: the old one or the new. After a restart it
    still names the last one that was promoted and not taken back.

    Args:
        folder: The folder, which need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def link(self) -> Path:
        """The link, which is what ``bundle=…`` of a service names."""
        return self.folder / CURRENT

    @property
    def current(self) -> int:
        """Number of the version that serves.

        Raises:
            DataError: If there is none.
        """
        try:
            return int(os.readlink(self.link))
        except (OSError, ValueError) as fault:
            raise DataError(f"{self.link} must be a link to a version of a bundle; begin with bundle=…") from fault

    def bundle(self, number: int | None = None) -> Bundle:
        """Return the bundle of a version, by default of the one that serves."""
        return Bundle(self.folder / _name(self.current if number is None else number))

    def begin(self, bundle: Bundle) -> None:
        """Make a bundle version 0, unless there are versions already.

        Raises:
            DataError: If they are of another deployed model, or another code.
        """
        if self.link.is_symlink():
            if _identity(self.bundle()) != _identity(bundle):
                raise DataError(
                    f"{self.folder} holds versions of another bundle than {bundle.folder}; name another folder"
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / _name(0)) as temporary:
            shutil.copytree(bundle.folder, temporary)
        self._point(0, "begun", {})

    def promote(self, learned: Learned, pairs: int) -> int:
        """Write a version with other parity models and their confidence, have it serve, and return its number."""
        parent = self.current
        number = max(int(path.name) for path in self.folder.glob("[0-9]" * 4)) + 1
        about = {"agreement": learned.agreement, "before": learned.before, "chance": learned.chance, "pairs": pairs}
        with replacing(self.folder / _name(number)) as temporary:
            shutil.copytree(self.folder / _name(parent), temporary)
            _write(temporary, learned, {"number": number, "parent": parent, **about})
        Bundle(self.folder / _name(number))  # whole, before anybody is told of it
        self._point(number, "promoted", about)
        return number

    def take_back(self, why: str) -> int:
        """Have the parent of the version that serves serve again, and return its number; version 0 stays.

        Args:
            why: Why, for the history.
        """
        number = self.current
        parent = int(self.bundle(number).about.get("version", {}).get("parent", number))
        if parent != number:
            self._point(parent, f"{_name(number)} taken back: {why}", {})
        return parent

    @property
    def history(self) -> list[dict[str, Any]]:
        """What became of the versions, in order."""
        path = self.folder / HISTORY
        found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        return found

    def _point(self, number: int, what: str, about: dict[str, Any]) -> None:
        beside = self.folder / f".{CURRENT}"
        beside.unlink(missing_ok=True)
        beside.symlink_to(_name(number), target_is_directory=True)
        os.replace(beside, self.link)
        write_json(self.folder / HISTORY, [*self.history, {"version": number, "what": what, **about}])


def _name(number: int) -> str:
    return f"{number:04d}"


def _identity(bundle: Bundle) -> tuple[Any, ...]:
    about = bundle.about
    code = about["code"].removesuffix("_own").removesuffix("_perceptron")  # older versions called all of them lowres
    return about["deployed"]["fingerprint"], code, about["k"], about["r"], about["shapes"]["query"]


def _write(folder: Path, learned: Learned, version: dict[str, Any]) -> None:
    """Replace the parity models and the confidence of a bundle, and what it states of them."""
    about = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    format = format_named(about.get("export_format", TORCHSCRIPT))
    k, n, c = about["k"], about["n"], about["shapes"]["prediction"][0]
    arrived = torch.arange(n).expand(3, n) > 0
    parts: dict[str, tuple[nn.Module, tuple[torch.Tensor, ...]]] = {
        parity_model(j): (model, (torch.rand(3, *about["shapes"]["parity_query"]),))
        for j, model in enumerate(learned.models)
    }
    confidence = learned.trusted.confidence
    assert isinstance(confidence, nn.Module)
    parts[CONFIDENCE] = confidence.eval(), (torch.rand(3, k, c), arrived)
    for name, (part, example) in parts.items():
        path = folder / f"{name}{format.suffix}"
        path.unlink(missing_ok=True)
        format.save(part, example, path)
        about["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    about["promises"] = learned.trusted.promises.to_json()
    about["parity"]["fingerprints"] = [fingerprint(model) for model in learned.models]
    about["version"] = version
    (folder / CARD).unlink(missing_ok=True)  # it is of the version before
    write_json(folder / DESCRIPTION, about)
