"""The fields of a CI run, whatever their sender calls them.

Names are compared without case, separators and the prefix `GITHUB_`, so `GITHUB_RUN_ID`, `run_id`
and `runId` are one. Also read: the payload of GitHub's `workflow_run` webhook. Source: GitHub Docs,
"Variables reference" (default environment variables), "Webhook events and payloads".

Alerts: what a message on the CI queue says, and which alerts are equal.

A message is one of: what a pipeline sends (`{"status":"error","message":"Terraform Apply Failed"}`,
or the fields of a GitHub Actions run), plain text, any other JSON, or one of ours:

    {"eventline":{"kind":"alarm","name","state","at","reason","region","account","metric",...}}
    {"eventline":{"kind":"event-failed","eventType","class","code","eventId","owner","at"}}
    {"eventline":{"kind":"summary","groupId"}}

Reading never fails: what is not understood is shown as it is, shortened.
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

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_SEVERITY = ("severity", "level")
_OUTCOME = ("conclusion", "outcome", "result", "jobstatus", "status")
_MESSAGE = ("message", "text", "error", "detail", "description")
_TITLE = ("title", "subject")
_WORKFLOW = ("workflow", "workflowname", "pipeline")
_BRANCH = ("branch", "headbranch", "refname", "headref", "ref")
_LINK = ("runurl", "htmlurl", "buildurl", "link", "url")
_SHA = ("sha", "headsha", "commit")
_AT = ("time", "timestamp", "at", "updatedat")
_KNOWN = frozenset(
    (*_SEVERITY, *_OUTCOME, *_MESSAGE, *_TITLE, *_WORKFLOW, *_BRANCH, *_LINK, *_SHA, *_AT)
) | {"repository", "repo", "job", "actor", "runid", "serverurl"}


class Run(Struct, frozen=True):
    """What a message says of a run. `severity` and `outcome` are lower-case words, empty when not
    told; `others` holds further fields with a plain value."""

    severity: str
    outcome: str
    message: str
    title: str
    at: str | None
    repository: str | None
    branch: str | None
    workflow: str | None
    job: str | None
    actor: str | None
    sha: str | None
    link: str | None
    others: Mapping[str, str]

    @property
    def is_workflow(self) -> bool:
        """Whether this is a workflow's run, and not just somebody's words."""
        return bool(self.repository or self.workflow)


def read_run(value: Mapping[str, Any]) -> Run:
    """The run that a JSON object tells of; what is absent or no plain value is empty."""
    payload = value.get("workflow_run")
    if isinstance(payload, Mapping):
        fields, others = _plain(_of_webhook(value, payload)), {}
    else:
        fields = _plain(value)
        others = {
            name: text
            for name in value
            if _short(name) not in _KNOWN and (text := _text(value[name]))
        }
    repository = _first(fields, ("repository", "repo"))
    return Run(
        severity=_first(fields, _SEVERITY).lower(),
        outcome=_first(fields, _OUTCOME).lower(),
        message=_first(fields, _MESSAGE),
        title=_first(fields, _TITLE),
        at=_moment(_first(fields, _AT)),
        repository=repository or None,
        branch=_branch(_first(fields, _BRANCH)) or None,
        workflow=_first(fields, _WORKFLOW) or None,
        job=_first(fields, ("job",)) or None,
        actor=_first(fields, ("actor",)) or None,
        sha=_first(fields, _SHA) or None,
        link=_first(fields, _LINK) or _run_link(fields, repository),
        others=others,
    )


def _of_webhook(value: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `workflow_run` payload under the names used above."""
    return {
        "repository": value.get("repository") or run.get("repository"),
        "branch": run.get("head_branch"),
        "workflow": run.get("name"),
        "conclusion": run.get("conclusion"),
        "status": run.get("status"),
        "actor": run.get("actor"),
        "sha": run.get("head_sha"),
        "runurl": run.get("html_url"),
        "at": run.get("updated_at"),
    }


def _plain(value: Mapping[str, Any]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, content in value.items():
        text = _text(content)
        if text:
            fields.setdefault(_short(name), text)
    return fields


def _short(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removeprefix("github")


def _text(content: Any) -> str:
    """A string or number as text; of GitHub's objects the name."""
    if isinstance(content, Mapping):
        content = content.get("full_name") or content.get("login") or content.get("name")
    if isinstance(content, (str, int, float)) and not isinstance(content, bool):
        return str(content).strip()
    return ""


def _first(fields: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((fields[name] for name in names if name in fields), "")


def _branch(ref: str) -> str:
    for prefix in ("refs/heads/", "refs/tags/", "refs/"):
        if ref.startswith(prefix):
            return ref.removeprefix(prefix)
    return ref


def _run_link(fields: Mapping[str, str], repository: str) -> str | None:
    run_id = fields.get("runid", "")
    if not run_id.isdecimal() or not _REPOSITORY.fullmatch(repository):
        return None
    server = fields.get("serverurl", "https://github.com").rstrip("/")
    return f"{server}/{repository}/actions/runs/{run_id}"


def _moment(text: str) -> str | None:
    try:
        return clock.to_text(clock.from_text(text))
    except (ValueError, OverflowError):
        return None


TITLE_LIMIT, TEXT_LIMIT, FACT_LIMIT, FACTS = 150, 2500, 200, 8
"""Characters that are kept of a title, a text and a fact, and how many facts."""


class Severity(StrEnum):
    """How bad it is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


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
_VOLATILE = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?([.,]\d+)?(Z|[+-]\d\d:?\d\d)?"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b(?=[0-9a-f]*\d)[0-9a-f]{7,64}\b"
    r"|#\d+",
    re.IGNORECASE,
)
_VOLATILE_NAME = re.compile(r".*(id|time|timestamp|date|number|attempt|sha|commit|url)")
_ALARM_STATES = {"ALARM": ("ALARM", Severity.ERROR), "OK": ("Resolved", Severity.INFO)}


class Alert(Struct, frozen=True):
    """One alert. `owner` is whom it concerns; None for everybody: pipelines, alarms. `same` is what
    equal alerts share beside kind, severity, title, place and owner."""

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
        parts = [self.kind, self.severity, steady(self.title), self.repository, self.branch]
        owner = [] if self.owner is None else [{"owner": self.owner}]
        return hashlib.sha256(json.dumps([*parts, *self.same, *owner]).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """What is kept of an alert; `same` is not."""
        return {
            "kind": self.kind,
            "severity": str(self.severity),
            "title": self.title,
            "text": self.text,
            "at": self.at,
            "repository": self.repository,
            "branch": self.branch,
            "link": self.link,
            "facts": [list(fact) for fact in self.facts],
            **({} if self.owner is None else {"owner": self.owner}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Alert":
        """The inverse of `to_dict`."""
        facts = tuple((name, value) for name, value in values["facts"])
        severity = Severity(values["severity"])
        return cls(**{**values, "severity": severity, "facts": facts})


class SummaryDue(Struct, frozen=True):
    """The message that asks for a group's repeats to be told."""

    group_id: str


def alarm(name: str, state: str, at: str | None, **details: str) -> str:
    """The message for an alarm that turned ALARM or OK. `details`: reason, description, region,
    account, metric."""
    return _ours("alarm", {"name": name, "state": state, "at": at, **details})


def summary(group_id: str) -> str:
    """The message that asks for a group's repeats to be told."""
    return _ours("summary", {"groupId": group_id})


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
    ours = value.get("eventline")
    return (_from_ours(ours) if isinstance(ours, dict) else None) or _from_fields(value)


def steady(text: str) -> str:
    """`text` without what differs between equal alerts: times, ids, hashes, `#` numbers."""
    return _VOLATILE.sub("*", text)


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters of `text`; an ellipsis says that there was more."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _ours(kind: str, fields: Mapping[str, Any]) -> str:
    return dump_json({"eventline": {"kind": kind, **fields}})


def _from_ours(fields: Mapping[str, Any]) -> Alert | SummaryDue | None:
    """Ours, if it is well-formed."""
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    match texts:
        case {"kind": "summary", "groupId": group_id} if is_event_id(group_id):
            return SummaryDue(group_id)
        case {"kind": "event-failed", "eventType": _, "class": _, "code": _}:
            return _from_failed_event(texts)
        case {"kind": "alarm", "name": _, "state": state} if state in _ALARM_STATES:
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


def _from_alarm(texts: Mapping[str, str]) -> Alert:
    name, region = texts["name"], texts.get("region", "")
    word, severity = _ALARM_STATES[texts["state"]]
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
    return Alert("text", Severity.WARNING, title, rest, same=(steady(text),))


def _from_other(value: Any, severity: Severity) -> Alert:
    shown = json.dumps(value, indent=2, ensure_ascii=False)
    same = (steady(json.dumps(value, sort_keys=True)),)
    title = "Message of an unknown form"
    return Alert("json", severity, title, shorten(shown, TEXT_LIMIT), same=same)


def _from_fields(value: Mapping[str, Any]) -> Alert:
    """What a pipeline says: its own words in `message`, or the fields of a GitHub Actions run."""
    run = read_run(value)
    severity = _BY_WORD.get(run.severity, _BY_WORD.get(run.outcome, Severity.WARNING))
    if not run.message and not run.title and not run.is_workflow:
        return _from_other(value, severity)
    if run.title:
        title, text = shorten(_one_line(run.title), TITLE_LIMIT), shorten(run.message, TEXT_LIMIT)
    elif run.message:
        title, text = _title_and_text(run.message)
    else:
        outcome = _OUTCOMES.get(run.outcome, run.outcome) or "sent a message"
        title, text = shorten(f"{run.workflow or 'Workflow'} {outcome}", TITLE_LIMIT), ""
    lasting = {name: value for name, value in run.others.items() if not _is_volatile(name)}
    return Alert(
        kind="workflow" if run.is_workflow else "message",
        severity=severity,
        title=title,
        text=text,
        at=run.at,
        repository=run.repository,
        branch=run.branch,
        link=run.link,
        facts=_facts(
            {
                "Workflow": run.workflow,
                "Job": run.job,
                "Actor": run.actor,
                "Commit": run.sha and run.sha[:12],
                **run.others,
            }
        ),
        same=(
            run.workflow or "",
            run.job or "",
            run.outcome,
            steady(run.message),
            *(f"{name}={steady(text)}" for name, text in sorted(lasting.items())),
        ),
    )


def _title_and_text(text: str) -> tuple[str, str]:
    """(first line, the whole if that is more)."""
    whole = text.strip()
    first = _one_line(whole.partition("\n")[0]) or "(empty message)"
    title = shorten(first, TITLE_LIMIT)
    return title, "" if whole == title else shorten(whole, TEXT_LIMIT)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_volatile(name: str) -> bool:
    return _VOLATILE_NAME.fullmatch(name.lower()) is not None


def _facts(facts: Mapping[str, str | None]) -> tuple[tuple[str, str], ...]:
    shown = [
        (shorten(name, FACT_LIMIT), shorten(value, FACT_LIMIT))
        for name, value in facts.items()
        if value
    ]
    return tuple(shown[:FACTS])
