"""The command that runs the web service."""

from __future__ import annotations

from typing import Annotated

import typer
from wasabi import msg

from ..service.limits import Limits
from .pipelines import load

MAX_CONNECTIONS = 1000
KEEP_ALIVE_SECONDS = 75  # longer than clients and proxies do, else a request may meet a connection that is just closed


def serve(
    model: Annotated[str, typer.Option(help="A pipeline with universal_ner; left out: the embedded student")] = "",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: all of this machine's")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on")] = 8000,
    max_queue: Annotated[
        int, typer.Option(help="Texts that may wait; more are turned away with 429")
    ] = Limits.max_queue_texts,
    max_texts: Annotated[int, typer.Option(help="Texts of one request")] = Limits.max_texts,
    max_characters: Annotated[int, typer.Option(help="Characters of one text")] = Limits.max_characters,
    max_body: Annotated[int, typer.Option(help="Bytes of one request")] = Limits.max_body_bytes,
    timeout: Annotated[float, typer.Option(help="Seconds until a request is given up")] = Limits.timeout_seconds,
) -> None:
    """Answer requests for entities over HTTP. At SIGTERM, answer those that are there, and stop."""
    try:
        import uvicorn

        from ..service.app import create_app
    except ModuleNotFoundError as err:
        msg.fail(f"The service needs {err.name}.", 'Install it: pip install "spacy-uniner[serve]"', exits=1)
    try:
        limits = Limits(
            max_texts=max_texts,
            max_characters=max_characters,
            max_body_bytes=max_body,
            max_queue_texts=max_queue,
            timeout_seconds=timeout,
        )
        nlp = load(model, None)
        app = create_app(nlp, limits)
    except (ValueError, OSError) as err:
        msg.fail("The service cannot start.", str(err), exits=1)
    nlp("The first request shall not wait for the student.", component_cfg={"universal_ner": {"labels": ["thing"]}})
    uvicorn.run(
        app,
        host=host,
        port=port,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(timeout) + 5,
        server_header=False,
    )
