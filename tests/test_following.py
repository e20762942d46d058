"""Fronts and instances take another version of a bundle while they run, and keep what adaptation learns from."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from parmtrain.adaptation import PairFolder, Versions
from parmtrain.adaptation.pairs import CHUNK
from parmtrain.adaptation.shadow import Learned
from parmtrain.bundle import Bundle
from parmtrain.confidence import Promises, Softmax
from parmtrain.errors import ConfigError
from parmtrain.evaluation.certainty import Calibrated
from parmtrain.result import Result
from parmtrain.serving import Frontend
from parmtrain.serving.front.served import read_served
from parmtrain.serving.front.version import Version
from parmtrain.serving.instances.model_server import InstanceSettings, one_model
from parmtrain.serving.process.link import Link
from parmtrain.serving.service.driver import Service
from parmtrain.serving.service.keeping import Kept
from parmtrain.serving.settings import ServeSettings
from tests.fleets import app_of, ask, call, front, listed, wait_for
from tests.servers import serving

pytestmark = pytest.mark.slow


def promoted(versions: Versions, threshold: float) -> None:
    """Promote parity models that are those which serve, but for a little, with another threshold."""
    bundle = versions.bundle()
    (model,) = bundle.parity_models
    assert isinstance(model, torch.nn.Module)
    with torch.no_grad():
        next(model.parameters()).add_(1e-4)
    trusted = Calibrated(Softmax("class scores", 1, 10), Promises(0.9, {0.9: [threshold]}))
    versions.promote(Learned([model], 0.9, 0.8, 0.001, trusted), pairs=512)


def test_another_version_is_taken_while_queries_are_answered(
    finished: Result, queries: torch.Tensor, tmp_path: Path
) -> None:
    versions = Versions(tmp_path / "versions")
    versions.begin(Bundle(finished.folder))
    with ExitStack() as stack:
        names = ("deployed", "deployed", "parity")
        models = [one_model(InstanceSettings(bundle=str(versions.link), model=name)) for name in names]
        servers = [stack.enter_context(serving(app_of(model))) for model in models]
        path = listed(tmp_path / "fleet.yaml", servers[:2], servers[2:])
        settings = {"bundle": str(versions.link), "accept": 0.9, "follow": True, "keep": str(tmp_path / "kept")}
        url = stack.enter_context(front(finished, path, **settings))
        assert call(f"{url}/status")[1]["trust"]["thresholds"] != [0.25]
        promoted(versions, threshold=0.25)
        wait_for(lambda: call(f"{url}/status")[1]["trust"]["thresholds"] == [0.25])
        assert {ask(url, query)[0] for query in queries} == {200}
        assert call(f"{url}/healthz")[1]["counts"].get("lost", 0) == 0  # the old parity model may still answer
        models[2].take(one_model(InstanceSettings(bundle=str(versions.link), model="parity")))
        assert {ask(url, query)[0] for query in queries} == {200}
        state = call(f"{url}/healthz")[1]
        assert state["up"] == [2, 1]
        assert state["counts"].get("lost", 0) == 0
        assert state["counts"]["coded"] > 0


def test_a_bundle_of_another_model_is_not_taken(finished: Result, tmp_path: Path) -> None:
    settings = ServeSettings(bundle=str(finished.folder))
    served = read_served(settings)
    service = Service(Frontend(served.scheme, [1, 1]), served.bundle, [], 10, 10)
    version = Version(service, served, settings)
    other = read_served(settings)
    other.bundle.about["k"] = 3
    with pytest.raises(ConfigError, match="it must have the k of the bundle that is served, 2, got 3"):
        version.take(other)
    assert version.served is served


def test_a_link_that_leads_to_nothing_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    taken: list[str] = []

    def read() -> str:
        if (tmp_path / "link").resolve().name == "bad":
            raise ConfigError(["no bundle"])
        return (tmp_path / "link").resolve().name

    for name in ("first", "bad", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("first")

    async def work() -> None:
        following = asyncio.create_task(Link(str(tmp_path / "link"), read, taken.append).follow())
        for name in ("bad", "second"):
            (tmp_path / "link").unlink()
            (tmp_path / "link").symlink_to(name)
            await asyncio.sleep(1.2)
        following.cancel()

    asyncio.run(work())
    assert taken == ["second"]
    assert "which cannot be taken: no bundle" in caplog.text


def test_instances_take_a_version_after_fronts_know_it(tmp_path: Path) -> None:
    taken: list[str] = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    link = tmp_path / "link"
    link.symlink_to("first")

    async def work() -> None:
        both = [
            Link(str(link), str(who).format, taken.append, wait) for who, wait in (("instance", 1.0), ("front", 0.0))
        ]
        following = [asyncio.create_task(one.follow()) for one in both]
        link.unlink()
        link.symlink_to("second")
        await asyncio.sleep(2.5)
        for task in following:
            task.cancel()

    asyncio.run(work())
    assert taken == ["front", "instance"]


def test_a_front_keeps_what_it_serves_in_whole_files(tmp_path: Path) -> None:
    folder = PairFolder(tmp_path / "kept")

    async def work() -> None:
        kept = Kept(folder, share=0.5)
        for number in range(5 * CHUNK):
            query = torch.full((2, 3), float(number))
            kept.take(query, [torch.zeros(4), None if number % 2 else torch.ones(4)])
        await asyncio.sleep(0.5)

    asyncio.run(work())
    files = sorted((tmp_path / "kept").glob("*.npz"))
    assert len(files) == 3  # 1,920 of 2,560 were well-formed, and half of them is kept
    with np.load(files[0]) as content:
        assert content["queries"].shape == (CHUNK, 3)
        assert content["predictions"].shape == (CHUNK, 4)
