"""The model behind Label Studio's smart tools: a small HTTP service that speaks its ML-backend protocol.

It listens on this machine only and wants a password. A click or a box becomes a brush mask; an image is embedded at
its first click and its embedding kept, so that the next click costs the mask decoder and little else: ``Server-Timing``
in every answer says what went to the model and what was our own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import secrets
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import numpy as np
from werkzeug.exceptions import BadRequest, HTTPException, NotFound, Unauthorized
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from curation.labelstudio.access import Access
from curation.labelstudio.push import mask_region
from curation.segmenting.images import decode, fetch
from curation.segmenting.segmenter import Prompt, Segmenter
from mema.errors import UserError

HOST = "127.0.0.1"
KEYPOINT, RECTANGLE = "keypointlabels", "rectanglelabels"
MAX_REQUEST = 64 * 2**20
MAX_TASKS = 100
MAX_PROMPTS = 100
KEPT_IMAGES = 32
SECONDS = 60
"""How long a connection may say nothing."""


class Backend:
    """The WSGI application: ``segmenter`` answers who knows ``user`` and ``password``, for the images of ``access``.

    ``client`` fetches those that are not in the server's folder.
    """

    def __init__(self, segmenter: Segmenter, access: Access, client: httpx.Client, user: str, password: str) -> None:
        self.segmenter = segmenter
        self.access = access
        self.client = client
        self.user = user
        self.password = password
        # One image or click at a time: a segmenter has one state, and a CPU gains nothing from two.
        self.lock = threading.Lock()
        self.embeddings: OrderedDict[str, tuple[Any, tuple[int, int]]] = OrderedDict()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """Answer one request; what is wrong with it is one line in ``error``."""
        request = Request(environ)
        request.max_content_length = MAX_REQUEST
        started, model = time.perf_counter(), _Stopwatch()
        try:
            answer, status = self._answer(request, model), 200
        except UserError as error:
            answer, status = {"error": str(error)}, 400
        except HTTPException as error:
            answer, status = {"error": error.description}, error.code or 500
        response = Response(json.dumps(answer), status, mimetype="application/json")
        own = time.perf_counter() - started - model.seconds
        response.headers["Server-Timing"] = f"model;dur={1000 * model.seconds:.1f}, own;dur={1000 * own:.1f}"
        if status == 401:
            response.headers["WWW-Authenticate"] = 'Basic realm="segmenter"'
        return response(environ, start_response)

    def _answer(self, request: Request, model: _Stopwatch) -> dict[str, Any]:
        given = request.authorization
        if (
            given is None
            or (given.type, given.username) != ("basic", self.user)
            or not secrets.compare_digest(str(given.password).encode(), self.password.encode())
        ):
            raise Unauthorized("the segmenter wants the password that segmenter.json holds")
        version = self.segmenter.version
        answers: dict[tuple[str, str], Callable[[], dict[str, Any]]] = {
            ("GET", "/health"): lambda: {"status": "UP"},
            ("GET", "/versions"): lambda: {"versions": [version]},
            ("POST", "/setup"): lambda: {"model_version": version},
            # What annotators save teaches this model nothing.
            ("POST", "/webhook"): dict,
            ("POST", "/predict"): lambda: self._predict(_body(request), model),
        }
        if (request.method, request.path) not in answers:
            raise NotFound(f"{request.method} {request.path} is not part of the protocol")
        return answers[request.method, request.path]()

    def _predict(self, body: dict[str, Any], model: _Stopwatch) -> dict[str, Any]:
        tasks, parameters = body.get("tasks"), body.get("params")
        if not isinstance(tasks, list) or not 1 <= len(tasks) <= MAX_TASKS:
            raise UserError(f"tasks: not a list of 1 to {MAX_TASKS}")
        context = parameters.get("context") if isinstance(parameters, dict) else None
        regions = context.get("result") if isinstance(context, dict) else None
        if not regions:
            # Asked for every task as it is opened: without a click there is nothing to outline.
            return {"results": [{"result": [], "score": 0.0, "model_version": self.segmenter.version} for _ in tasks]}
        return {"results": [self._outline(task, regions, model) for task in tasks]}

    def _outline(self, task: Any, regions: Any, model: _Stopwatch) -> dict[str, Any]:
        data = task.get("data") if isinstance(task, dict) else None
        content = fetch(data.get("image") if isinstance(data, dict) else None, self.access, self.client)
        with self.lock:
            embedding, (height, width) = self._embedding(content, model)
            prompt = read_prompt(regions, height, width)
            with model:
                (proposal,) = self.segmenter.segment(embedding, [prompt])
        result = []
        if proposal.mask.any():
            result = [mask_region(proposal.mask) | {"id": secrets.token_hex(5), "score": proposal.score}]
        return {"result": result, "score": proposal.score, "model_version": self.segmenter.version}

    def _embedding(self, content: bytes, model: _Stopwatch) -> tuple[Any, tuple[int, int]]:
        """Return the embedding of an image and its size (H, W), kept from an earlier click if there was one."""
        key = hashlib.sha256(content).hexdigest()
        if key not in self.embeddings:
            image = decode(content)
            with model:
                embedding = self.segmenter.embed(image)
            self.embeddings[key] = embedding, (image.shape[0], image.shape[1])
            while len(self.embeddings) > KEPT_IMAGES:
                self.embeddings.popitem(last=False)
        self.embeddings.move_to_end(key)
        return self.embeddings[key]


class _Stopwatch:
    """Adds up the ``seconds`` spent in ``with`` blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self.started


def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.get_data(cache=False))
    except (ValueError, RecursionError):
        raise BadRequest("the request is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequest("the request is not a JSON object")
    return body


def read_prompt(regions: Any, height: int, width: int) -> Prompt:
    """Return the clicks and the box of a context's regions, in pixels of an image (H, W); UserError when there is none.

    Label Studio gives percentages of the image's sides. Of several boxes the last counts; other regions do not.
    """
    if not isinstance(regions, list) or len(regions) > MAX_PROMPTS:
        raise UserError(f"context: not a list of at most {MAX_PROMPTS} regions")
    points: list[tuple[float, float]] = []
    inside: list[bool] = []
    box = None
    for region in regions:
        value = region.get("value") if isinstance(region, dict) else None
        if not isinstance(value, dict):
            raise UserError("context: a region has no value")
        if region.get("type") == KEYPOINT:
            points.append((_pixel(value.get("x"), width), _pixel(value.get("y"), height)))
            inside.append(region.get("is_positive") is not False)
        elif region.get("type") == RECTANGLE:
            if _number(value.get("rotation", 0)):
                raise UserError("context: the box is rotated")
            left, top = _number(value.get("x")), _number(value.get("y"))
            right, bottom = left + _number(value.get("width")), top + _number(value.get("height"))
            box = (_pixel(left, width), _pixel(top, height), _pixel(right, width), _pixel(bottom, height))
    if not points and box is None:
        raise UserError("context: neither a click nor a box")
    return Prompt(tuple(points), tuple(inside), box)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError("context: a coordinate is not a number")
    return float(value)


def _pixel(percent: Any, side: int) -> float:
    """A pixel's centre is an integer: the image's edge lies half a pixel before the first."""
    return float(np.clip(_number(percent) / 100 * side - 0.5, 0, side - 1))


class _Handler(WSGIRequestHandler):
    timeout = SECONDS


def serve(backend: Backend, port: int) -> BaseWSGIServer:
    """Return a server on 127.0.0.1:``port`` (0: any free one), to be run by ``serve_forever``.

    UserError when the port is taken.
    """
    # It would print every request.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((HOST, port))
        except OSError:
            raise UserError(f"port {port} is taken: choose another one with --port") from None
        bound.listen()
        return make_server(HOST, port, backend, threaded=True, request_handler=_Handler, fd=bound.fileno())
