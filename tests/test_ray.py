"""The service on Ray, started by its command: answers, refusals, a killed instance, an orderly end."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from parmtrain import compose, run
from parmtrain.errors import ConfigError
from parmtrain.result import Result
from parmtrain.serving.on_ray.life import LOOPBACK

pytest.importorskip("ray", reason="serving needs Ray: pip install 'parmtrain[ray]'")
pytestmark = [pytest.mark.ray, pytest.mark.slow]
PORT, METRICS = 8317, 8318
URL = f"http://127.0.0.1:{PORT}"
STARTING = 240


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("serving") / "run"
    return run(compose("trainer.max_epochs=2", "deployed.fit.epochs=3"), folder)


@pytest.fixture(scope="module")
def service(trained: Result, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    output = tmp_path_factory.mktemp("serving") / "output.txt"
    command = [sys.executable, "-m", "parmtrain.serve", f"bundle={trained.folder}", "k=2", "replicas=2"]
    more = [f"port={PORT}", f"metrics_port={METRICS}", "deadline=60", "hung_after=60"]
    with open(output, "wb") as file:
        process = subprocess.Popen([*command, *more], stdout=file, stderr=subprocess.STDOUT)
    until = time.monotonic() + STARTING
    try:
        while b"take POST" not in output.read_bytes():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < until, output.read_text()
            time.sleep(0.5)
        yield process
    finally:
        process.terminate()  # then it stops Ray's processes, too
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


HANDLE = """
import ray, torch
from ray import serve
ray.init(address="auto", log_to_driver=False)
handle = serve.get_app_handle("parmtrain")
answer = handle.predict.remote(torch.zeros(1, 8, 8)).result()
print(answer["kind"], len(answer["prediction"]))
try:
    handle.predict.remote(torch.zeros(8, 8)).result()
except Exception as fault:
    print(fault.cause)
"""


def post(body: bytes, kind: str = "application/json") -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(URL, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


@pytest.mark.thorough
def test_the_service_from_start_to_end(trained: Result, service: subprocess.Popen[bytes]) -> None:
    queries = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    predictions = trained.module.deployed(queries)

    def ask(number: int) -> tuple[int, dict[str, object]]:
        if number % 2:
            return post(queries[number].numpy().tobytes(), "application/octet-stream")
        return post(json.dumps({"query": queries[number].tolist()}).encode())

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(24)))
        for (status, answer), prediction in zip(answers, predictions, strict=True):
            assert status == 200
            assert answer["kind"] in ("deployed", "reconstructed")
            if answer["kind"] == "deployed":
                assert torch.allclose(torch.tensor(answer["prediction"]), prediction, atol=1e-4)
        assert any(answer["kind"] == "deployed" for _, answer in answers)

        assert post(b"{")[0] == 400
        assert post(b'{"query": [1]}') == (422, {"error": "the query must have shape [1, 8, 8], got [1]"})
        assert post(b" " * 100_000)[0] == 413
        assert post(b"?", "image/png")[0] == 415

        asked = [pool.submit(ask, number) for number in range(24)]
        os.kill(worker_process(service.pid), signal.SIGKILL)
        assert [one.result()[0] for one in asked] == [200] * 24

    with urllib.request.urlopen(f"{URL}/healthz", timeout=30) as health:
        state = json.load(health)
    assert all(seconds > 0 for seconds in state["occupied"])
    assert state["status"] == "ok"
    assert state["waiting"] == 0
    assert sum(state["counts"].get(kind, 0) for kind in ("deployed", "reconstructed")) == 48
    until = time.monotonic() + 60
    while "parmtrain_answers" not in (text := metrics()):
        assert time.monotonic() < until, text[:1000]
        time.sleep(1.0)
    own = {**os.environ, LOOPBACK: "0"}
    command = [sys.executable, "-c", HANDLE]
    handle = subprocess.run(command, env=own, capture_output=True, text=True, timeout=120, check=False)
    assert handle.stdout.splitlines() == [
        "deployed 10",
        "the query must hold numbers of shape [1, 8, 8], got torch.float32 [8, 8]",
    ], handle.stderr
    service.send_signal(signal.SIGTERM)
    assert service.wait(60) == 0


def metrics() -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def worker_process(parent: int) -> int:
    """Return an instance's process, found by the name that Ray gives it."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::Worker"):
            return int(folder.name)
    raise AssertionError("no instance is running")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "bundle must be the folder of a run or its export folder, got none"),
        (["bundle=nowhere"], "nowhere must hold a bundle, but nowhere/bundle.json does not exist"),
        (["bundle={folder}", "k=3"], "k must be 2, the k of the bundle in {folder}, got 3"),
        (["bundle={folder}", "replicas=0"], "replicas must be more than 0, got 0"),
    ],
)
def test_mistakes_are_said_before_anything_starts(
    arguments: list[str], sentence: str, trained: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    from parmtrain.serve import main

    folder = str(trained.folder)
    assert main([argument.format(folder=folder) for argument in arguments]) == 1
    assert sentence.format(folder=folder) in capsys.readouterr().err


def test_an_application_for_serve_deploy() -> None:
    from ray.serve import Application

    from parmtrain.serving.on_ray.app import build

    assert isinstance(build({"bundle": "run", "replicas": 12}), Application)
    with pytest.raises(ConfigError, match="bundle must be"):
        build({})
