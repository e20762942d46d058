"""The commands of a fleet, each in a process of its own: an instance, and two fronts of which one is killed."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from parmtrain.result import Result
from parmtrain.serving.instances.model_server import InstanceSettings
from parmtrain.serving.protocol.listening import taken
from parmtrain.serving.settings import ServeSettings
from parmtrain.settings import read_settings
from tests.servers import worker_number

pytestmark = pytest.mark.slow
STARTING = 120


def free_ports(count: int) -> list[int]:
    """Return the first of some ports in a row that are free now, and the others."""
    for first in range(21_000 + 1000 * worker_number(), 60_000, 10):
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(taken("127.0.0.1", port, "port"))
            except Exception:  # one is taken
                continue
            return list(range(first, first + count))
    raise AssertionError("no free ports")


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "parmtrain.serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def asked(url: str, content: Any = None) -> tuple[int, Any]:
    body = None if content is None else json.dumps(content).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)
    except OSError:
        return 0, None


def wait_for(url: str) -> None:
    until = time.monotonic() + STARTING
    while asked(url)[0] != 200:
        assert time.monotonic() < until, url
        time.sleep(0.2)


def children(process: int) -> list[int]:
    """Return the processes that run a front."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return found


def test_the_manifests_for_kubernetes_fit_its_schema() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    path = Path(__file__).parents[1] / "experiments" / "serving" / "kubernetes.yaml"
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        validate.validate(document, "1.29", strict=True)
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in documents}
    fleet = yaml.safe_load(by_name["ConfigMap", "fleet"]["data"]["fleet.yaml"])
    for pool in ("deployed", "parity"):
        assert len(fleet[pool]) == by_name["HorizontalPodAutoscaler", pool]["spec"]["maxReplicas"]
        (container,) = by_name["StatefulSet", pool]["spec"]["template"]["spec"]["containers"]
        assert read_settings(InstanceSettings, container["args"]).model == pool
    (container,) = by_name["Deployment", "front"]["spec"]["template"]["spec"]["containers"]
    read_settings(ServeSettings, container["args"]).check()


@pytest.mark.thorough
def test_two_fronts_before_instances_of_the_command(finished: Result, tmp_path: Path) -> None:
    ports = free_ports(6)
    bundle, urls = f"bundle={finished.folder}", [f"http://127.0.0.1:{port}" for port in ports]
    (tmp_path / "fleet.yaml").write_text(json.dumps({"deployed": [urls[0]] * 2, "parity": [urls[1]] * 2}))
    with ExitStack() as stack:
        for model, port in (("deployed", ports[0]), ("parity", ports[1])):
            stack.enter_context(command("--instance", bundle, f"model={model}", f"port={port}"))
        settings = (f"fleet={tmp_path / 'fleet.yaml'}", f"port={ports[2]}", f"metrics_port={ports[4]}")
        front = stack.enter_context(command(bundle, *settings, "frontends=2", "name=mine"))
        for url in (urls[0], urls[1], urls[4], urls[5]):
            wait_for(f"{url}/v2/health/ready")
        query = {"name": "query", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.5] * 64}
        answers = [asked(f"{urls[2]}/v2/models/mine/infer", {"inputs": [query]}) for _ in range(10)]
        assert [status for status, _ in answers] == [200] * 10
        first, second = children(front.pid)
        os.kill(first, signal.SIGKILL)
        statuses = [asked(f"{urls[2]}/v2/models/mine/infer", {"inputs": [query]})[0] for _ in range(20)]
        assert statuses.count(200) >= 19  # but for one that it may have held
        until = time.monotonic() + STARTING
        while len(children(front.pid)) < 2:
            assert time.monotonic() < until
            time.sleep(0.2)
        assert second in children(front.pid)
        for url in urls[4:]:
            wait_for(f"{url}/v2/health/ready")
        front.send_signal(signal.SIGTERM)
        assert front.wait(60) == 0
        assert not children(front.pid)
        for stop, times in ((signal.SIGTERM, 1), (signal.SIGINT, 1), (signal.SIGINT, 2)):
            with command(bundle, *settings) as single:
                wait_for(f"{urls[4]}/v2/health/ready")
                for _ in range(times):
                    single.send_signal(stop)
                    time.sleep(0.02)
                assert single.stdout is not None
                said = single.stdout.read()
                assert single.wait(60) in (0, 128 + stop)
                assert "Traceback" not in said
                assert "before the fleet in" in said
        with command(bundle, *settings) as again, taken("127.0.0.1", ports[2], "port"):
            assert again.stdout is not None
            said = again.stdout.read()
            assert again.wait(60) == 1
            assert f"port={ports[2]} must be free on 127.0.0.1: Address already in use" in said
            assert "Traceback" not in said


@pytest.mark.thorough
def test_a_change_of_the_bundle_in_place_loses_no_query(finished: Result, tmp_path: Path) -> None:
    ports = free_ports(6)
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    current = tmp_path / "current"
    current.symlink_to(finished.folder)
    (tmp_path / "fleet.yaml").write_text(json.dumps({"deployed": [urls[0]] * 2, "parity": [urls[1]] * 2}))
    with ExitStack() as stack:
        for model, port in (("deployed", ports[0]), ("parity", ports[1])):
            stack.enter_context(command("--instance", f"bundle={finished.folder}", f"model={model}", f"port={port}"))
        settings = (f"fleet={tmp_path / 'fleet.yaml'}", f"port={ports[2]}", f"metrics_port={ports[4]}", "frontends=2")
        front = stack.enter_context(command(f"bundle={current}", *settings))
        for url in (urls[0], urls[1], urls[4], urls[5]):
            wait_for(f"{url}/v2/health/ready")
        before = children(front.pid)
        query = {"name": "query", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.5] * 64}

        def answered() -> None:
            assert asked(f"{urls[2]}/v2/models/digits/infer", {"inputs": [query]})[0] == 200
            time.sleep(0.01)

        front.send_signal(signal.SIGHUP)
        until = time.monotonic() + STARTING
        while set(before) & set(children(front.pid)):
            assert time.monotonic() < until
            answered()
        after = children(front.pid)
        assert len(after) == 2

        current.unlink()
        current.symlink_to(tmp_path / "nothing")
        front.send_signal(signal.SIGHUP)
        assert front.stdout is not None
        while "no front changed, since the new one did not become ready" not in front.stdout.readline():
            assert front.poll() is None
        for _ in range(20):
            answered()
        assert children(front.pid) == after
        os.kill(after[0], signal.SIGKILL)  # the one that takes its place reads the bundle that the others have
        until = time.monotonic() + STARTING
        while after[0] in children(front.pid) or len(children(front.pid)) < 2:
            assert time.monotonic() < until
            time.sleep(0.2)
        for url in urls[4:]:
            wait_for(f"{url}/v2/health/ready")
        answered()
