"""The manifests for Ray on clusters: what Ray Serve, Kubernetes and KubeRay check of them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from parmtrain.serving.settings import ServeSettings

ray = pytest.importorskip("ray", reason="serving needs Ray: pip install 'parmtrain[ray]'")
FOLDER = Path(__file__).parents[1] / "experiments" / "serving"


def documents() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all((FOLDER / "kuberay.yaml").read_text())}


def serve_configs() -> dict[str, Any]:
    in_cluster = documents()["RayService"]["spec"]["serveConfigV2"]
    return {"service": yaml.safe_load((FOLDER / "service.yaml").read_text()), "kuberay": yaml.safe_load(in_cluster)}


@pytest.mark.parametrize("name", ["service", "kuberay"])
def test_what_is_deployed_fits_the_schema_of_ray_serve(name: str) -> None:
    from ray.serve import Application
    from ray.serve.schema import ServeDeploySchema

    from parmtrain.serving.on_ray import app

    schema = ServeDeploySchema.parse_obj(serve_configs()[name])
    (application,) = schema.applications
    assert application.import_path == f"{app.__name__}:{app.build.__name__}"
    ServeSettings(**application.args).check()
    assert isinstance(app.build(application.args), Application)


def test_each_frontend_on_kubernetes_has_as_many_instances() -> None:
    (application,) = serve_configs()["kuberay"]["applications"]
    settings = ServeSettings(**application["args"])
    assert settings.frontends == 2
    assert settings.replicas % 2 == 0 == (settings.parity_replicas or 0) % 2


def test_the_cluster_of_kuberay_has_room_for_all_instances() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    found = documents()
    service = found["RayService"]
    assert service["apiVersion"] == "ray.io/v1"
    assert set(service["spec"]) == {"serveConfigV2", "rayClusterConfig"}
    cluster = service["spec"]["rayClusterConfig"]
    assert set(cluster) == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    assert cluster["rayVersion"].split(".")[:2] == ray.__version__.split(".")[:2]
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert set(head) == {"rayStartParams", "template"}
    assert set(workers) == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (head, workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group["template"]}
        validate.validate(pod, "1.29", strict=True)
    validate.validate(found["PersistentVolumeClaim"], "1.29", strict=True)
    ports = {one["name"]: one["containerPort"] for one in head["template"]["spec"]["containers"][0]["ports"]}
    (application,) = serve_configs()["kuberay"]["applications"]
    assert ports["serve"] == serve_configs()["kuberay"]["http_options"]["port"]
    settings = ServeSettings(**application["args"])
    (container,) = workers["template"]["spec"]["containers"]
    room = workers["replicas"] * int(container["resources"]["limits"]["cpu"])
    assert room >= settings.cpus * (settings.replicas + (settings.parity_replicas or 0))
    assert all(str(settings.bundle).startswith(one["mountPath"]) for one in container["volumeMounts"])
