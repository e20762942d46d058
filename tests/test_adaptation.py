"""Parity models learn from what is served: what is kept, what is promoted, what is taken back."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import parmtrain
from parmtrain import adapt
from parmtrain.adapt import Adaptation, AdaptSettings
from parmtrain.adaptation import PairFolder, Pairs, Shadow, Versions
from parmtrain.adaptation.pairs import CHUNK
from parmtrain.bundle import Bundle
from parmtrain.errors import DataError, ParmtrainError
from parmtrain.result import Result


def served_queries(result: Result, count: int, seed: int, drifted: bool = True) -> Pairs:
    """Return queries of the training split, changed as no training has seen them, and F's own predictions."""
    stored, _ = result.splits.train[torch.arange(len(result.splits.train))]
    random = torch.Generator().manual_seed(seed)
    queries = result.task.input(stored[torch.randint(0, len(stored), (count,), generator=random)])
    if drifted:
        queries = queries.flip(2).roll(1, dims=3)
    bundle = Bundle(result.folder)
    assert bundle.deployed is not None
    with torch.no_grad():
        return Pairs(queries, bundle.deployed(queries))


def keep(folder: Path, pairs: Pairs) -> PairFolder:
    served = PairFolder(folder)
    for queries, predictions in zip(*(part.split(CHUNK) for part in pairs), strict=True):
        served.write(queries.numpy(), predictions.numpy())
    return served


@pytest.fixture(scope="module")
def kept(finished: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of drifted queries that were served by the finished run's bundle."""
    folder = tmp_path_factory.mktemp("kept")
    keep(folder, served_queries(finished, 16 * CHUNK, seed=0))
    return folder


def settings_for(finished: Result, kept: Path, folder: Path, **more: object) -> AdaptSettings:
    settings = AdaptSettings(bundle=str(finished.folder), versions=str(folder), keep=str(kept), epochs=6)
    for name, value in more.items():
        setattr(settings, name, value)
    return settings


@pytest.mark.slow
def test_a_shadow_regains_what_drift_has_cost(finished: Result, kept: Path, tmp_path: Path) -> None:
    adaptation = Adaptation(settings_for(finished, kept, tmp_path / "versions"))
    assert adaptation.versions.current == 0
    assert adaptation.round()
    assert adaptation.versions.current == 1
    about = Bundle(tmp_path / "versions" / "current").about
    assert about["version"]["agreement"] > about["version"]["before"] + 0.02
    old, new = Bundle(finished.folder), adaptation.versions.bundle()
    assert new.about["files"]["parity_model.ts"] != old.about["files"]["parity_model.ts"]
    assert new.about["files"]["encoder.ts"] == old.about["files"]["encoder.ts"]
    fresh = served_queries(finished, 400, seed=1)
    groups = fresh.queries.unflatten(0, (-1, 2))
    right = [
        (bundle.reconstruct(groups, lost=0)[:, 0].argmax(1) == fresh.predictions[::2].argmax(1)).float().mean()
        for bundle in (old, new)
    ]
    assert right[1] > right[0]
    assert new.promises is not None
    assert new.confidence is not None
    assert [one["what"] for one in adaptation.versions.history] == ["begun", "promoted"]


def test_nothing_is_promoted_that_is_no_better(finished: Result, tmp_path: Path) -> None:
    keep(tmp_path / "kept", served_queries(finished, 8 * CHUNK, seed=0, drifted=False))
    settings = settings_for(finished, tmp_path / "kept", tmp_path / "versions", epochs=1, lr=1e-9)
    adaptation = Adaptation(settings)
    assert not adaptation.round()
    assert adaptation.versions.current == 0


def test_the_same_seed_learns_the_same(finished: Result, kept: Path) -> None:
    learned, held_out = PairFolder(kept).read()
    few = Pairs(*(part[:512] for part in learned))
    first, again = (Shadow(Bundle(finished.folder), seed=3, epochs=1).learn(few, held_out) for _ in range(2))
    assert first.agreement == again.agreement
    for one, other in zip(first.models[0].parameters(), again.models[0].parameters(), strict=True):
        assert torch.equal(one, other)
    kept_as_it_was = Bundle(finished.folder).parity_models[0]
    assert isinstance(kept_as_it_was, nn.Module)
    assert torch.equal(next(kept_as_it_was.parameters()), next(finished.module.parity_models[0].parameters()))


class Front(BaseHTTPRequestHandler):
    """A front that says how often reconstructions agree."""

    state: ClassVar[dict[str, object]] = {}

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(self.state).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.mark.slow
def test_a_version_that_disappoints_is_taken_back(finished: Result, kept: Path, tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Front) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        status = f"http://127.0.0.1:{server.server_port}/status"
        adaptation = Adaptation(settings_for(finished, kept, tmp_path / "versions", status=status))
        Front.state = {"agreement": {"audit": {"overall": {"count": 1000, "agreement": 0.2}}}}  # of version 0
        assert not adaptation.watch()
        assert adaptation.round()
        promised = adaptation.versions.bundle().about["version"]["agreement"]
        total = 1000 * 0.2 + 500 * promised
        Front.state = {"agreement": {"audit": {"overall": {"count": 1500, "agreement": total / 1500}}}}
        assert not adaptation.watch()
        Front.state = {"agreement": {"audit": {"overall": {"count": 2000, "agreement": (total + 500 * 0.4) / 2000}}}}
        assert adaptation.watch()
        assert adaptation.versions.current == 0
        assert "taken back" in adaptation.versions.history[-1]["what"]
        server.shutdown()
    again = Adaptation(settings_for(finished, kept, tmp_path / "versions"))  # a restart
    assert again.versions.current == 0
    assert again.versions.take_back("no parent") == 0


def test_versions_are_of_one_bundle(finished: Result, tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions")
    versions.begin(Bundle(finished.folder))
    bundle = Bundle(finished.folder)
    bundle.about["code"] = "another"
    with pytest.raises(DataError, match="holds versions of another bundle"):
        versions.begin(bundle)
    versions.link.unlink()
    with pytest.raises(DataError, match="must be a link to a version of a bundle"):
        _ = versions.current


def test_the_folder_of_served_queries_is_bounded_and_damage_is_named(tmp_path: Path) -> None:
    served = PairFolder(tmp_path, most=5)
    with pytest.raises(DataError, match="must hold 5 or more files of served queries"):
        served.read()
    for number in range(9):
        served.write(np.full((4, 2), number, np.float32), np.zeros((4, 3), np.float32))
    assert len(list(tmp_path.glob("*.npz"))) == 5
    assert served.written == 9
    served.write(np.zeros((4, 2), np.float32), np.zeros((4, 7), np.float32))
    with pytest.raises(DataError, match="must hold queries of one shape"):
        served.read()
    (tmp_path / "pairs-000000000008.npz").write_bytes(b"PK no")
    with pytest.raises(DataError, match="must be a file of served queries that a front wrote"):
        served.read()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "bundle must be a folder, got none; set bundle=…"),
        (["bundle=x", "versions=v"], "keep must be a folder, got none"),
        (["bundle=x", "versions=v", "keep=k", "status=here"], "status must be an address, http://…, got here"),
        (["bundle=nowhere", "versions=v", "keep=k"], "nowhere must hold a bundle"),
        (["bundle=x", "versions=v", "keep=k", "every=0"], "every must be more than 0, got 0"),
    ],
)
def test_mistakes_get_one_sentence(
    given: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert adapt.main(given) != 0
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_cannot_learn_is_refused(tmp_path: Path, finished: Result) -> None:
    bundle = Bundle(finished.folder)
    bundle.about["kind"] = "poems"
    with pytest.raises(ParmtrainError, match="adaptation needs classes, boxes or embeddings"):
        Shadow(bundle)
    bundle = parmtrain.load(finished.folder)
    bundle.about["parity"]["models"] = 0
    with pytest.raises(ParmtrainError, match="code=sum has no parity model that could learn"):
        Shadow(bundle)
