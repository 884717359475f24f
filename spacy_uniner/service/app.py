"""The web service: entities over HTTP, a page to try it on, health and metrics."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from spacy.language import Language

from .. import __version__
from .batching import Batcher, BatchSize, QueueFullError, StoppingError
from .bodies import BodyLimit
from .finding import Entity as Mentioned
from .finding import Finder, Question
from .limits import Limits
from .metrics import Measured, Metrics
from .schema import Asked, Entity, Found, Health, Problem, say_problems, to_questions

PROBLEMS: dict[int | str, dict[str, Any]] = {
    408: {"model": Problem, "description": "The request did not arrive in time."},
    413: {"model": Problem, "description": "The request has too many bytes."},
    429: {"model": Problem, "description": "Too many texts are waiting. Try again after Retry-After seconds."},
    500: {"model": Problem, "description": "The pipeline failed on a text."},
    503: {"model": Problem, "description": "The service is stopping."},
    504: {"model": Problem, "description": "No answer in time."},
}
RETRY_AFTER_SECONDS = 1


def create_app(nlp: Language, limits: Limits | None = None, *, name: str = "universal_ner") -> FastAPI:
    """Make the ASGI app around a pipeline.

    nlp: a pipeline with `universal_ner`, which belongs to the app from now on.
    limits: how much a request may ask for.
    name: of the component.
    RAISES: ValueError if the pipeline has no such component, or takes no texts as long as the limits allow.
    """
    limits = limits or Limits()
    if limits.max_characters > nlp.max_length:
        raise ValueError(
            f"max_characters is {limits.max_characters}, but the pipeline takes {nlp.max_length} at most. Lower the "
            "limit, or raise nlp.max_length."
        )
    finder = Finder(nlp, name)
    size = BatchSize(limits.max_batch_texts, limits.max_batch_characters, limits.batch_seconds)
    metrics = Metrics(lambda: batcher.n_waiting)
    batcher: Batcher[Question, list[Mentioned]] = Batcher(
        finder, lambda question: len(question.text), size, limits.max_queue_texts, metrics.report_batch
    )

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        yield
        await batcher.stop()

    app = FastAPI(
        title="UniversalNER",
        summary="Named entities of any type.",
        version=__version__,
        lifespan=run,
        docs_url=None,  # these pages load their scripts from another server
        redoc_url=None,
    )
    app.state.batcher = batcher
    _add_routes(app, finder, batcher, metrics, limits)
    app.add_exception_handler(RequestValidationError, _say_invalid)
    app.add_exception_handler(Exception, _say_failed)
    app.add_middleware(BodyLimit, max_bytes=limits.max_body_bytes, seconds=limits.timeout_seconds)
    app.add_middleware(Measured, metrics=metrics)
    return app


def _add_routes(
    app: FastAPI, finder: Finder, batcher: Batcher[Question, list[Mentioned]], metrics: Metrics, limits: Limits
) -> None:
    page, policy = _read_page()

    @app.post("/entities", responses=PROBLEMS, summary="Find entities in texts")
    async def find_entities(asked: Asked) -> Found:
        questions = to_questions(asked, limits, finder.component)
        try:
            found = await batcher.ask(questions, limits.timeout_seconds)
        except QueueFullError as err:
            raise HTTPException(429, str(err), headers={"Retry-After": str(RETRY_AFTER_SECONDS)}) from err
        except StoppingError as err:
            raise HTTPException(503, str(err)) from err
        except asyncio.TimeoutError as err:
            raise HTTPException(
                504, f"No answer within {limits.timeout_seconds:g} seconds. Send less at once."
            ) from err
        metrics.report_answer(len(found), sum(len(of_one) for of_one in found))
        return Found(entities=[[Entity(**_fields(entity)) for entity in of_one] for of_one in found])

    @app.get("/health", responses={503: {"model": Health}}, summary="Tell whether the service can answer")
    async def tell_health(response: Response) -> Health:
        status = "ok"
        if batcher.is_stopping:
            status = "stopping"
        elif batcher.seconds_busy > limits.timeout_seconds:
            status = "stuck"
        response.status_code = 200 if status == "ok" else 503
        cfg = finder.component.cfg
        return Health(
            status=status,
            version=__version__,
            labels=list(cfg["labels"]),
            threshold=cfg["threshold"],
            overlap=cfg["overlap"],
        )

    @app.get("/metrics", response_class=Response, summary="Metrics in the text format of Prometheus")
    async def write_metrics() -> Response:
        return Response(metrics.write(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"})


def _fields(entity: Mentioned) -> dict[str, Any]:
    return {field: getattr(entity, field) for field in Entity.model_fields}


async def _say_invalid(request: Request, error: Exception) -> Response:
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    return JSONResponse({"detail": say_problems(errors)}, status_code=422)


async def _say_failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": "The pipeline failed on a text; the server's log says how."}, status_code=500)


def _read_page() -> tuple[str, str]:
    """Give the page, and the policy that lets the browser run its own style and script and nothing else."""
    page = Path(__file__).with_name("page.html").read_text(encoding="utf8")
    style, script = (_hash(page, tag) for tag in ("style", "script"))
    policy = (
        f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _hash(page: str, tag: str) -> str:
    inside = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
    return f"'sha256-{digest}'"
