"""The description of the HTTP interface: valid, and true of what is sent and answered."""

import json
import urllib.request

import jsonschema
import pytest
import torch
from openapi_spec_validator import OpenAPIV31SpecValidator
from torch import nn

from parmtrain.serving.instances.model_server import OneModel
from parmtrain.serving.instances.runner import Runner
from parmtrain.serving.protocol.dataplane import DataPlane
from parmtrain.serving.protocol.http import Protocol, application
from tests.servers import serving

QUERY = {"name": "query", "shape": [2, 6], "datatype": "FP32", "data": [0.5] * 12}


def test_the_description_is_valid_and_true() -> None:
    with torch.random.fork_rng():
        model = OneModel("linear", Runner(nn.Linear(6, 4)), (6,), 4)
    with serving(application(Protocol(DataPlane(model)).routes)) as url:
        with urllib.request.urlopen(f"{url}/openapi.json") as answer:
            described = json.load(answer)
        OpenAPIV31SpecValidator(described).validate()
        for path, operations in described["paths"].items():
            if "get" in operations:
                with urllib.request.urlopen(f"{url}{path}") as answer:
                    assert answer.status == 200
        infer = described["paths"]["/v2/models/linear/infer"]["post"]
        request = {"inputs": [QUERY], "id": "7"}
        with urllib.request.urlopen(f"{url}/v2/models/linear/infer", json.dumps(request).encode()) as answer:
            response = json.load(answer)
    asked, answered = (
        one["content"]["application/json"]["schema"] for one in (infer["requestBody"], infer["responses"]["200"])
    )
    jsonschema.validate(request, asked)
    jsonschema.validate(response, answered)
    for wrong in ({"shape": [2, 5]}, {"name": "x"}, {"datatype": "BOOL"}, {"data": ["a"]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"inputs": [QUERY | wrong]}, asked)
