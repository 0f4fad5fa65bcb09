"""The fields of a CI run, whatever their sender calls them.

Names are compared without case, separators and the prefix `GITHUB_`, so `GITHUB_RUN_ID`, `run_id`
and `runId` are one. Also read: the payload of GitHub's `workflow_run` webhook. Source: GitHub Docs,
"Variables reference" (default environment variables), "Webhook events and payloads".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.domain import clock

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


@dataclass(frozen=True)
class Run:
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
