"""Webhooks: which event a delivery becomes, what it is known by, and what it alerts of."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from chalicelib.alerts.model import Alert, Severity, read_message
from chalicelib.alerts.slack import first_message
from chalicelib.core.errors import InvalidJsonError, InvalidRequestError
from chalicelib.core.ids import sha256
from chalicelib.core.names import MAX_TYPE_BYTES, name_fault
from chalicelib.events.alerts import alert_of
from chalicelib.events.model import Identity
from chalicelib.webhooks.sources import read_github, read_standard

SAMPLE = json.loads(
    (Path(__file__).parent.parent / "samples" / "github_workflow_run.json").read_text()
)
COMPLETED = "github.workflow_run.completed"
DELIVERY = "72d3162e-cc78-11e3-81ab-4c9367dc0958"


def headers(event: str | None = "issues", delivery: str | None = DELIVERY) -> dict[str, str]:
    """The headers of GitHub that are read."""
    given = {"x-github-event": event, "x-github-delivery": delivery}
    return {name: value for name, value in given.items() if value is not None}


def github_type(event: str, **fields: Any) -> str:
    """The type of an event with these fields."""
    return read_github(headers(event), json.dumps(fields).encode()).event_type


def github_faults(event: str | None, body: Any) -> list[str]:
    """Where a delivery is at fault."""
    with pytest.raises(InvalidRequestError) as caught:
        read_github(headers(event), body if isinstance(body, bytes) else json.dumps(body).encode())
    assert all(fault.detail for fault in caught.value.errors)
    return [fault.pointer for fault in caught.value.errors]


# ------------------------------------------------------------------------ GitHub


def test_a_delivery_as_github_sends_it_is_an_event() -> None:
    # Given a whole delivery
    body = SAMPLE["body"].encode()
    names = {name.lower(): value for name, value in SAMPLE["headers"].items()}
    # When it is read
    draft = read_github(names, body)
    # Then nothing of it is lost, and it says where it is from
    assert draft.payload == body
    assert draft.data == json.loads(body)
    assert draft.content_type == "application/json"
    assert draft.event_type == COMPLETED
    assert draft.source == "https://github.com/octo-org/web"
    assert draft.subject == "octo-org/web"
    assert draft.identity == Identity("webhooks", "github\0" + names["x-github-delivery"])
    assert (draft.cloud_event, draft.data_is_base64) == (None, False)


@pytest.mark.parametrize(
    ("event", "fields", "event_type"),
    [
        ("push", {"ref": "refs/heads/main"}, "github.push"),
        ("ping", {"zen": "Design for failure."}, "github.ping"),
        ("issues", {"action": "opened"}, "github.issues.opened"),
        ("issues", {"action": None}, "github.issues"),
        (
            "code_scanning_alert",
            {"action": "closed_by_user"},
            "github.code_scanning_alert.closed_by_user",
        ),
        (
            "repository_dispatch",
            {"action": "deploy-Prod v1.2"},
            "github.repository_dispatch.deploy-Prod v1.2",
        ),
        (
            "repository_dispatch",
            {"action": "x" * 100},
            "github.repository_dispatch." + "x" * 100,
        ),
    ],
)
def test_the_type_is_event_and_action(event: str, fields: dict[str, Any], event_type: str) -> None:
    assert github_type(event, **fields) == event_type


@pytest.mark.parametrize(
    "event",
    [None, "", "Issues", "a.b", "a b", "a/b", "..", "é", "issues\n", "a-b", "workflow_run "],
)
def test_an_event_that_github_does_not_send_is_told(event: str | None) -> None:
    assert github_faults(event, {"action": "opened"}) == ["/header/X-GitHub-Event"]


@pytest.mark.parametrize(
    ("action", "word"),
    [
        *[("Opened", ".Opened"), ("a.b", ".a_b"), ("../x", ".___x"), ("a b", ".a_b")],
        *[("opened\n", ".opened_"), ("é", "._"), ("", ""), (7, ""), (True, ""), (["a"], "")],
    ],
)
def test_whatever_github_signs_has_a_safe_type(action: Any, word: str) -> None:
    assert github_type("issues", action=action) == f"github.issues{word}"


@pytest.mark.parametrize(
    ("action", "word"),
    [
        *[("👩\u200d💻 ship it", ".👩\u200d💻 ship it"), ("a\nb", ".a_b"), ("\ufdd0", "._")],
        *[("x" * 102, "." + "x" * 101), ("é" * 60, "." + "é" * 50), ("", ""), (7, "")],
    ],
)
def test_a_dispatch_is_named_as_its_sender_named_it(action: Any, word: str) -> None:
    event_type = github_type("repository_dispatch", action=action)
    assert event_type == f"github.repository_dispatch{word}"
    assert name_fault(event_type, MAX_TYPE_BYTES) is None


def test_a_server_without_tls_is_named_as_it_is() -> None:
    repository = {"full_name": "a/b", "html_url": "http://git.example.com/a/b"}
    draft = read_github(headers("push"), json.dumps({"repository": repository}).encode())
    assert draft.source == "http://git.example.com/a/b"


@pytest.mark.parametrize("body", [[], "a", 7, None, True])
def test_github_sends_objects(body: Any) -> None:
    assert github_faults("push", body) == [""]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"a":NaN}', b'{"a":1,"a":2}', b'{"a":"\\ud800"}', b"\xff", b"[" * 5000, b"a=1"],
)
def test_what_is_no_json_is_told(body: bytes) -> None:
    for read in (read_github, read_standard):
        with pytest.raises(InvalidJsonError):
            read({**headers(), "webhook-id": "msg_1"}, body)


@pytest.mark.parametrize(
    ("repository", "source", "subject"),
    [
        ({"full_name": "a/b"}, "https://github.com/a/b", "a/b"),
        (
            {"full_name": "a/b", "html_url": "https://git.example.com:8443/a/b"},
            "https://git.example.com:8443/a/b",
            "a/b",
        ),
        (
            {"full_name": "a/b", "html_url": "https://evil.example/x"},
            "https://github.com/a/b",
            "a/b",
        ),
        ({"full_name": "a/b", "html_url": "javascript:x/a/b"}, "https://github.com/a/b", "a/b"),
        ({"full_name": "a/b", "html_url": "https://x y/a/b"}, "https://github.com/a/b", "a/b"),
        ({"full_name": "a/b", "html_url": 7}, "https://github.com/a/b", "a/b"),
        ({"full_name": "a/" + "b" * 254}, "/webhooks/github", "a/" + "b" * 254),
        ({"full_name": "a/" + "b" * 255}, "/webhooks/github", None),
        ({"full_name": "a/" + "b" * 5000}, "/webhooks/github", None),
        ({"html_url": "https://github.com/a/b"}, "/webhooks/github", None),
        ({"full_name": "a"}, "/webhooks/github", None),
        ({"full_name": "a/b/c"}, "/webhooks/github", None),
        ({"full_name": "a/b\n"}, "/webhooks/github", None),
        ({"full_name": "a/<b>"}, "/webhooks/github", None),
        ({"full_name": ["a/b"]}, "/webhooks/github", None),
        ("a/b", "/webhooks/github", None),
        (None, "/webhooks/github", None),
    ],
)
def test_the_source_is_the_repository_where_there_is_one(
    repository: Any, source: str, subject: str | None
) -> None:
    draft = read_github(headers(), json.dumps({"repository": repository}).encode())
    assert (draft.source, draft.subject) == (source, subject)


def test_a_delivery_is_known_by_its_id() -> None:
    assert read_github(headers(), b"{}").identity == Identity("webhooks", f"github\0{DELIVERY}")


@pytest.mark.parametrize("delivery", [None, "", " ", "a b", "x" * 129, "é", "a\0b", "sha256:ab"])
def test_without_a_usable_id_it_is_known_by_its_body(delivery: str | None) -> None:
    one = read_github(headers(delivery=delivery), b'{"n":1}').identity
    assert one == Identity("webhooks", "github\0sha256:" + sha256(b'{"n":1}'))
    assert read_github(headers(delivery=delivery), b'{"n":2}').identity != one


# ------------------------------------------------------------- Standard Webhooks


def test_a_standard_webhook_is_an_event() -> None:
    body = b'{"type":"invoice.paid","timestamp":"2026-03-14T12:00:00Z","data":{"id":"in_1"}}'
    draft = read_standard({"webhook-id": "msg_1"}, body)
    assert draft.payload == body
    assert draft.data == json.loads(body)
    assert draft.event_type == "standard.invoice.paid"
    assert (draft.source, draft.subject) == ("/webhooks/standard", None)
    assert draft.content_type == "application/json"
    assert draft.identity == Identity("webhooks", "standard\0msg_1")


@pytest.mark.parametrize("body", [b"{}", b'{"type":null}', b"[1]", b'"type"', b"7", b"null"])
def test_without_a_type_it_is_just_standard(body: bytes) -> None:
    assert read_standard({"webhook-id": "m"}, body).event_type == "standard"


@pytest.mark.parametrize("kind", ["a", "user.created", "a_b.c-d.E9", "x" * 119])
def test_the_type_is_the_senders_under_standard(kind: str) -> None:
    body = json.dumps({"type": kind}).encode()
    assert read_standard({"webhook-id": "m"}, body).event_type == f"standard.{kind}"


@pytest.mark.parametrize(
    "kind", ["", ".", "a.", ".a", "a..b", "a b", "a/b", "../a", "é", "a\n", "x" * 120, 7, [], {}]
)
def test_a_type_that_is_no_dotted_identifier_is_told(kind: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_standard({"webhook-id": "m"}, json.dumps({"type": kind}).encode())
    assert [fault.pointer for fault in caught.value.errors] == ["/type"]


def test_ids_of_two_sources_never_meet() -> None:
    assert read_standard({"webhook-id": DELIVERY}, b"{}").identity != (
        read_github(headers(), b"{}").identity
    )


# ------------------------------------------------------------------------ alerts


def run_data(**changes: Any) -> Any:
    """What a workflow run's delivery says, but for `changes` of the run."""
    data = json.loads(SAMPLE["body"])
    data["workflow_run"] |= changes
    return data


def alert(data: Any) -> Alert:
    """The alert that the queue's reader makes of the message."""
    message = alert_of(COMPLETED, data)
    assert message is not None
    assert len(message.encode()) < 100_000
    read = read_message(message)
    assert isinstance(read, Alert)
    return read


@pytest.mark.parametrize(
    ("conclusion", "title"),
    [
        ("failure", "CI failed"),
        ("timed_out", "CI timed out"),
        ("startup_failure", "CI failed to start"),
    ],
)
def test_a_failed_run_is_an_alert(conclusion: str, title: str) -> None:
    read = alert(run_data(conclusion=conclusion))
    assert (read.kind, read.severity, read.title) == ("workflow", Severity.ERROR, title)
    assert (read.repository, read.branch) == ("octo-org/web", "feature/login")
    assert read.link == "https://github.com/octo-org/web/actions/runs/12874123987"
    assert read.at == "2026-03-14T11:58:41.000Z"
    assert read.facts == (("Workflow", "CI"), ("Actor", "octocat"), ("Commit", "6dcb09b5b578"))


def test_the_alert_is_the_one_that_the_whole_payload_gives() -> None:
    assert alert(run_data()) == read_message(SAMPLE["body"])


def test_the_next_failure_of_a_workflow_is_an_equal_alert() -> None:
    first, again = alert(run_data()), alert(run_data(id=1, run_number=563, head_sha="f" * 40))
    assert first.group_key == again.group_key
    other = alert(run_data(head_branch="main"))
    assert first.group_key != other.group_key


@pytest.mark.parametrize(
    "conclusion",
    [
        "success",
        "cancelled",
        "skipped",
        "neutral",
        "stale",
        "action_required",
        None,
        "",
        "FAILURE",
        ["failure"],
        {"failure": 1},
        7,
    ],
)
def test_another_end_of_a_run_is_no_alert(conclusion: Any) -> None:
    assert alert_of(COMPLETED, run_data(conclusion=conclusion)) is None


@pytest.mark.parametrize(
    "event_type",
    [
        "github.workflow_run.requested",
        "github.workflow_run",
        "github.workflow_job.completed",
        "github.check_run.completed",
        "standard.workflow_run.completed",
        "workflow_run.completed",
        "demo",
        "",
    ],
)
def test_another_event_is_no_alert(event_type: str) -> None:
    assert alert_of(event_type, run_data()) is None


@pytest.mark.parametrize(
    "data", [None, [], "a", 7, {}, {"workflow_run": None}, {"workflow_run": []}]
)
def test_a_run_that_is_none_is_no_alert(data: Any) -> None:
    assert alert_of(COMPLETED, data) is None


anything = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
    max_leaves=5,
)
RUN_FIELDS = ("name", "head_branch", "head_sha", "status", "html_url", "updated_at", "actor")


@given(some.fixed_dictionaries({}, optional=dict.fromkeys(RUN_FIELDS, anything)), anything)
def test_whatever_a_failed_run_holds_is_an_alert_that_can_be_shown(
    run: dict[str, Any], repository: Any
) -> None:
    data = {"workflow_run": {**run, "conclusion": "failure"}, "repository": repository}
    message = alert_of(COMPLETED, data)
    assert message is not None
    read = read_message(message)
    assert isinstance(read, Alert)
    assert json.dumps(first_message(read, "2026-03-14T12:00:00.000Z"))


def test_a_huge_run_gives_a_small_message() -> None:
    data = run_data(**dict.fromkeys(RUN_FIELDS, "😀" * 300_000))
    read = alert({**data, "repository": {"full_name": "y" * 300_000}})
    assert read.severity is Severity.ERROR


def test_the_repository_may_be_told_by_the_run_alone() -> None:
    data = run_data()
    del data["repository"]
    assert alert(data).repository == "octo-org/web"
