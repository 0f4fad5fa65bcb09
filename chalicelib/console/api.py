"""The console's page and its files, which need no token: what they show comes from the API.

`make console` builds them from `console/` and puts the hash of a file's content into its name, so
that a browser may keep it. They are read at the first request for them. Sources: RFC 9110, sections
8.8.3 (ETag) and 12.5.3 (Accept-Encoding); RFC 8246 (immutable); Content Security Policy Level 3.
"""

import base64
import gzip
import hashlib
import html
import os
import re
from functools import cache
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from chalicelib import __version__
from chalicelib.core.config import Settings
from chalicelib.core.errors import NotFoundError
from chalicelib.web.describe import Operation, content, path, response, text
from chalicelib.web.request import Request
from chalicelib.web.responses import IS_BASE64, Headers, Response

_TAG = "Console"
_FOLDER = Path(__file__).parent / "files"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
_PAGE_TYPE = "text/html; charset=utf-8"
_FOR_A_YEAR = "public, max-age=31536000, immutable"
_FILE_HEADERS = {
    "ETag": {"required": True, "schema": text()},
    "Cache-Control": {"required": True, "schema": text()},
}
_UNCHANGED = response("The browser has it already.", headers={"ETag": _FILE_HEADERS["ETag"]})
_MOVED = {"Location": {"required": True, "schema": text(const="../console")}}

GET_PAGE = Operation(
    _TAG,
    "The console",
    {
        200: response("The page.", content({}, _PAGE_TYPE), _FILE_HEADERS),
        304: _UNCHANGED,
        308: response("The address without its slash at the end.", headers=_MOVED),
    },
)
GET_FILE = Operation(
    _TAG,
    "A file of the console",
    {
        200: response(
            "The file.",
            {media_type: {} for media_type in _TYPES.values()},
            _FILE_HEADERS,
        ),
        304: _UNCHANGED,
    },
    refusals=(404,),
    parameters=(path("file", "The file's name.", text(example="LICENSES.txt")),),
)


def get_page(request: Request, settings: Settings) -> Response:
    """`GET /console`; no call. Its links are relative, so it works below any prefix; the address
    with a slash at the end is redirected, since they would point elsewhere from there."""
    if request.path.endswith("/"):
        return Response("", headers={"Location": "../console"}, status_code=308)
    page = _page(settings.stage, settings.auth_mode, settings.region)
    headers: Headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": content_security_policy(settings),
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    return _answer(request, page, _PAGE_TYPE, headers)


def get_file(request: Request, file: str) -> Response:
    """`GET /console/{file}`; no call. Raises `NotFoundError` for a name that is none of the
    files'."""
    if file not in _names():
        raise NotFoundError("the console has no such file; load the page again")
    is_named_by_content = file != "LICENSES.txt"
    headers: Headers = {"Cache-Control": _FOR_A_YEAR if is_named_by_content else "no-cache"}
    return _answer(request, _content(file), _TYPES[Path(file).suffix], headers)


def content_security_policy(settings: Settings) -> str:
    """What the page may load and whom it may call: its own origin, and the bucket to upload to."""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        f" connect-src 'self' {_uploads_origins(settings)};"
        " base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
    )


def _uploads_origins(settings: Settings) -> str:
    """The origins of the forms that `POST /uploads` signs, which has botocore name the bucket's
    host; on an endpoint of one's own, that one."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        parts = urlsplit(endpoint)
        return f"{parts.scheme}://{parts.netloc}"
    domain = "amazonaws.com.cn" if settings.region.startswith("cn-") else "amazonaws.com"
    bucket, region = settings.uploads_bucket, settings.region
    return f"https://{bucket}.s3.{domain} https://{bucket}.s3.{region}.{domain}"


def _answer(request: Request, body: bytes, media_type: str, headers: Headers) -> Response:
    """The body, compressed for those who take it, or 304 for those who have it."""
    etag = hashlib.sha256(body).hexdigest()[:16]
    is_gzip = _takes_gzip(request.header("accept-encoding") or "")
    headers |= {
        # Another encoding is another representation, so a strong ETag must differ.
        "ETag": f'"{etag}-gzip"' if is_gzip else f'"{etag}"',
        "Vary": "Accept-Encoding",
    }
    if etag in (request.header("if-none-match") or ""):
        return Response("", headers=headers, status_code=HTTPStatus.NOT_MODIFIED)
    headers["Content-Type"] = media_type
    if not is_gzip:
        return Response(body.decode(), headers=headers)
    encoded = base64.b64encode(_compressed(body)).decode()
    return Response(encoded, headers=headers | {"Content-Encoding": "gzip", IS_BASE64: "true"})


def _takes_gzip(accept_encoding: str) -> bool:
    for coding in accept_encoding.lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() in ("gzip", "*"):
            return not re.fullmatch(r"\s*q=0(\.0*)?\s*", weight)
    return False


@cache
def _names() -> frozenset[str]:
    return frozenset(path.name for path in _FOLDER.iterdir() if path.suffix in _TYPES)


@cache
def _content(file: str) -> bytes:
    return (_FOLDER / file).read_bytes()


@cache
def _compressed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


@cache
def _page(stage: str, auth_mode: str, region: str) -> bytes:
    """The page with what it must know before anybody signs in. Nothing of it is secret."""
    page = _content("index.html").decode()
    facts = {"stage": stage, "auth": auth_mode, "region": region, "version": __version__}
    for name, value in facts.items():
        page = page.replace(f"{{{{{name}}}}}", html.escape(value))
    return page.encode()
