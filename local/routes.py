"""Which route a path belongs to, by API Gateway's rules."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote


@dataclass(frozen=True)
class Match:
    """A route template and the values its `{parameters}` took, percent-decoded."""

    route: str
    parameters: dict[str, str]


def match(routes: Iterable[str], path: str) -> Match | None:
    """Find the route of a raw (still encoded) path without its query; None when there is none.

    A literal segment wins over `{name}`, which wins over the greedy `{name+}`, from left to right.
    A trailing slash does not count and an empty segment matches nothing.
    """
    segments = [unquote(part) for part in path.removesuffix("/").split("/")[1:]]
    if not path.startswith("/") or "" in segments:
        return None
    candidates = []
    for route in routes:
        parameters = _parameters(_split(route), segments)
        if parameters is not None:
            candidates.append(Match(route, parameters))
    return min(candidates, key=lambda found: _rank(found.route), default=None)


def _split(route: str) -> list[str]:
    return route.strip("/").split("/") if route.strip("/") else []


def _rank(route: str) -> list[int]:
    return [
        2 if part.endswith("+}") else 1 if part.startswith("{") else 0 for part in _split(route)
    ]


def _parameters(template: list[str], segments: list[str]) -> dict[str, str] | None:
    greedy = bool(template) and template[-1].endswith("+}")
    if len(segments) < len(template) or (len(segments) > len(template) and not greedy):
        return None
    found = {}
    for index, part in enumerate(template):
        if part.endswith("+}"):
            found[part[1:-2]] = "/".join(segments[index:])
        elif part.startswith("{"):
            found[part[1:-1]] = segments[index]
        elif part != segments[index]:
            return None
    return found
