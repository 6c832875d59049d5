"""The endpoints: the page, pictures, the Open Inference Protocol, metrics, and their OpenAPI."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles

from lenet_paddle._version import __version__
from lenet_paddle.export.explainer import FOLDER as EXPLAINER
from lenet_paddle.serve import protocol, schemas
from lenet_paddle.serve.bodies import read_pictures
from lenet_paddle.serve.limits import LimitsMiddleware
from lenet_paddle.serve.service import Service
from lenet_paddle.tables import format_json

Answer = Callable[[], dict[str, Any]]

PAGE = Path(__file__).parents[1] / "page"
COMPONENT = "#/components/schemas/{model}"
ERRORS = {
    400: "The body is not what was expected.",
    404: "There is nothing of this kind here.",
    408: "The body took too long to arrive.",
    413: "The body, a picture or the batch is above the limit.",
    415: "The body is of another kind, or not compressed by gzip or deflate.",
    500: "The server failed.",
    503: "The server is busy, or the answer took too long.",
}
LENGTH = {
    "description": "Bytes of the JSON part, if tensors follow it in binary; in a request 0 if the "
    "body is one picture's tensor.",
    "schema": {"type": "integer", "minimum": 0},
}
WARNING = {
    "description": "Set if the values do not seem to be normalised; `parameters` say the same.",
    "schema": {"type": "string"},
}
MANY = {
    "name": "many",
    "in": "query",
    "required": False,
    "description": "1: find all digits of each picture, and join them into numbers.",
    "schema": {"type": "integer", "enum": [0, 1], "default": 0},
}
BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def create_app(service: Service, cors: str | None = None) -> FastAPI:
    """Return the ASGI application that answers with `service`, also pages of the origin `cors`."""
    app = FastAPIOffline(  # FastAPI whose /docs loads nothing from another host
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat the client's Host header
        separate_input_output_schemas=False,
        static_url="/docs/static",
        telemetry={"tracing": False, "metrics": False, "logs": False},  # costs 4% of a request
        title="lenet_paddle",
        version=__version__,
        description='Classifies pictures. An error is `{"error": "one line"}`.',
    )
    app.add_exception_handler(HTTPException, _to_error)
    _add_pictures(app, service)
    _add_protocol(app, service)
    _add_pages(app, service)
    _document_requests(app)
    app.router.routes[:] = map(_without_dependencies, app.routes)
    app.add_middleware(
        LimitsMiddleware,
        limits=service.limits,
        metrics=service.metrics,
        name_endpoint=partial(name_endpoint, {getattr(route, "path", "") for route in app.routes}),
    )
    if cors is not None:  # the outermost, so that a page can also read errors
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[cors],
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[protocol.LENGTH_HEADER, "warning", "retry-after"],
        )
    return app


def name_endpoint(known: set[str], path: str) -> str:
    """Return the metrics' label for `path`: one of the paths in `known`, or `other`."""
    if path in known:
        return path
    folders = (folder for folder in ("/static", "/docs/static") if path.startswith(f"{folder}/"))
    return next(folders, "other")


async def _to_error(request: Request, error: Any) -> Response:
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


def _without_dependencies(route: BaseRoute) -> BaseRoute:
    """Turn a documented POST endpoint into Starlette's route: FastAPI's costs 10% of a request."""
    if not isinstance(route, APIRoute) or "POST" not in (route.methods or ()):
        return route
    return Route(route.path, route.endpoint, methods=["POST"])


def _add_pictures(app: FastAPI, service: Service) -> None:
    body = _body({"multipart/form-data": "UploadedPictures", "application/json": "Pictures"})
    answers = _responses(schemas.Predictions | schemas.Pages)

    @app.post("/predict", responses=answers, openapi_extra=body | {"parameters": [MANY]})
    async def predict(request: Request) -> Response:
        """Class and probabilities of one or several pictures; with many=1 the numbers on each."""
        many = request.query_params.get("many", "0")
        files, num_bytes = await read_pictures(request, service.limits.batch)
        if many not in ("0", "1"):
            raise HTTPException(400, f"many is {many[:20]!r}; expected 0 or 1")
        answer = service.read_pages if many == "1" else service.predict
        return _to_json(await answer(files, num_bytes))

    @app.post("/features", responses=_responses(schemas.Features), openapi_extra=body)
    async def features(request: Request) -> Response:
        """The same for one picture, and the feature maps of each convolution: uint8 in base64,
        each map scaled from its minimum to its maximum."""
        return _to_json(await service.explain(*await read_pictures(request, 1)))

    @app.get("/model.json", responses={200: {"model": schemas.ModelDescription}})
    async def model() -> Response:
        """The names of the classes, and how to prepare a picture."""
        return _to_json(service.describe())


def _add_protocol(app: FastAPI, service: Service) -> None:
    responses = _responses(schemas.InferAnswer)
    responses[200] |= {
        "content": BINARY,
        "headers": {protocol.LENGTH_HEADER: LENGTH, "warning": WARNING},
    }
    parameter = {"name": protocol.LENGTH_HEADER, "in": "header", "required": False, **LENGTH}
    body = _body({"application/json": "InferRequest"}, BINARY) | {"parameters": [parameter]}

    async def infer(request: Request) -> Response:
        """Logits of normalised tensors, in JSON or by the binary-data extension."""
        length = request.headers.get(protocol.LENGTH_HEADER)
        content, headers = await service.infer(await request.body(), length)
        return Response(content, headers=headers)

    def add_get(path: str, answer: dict[str, Any] | Answer, model: type[BaseModel]) -> None:
        async def get() -> Response:
            return _to_json(answer() if callable(answer) else answer)

        responses: dict[int | str, dict[str, Any]] = {200: {"model": model}}
        app.add_api_route(path, get, responses=responses, name=path, summary=path)

    add_get("/v2", protocol.SERVER, schemas.ServerMetadata)
    add_get("/v2/health/live", {"live": True}, schemas.Live)
    add_get("/v2/health/ready", {"ready": True}, schemas.Ready)
    predictor = service.predictor
    shown = (predictor.engine, service.shape, len(predictor.classes))
    about = protocol.describe_model(*shown)
    config = protocol.configure_model(*shown, service.max_tensors)
    model = f"/v2/models/{protocol.MODEL}"
    paths = (model, f"{model}/versions/{protocol.VERSION}")
    endpoints = ("/predict", "/features", *(f"{path}/infer" for path in paths))

    def count() -> dict[str, Any]:
        return protocol.describe_statistics(service.metrics.sum_up(endpoints))

    add_get("/v2/models/stats", count, schemas.Statistics)
    for path in paths:
        add_get(path, about, schemas.ModelMetadata)
        add_get(f"{path}/config", config, schemas.ModelConfig)
        add_get(f"{path}/stats", count, schemas.Statistics)
        add_get(f"{path}/ready", {"name": protocol.MODEL, "ready": True}, schemas.Ready)
        app.add_api_route(
            f"{path}/infer", infer, methods=["POST"], responses=responses, openapi_extra=body
        )

    @app.post("/v2/repository/index", responses=_responses(list[schemas.IndexedModel]))
    async def index(request: Request) -> Response:
        """The models: the one that is served. The body is not looked at."""
        await request.body()  # within the limits
        return _to_json(protocol.INDEX)


def _add_pages(app: FastAPI, service: Service) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.metrics.to_text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html")

    def add_file(path: Path) -> None:
        async def file() -> Response:
            return FileResponse(path)

        app.add_api_route(f"/{EXPLAINER}/{path.name}", file, include_in_schema=False)

    for path in service.explainer:
        add_file(path)
    app.mount("/static", StaticFiles(directory=PAGE))


def _responses(model: Any) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses` of an endpoint that reads a body and answers with `model`."""
    responses: dict[int | str, dict[str, Any]] = {200: {"model": model}}
    for status, description in ERRORS.items():
        responses[status] = {"model": schemas.Error, "description": description}
    return responses


def _body(models: dict[str, str], other: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return FastAPI's `openapi_extra` for a body; `models` maps content types to models.

    The endpoints read bodies themselves, so that the limits hold while a body arrives.
    """
    content = {
        kind: {"schema": {"$ref": COMPONENT.format(model=name)}} for kind, name in models.items()
    }
    return {"requestBody": {"required": True, "content": content | (other or {})}}


def _document_requests(app: FastAPI) -> None:
    """Add the models of the bodies to the OpenAPI document."""
    models = (schemas.Pictures, schemas.UploadedPictures, schemas.InferRequest)
    _, found = models_json_schema(
        [(model, "validation") for model in models], ref_template=COMPONENT
    )
    document = app.openapi()
    document["components"]["schemas"] |= found["$defs"]


def _to_json(content: Any) -> Response:
    return Response(format_json(content, None), media_type="application/json")
