"""The OpenAPI 3.1 document of the REST API, as `GET /openapi.json` serves it.

Written beside the code it describes and held to it by tests: every route and scope, every answer
that the tests provoke, and generated requests against a deployed stage. Limits are the code's own
constants. `docs/openapi.json` is a copy; `make openapi` writes it. Source: OpenAPI Specification
3.1.0.
"""

from typing import Any

from chalicelib import __version__
from chalicelib.alerts import openapi as alerts
from chalicelib.events import openapi as events
from chalicelib.items import openapi as items
from chalicelib.recovery import openapi as dead_letters
from chalicelib.replays import openapi as replays
from chalicelib.schemas import openapi as schemas
from chalicelib.tokens import openapi as tokens
from chalicelib.uploads import openapi as uploads
from chalicelib.web import problems
from chalicelib.web.describe import CURSOR, Json, query, text
from chalicelib.webhooks import openapi as webhooks

_ABOUT = """\
Events come in, are kept as they were sent, processed once in effect, and can be found, explained
and replayed. 202 means kept: the payload is stored and the event ends PROCESSED or FAILED.

Every answer carries `X-Request-Id`, and every error is `application/problem+json` (RFC 9457). A
token sees what its owner has; another owner's id answers 404. JSON is read strictly: UTF-8, no
duplicate names, no NaN or Infinity, no lone surrogates, at most 100 levels deep.
"""
_TAGS = {
    "Events": "Send events, read them, replay them.",
    "Recovery": "Replay many events, and take up again what failed.",
    "Schemas": "What the events of a type must look like.",
    "Items": "Objects of an owner, and who is told when one changes.",
    "Uploads": "Files, and the record of each.",
    "Alerts": "What people were alerted of.",
    "Tokens": "Who may call the API.",
    "Platform": "The API itself.",
}
_PARTS = (events, webhooks, replays, dead_letters, schemas, items, uploads, alerts, tokens)


def document() -> dict[str, Any]:
    """The document; a new one at each call."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Eventline",
            "version": __version__,
            "summary": "Every event kept, processed once in effect, and found again.",
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": ".", "description": "Where this document comes from."}],
        "tags": [{"name": label, "description": what} for label, what in _TAGS.items()],
        "security": [{"bearer": []}],
        "paths": {path: methods for part in _PARTS for path, methods in part.paths().items()},
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token `evl_<id>_<secret>` from `POST /tokens`. The scope"
                    " `admin` stands for every scope. A stage may use IAM or Cognito instead.",
                }
            },
            "schemas": _schemas(),
            "parameters": _parameters(),
            "headers": {
                "X-Request-Id": {
                    "description": "Names the request in the log.",
                    "required": True,
                    "schema": text(minLength=1),
                }
            },
            "responses": problems.responses(),
        },
    }


def _schemas() -> Json:
    found = {"Problem": problems.schema(), "FieldError": problems.field_error()}
    found |= events.schemas()
    for part in (replays, dead_letters, schemas, items, uploads, alerts, tokens):
        found |= part.schemas()
    return found


def _parameters() -> Json:
    limit = {"type": "integer", "minimum": 1, "maximum": 100, "default": 50}
    found = {
        "limit": query("limit", limit, "How many entries the page may have."),
        "cursor": query(
            "cursor",
            text(pattern="^[A-Za-z0-9_-]+$", maxLength=1024),
            "What the page before gave as its cursor.",
            example=CURSOR,
        ),
    }
    for part in (events, webhooks, replays, schemas, items, tokens):
        found |= part.parameters()
    return found | events.header_parameters()
