"""Settings: read once, and each bad value names its variable."""

import pytest

from chalicelib.core.config import TABLE, AuthMode, load, queue_url
from chalicelib.core.errors import ConfigurationError
from chalicelib.core.names import is_owner
from tests.conftest import STAGE_VARIABLES

REQUIRED = [entry.name for entry in TABLE if entry.default is None]


def test_defaults_hold_where_nothing_is_set() -> None:
    settings = load(STAGE_VARIABLES)
    assert settings.max_event_bytes == 1024 * 1024
    assert settings.max_attempts == 5
    assert settings.log_level == "INFO"
    assert settings.auth_mode == "token"
    assert settings.events_table == STAGE_VARIABLES["EVENTS_TABLE"]


def test_every_default_is_a_good_value() -> None:
    defaults = {entry.name: entry.default for entry in TABLE if entry.default is not None}
    assert load(STAGE_VARIABLES | defaults) == load(STAGE_VARIABLES)


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_what_must_be_set_is_asked_for_by_name(name: str, value: str | None) -> None:
    environ = {key: text for key, text in STAGE_VARIABLES.items() if key != name}
    if value is not None:
        environ[name] = value
    with pytest.raises(ConfigurationError, match=f"{name} is not set"):
        load(environ)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_LEVEL", "LOUD"),
        ("LOG_LEVEL", "info"),
        ("AUTH_MODE", "None"),
        ("AUTH_MODE", "token,iam"),
        ("IAM_ADMINS", "alice, bob carol"),
        ("IAM_ADMINS", "*"),
        ("DIRECT_OWNER", "a#b"),
        ("WEBHOOK_OWNER", "web hooks"),
        ("CORS_ORIGIN", "*"),
        ("CORS_ORIGIN", "null"),
        ("CORS_ORIGIN", "https://app.example.com/"),
        ("CORS_ORIGIN", "https://a.example.com,https://b.example.com"),
        ("CORS_ORIGIN", "https://a.example.com'"),
        ("CORS_ORIGIN", "https://a.example.com\nX: y"),
        ("CORS_ORIGIN", "http://app.example.com"),
        ("CORS_ORIGIN", "app.example.com"),
        ("MAX_EVENT_BYTES", "0"),
        ("MAX_EVENT_BYTES", "1e6"),
        ("MAX_EVENT_BYTES", str(5 * 1024 * 1024 + 1)),
        ("MAX_ATTEMPTS", "0"),
        ("MAX_ATTEMPTS", "-1"),
        ("MAX_ATTEMPTS", "1001"),
        ("MAX_ATTEMPTS", "five"),
        ("RETRY_BASE_SECONDS", "3601"),
        ("RETRY_BASE_SECONDS", "1.5"),
        ("BATCHING_WINDOW_SECONDS", "301"),
        ("LEDGER_SHARDS", "0"),
        ("LEDGER_SHARDS", "257"),
        ("RECONCILE_MINUTES", "0"),
        ("STUCK_AFTER_SECONDS", "0"),
        ("MAX_REQUEUES", "101"),
        ("BACKLOG_LIMIT", "0"),
    ],
)
def test_a_bad_value_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        load(STAGE_VARIABLES | {name: value})


def test_a_prod_stage_can_not_be_open_to_everybody() -> None:
    assert load(STAGE_VARIABLES | {"AUTH_MODE": "none"}).auth_mode is AuthMode.NONE
    with pytest.raises(ConfigurationError, match="AUTH_MODE none is refused in prod"):
        load(STAGE_VARIABLES | {"STAGE": "prod", "AUTH_MODE": "none"})


@pytest.mark.parametrize("arn", ["", "pool", "arn:aws:cognito-idp:eu-west-1:1:userpool/x"])
def test_a_user_pool_is_asked_for_where_it_says_who_calls(arn: str) -> None:
    with pytest.raises(ConfigurationError, match="COGNITO_USER_POOL_ARN"):
        load(STAGE_VARIABLES | {"AUTH_MODE": "cognito", "COGNITO_USER_POOL_ARN": arn})


def test_what_the_modes_need_is_read() -> None:
    arn = "arn:aws:cognito-idp:eu-west-1:123456789012:userpool/eu-west-1_aBc123"
    settings = load(
        STAGE_VARIABLES
        | {
            "AUTH_MODE": "cognito",
            "COGNITO_USER_POOL_ARN": arn,
            "IAM_ADMINS": " alice,deploy.er ,",
            "CORS_ORIGIN": "http://localhost:5173",
        }
    )
    assert settings.auth_mode is AuthMode.COGNITO
    assert settings.cognito_user_pool_arn == arn
    assert settings.iam_admins == {"alice", "deploy.er"}
    assert settings.cors_origin == "http://localhost:5173"


@pytest.mark.parametrize("name", ["a", "a.b@c-d_e", "A" * 64, "", "a" * 65, "-a", "a b", "a#b"])
def test_an_owner_in_a_setting_is_an_owner_everywhere(name: str) -> None:
    try:
        load(STAGE_VARIABLES | {"IAM_ADMINS": name or "#"})
    except ConfigurationError:
        assert not is_owner(name)
    else:
        assert is_owner(name)


def test_blanks_around_a_value_do_not_count() -> None:
    assert load(STAGE_VARIABLES | {"MAX_ATTEMPTS": " 7 "}).max_attempts == 7


def test_every_setting_says_what_it_is() -> None:
    names = [entry.name for entry in TABLE]
    assert len(names) == len(set(names))
    assert all(entry.help.endswith(".") for entry in TABLE)


@pytest.mark.parametrize(
    ("arn", "url"),
    [
        (
            "arn:aws:sqs:eu-central-1:123456789012:q",
            "https://sqs.eu-central-1.amazonaws.com/123456789012/q",
        ),
        (
            "arn:aws-cn:sqs:cn-north-1:123456789012:q",
            "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q",
        ),
        (
            "arn:aws-us-gov:sqs:us-gov-west-1:123456789012:q",
            "https://sqs.us-gov-west-1.amazonaws.com/123456789012/q",
        ),
    ],
)
def test_an_arn_gives_the_queues_url(arn: str, url: str) -> None:
    assert queue_url(arn) == url


@pytest.mark.parametrize(
    "arn", ["", "q", "arn:aws:sns:us-east-1:123456789012:q", "arn:aws:sqs:us-east-1:q"]
)
def test_what_is_no_queue_is_told(arn: str) -> None:
    with pytest.raises(ConfigurationError, match="not a queue ARN"):
        queue_url(arn)
