"""Slack messages: what they show, what they never do, and Slack's limits."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.alerts.groups import AlertGroup, GroupState
from chalicelib.alerts.model import Alert, Severity
from chalicelib.alerts.slack import escape, first_message, link, repeat_message

AT = "2026-03-14T12:00:00.000Z"


def make_alert(**fields: Any) -> Alert:
    return Alert(
        **{
            "kind": "workflow",
            "severity": Severity.ERROR,
            "title": "CI failed",
            "text": "Exit code 1",
            "repository": "octo-org/web",
            "branch": "main",
            "link": "https://github.com/octo-org/web/actions/runs/7",
            "facts": (("Actor", "octocat"),),
            **fields,
        }
    )


def shown(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Every text object of a message."""
    texts: list[dict[str, Any]] = []
    for block in message["blocks"]:
        texts += block["elements"] if block["type"] == "context" else [block["text"]]
    return texts


def test_a_message_has_all_that_one_has_to_know() -> None:
    message = first_message(make_alert(), AT)

    header, section, context = message["blocks"]
    assert (header["type"], section["type"], context["type"]) == ("header", "section", "context")
    assert "ERROR" in header["text"]["text"]
    assert "CI failed" in header["text"]["text"]
    assert section["text"]["text"] == "Exit code 1"
    assert [element["text"] for element in context["elements"]] == [
        "Repository: octo-org/web",
        "Branch: main",
        "<https://github.com/octo-org/web/actions/runs/7|Open the run>",
        f"Time: {AT}",
        "Actor: octocat",
    ]
    assert message["text"] == "ERROR: CI failed (octo-org/web main)"


def test_the_time_is_the_alerts_own_if_it_tells_one() -> None:
    message = first_message(make_alert(at="2026-03-14T11:00:00.000Z"), AT)

    assert "Time: 2026-03-14T11:00:00.000Z" in json.dumps(message)


def test_an_alert_of_nothing_but_a_title_has_no_empty_block() -> None:
    alert = Alert("text", Severity.WARNING, "Disk full")
    message = first_message(alert, AT)

    assert [block["type"] for block in message["blocks"]] == ["header", "context"]


def test_repeats_are_told_with_their_number() -> None:
    group = AlertGroup(
        "g", make_alert(), AT, "2026-03-14T12:03:00.000Z", 20, GroupState.DELIVERED, ()
    )
    message = repeat_message(group, 19)

    assert "Repeated 19 times" in message["text"]
    assert "CI failed" in message["text"]
    assert "Repeated once more" in repeat_message(group, 1)["text"]


@pytest.mark.parametrize("attack", ["<!channel>", "<!here|x>", "<@U123>", "<https://evil.test|ok>"])
def test_nothing_from_outside_mentions_anyone_or_becomes_a_link(attack: str) -> None:
    # Given an attack in every field that comes from outside
    alert = make_alert(
        title=attack,
        text=attack,
        repository=attack,
        branch=attack,
        link=attack,
        at=attack,
        facts=((attack, attack),),
    )
    group = AlertGroup("g", alert, AT, AT, 2, GroupState.DELIVERED, ())

    # Then no text that Slack reads has its markup
    for message in (first_message(alert, AT), repeat_message(group, 1)):
        for text in [message["text"], *(one["text"] for one in shown(message))]:
            assert "<" not in text
            assert ">" not in text


def test_only_a_checked_link_is_text_that_slack_formats() -> None:
    formatted = [one for one in shown(first_message(make_alert(), AT)) if one["type"] == "mrkdwn"]

    assert [one["text"] for one in formatted] == [
        "<https://github.com/octo-org/web/actions/runs/7|Open the run>"
    ]
    assert all(one["verbatim"] for one in formatted)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://example.com",
        "https://",
        "//example.com",
        "https://example.com/a|b",
        "https://example.com/>x",
        "https://example.com/a b",
        "https://example.com/\n",
        "https://[",
        "https://example.com/" + "a" * 3000,
        "",
        None,
    ],
)
def test_what_is_no_plain_web_address_becomes_no_link(url: str | None) -> None:
    assert link(url, "x") is None


def test_an_ampersand_in_a_link_is_escaped() -> None:
    assert link("https://example.com/?a=1&b=2", "x") == "<https://example.com/?a=1&amp;b=2|x>"


def test_a_long_text_is_cut_between_characters_and_not_in_an_entity() -> None:
    assert escape("&" * 100, 12) == "&amp;&amp;…"
    assert escape("abc", 3) == "abc"
    assert escape("abcd", 3) == "ab…"
    assert escape("a\x00b\u202ec", 10) == "a b c"


@given(
    st.builds(
        make_alert,
        title=st.text(min_size=1),
        text=st.text(),
        repository=st.none() | st.text(),
        link=st.none() | st.text(),
        facts=st.lists(st.tuples(st.text(), st.text()), max_size=30).map(tuple),
    )
)
def test_messages_keep_slacks_limits(alert: Alert) -> None:
    message = first_message(alert, AT)

    assert len(message["blocks"]) <= 50
    header, *_, context = message["blocks"]
    assert 0 < len(header["text"]["text"]) <= 150
    assert len(context["elements"]) <= 10
    assert all(0 < len(one["text"]) <= 3000 for one in shown(message))


def test_messages_keep_slacks_limits_at_any_length() -> None:
    alert = make_alert(
        title="<" * 1000,
        text="&" * 9000,
        repository=">" * 9000,
        facts=(("<" * 99, "&" * 9000),) * 30,
    )
    message = first_message(alert, AT)

    assert len(message["blocks"][0]["text"]["text"]) <= 150
    assert len(message["blocks"][1]["text"]["text"]) <= 3000
    assert len(message["blocks"][2]["elements"]) == 10
    assert len(json.dumps(message)) < 16_000
