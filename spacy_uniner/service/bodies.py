"""Bodies of requests: none too large, none that never ends."""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Middleware that reads a body whole before it passes the request on.

    A body that is too large is answered with 413, one that takes too long with 408. What is too much is thrown away as
    it comes, not left unread: then the client, which sends first and reads later, gets to see the answer.

    max_bytes: the most that a body may have.
    seconds: within which it must have arrived.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or turn it away."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            n_bytes = await asyncio.wait_for(self._read(receive, body), self._seconds)
        except asyncio.TimeoutError:
            await _refuse(408, f"The request did not arrive within {self._seconds:g} seconds.")(scope, receive, send)
            return
        if n_bytes > self._max_bytes:
            message = (
                f"The request has {n_bytes} bytes, but no more than {self._max_bytes} are taken. Send less at once."
            )
            await _refuse(413, message)(scope, receive, send)
            return
        messages: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive, body: bytearray) -> int:
        """Read a body; of one that is too large only its length is told."""
        n_bytes = 0
        more = True
        while more:
            message = await receive()
            chunk = message.get("body", b"")
            n_bytes += len(chunk)
            if n_bytes <= self._max_bytes:
                body.extend(chunk)
            more = message.get("more_body", False)  # a client that has gone sends no more
        return n_bytes


def _refuse(status: int, message: str) -> JSONResponse:
    return JSONResponse({"detail": message}, status, headers={"Connection": "close"})
