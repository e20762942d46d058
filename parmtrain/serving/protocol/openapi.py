"""The description of a service's HTTP interface, for tools that read OpenAPI.

Source: https://spec.openapis.org/oas/v3.1.0
"""

from typing import Any

from parmtrain.serving.protocol.dataplane import PREDICTION, QUERY, TENANT, DataPlane, Model
from parmtrain.serving.protocol.tensors import TYPES

NUMBERS = {"type": "array", "items": {"type": "number"}}
ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
REFUSALS = {
    "400": "The body is no message of the protocol.",
    "404": "There is no such model.",
    "413": "The body is too large.",
    "422": "The queries are not valid, or out of the range of training where such are refused.",
    "503": "Too many queries wait; Retry-After says for how many seconds to wait.",
    "504": "No prediction could be given.",
}


def document(plane: DataPlane) -> dict[str, Any]:
    """Return the OpenAPI document of a server of the Open Inference Protocol.

    Args:
        plane: What it offers.
    """
    paths: dict[str, Any] = {
        "/v2": _get("The metadata of the server"),
        "/v2/health/live": _get("Whether the process runs"),
        "/v2/health/ready": _get("Whether queries can be answered now", {"503": "They cannot."}),
    }
    for model in plane.models.values():
        at = f"/v2/models/{model.name}"
        paths[at] = _get(f"The metadata of {model.name}")
        paths[f"{at}/ready"] = _get(f"Whether {model.name} can answer now", {"503": "It cannot."})
        paths[f"{at}/infer"] = {"post": _infer(model)}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"parmtrain: {', '.join(plane.models)}", "version": plane.server["version"]},
        "paths": paths,
        "components": {"schemas": {"Error": ERROR}},
    }


def _get(summary: str, others: dict[str, str] | None = None) -> dict[str, Any]:
    responses = {"200": {"description": "It is so."}} | _refusals(others or {})
    return {"get": {"summary": summary, "responses": responses}}


def _refusals(described: dict[str, str]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": about, "content": content} for status, about in described.items()}


def _infer(model: Model) -> dict[str, Any]:
    """Return the operation that answers queries."""
    request = _object({"inputs": _list(_tensor(QUERY, model.query_shape, list(TYPES)))}, "inputs")
    request["properties"] |= {
        "id": {"type": "string"},
        "parameters": _object({"deadline_ms": {"type": "number", "exclusiveMinimum": 0}}),
    }
    response = _object({"outputs": _list(_tensor(PREDICTION, (model.outputs,), ["FP32"]))}, "outputs")
    response["properties"] |= {
        "model_name": {"type": "string"},
        "id": {"type": "string"},
        "parameters": _object({name: {"type": "string"} for name in ("kind", "group", "confidence")}),
    }
    header = {
        "name": TENANT, "in": "header", "schema": {"type": "string"},
        "description": "Whose queries these are: those of different tenants are never encoded together.",
    }  # fmt: skip
    return {
        "summary": f"Predictions of {model.name}",
        "parameters": [header],
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {"200": {"description": "Predictions.", "content": {"application/json": {"schema": response}}}}
        | _refusals(REFUSALS),
    }


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties} | ({"required": list(required)} if required else {})


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": 1}


def _tensor(name: str, shape: tuple[int, ...], types: list[str]) -> dict[str, Any]:
    """Return the schema of a tensor ``[b, *shape]``."""
    sizes = [{"type": "integer", "minimum": 1}, *({"const": size} for size in shape)]
    return _object(
        {
            "name": {"const": name},
            "shape": {"type": "array", "prefixItems": sizes, "minItems": len(sizes), "maxItems": len(sizes)},
            "datatype": {"enum": types},
            "data": NUMBERS,
        },
        "name", "shape", "datatype", "data",
    )  # fmt: skip
