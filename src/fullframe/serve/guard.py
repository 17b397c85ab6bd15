"""Access to the service: for programs of this computer, or for clients with the token."""

import secrets
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fullframe.view.same_origin import refusal

COOKIE = "fullframe_token"
OPEN = "/health"
"""The only address that needs no token."""


class Guard:
    """Refuses requests before anything of them is read.

    Without a token: those of other web pages, see view.same_origin. With one: those that lack it. It is
    given as `Authorization: Bearer TOKEN`, or in the address of a page, `?token=TOKEN`; then it becomes a
    cookie for the other requests of that page.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None) -> None:
        self._app, self._host, self._token = app, host, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._token is None:
            local = (scope.get("server") or (self._host, 0))[0]
            if reason := refusal(_AllHeaders(headers), self._host, local):
                await JSONResponse({"detail": reason}, 403)(scope, receive, send)
                return
            await self._app(scope, receive, send)
            return
        given, rest = _from_query(scope)
        if scope["path"] != OPEN and not self._may(headers, given):
            detail = "give the token: Authorization: Bearer TOKEN"
            answer = JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": "Bearer"})
            await answer(scope, receive, send)
            return

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and given is not None:
                MutableHeaders(scope=message).append(
                    "Set-Cookie", f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                )
            await send(message)

        await self._app({**scope, "query_string": rest}, receive, with_cookie)

    def _may(self, headers: Headers, given: str | None) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(bearer.strip()):
            return True
        if given is not None:
            return self._is_token(given)
        # A cookie comes along with the requests of other pages of the same host, too.
        origin = headers.get("origin")
        own = origin is None or origin.partition("://")[2] == headers.get("host")
        return own and self._is_token(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), (self._token or "").encode())


class _AllHeaders:
    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def get_all(self, name: str, /) -> list[str] | None:
        return self._headers.getlist(name) or None


def _from_query(scope: Scope) -> tuple[str | None, bytes]:
    """The token in the address, and the rest of the query."""
    pairs: list[tuple[str, Any]] = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    given = [value for name, value in pairs if name == "token"]
    if not given:
        return None, scope["query_string"]
    return given[0], urlencode([pair for pair in pairs if pair[0] != "token"]).encode("latin-1")
