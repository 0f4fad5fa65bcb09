"""Slack: one attempt to post to an incoming webhook, and alerts as messages (Block Kit).

The webhook's URL is a secret: no log line has it, nor the client's error messages, which quote it.
Sources: Slack, "Sending messages using incoming webhooks" and "Improving error conditions for
incoming webhooks" (400, 403, 404 and 410 say that the same message will never be taken), "Rate
limits" (429 with Retry-After in seconds).

Text from outside can show, but not act: `&`, `<` and `>` are escaped, so nothing mentions a channel
or a person; text that Slack would format is `plain_text` or `verbatim`; only http and https
addresses become links. Sources: Slack, "Formatting text for app surfaces", "Block Kit: blocks" (a
header holds 150 characters, a section 3,000, a context block 10 elements, a message 50 blocks).
"""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from chalicelib.alerts.groups import AlertGroup
from chalicelib.alerts.model import Alert, Severity
from chalicelib.core.log import log
from chalicelib.core.strict_json import dump_json
from chalicelib.outbound.address import url_fault
from chalicelib.outbound.send import Answer, Limits, Sender

LIMITS = Limits(connect=2.0, read=5.0, total=7.0)
"""Of an attempt, in seconds."""
FRESH_SECONDS = 5.0
"""A refused URL is read again unless it was read within this time."""
_RETRY_AFTER_LIMIT = 3600
_REPLY_LIMIT = 200
_HEADERS = {"Content-Type": "application/json; charset=utf-8"}
_TRANSIENT_4XX = frozenset(
    (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
)
_REFUSALS = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_HEADER_LIMIT, _SECTION_LIMIT, _ELEMENT_LIMIT, _ELEMENTS = 150, 3000, 300, 10
_FALLBACK_LIMIT = 300
_LINK_LIMIT = 2000
_SYMBOLS = {
    Severity.INFO: "🔵",
    Severity.WARNING: "🟡",
    Severity.ERROR: "🔴",
    Severity.CRITICAL: "🚨",
}
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_UNSAFE_IN_LINK = r"[\x00-\x20<>|\"`\x7f-\U0010ffff]"
WebhookUrl = Callable[[float | None], str | None]
"""Gives the webhook's URL, read at most so many seconds ago (None: as cached); None if not set."""


class Verdict(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    RETRY = "retry"
    GONE = "gone"


class Outcome(Struct, frozen=True):
    """The end of an attempt: `code` for programs, `reason` for people, and the seconds that Slack
    asked to wait."""

    verdict: Verdict
    code: str
    reason: str
    retry_after: int | None = None


class Slack:
    """One webhook. `loopback` allows plain HTTP to this machine, for stage local."""

    def __init__(
        self, make_sender: Callable[[], Sender], url: WebhookUrl, *, loopback: bool = False
    ) -> None:
        self._make_sender = make_sender
        self._url = url
        self._loopback = loopback

    def post(self, message: Mapping[str, Any]) -> Outcome:
        """Post a message: one request, and one more if a cached URL is refused and another is set
        now, each within `LIMITS`. Raises no error of Slack or the network; reading the URL may
        raise an AWS error."""
        url = self._url(None)
        fault = self._fault(url)
        if url is None or fault:
            return _not_set(fault or "there is no parameter with the webhook's URL")
        answer = self._attempt(url, message)
        if answer.status in _REFUSALS:
            fresh = self._url(FRESH_SECONDS)
            if fresh is not None and fresh != url and not self._fault(fresh):
                log.info("Slack webhook replaced")
                answer = self._attempt(fresh, message)
        return _outcome(answer)

    def _attempt(self, url: str, message: Mapping[str, Any]) -> Answer:
        # A new connection: a kept one may have died while the process was frozen, and after a
        # reset nobody knows whether Slack has the message.
        with self._make_sender() as sender:
            return sender.post(url, dump_json(message).encode(), _HEADERS)

    def _fault(self, url: str | None) -> str:
        """What is wrong with a webhook's URL; empty when nothing is."""
        fault = None if url is None else url_fault(url, loopback=self._loopback)
        return f"the webhook's URL {fault}" if fault else ""


def _outcome(answer: Answer) -> Outcome:
    """What an attempt's end means for the message."""
    status = answer.status
    if status is None:
        return Outcome(Verdict.RETRY, answer.code, f"no answer from Slack: {answer.code}")
    said = " ".join(answer.text[:_REPLY_LIMIT].split())
    reason = f"Slack answered {status}: {said}" if said else f"Slack answered {status}"
    if answer.is_success:
        return Outcome(Verdict.DELIVERED, f"http-{status}", reason)
    is_refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    if is_refused and status not in _TRANSIENT_4XX:
        return Outcome(Verdict.GONE, answer.code, reason)
    asked = answer.retry_after
    wait = None if asked is None else min(asked, _RETRY_AFTER_LIMIT)
    return Outcome(Verdict.RETRY, answer.code, reason, wait)


def first_message(alert: Alert, at: str) -> dict[str, Any]:
    """The message for an alert that happened at `at`, unless it says otherwise itself."""
    return _message(alert, alert.title, alert.text, alert.at or at)


def repeat_message(group: AlertGroup, repeats: int) -> dict[str, Any]:
    """The message that reports that an alert came `repeats` more times."""
    times = "once more" if repeats == 1 else f"{repeats} times"
    more = "" if group.reported == 0 else " since the last count"
    text = f"Repeated {times}{more}: first {group.first}, last {group.last}."
    return _message(group.alert, f"Repeated {times}: {group.alert.title}", text, group.last)


def escape(text: str, limit: int) -> str:
    """`text` for Slack: control characters become spaces, markup is escaped, and at most `limit`
    characters stay, cut between characters and never inside an entity."""
    parts: list[str] = []
    length = 0
    for character in text:
        shown = character if character.isprintable() or character == "\n" else " "
        part = _ENTITIES.get(shown, shown)
        length += len(part)
        if length > limit:
            break
        parts.append(part)
    else:
        return "".join(parts)
    while parts and sum(map(len, parts)) >= limit:
        parts.pop()
    return "".join(parts) + "…"


def link(url: str | None, label: str) -> str | None:
    """Slack's markup for a link; None unless `url` is an http or https address."""
    if not url or len(url) > _LINK_LIMIT or re.search(_UNSAFE_IN_LINK, url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    return f"<{url.replace('&', '&amp;')}|{label}>"


def _not_set(reason: str) -> Outcome:
    # An operator sets it soon, so the alert waits.
    log.error("Slack webhook not usable; alerts wait until it is", extra={"reason": reason})
    return Outcome(Verdict.RETRY, "webhook-not-set", reason)


def _message(alert: Alert, title: str, text: str, at: str) -> dict[str, Any]:
    word = alert.severity.upper()
    header = escape(f"{_SYMBOLS[alert.severity]} {word}: {title}", _HEADER_LIMIT)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(header)}]
    if text.strip():
        blocks.append({"type": "section", "text": _plain(escape(text, _SECTION_LIMIT))})
    blocks.append({"type": "context", "elements": _context(alert, at)})
    place = " ".join(part for part in (alert.repository, alert.branch) if part)
    fallback = f"{word}: {title} ({place})" if place else f"{word}: {title}"
    return {
        "text": escape(fallback.replace("\n", " "), _FALLBACK_LIMIT),
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _context(alert: Alert, at: str) -> list[dict[str, Any]]:
    """Repository, branch, link, time, and as many facts as there is room for."""
    places = _labelled(("Repository", alert.repository), ("Branch", alert.branch))
    target = link(alert.link, "Open the alarm" if alert.kind == "alarm" else "Open the run")
    links = [{"type": "mrkdwn", "text": target, "verbatim": True}] if target else []
    return [*places, *links, *_labelled(("Time", at), *alert.facts)][:_ELEMENTS]


def _labelled(*facts: tuple[str, str | None]) -> list[dict[str, Any]]:
    return [
        _plain(escape(f"{label}: {value}".replace("\n", " "), _ELEMENT_LIMIT))
        for label, value in facts
        if value
    ]


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
