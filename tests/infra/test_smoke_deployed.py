"""The smoke test of a deployed stage: when it is meant, and that it sets off nothing."""

import pytest

from local import smoke_deployed, smoke_events


@pytest.mark.parametrize(
    ("environ", "meant"),
    [
        ({"API_URL": "https://x/api", "TOKEN": "evl_a_b"}, True),
        # What `source .local/env` leaves in a shell.
        ({"API_URL": "http://127.0.0.1:8000", "API_TOKEN": "evl_a_b"}, False),
        ({"TOKEN": "evl_a_b"}, False),
        ({"API_URL": "https://x/api", "TOKEN": ""}, False),
        ({}, False),
    ],
)
def test_it_is_meant_when_both_a_url_and_a_token_are_given(
    environ: dict[str, str], meant: bool
) -> None:
    assert smoke_deployed.is_meant(environ) is meant


def test_it_sends_and_follows_an_event_and_fails_none_on_purpose() -> None:
    actions = [action for _, action in smoke_deployed.deployed_steps()]
    assert actions[:4] == [
        smoke_events.check_health,
        smoke_events.post_event,
        smoke_events.follow_event,
        smoke_events.read_payload,
    ]
    assert smoke_events.fail_event not in actions
    assert smoke_events.use_token not in actions


@pytest.mark.enable_socket
def test_a_stage_that_does_not_answer_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("local.smoke_api._END_SECONDS", 0.1)
    # Nothing listens on this port of loopback.
    assert smoke_deployed.smoke("http://127.0.0.1:9/", "evl_a_b") == 1
    told = capsys.readouterr().out
    assert "make smoke: GET http://127.0.0.1:9/health got no answer" in told
    assert "evl_a_b" not in told
