"""The console's page and files: what a browser may do with them, and keep."""

import gzip
import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from chalice.test import HTTPResponse

import app
from chalicelib import __version__
from chalicelib.console import api as console
from chalicelib.core.config import AuthMode
from chalicelib.web.callers import Caller
from chalicelib.web.request import Request
from tests.support.app_on_moto import Platform, sample
from tests.support.factories import LambdaContext
from tests.support.problems import check_problem

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "chalicelib" / "console" / "files"
NAMED_BY_CONTENT = sorted(path.name for path in FILES.iterdir() if path.suffix in (".js", ".css"))
ZIPPED_BYTES = 60_000
NOBODY = Caller("", frozenset(), "")


def get(platform: Platform, path: str, **headers: str) -> HTTPResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return platform.client.http.get(path, headers=named)


def page(path: str = "/console", **settings: Any) -> Any:
    """What the handler answers with other settings than the tests'."""
    changed = msgspec.structs.replace(app.settings, **settings)
    return console.get_page(Request(NOBODY, "r", {}, {}, b"", path=path), changed)


def test_the_page_needs_no_token_and_no_aws(platform: Platform) -> None:
    platform.calls.clear()
    response = get(platform, "/console")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert platform.calls == []
    text = response.body.decode()
    assert (
        f'data-stage="local" data-auth="token" data-region="us-east-1" data-version="{__version__}"'
        in text
    )
    assert "{{" not in text


def test_the_page_may_load_nothing_but_its_own_files(platform: Platform) -> None:
    policy = get(platform, "/console").headers["Content-Security-Policy"]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self' https://eventline-test-uploads.s3.amazonaws.com"
        " https://eventline-test-uploads.s3.us-east-1.amazonaws.com",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "form-action": "'none'",
    }


def test_the_page_may_post_to_the_bucket_of_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566/")
    assert "connect-src 'self' http://127.0.0.1:4566;" in page().headers["Content-Security-Policy"]


def test_in_china_the_bucket_has_another_domain() -> None:
    policy = page(region="cn-north-1").headers["Content-Security-Policy"]
    assert "https://eventline-test-uploads.s3.cn-north-1.amazonaws.com.cn;" in policy


def test_the_page_runs_no_script_and_no_style_of_its_own(platform: Platform) -> None:
    text = get(platform, "/console").body.decode()
    assert re.findall(r"<script[^>]*>([^<]*)</script>", text) == [""]
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)


def test_the_page_and_its_links_are_relative(platform: Platform) -> None:
    text = get(platform, "/console").body.decode()
    links = re.findall(r'(?:src|href)="([^"]+)"', text)
    files = [link for link in links if not link.startswith("data:")]
    assert {link.removeprefix("console/") for link in files} == set(NAMED_BY_CONTENT)
    # Below /api, as API Gateway serves it, too: the browser resolves them against /api/console.
    assert all(link.startswith("console/") for link in files)


def test_the_page_is_asked_for_anew_each_time(platform: Platform) -> None:
    response = get(platform, "/console")
    assert response.headers["Cache-Control"] == "no-cache"
    again = get(platform, "/console", If_None_Match=response.headers["ETag"])
    assert (again.status_code, again.body) == (304, b"")
    assert again.headers["ETag"] == response.headers["ETag"]


def test_a_slash_at_the_end_is_taken_away() -> None:
    # Given the request as API Gateway sends it
    event = sample("api_gateway_post_event")
    event |= {"path": "/console/", "resource": "/console", "body": None, "isBase64Encoded": False}
    event["requestContext"] |= {"resourcePath": "/console", "httpMethod": "GET"}
    answer = app.app(event, LambdaContext())
    # Then a browser that follows comes to /console, below whatever prefix it was
    assert (answer["statusCode"], answer["headers"]["Location"]) == (308, "../console")


@pytest.mark.parametrize("name", NAMED_BY_CONTENT)
def test_a_file_may_be_kept_for_a_year(platform: Platform, name: str) -> None:
    platform.calls.clear()
    response = get(platform, f"/console/{name}")
    assert response.status_code == 200
    assert response.body == (FILES / name).read_bytes()
    kind = "javascript" if name.endswith(".js") else "css"
    assert response.headers["Content-Type"] == f"text/{kind}; charset=utf-8"
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert platform.calls == []


@pytest.mark.parametrize("path", ["/console", *(f"/console/{name}" for name in NAMED_BY_CONTENT)])
def test_who_takes_gzip_gets_it_with_another_etag(platform: Platform, path: str) -> None:
    plain = get(platform, path)
    packed = get(platform, path, Accept_Encoding="br, gzip;q=0.8")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert get(platform, path, If_None_Match=packed.headers["ETag"]).status_code == 304
    assert get(platform, path, If_None_Match=f"W/{packed.headers['ETag']}").status_code == 304
    assert get(platform, path, If_None_Match='"other"').status_code == 200


@pytest.mark.parametrize("accepted", ["", "br", "identity", "gzip;q=0", "gzip; q=0.0", "xgzip"])
def test_who_does_not_take_gzip_gets_none(platform: Platform, accepted: str) -> None:
    response = get(platform, "/console", Accept_Encoding=accepted)
    assert "Content-Encoding" not in response.headers
    assert response.body.startswith(b"<!doctype html>")


@pytest.mark.parametrize(
    "name", ["nosuch.js", "app.js", "..%2Fapi.py", "api.py", "index.html", "%00", ".", "a%2F..%2Fb"]
)
def test_there_are_no_other_files(platform: Platform, name: str) -> None:
    check_problem(get(platform, f"/console/{name}"), 404, "not-found")


def test_a_hostile_setting_stays_text() -> None:
    assert "&lt;b&gt;" in text_of(page(stage='"<b>'))
    assert "<b>" not in text_of(page(stage='"<b>'))


def text_of(response: Any) -> str:
    return str(response.body)


def test_the_page_tells_how_callers_are_known() -> None:
    assert 'data-auth="iam"' in text_of(page(auth_mode=AuthMode.IAM))


def test_what_is_served_was_built_from_the_sources() -> None:
    # As console/build.mjs does: make console
    folder = ROOT / "console"
    names = [
        "build.mjs",
        "package-lock.json",
        *(f"src/{p.name}" for p in (folder / "src").iterdir()),
    ]
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\0".encode() + (folder / name).read_bytes())
    built = (folder / "built.sha256").read_text().strip()
    assert built == digest.hexdigest(), "type: make console"


def test_the_files_add_little_to_the_archive() -> None:
    zipped = sum(len(zlib.compress(path.read_bytes())) for path in FILES.iterdir())
    assert zipped < ZIPPED_BYTES


def test_the_versions_are_pinned_with_their_hashes() -> None:
    package = json.loads((ROOT / "console" / "package.json").read_text())
    lock = json.loads((ROOT / "console" / "package-lock.json").read_text())
    wanted = {**package["dependencies"], **package["devDependencies"]}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    locked = {name: entry for name, entry in lock["packages"].items() if name}
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all(entry["integrity"].startswith("sha512-") for entry in locked.values())


def test_the_licences_of_what_is_bundled_are_served(platform: Platform) -> None:
    response = get(platform, "/console/LICENSES.txt")
    text = response.body.decode()
    package = json.loads((ROOT / "console" / "package.json").read_text())
    assert all(f"{name} {version}" in text for name, version in package["dependencies"].items())
    assert response.headers["Cache-Control"] == "no-cache"
