"""The endpoints: the page, pictures, the Open Inference Protocol, metrics, and their OpenAPI."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from lenet_paddle._version import __version__
from lenet_paddle.serve import openapi, protocol
from lenet_paddle.serve.limits import Guard, read_body
from lenet_paddle.serve.service import Service

PAGE = Path(__file__).parents[1] / "page"


def create_app(service: Service) -> FastAPI:
    """The ASGI application that answers by `service`."""
    app = FastAPIOffline(  # FastAPI whose /docs needs nothing from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirection would name the host that the client names
        static_url="/docs/static",
        title="lenet_paddle",
        version=__version__,
        description='Says what a picture shows. An error is `{"error": "one line"}`.',
    )
    app.add_exception_handler(HTTPException, _to_error)
    _add_pictures(app, service)
    _add_protocol(app, service)
    _add_pages(app, service)
    app.add_middleware(
        Guard,
        limits=service.limits,
        metrics=service.metrics,
        name_endpoint=partial(name_endpoint, {getattr(route, "path", "") for route in app.routes}),
    )
    return app


def name_endpoint(known: set[str], path: str) -> str:
    """What a path is counted as: one of the application's `known` ones, or `other`."""
    if path in known:
        return path
    folders = (folder for folder in ("/static", "/docs/static") if path.startswith(f"{folder}/"))
    return next(folders, "other")


async def _to_error(request: Request, error: Any) -> Response:
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


def _add_pictures(app: FastAPI, service: Service) -> None:
    async def answer(work: Callable[..., Any], request: Request) -> Response:
        body = await read_body(request, service.limits)
        return _to_json(await work(request.headers.get("content-type", ""), body))

    @app.post("/predict", openapi_extra=openapi.PREDICT)
    async def predict(request: Request) -> Response:
        """Class and probabilities of one or many pictures."""
        return await answer(service.predict, request)

    @app.post("/features", openapi_extra=openapi.FEATURES)
    async def features(request: Request) -> Response:
        """The same for one picture, and the maps of each convolution: uint8 in base64, each map
        scaled from its least value to its greatest."""
        return await answer(service.explain, request)

    @app.get("/model.json", openapi_extra=openapi.MODEL_JSON)
    async def model() -> Response:
        """The classes' names and what a picture must be brought to."""
        return _to_json(service.describe())


def _add_protocol(app: FastAPI, service: Service) -> None:
    model = f"/v2/models/{protocol.MODEL}"
    version = f"{model}/versions/{protocol.VERSION}"

    async def infer(request: Request) -> Response:
        """Logits of normalised tensors; by the binary-data extension, too."""
        body = await read_body(request, service.limits)
        length = request.headers.get(protocol.LENGTH_HEADER)
        content, head = await service.infer(body, length)
        if head is None:
            return Response(content, media_type="application/json")
        headers = {protocol.LENGTH_HEADER: str(head)}
        return Response(content, headers=headers, media_type="application/octet-stream")

    def add_get(path: str, answer: dict[str, Any], documented: dict[str, Any]) -> None:
        async def get() -> Response:
            return _to_json(answer)

        app.add_api_route(path, get, openapi_extra=documented, name=path, summary=path)

    add_get("/v2", protocol.SERVER, openapi.SERVER_ABOUT)
    add_get("/v2/health/live", {"live": True}, openapi.LIVE)
    add_get("/v2/health/ready", {"ready": True}, openapi.READY)
    predictor = service.predictor
    about = protocol.describe_model(predictor.engine, predictor.size, len(predictor.classes))
    for path in (model, version):
        add_get(path, about, openapi.MODEL_ABOUT)
        add_get(f"{path}/ready", {"name": protocol.MODEL, "ready": True}, openapi.READY)
        app.add_api_route(f"{path}/infer", infer, methods=["POST"], openapi_extra=openapi.INFER)


def _add_pages(app: FastAPI, service: Service) -> None:
    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.metrics.to_text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html")

    app.mount("/static", StaticFiles(directory=PAGE))


def _to_json(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), media_type="application/json")
