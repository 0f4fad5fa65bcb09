"""Reading alerts: pages of groups, newest first."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from chalicelib.alerts.groups import EVERYONE, AlertGroup, AlertStore
from chalicelib.aws.dynamodb import Partitions, ShardedIndex

_ALL = Partitions(index="by-time", key="allShard", name=EVERYONE)


class AlertDeps(Struct, frozen=True):
    """The collaborators of the function below."""

    groups: AlertStore
    index: ShardedIndex


def list_alerts(
    limit: int, resume_below: str | None, sees_only: str | None, deps: AlertDeps
) -> tuple[list[AlertGroup], str | None]:
    """(groups, where to go on below) of one page, by the time of their first alert.

    With `sees_only`, an alert about what another owner has is left out, so a page may be short, or
    empty, though more follow. Calls: one for each shard of the index, and one to read the groups of
    the page.
    """
    group_ids, resume = deps.index.newest(_ALL, limit, resume_below, _group_id)
    groups = deps.groups.get_many(group_ids)
    found = [groups[group_id] for group_id in group_ids if group_id in groups]
    return [group for group in found if _may_see(sees_only, group)], resume


def _may_see(sees_only: str | None, group: AlertGroup) -> bool:
    return sees_only is None or group.alert.owner in (None, sees_only)


def _group_id(values: Mapping[str, Any]) -> str:
    return str(values["listKey"]).rpartition("#")[2]
