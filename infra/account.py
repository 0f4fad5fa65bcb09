"""What the machine and the account must have before a stage is deployed, said in one line each.

Sources: AWS Lambda Developer Guide, "Lambda runtimes" and "Lambda quotas".
"""

import sys
from typing import Any

from infra.project import InfraError, say

# Chalice deploys for the Python that it runs on; these are the runtimes that Eventline takes.
OLDEST, NEWEST = (3, 11), (3, 14)
RECOMMENDED = (3, 13)
NEW_ACCOUNT_CONCURRENCY = 10
"""What new accounts have, where the default quota is 1,000 (the same, "Lambda quotas")."""


class RuntimeRefusedError(InfraError):
    """Raised when a deployment runs on a Python that Lambda or Eventline does not take."""

    def __init__(self, version: tuple[int, int]) -> None:
        super().__init__(
            f"Python {_text(version)} cannot deploy: functions get the Python that deploys them, "
            f"{_text(OLDEST)} to {_text(NEWEST)}. Use {_text(RECOMMENDED)}: "
            f"make deploy PYTHON=python{_text(RECOMMENDED)}"
        )


def check_runtime(version: tuple[int, int] = sys.version_info[:2]) -> None:
    """Raise `RuntimeRefusedError` for a Python that functions cannot run on; tell which it is."""
    if not OLDEST <= version <= NEWEST:
        raise RuntimeRefusedError(version)
    say(f"functions run on python{_text(version)}")
    if version < (3, 12):
        say(f"python{_text(version)} ends in 2027: deploy with Python {_text(RECOMMENDED)}")


def warn_of_quota(lambdas: Any) -> int:
    """Return how many runs of all functions the account allows at once; one line if too few.

    `lambdas` is a boto3 client. One call.
    """
    allowed: int = lambdas.get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    if allowed <= NEW_ACCOUNT_CONCURRENCY:
        say(
            f"warning: this account allows {allowed} runs of all functions at once, as new accounts"
            " do. Requests get 429 and messages wait under any load: ask for more (Service Quotas,"
            " Lambda, Concurrent executions)"
        )
    return allowed


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
