"""Alerts as Slack messages (Block Kit).

What comes from outside can show, but not act: `&`, `<` and `>` are escaped, so nothing mentions a
channel or a person; text that Slack would format is either `plain_text` or `verbatim`; and only
http and https addresses become links. Sources: Slack, "Formatting text for app surfaces", "Block
Kit: blocks" (a header holds 150 characters, a section 3,000, a context block 10 elements, a message
50 blocks).
"""

import re
from typing import Any
from urllib.parse import urlsplit

from chalicelib.domain.alert_groups import AlertGroup
from chalicelib.domain.alerts import Alert, Severity

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
_UNSAFE_IN_LINK = re.compile(r"[\x00-\x20<>|\"`\x7f-\U0010ffff]")


def first_message(alert: Alert, at: str) -> dict[str, Any]:
    """The message for an alert that happened at `at`, unless it says otherwise itself."""
    return _message(alert, alert.title, alert.text, alert.at or at)


def repeat_message(group: AlertGroup, repeats: int) -> dict[str, Any]:
    """The message that tells that an alert came `repeats` more times."""
    times = "once more" if repeats == 1 else f"{repeats} times"
    more = "" if group.reported == 0 else " since the last count"
    text = f"Repeated {times}{more}: first {group.first}, last {group.last}."
    return _message(group.alert, f"Repeated {times}: {group.alert.title}", text, group.last)


def escape(text: str, limit: int) -> str:
    """`text` for Slack: control characters are spaces, markup is escaped, at most `limit`
    characters long, cut between characters and never inside an entity."""
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
    """Slack's markup for a link; None for what is no http or https address."""
    if not url or len(url) > _LINK_LIMIT or _UNSAFE_IN_LINK.search(url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    return f"<{url.replace('&', '&amp;')}|{label}>"


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
    elements = [
        _plain(escape(f"{label}: {value}".replace("\n", " "), _ELEMENT_LIMIT))
        for label, value in (("Repository", alert.repository), ("Branch", alert.branch))
        if value
    ]
    target = link(alert.link, "Open the alarm" if alert.kind == "alarm" else "Open the run")
    if target:
        elements.append({"type": "mrkdwn", "text": target, "verbatim": True})
    elements.append(_plain(escape(f"Time: {at}", _ELEMENT_LIMIT)))
    elements += [
        _plain(escape(f"{label}: {value}".replace("\n", " "), _ELEMENT_LIMIT))
        for label, value in alert.facts
    ]
    return elements[:_ELEMENTS]


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
