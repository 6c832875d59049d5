"""What the OpenAPI at /docs says of bodies and answers; the endpoints read bodies themselves,
so that limits hold while they arrive."""

from __future__ import annotations

from typing import Any

from lenet_paddle.serve.protocol import INPUT, LENGTH_HEADER, OUTPUT

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
BYTES: Schema = {"type": "string", "format": "binary"}
BASE64: Schema = {"type": "string", "contentEncoding": "base64"}
ERRORS = {
    400: "The body is not what was expected.",
    404: "There is nothing of this kind here.",
    408: "The body took too long to arrive.",
    413: "The body, a picture or the batch is above the limit.",
    415: "The body is of another kind, or compressed.",
    500: "The server failed.",
    503: "The server is busy, or the answer took too long.",
}


def list_of(items: Schema, **more: Any) -> Schema:
    """The schema of a list."""
    return {"type": "array", "items": items, **more}


def object_of(*optional: str, **properties: Schema) -> Schema:
    """The schema of an object; all properties but the optional ones must be there."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def document(answer: Schema, body: dict[str, Schema] | None = None, **more: Any) -> dict[str, Any]:
    """FastAPI's `openapi_extra` of an endpoint that answers JSON of the schema `answer`; `body`
    gives the schemas of what it takes, by content type."""
    error = {"application/json": {"schema": object_of(error=TEXT)}}
    statuses = ERRORS if body else ()
    documented: dict[str, Any] = {
        "responses": {
            "200": {"content": {"application/json": {"schema": answer}}},
            **{str(n): {"description": ERRORS[n], "content": error} for n in statuses},
        },
        **more,
    }
    if body:
        content = {kind: {"schema": schema} for kind, schema in body.items()}
        documented["requestBody"] = {"required": True, "content": content}
    return documented


_prediction = {
    "class": TEXT,
    "probability": NUMBER,
    "probabilities": {"type": "object", "additionalProperties": NUMBER},
    "seen": {**BASE64, "description": "A PNG of 28x28 pixels: what the network saw."},
}
_feature = object_of(name=TEXT, shape=list_of(WHOLE), data=BASE64)
_tensor_about = object_of(name=TEXT, datatype=TEXT, shape=list_of(WHOLE))
_parameters: Schema = {"type": "object"}
_pictures = {
    "multipart/form-data": object_of(files=list_of(BYTES, minItems=1)),
    "application/json": object_of(images=list_of(BASE64, minItems=1)),
}
_request = object_of(
    *("id", "parameters", "outputs"),
    id=TEXT,
    parameters=_parameters,
    inputs=list_of(
        object_of(
            *("data", "parameters"),
            name={"const": INPUT},
            datatype={"const": "FP32"},
            shape=list_of({**WHOLE, "minimum": 1}, minItems=4, maxItems=4),
            data=list_of({}),
            parameters=_parameters,
        ),
        minItems=1,
        maxItems=1,
    ),
    outputs=list_of(
        object_of("parameters", name={"const": OUTPUT}, parameters=_parameters), maxItems=1
    ),
)
_output = object_of(
    *("data", "parameters"),
    name={"const": OUTPUT},
    datatype=TEXT,
    shape=list_of(WHOLE),
    data=list_of(NUMBER),
    parameters=_parameters,
)

PREDICT = document(object_of(predictions=list_of(object_of(**_prediction))), _pictures)
FEATURES = document(object_of(**_prediction, features=list_of(_feature)), _pictures)
MODEL_JSON = document(
    object_of(
        classes=list_of(TEXT),
        preprocess=TEXT,
        input={"type": "object"},
        dataset=TEXT,
        dataset_title={"type": ["string", "null"]},
        is_light_on_dark={"type": "boolean"},
        features=list_of(object_of(name=TEXT, shape=list_of(WHOLE))),
    )
)
SERVER_ABOUT = document(object_of(name=TEXT, version=TEXT, extensions=list_of(TEXT)))
MODEL_ABOUT = document(
    object_of(
        name=TEXT,
        versions=list_of(TEXT),
        platform=TEXT,
        inputs=list_of(_tensor_about),
        outputs=list_of(_tensor_about),
    )
)
LIVE = document(object_of(live={"type": "boolean"}))
READY = document(object_of(ready={"type": "boolean"}))
_length = {"type": "integer", "minimum": 0}
INFER = document(
    object_of("id", model_name=TEXT, model_version=TEXT, id=TEXT, outputs=list_of(_output)),
    {"application/json": _request, "application/octet-stream": BYTES},
    parameters=[
        {
            "name": LENGTH_HEADER,
            "in": "header",
            "required": False,
            "description": "Bytes of the JSON part, when tensors follow it in binary; 0 when the "
            "body is one picture's tensor.",
            "schema": _length,
        }
    ],
)
INFER["responses"]["200"]["content"]["application/octet-stream"] = {"schema": BYTES}
INFER["responses"]["200"]["headers"] = {
    LENGTH_HEADER: {
        "description": "Bytes of the JSON part, when the logits follow it in binary.",
        "schema": _length,
    }
}
