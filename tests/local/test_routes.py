"""Routing of `chalice local`, by API Gateway's rules."""

import pytest

from local.routes import Match, match

ROUTES = [
    "/",
    "/events",
    "/events/{id}",
    "/events/batch",
    "/events/{id}/payload",
    "/web/{path+}",
]


@pytest.mark.parametrize(
    ("path", "route", "parameters"),
    [
        ("/", "/", {}),
        ("/events", "/events", {}),
        ("/events/", "/events", {}),
        ("/events/batch", "/events/batch", {}),
        ("/events/7", "/events/{id}", {"id": "7"}),
        ("/events/a%2Fb%20c", "/events/{id}", {"id": "a/b c"}),
        ("/events/batch/payload", "/events/{id}/payload", {"id": "batch"}),
        ("/web/js/app.js", "/web/{path+}", {"path": "js/app.js"}),
    ],
)
def test_path_finds_its_route(path: str, route: str, parameters: dict[str, str]) -> None:
    assert match(ROUTES, path) == Match(route, parameters)


@pytest.mark.parametrize(
    "path", ["/nope", "//events", "/events//payload", "/events/7/8", "/web", "events", "*", ""]
)
def test_unknown_path_finds_none(path: str) -> None:
    assert match(ROUTES, path) is None


def test_literal_wins_over_parameter_whatever_the_order() -> None:
    for routes in (ROUTES, ROUTES[::-1]):
        found = match(routes, "/events/batch")
        assert found is not None
        assert found.route == "/events/batch"
