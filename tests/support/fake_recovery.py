"""Bulk replays and dead-letter queues in memory."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from msgspec.structs import replace

from chalicelib.aws.sqs import PEEK_SECONDS, TAKE_SECONDS, DeadLetterQueue, DeadMessage
from chalicelib.core import clock
from chalicelib.core.paging import Entry, shard_of
from chalicelib.events.ledger import EventWindow
from chalicelib.events.model import Partition, Record
from chalicelib.replays.model import Replay
from chalicelib.replays.store import ReplayStore
from tests.support.fake_queue import FakeQueue
from tests.support.fake_stores import SHARDS, FakeAws

_BATCH = 10


class FakeReplayStore(ReplayStore):
    """Bulk replays, and the register of those that run."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def add(self, replay: Replay) -> Replay | None:
        def effect() -> Replay | None:
            before = self._aws.replays.get(replay.replay_id)
            if before is None:
                self._aws.replays[replay.replay_id] = replay
            return before

        return self._aws.call("PutItem", effect)

    def get(self, replay_id: str) -> Replay | None:
        return self._aws.call("GetItem", lambda: self._aws.replays.get(replay_id))

    def save(self, replay: Replay) -> Replay | None:
        written = replace(replay, version=replay.version + 1)

        def effect() -> Replay | None:
            before = self._aws.replays.get(replay.replay_id)
            if before is None or before.version != replay.version:
                return None
            self._aws.replays[replay.replay_id] = written
            return written

        return self._aws.call("PutItem", effect)

    def page(
        self, owner: str | None, limit: int, below: str | None
    ) -> tuple[list[Replay], str | None]:
        def effect() -> list[tuple[str, Replay]]:
            return sorted(
                (f"{replay.started_at}#{replay.replay_id}", replay)
                for replay in self._aws.replays.values()
                if owner in (None, replay.owner)
            )

        found = self._aws.call("Query", effect)
        left = [one for one in reversed(found) if below is None or one[0] < below]
        page = [replay for _, replay in left[:limit]]
        if page:
            self._aws.call("BatchGetItem", lambda: None)
        return page, left[limit - 1][0] if len(left) > limit else None

    def register(self, replay_id: str, owner: str, at: str, limit: int) -> bool:
        def effect() -> bool:
            running = self._aws.running
            others = [
                one
                for one, entry in running.items()
                if entry["owner"] == owner and one != replay_id
            ]
            if len(others) >= limit:
                return False
            running[replay_id] = {"owner": owner, "at": at}
            return True

        return self._aws.call("UpdateItem", effect)

    def unregister(self, replay_id: str) -> None:
        self._aws.call("UpdateItem", lambda: self._aws.running.pop(replay_id, None))

    def running(self) -> dict[str, Mapping[str, str]]:
        return self._aws.call("GetItem", lambda: dict(self._aws.running))


class FakeEventWindow(EventWindow):
    """The ledger's indexes, which never trail it here."""

    def __init__(self, aws: FakeAws) -> None:
        self._aws = aws

    def read(
        self,
        partition: Partition,
        bounds: tuple[str, str],
        filters: Mapping[str, str],
        limit: int,
    ) -> tuple[list[Entry], str | None]:
        def effect() -> list[tuple[str, Record]]:
            keyed = [
                (f"{record.event.received_at}#{record.event.event_id}", record)
                for record in self._aws.records.values()
                if _partition(record, partition.index) == partition.value
            ]
            within = [pair for pair in keyed if bounds[0] <= pair[0] <= bounds[1]]
            return sorted(within, key=lambda pair: pair[0])

        if bounds[0] > bounds[1]:
            raise ValueError("DynamoDB refuses bounds in the wrong order")
        found = self._aws.call("Query", effect)
        seen = found[:limit]
        entries = [
            Entry(key, record.event.event_id) for key, record in seen if _matches(record, filters)
        ]
        return entries, seen[-1][0] if len(found) > limit else None


class FakeDeadLetterQueue(DeadLetterQueue):
    """A dead-letter queue: another way to look at a `FakeQueue`."""

    def __init__(self, aws: FakeAws, queue: FakeQueue) -> None:
        self._aws = aws
        self._queue = queue

    def visible(self) -> int:
        return self._queue.visible()

    def peek(self) -> list[DeadMessage]:
        seen = self._fetch(_BATCH, PEEK_SECONDS)
        self.give_back([message.handle for message in seen])
        return seen

    def take(self, limit: int) -> list[DeadMessage]:
        found: list[DeadMessage] = []
        while len(found) < limit:
            some = self._fetch(min(_BATCH, limit - len(found)), TAKE_SECONDS)
            if not some:
                break
            found += some
        return found

    def give_back(self, handles: Sequence[str]) -> None:
        self._queue.put_off([(handle, 0) for handle in handles])

    def delete(self, handles: Sequence[str]) -> None:
        self._queue.delete(handles)

    def _fetch(self, limit: int, seconds: int) -> list[DeadMessage]:
        def effect() -> list[DeadMessage]:
            now = self._aws.clock()
            due = [one for one in self._queue.messages if one.visible_at <= now][:limit]
            for message in due:
                message.deliveries += 1
                message.handle = f"{message.message_id}/{message.deliveries}"
                message.visible_at = now + timedelta(seconds=seconds)
            return [
                DeadMessage(
                    message.message_id,
                    message.body,
                    clock.to_text(message.sent_at),
                    message.handle,
                    message.attributes,
                )
                for message in due
            ]

        return self._aws.call("ReceiveMessage", effect)


def _partition(record: Record, index: str) -> str:
    name = record.event.owner if index == "by-owner" else str(record.status)
    return f"{name}#{shard_of(record.event.event_id, SHARDS)}"


def _matches(record: Record, filters: Mapping[str, str]) -> bool:
    values = {"eventType": record.event.event_type, "owner": record.event.owner}
    return all(values[name] == wanted for name, wanted in filters.items())
