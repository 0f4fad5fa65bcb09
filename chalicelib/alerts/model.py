"""Alerts: what a message on the CI queue says, and which alerts are equal.

A message is what a pipeline sends (`{"status":"error","message":"Terraform Apply Failed"}`, the
fields of a GitHub Actions run, or the payload of GitHub's `workflow_run` webhook), plain text, any
other JSON, or one of Eventline's own:

    {"eventline":{"kind":"alarm","name","state","at","reason","region","account","metric",...}}
    {"eventline":{"kind":"event-failed","eventType","class","code","eventId","owner","at"}}
    {"eventline":{"kind":"destination-disabled","destinationId","owner","reason","at"}}
    {"eventline":{"kind":"summary","groupId"}}

Reading never fails: an unknown form is shown as it is, shortened. Names of a run's fields are
compared without case, separators and the prefix `GITHUB_`, so that `GITHUB_RUN_ID`, `run_id` and
`runId` are one. Source: GitHub Docs, "Variables reference" (default environment variables),
"Webhook events and payloads".
"""

import hashlib
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from chalicelib.core import clock
from chalicelib.core.errors import InvalidJsonError
from chalicelib.core.ids import is_event_id
from chalicelib.core.strict_json import dump_json, parse_json


class Severity(StrEnum):
    """How bad it is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


TITLE_LIMIT, TEXT_LIMIT, FACT_LIMIT, FACTS = 150, 2500, 200, 8
"""Characters of a title, a text and a fact, and how many facts."""
MARK = "eventline"
"""The member that holds a message of Eventline's own."""
ALARM_STATES = {"ALARM": ("ALARM", Severity.ERROR), "OK": ("Resolved", Severity.INFO)}
"""The states of an alarm that become alerts: the word in the title, and the severity."""
_FIELDS = {
    "severity": ("severity", "level"),
    "outcome": ("conclusion", "outcome", "result", "jobstatus", "status"),
    "message": ("message", "text", "error", "detail", "description"),
    "title": ("title", "subject"),
    "at": ("time", "timestamp", "at", "updatedat"),
    "repository": ("repository", "repo"),
    "branch": ("branch", "headbranch", "refname", "headref", "ref"),
    "workflow": ("workflow", "workflowname", "pipeline"),
    "job": ("job",),
    "actor": ("actor",),
    "sha": ("sha", "headsha", "commit"),
    "link": ("runurl", "htmlurl", "buildurl", "link", "url"),
    "run_id": ("runid",),
    "server": ("serverurl",),
}
"""The fields of a CI run, and the names that senders give them; the first one found counts."""
_KNOWN = frozenset(name for names in _FIELDS.values() for name in names)
_REPOSITORY = r"[\w.-]+/[\w.-]+"
_SEVERITIES = {
    Severity.CRITICAL: "critical fatal emergency",
    Severity.ERROR: "error err failed failure fail timed_out timeout startup_failure",
    Severity.WARNING: "warning warn cancelled canceled action_required stale",
    Severity.INFO: "info notice debug success succeeded ok passed neutral skipped completed"
    " in_progress queued requested",
}
_BY_WORD = {word: severity for severity, words in _SEVERITIES.items() for word in words.split()}
_OUTCOMES = {
    "failure": "failed",
    "error": "failed",
    "success": "succeeded",
    "timed_out": "timed out",
    "startup_failure": "failed to start",
    "cancelled": "was cancelled",
    "skipped": "was skipped",
    "action_required": "needs an action",
}
_VOLATILE = (
    r"(?i)\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?([.,]\d+)?(Z|[+-]\d\d:?\d\d)?"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b(?=[0-9a-f]*\d)[0-9a-f]{7,64}\b"
    r"|#\d+"
)
_VOLATILE_NAME = r".*(id|time|timestamp|date|number|attempt|sha|commit|url)"


class Alert(Struct, frozen=True):
    """One alert. `owner` owns the event it is about; None for pipelines and alarms, which concern
    everybody. `same` is what equal alerts share beside kind, severity, title, place and owner; it
    is not stored."""

    kind: str
    severity: Severity
    title: str
    text: str = ""
    at: str | None = None
    repository: str | None = None
    branch: str | None = None
    link: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    same: tuple[str, ...] = ()
    owner: str | None = None

    @property
    def group_key(self) -> str:
        """The hash of what makes alerts equal: no times, ids, commits or run numbers."""
        parts = [self.kind, self.severity, _steady(self.title), self.repository, self.branch]
        owner = [] if self.owner is None else [{"owner": self.owner}]
        return hashlib.sha256(json.dumps([*parts, *self.same, *owner]).encode()).hexdigest()


class SummaryDue(Struct, frozen=True):
    """The message that asks for the report of a group's repeats."""

    group_id: str


def alarm(name: str, state: str, at: str | None, **details: str) -> str:
    """The message for an alarm that turned ALARM or OK. `details`: reason, description, region,
    account, metric."""
    fields = {"kind": "alarm", "name": name, "state": state, "at": at, **details}
    return dump_json({MARK: fields})


def summary(group_id: str) -> str:
    """The message that `read_message` reads as `SummaryDue`."""
    return dump_json({MARK: {"kind": "summary", "groupId": group_id}})


def read_message(body: str) -> Alert | SummaryDue:
    """What a message on the CI queue says."""
    try:
        value = parse_json(body.encode("utf-8", "surrogatepass"))
    except InvalidJsonError:
        return _from_text(body)
    if isinstance(value, str):
        return _from_text(value)
    if not isinstance(value, dict):
        return _from_other(value, Severity.WARNING)
    own = value.get(MARK)
    return (_from_own(own) if isinstance(own, dict) else None) or _from_pipeline(value)


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, with an ellipsis if there was more."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def read_time(text: str) -> str | None:
    """A time in ISO 8601 as Eventline writes it; None for any other text."""
    try:
        return clock.to_text(clock.from_text(text))
    except (ValueError, OverflowError):
        return None


def _from_own(fields: Mapping[str, Any]) -> Alert | SummaryDue | None:
    """A message of Eventline's own; None if it is malformed."""
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    match texts:
        case {"kind": "summary", "groupId": group_id} if is_event_id(group_id):
            return SummaryDue(group_id)
        case {"kind": "event-failed", "eventType": _, "class": _, "code": _}:
            return _from_failed_event(texts)
        case {"kind": "destination-disabled", "destinationId": _, "owner": _, "reason": _}:
            return _from_disabled(texts)
        case {"kind": "alarm", "name": _, "state": state} if state in ALARM_STATES:
            return _from_alarm(texts)
    return None


def _from_failed_event(texts: Mapping[str, str]) -> Alert:
    labels = {"class": "Class", "code": "Code", "eventId": "Event", "owner": "Owner"}
    return Alert(
        kind="event-failed",
        severity=Severity.ERROR,
        title=shorten(f"Event failed: {texts['eventType']}", TITLE_LIMIT),
        text=f"An event of type {texts['eventType']} ended FAILED ({texts['code']}).",
        at=texts.get("at"),
        facts=_facts({label: texts.get(name) for name, label in labels.items()}),
        same=(texts["eventType"], texts["class"], texts["code"]),
        owner=texts.get("owner"),
    )


def _from_disabled(texts: Mapping[str, str]) -> Alert:
    words = {"gone": "It answered 410 Gone.", "failing": "It has failed for five days."}
    labels = {"destinationId": "Destination", "owner": "Owner"}
    return Alert(
        kind="destination-disabled",
        severity=Severity.WARNING,
        title="A destination was disabled",
        text=words.get(texts["reason"], "It gets no more events."),
        at=texts.get("at"),
        facts=_facts({label: texts.get(name) for name, label in labels.items()}),
        same=(texts["destinationId"], texts["reason"]),
        owner=texts["owner"],
    )


def _from_alarm(texts: Mapping[str, str]) -> Alert:
    name, region = texts["name"], texts.get("region", "")
    word, severity = ALARM_STATES[texts["state"]]
    lines = [texts.get("description", ""), texts.get("reason", "")]
    console = f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
    labels = {"metric": "Metric", "region": "Region", "account": "Account"}
    return Alert(
        kind="alarm",
        severity=severity,
        title=shorten(f"{word}: {name}", TITLE_LIMIT),
        text=shorten("\n".join(line for line in lines if line), TEXT_LIMIT),
        at=texts.get("at"),
        link=f"{console}#alarmsV2:alarm/{quote(name, safe='')}"
        if re.fullmatch(r"[a-z0-9-]+", region)
        else None,
        facts=_facts({label: texts.get(field) for field, label in labels.items()}),
        same=(name, texts["state"], region, texts.get("account", "")),
    )


def _from_text(text: str) -> Alert:
    title, rest = _title_and_text(text)
    return Alert("text", Severity.WARNING, title, rest, same=(_steady(text),))


def _from_other(value: Any, severity: Severity) -> Alert:
    shown = json.dumps(value, indent=2, ensure_ascii=False)
    same = (_steady(json.dumps(value, sort_keys=True)),)
    title = "Message of an unknown form"
    return Alert("json", severity, title, shorten(shown, TEXT_LIMIT), same=same)


def _from_pipeline(value: Mapping[str, Any]) -> Alert:
    """The alert in what a pipeline sent: its `message`, or the fields of a GitHub Actions run."""
    run, others = _read_run(value)
    message, workflow, outcome = run["message"], run["workflow"], run["outcome"].lower()
    severity = _BY_WORD.get(run["severity"].lower(), _BY_WORD.get(outcome, Severity.WARNING))
    is_workflow = bool(run["repository"] or workflow)
    if not message and not run["title"] and not is_workflow:
        return _from_other(value, severity)
    if run["title"]:
        title, text = shorten(_one_line(run["title"]), TITLE_LIMIT), shorten(message, TEXT_LIMIT)
    elif message:
        title, text = _title_and_text(message)
    else:
        words = _OUTCOMES.get(outcome, outcome) or "sent a message"
        title, text = shorten(f"{workflow or 'Workflow'} {words}", TITLE_LIMIT), ""
    lasting = {
        name: text
        for name, text in others.items()
        if not re.fullmatch(_VOLATILE_NAME, name.lower())
    }
    labels = {"Workflow": workflow, "Job": run["job"], "Actor": run["actor"]}
    return Alert(
        kind="workflow" if is_workflow else "message",
        severity=severity,
        title=title,
        text=text,
        at=read_time(run["at"]),
        repository=run["repository"] or None,
        branch=re.sub(r"^refs/(heads/|tags/)?", "", run["branch"]) or None,
        link=run["link"] or _run_link(run),
        facts=_facts({**labels, "Commit": run["sha"][:12], **others}),
        same=(
            workflow,
            run["job"],
            outcome,
            _steady(message),
            *(f"{name}={_steady(text)}" for name, text in sorted(lasting.items())),
        ),
    )


def _read_run(value: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """(the fields of a run, empty where there is none; further fields with a plain value)."""
    run = value.get("workflow_run")
    if isinstance(run, Mapping):
        # The payload of GitHub's webhook. Its `name` is the workflow's.
        repository = value.get("repository") or run.get("repository")
        names = ("head_branch", "conclusion", "status", "actor", "head_sha", "html_url")
        shown = {name: run.get(name) for name in (*names, "updated_at")}
        value = {"repository": repository, "workflow": run.get("name"), **shown}
    fields: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, content in value.items():
        short = re.sub(r"[^a-z0-9]", "", name.lower()).removeprefix("github")
        text = _text(content)
        if text:
            fields.setdefault(short, text)
            if short not in _KNOWN:
                others[name] = text
    found = {
        field: next((fields[name] for name in names if name in fields), "")
        for field, names in _FIELDS.items()
    }
    return found, others


def _text(content: Any) -> str:
    """A string or number as text; of GitHub's objects the name."""
    if isinstance(content, Mapping):
        content = content.get("full_name") or content.get("login") or content.get("name")
    if isinstance(content, (str, int, float)) and not isinstance(content, bool):
        return str(content).strip()
    return ""


def _run_link(run: Mapping[str, str]) -> str | None:
    if not run["run_id"].isdecimal() or not re.fullmatch(_REPOSITORY, run["repository"]):
        return None
    server = (run["server"] or "https://github.com").rstrip("/")
    return f"{server}/{run['repository']}/actions/runs/{run['run_id']}"


def _steady(text: str) -> str:
    """`text` without what differs between equal alerts: times, ids, hashes, `#` numbers."""
    return re.sub(_VOLATILE, "*", text)


def _title_and_text(text: str) -> tuple[str, str]:
    """(first line, the whole if that is more)."""
    whole = text.strip()
    first = _one_line(whole.partition("\n")[0]) or "(empty message)"
    title = shorten(first, TITLE_LIMIT)
    return title, "" if whole == title else shorten(whole, TEXT_LIMIT)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _facts(facts: Mapping[str, str | None]) -> tuple[tuple[str, str], ...]:
    shown = (
        (shorten(name, FACT_LIMIT), shorten(value, FACT_LIMIT))
        for name, value in facts.items()
        if value
    )
    return tuple(shown)[:FACTS]
