"""What may reach the web server: the routes that the page uses, bodies of a bounded size, files of visitors alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..reading import MB
from .storage import Storage

API = "/gradio_api"
_FILE = f"{API}/file="
_UPLOAD, _JOIN = f"{API}/upload", f"{API}/queue/join"
_READ = frozenset(
    ("/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", f"{API}/theme.css", f"{API}/startup-events")
    + (f"{API}/queue/data", f"{API}/upload_progress", f"{API}/info")
)
_READ_BELOW = ("/assets/", "/static/", "/svelte/", f"{API}/heartbeat/", _FILE)
_WRITE = frozenset((_UPLOAD, _JOIN, f"{API}/cancel", f"{API}/reset"))
_JSON_LIMIT = MB
_FORM_LIMIT = 64 * 1024  # bytes of an upload besides its file

_HEADERS = {
    # Gradio's own page has scripts and styles inside; nothing may come from elsewhere.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Guard:
    """An ASGI application around Gradio's.

    Args:
        app: Gradio's application.
        storage: the folder of uploads; nothing else on the disk can be named.
        upload_limit: bytes of an uploaded file.
        hosts: names by which the page may be addressed, so that no foreign site reaches it under its own name; None:
            any.
    """

    def __init__(self, app: ASGIApp, *, storage: Storage, upload_limit: int, hosts: frozenset[str] | None) -> None:
        self._app, self._storage, self._upload_limit, self._hosts = app, storage, upload_limit, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is not allowed, and pass on all others."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the page has no websockets
        sender = _with_headers(send)
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, sender)
            return
        if scope["method"] == "POST":
            await self._post(scope, receive, sender)
        else:
            await self._app(scope, receive, sender)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        method, path = scope["method"], scope["path"]
        if self._hosts is not None and _host(headers.get(b"host", "")) not in self._hosts:
            return _answer("This page answers to this machine only. Fix: start it with --host.", 403)
        read = path in _READ or path.startswith(_READ_BELOW)
        if not (read if method in ("GET", "HEAD") else method == "POST" and path in _WRITE):
            return _answer("There is no such page.", 404)
        if path.startswith(_FILE) and not self._storage.holds(path.removeprefix(_FILE)):
            return _answer("There is no such file.", 404)
        if method == "POST":
            length = headers.get(b"content-length", "")  # the server reads no more than that
            if not length.isdigit():
                return _answer("This request does not say how long it is.", 411)
            if int(length) > self._limit(path):
                return self._too_large(path)
        return None

    def _limit(self, path: str) -> int:
        return self._upload_limit + _FORM_LIMIT if path == _UPLOAD else _JSON_LIMIT

    def _too_large(self, path: str) -> PlainTextResponse:
        what = f"images of at most {self._upload_limit / MB:g} MB" if path == _UPLOAD else "shorter texts"
        return _answer(f"This is too large. Fix: give {what}.", 413)

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make room for an upload; of everything else, check the files that it names."""
        if scope["path"] == _UPLOAD:
            self._storage.make_room(self._limit(_UPLOAD))
            await self._app(scope, receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return  # the visitor left
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if not self._names_uploads_only(bytes(body)):
            await _answer("This request names a file that nobody uploaded.", 400)(scope, receive, send)
            return
        await self._app(scope, _replayed(bytes(body), receive), send)

    def _names_uploads_only(self, body: bytes) -> bool:
        """Return whether all file paths in a JSON body are of the storage; Gradio would also fetch addresses."""
        try:
            content = msgspec.json.decode(body or b"null")
        except (msgspec.DecodeError, RecursionError):
            return False
        return all(isinstance(path, str) and self._storage.holds(path) for path in _paths(content))


def _paths(content: Any) -> Iterator[Any]:
    """Yield all values of "path" in JSON, whatever they are; None stands for no file."""
    stack = [content]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if value.get("path") is not None:
                yield value["path"]
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *((name, value) for name, value in message.get("headers", ()) if name.decode().lower() not in _HEADERS),
                *((name.encode(), value.encode()) for name, value in _HEADERS.items()),
            ]
        await send(message)

    return sender


def _host(header: str) -> str:
    """Return the name in a Host header, without the port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()


def _answer(sentence: str, status: int) -> PlainTextResponse:
    return PlainTextResponse(sentence, status)
