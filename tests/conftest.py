"""What all tests share: the environment that `app.py` is imported in, fixtures, and no network.

Variables are set while pytest loads this file, because importing `app` reads them. Nothing in them
reaches a real account: the keys are made up, and no profile or endpoint of the machine is seen.
"""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

if not all(map(find_spec, ("boto3", "chalice", "hypothesis", "moto", "pytest_socket"))):
    # Pytest puts a traceback around all but this.
    raise SystemExit("The tests need packages that are not installed here. Type: make test")

from hypothesis import settings

REGION = "us-east-1"
ACCOUNT = "123456789012"
STAGE_VARIABLES = {
    "STAGE": "local",
    "ACCOUNT_ID": ACCOUNT,
    "AWS_REGION": REGION,
    "EVENTS_TABLE": "eventline-test-events",
    "TOKENS_TABLE": "eventline-test-tokens",
    "SCHEMAS_TABLE": "eventline-test-schemas",
    "BRONZE_BUCKET": "eventline-test-bronze",
    "SILVER_BUCKET": "eventline-test-silver",
    "EVENTS_QUEUE_ARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:eventline-test-events",
    "EVENTS_DLQ_ARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:eventline-test-events-dlq",
    "UPLOADS_BUCKET": "eventline-test-uploads",
    "UPLOADS_TABLE": "eventline-test-S3ObjectEvents",
    "UPLOADS_DLQ_ARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:eventline-test-uploads-dlq",
    "ITEMS_TABLE": "eventline-test-items",
    "ITEMS_STREAM_ARN": (
        f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/eventline-test-items/stream/"
        "2026-01-01T00:00:00.000"
    ),
    "NOTIFICATIONS_DLQ_ARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:eventline-test-notifications-dlq",
    "OWNER_TOPIC_ARN": f"arn:aws:sns:{REGION}:{ACCOUNT}:eventline-test-owner-notifications",
    "ALERT_TOPIC_ARN": f"arn:aws:sns:{REGION}:{ACCOUNT}:eventline-test-event-driven-alerts",
    "CI_QUEUE_ARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:eventline-test-ci-events-queue",
    "CI_DLQ_ARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:eventline-test-ci-events-dlq",
    "ALERTS_TABLE": "eventline-test-alerts",
    "DESTINATIONS_TABLE": "eventline-test-destinations",
    "DELIVERIES_QUEUE_ARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:eventline-test-deliveries",
    "DELIVERIES_DLQ_ARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:eventline-test-deliveries-dlq",
    "EVENT_BUS": "eventline-test",
    "BUS_DLQ_ARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:eventline-test-bus-dlq",
    "SLACK_PARAMETER": "/eventline/test/slack/webhook_url",
}
_MADE_UP_KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
_NOT_SEEN = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "LOG_LEVEL", "AUTH_MODE")
_TESTS = Path(__file__).parent
_PLATFORM = _TESTS / "platform"
_LONGEST = (
    "platform/test_schemathesis.py",
    "platform/test_console.py",
    "platform/test_releases.py",
    "platform/test_alerts.py",
    "platform/test_hanging_aws.py",
    "platform/test_recovery.py",
    "platform/test_compare_stores.py",
    "chaos/test_chaos.py",
    "platform/test_local_platform.py",
    "platform/test_reconcile.py",
    "platform/test_deploy_role.py",
)
"""The files that take a minute or more, in the order that they are begun in, so that several
processes come to their ends together. The two that need both cores are not begun at once."""

os.environ.update(STAGE_VARIABLES | _MADE_UP_KEYS)
for name in _NOT_SEEN:
    os.environ.pop(name, None)

# The same examples in every run, so that a red build is somebody's change. To look further:
# HYPOTHESIS_PROFILE=explore make test-fast
for profile, examples in (("fixed", 30), ("night", 400)):
    settings.register_profile(
        profile, max_examples=examples, derandomize=True, database=None, deadline=None
    )
settings.register_profile("explore", max_examples=20_000, database=None, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


# Imported once the variables are set.
pytest_plugins = (
    "tests.support.moto_aws",
    "tests.support.app_on_moto",
    "tests.support.store_backends",
)


# After pytest itself, which puts tests together that share a stage, from whichever files. What the
# command line names first is not begun first: of a file and its folder pytest takes the folder.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take the network from all tests that need no emulator, `@pytest.mark.enable_socket` gives it
    back; and begin with the longest files."""
    begun = {_TESTS / name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: begun.get(item.path, len(begun)))
    for item in items:
        if not (item.get_closest_marker("emulator") or item.path.is_relative_to(_PLATFORM)):
            item.add_marker(pytest.mark.disable_socket)
