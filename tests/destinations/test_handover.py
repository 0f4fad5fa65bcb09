"""The hand-over: many destinations, and what is remembered of who subscribed."""

import json
import threading
import time
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.aws.threads import in_turn
from chalicelib.destinations.handover import HandOverDeps, Routes, hand_over
from chalicelib.destinations.line import LineStore
from chalicelib.destinations.message import INLINE_BYTES, DeliveryMessage, decode
from chalicelib.destinations.model import Destination, Route, Secret
from chalicelib.events.finish import Handed
from tests.support.app_on_moto import Platform
from tests.support.factories import make_id, unique
from tests.support.fake_queue import FakeQueue
from tests.support.fake_stores import FakeAws

NO_LINES = LineStore(None, "none")
"""Nobody here asked for an order."""
AT = "2026-03-14T12:00:00.000Z"


def long() -> float:
    """The seconds left to a run that has just begun."""
    return 60.0


class Known(Routes):
    """Routes by owner; `asked` counts the reads."""

    def __init__(self, seconds: float, **routes: list[Route]) -> None:
        super().__init__(self, seconds, lambda: self.time)  # type: ignore[arg-type]
        self.time = 0.0
        self.asked: list[str] = []
        self.mine = routes

    def routes(self, owner: str) -> list[Route]:
        self.asked.append(owner)
        return self.mine.get(owner, [])


def handed(owner: str = "shop", data: Any = None, **more: Any) -> Handed:
    head = {
        "eventId": make_id(),
        "eventType": "order.paid",
        "source": "/a",
        "subject": None,
        "owner": owner,
        "time": AT,
        "receivedAt": AT,
        **more,
    }
    return Handed(head, json.dumps({**head, "data": data}), "silver/k", None, again=False)


def sent(queue: FakeQueue) -> list[DeliveryMessage]:
    found = [decode(body) for body in queue.sent]
    assert all(isinstance(one, DeliveryMessage) for one in found)
    return [one for one in found if isinstance(one, DeliveryMessage)]


def test_each_owner_is_looked_up_once_in_the_time_of_the_cache() -> None:
    routes, queue = Known(10, shop=[Route(make_id(), ("*",))]), FakeQueue(FakeAws())
    deps = HandOverDeps(routes, queue, NO_LINES, long, each=in_turn)
    for _ in range(3):
        assert hand_over([handed(), handed("nobody")], deps) == [None, None]
    assert routes.asked == ["shop", "nobody"]
    assert len(queue.sent) == 3
    routes.time = 10
    hand_over([handed()], deps)
    assert routes.asked == ["shop", "nobody", "shop"]


def test_a_document_is_sent_along_while_it_is_small() -> None:
    routes, queue = Known(10, shop=[Route(make_id(), ("*",))]), FakeQueue(FakeAws())
    hand_over(
        [handed(data="x"), handed(data="x" * INLINE_BYTES)],
        HandOverDeps(routes, queue, NO_LINES, long, each=in_turn),
    )
    small, large = sent(queue)
    assert json.loads(small.document or "")["data"] == "x"
    assert large.document is None
    assert large.delivery.silver_key == "silver/k"


def test_data_is_read_only_if_a_filter_asks_for_it() -> None:
    by_data = Route(make_id(), ("*",), {"data": {"n": [1]}})
    by_source = Route(make_id(), ("*",), {"source": ["/a"]})
    queue = FakeQueue(FakeAws())
    broken = Handed(handed().head, "no JSON", "silver/k", None, again=False)
    assert hand_over(
        [broken], HandOverDeps(Known(10, shop=[by_source]), queue, NO_LINES, long, each=in_turn)
    ) == [None]
    with pytest.raises(ValueError, match="Expecting value"):
        hand_over(
            [broken], HandOverDeps(Known(10, shop=[by_data]), queue, NO_LINES, long, each=in_turn)
        )


def test_what_the_queue_refuses_fails_its_event_alone() -> None:
    first, second = handed(), handed()
    routes, queue = Known(10, shop=[Route(make_id(), ("*",))]), FakeQueue(FakeAws())
    hand_over([second], HandOverDeps(routes, queue, NO_LINES, long, each=in_turn))
    queue.refused = {queue.sent[0]}
    codes = hand_over([first, second], HandOverDeps(routes, queue, NO_LINES, long, each=in_turn))
    assert codes == [None, "ThrottlingException"]


def test_a_thousand_destinations_get_one_event() -> None:
    ids = {make_id() for _ in range(1000)}
    queue = FakeQueue(FakeAws())
    routes = Known(10, shop=[Route(one, ("order.*",)) for one in ids])
    assert hand_over([handed()], HandOverDeps(routes, queue, NO_LINES, long, each=in_turn)) == [
        None
    ]
    assert {message.destination_id for message in sent(queue)} == ids
    assert queue._aws.calls.count("SendMessageBatch") == 100


def test_all_destinations_of_an_owner_are_one_read(platform: Platform) -> None:
    owner, store = unique("owner"), wiring.destination_store()
    for _ in range(60):
        store.add(
            Destination(
                destination_id=make_id(),
                owner=owner,
                url="https://shop.example.com/",
                event_types=("order.*",),
                secrets=(Secret("whsec_a"),),
                created_at=AT,
                updated_at=AT,
            )
        )
    queue = FakeQueue(FakeAws())
    platform.calls.clear()
    hand_over([handed(owner)], HandOverDeps(Routes(store, 10), queue, NO_LINES, long, each=in_turn))
    assert len(queue.sent) == 60
    assert platform.calls == ["Query"]


def test_messages_go_out_at_the_same_time_and_their_answers_stay_in_order() -> None:
    class Slow(FakeQueue):
        def send_many(self, bodies: Any, delays: Any = (), groups: Any = ()) -> list[str | None]:
            gate.wait(5)
            assert len(groups) == len(bodies) <= 10
            return [None if number_of(body) % 2 else "Throttled" for body in bodies]

    def number_of(body: str) -> int:
        return int(json.loads(json.loads(body)["document"])["data"])

    gate = threading.Barrier(4)
    routes = Known(10, shop=[Route(make_id(), ("*",))])
    documents = [handed(data=number) for number in range(40)]
    codes = hand_over(documents, HandOverDeps(routes, Slow(FakeAws()), NO_LINES, long))
    assert codes == ["Throttled", None] * 20


def test_a_filter_that_takes_too_long_is_left_to_deliver() -> None:
    # Given filters that each ask a hundred things of each of 50,000 values
    pattern = {"data": {"a": [{"prefix": f"x{n}"} for n in range(100)]}}
    by_data = [Route(make_id(), ("*",), pattern) for _ in range(1_000)]
    by_type = Route(make_id(), ("*",), {"eventType": ["order.paid"]})
    other = Route(make_id(), ("*",), {"eventType": ["another"]})
    queue = FakeQueue(FakeAws())
    deps = HandOverDeps(
        Known(10, shop=[by_type, other, *by_data]), queue, NO_LINES, long, each=in_turn
    )
    # When an event with these values comes
    started = time.process_time()
    assert hand_over([handed(data={"a": ["y"] * 50_000})], deps) == [None]
    # Then it is over soon: whoever delivers asks the filters
    assert time.process_time() - started < 3
    first, *others = sent(queue)
    assert (first.destination_id, first.match) == (by_type.destination_id, False)
    assert [one.destination_id for one in others] == [one.destination_id for one in by_data]
    assert all(one.match for one in others)


def test_who_has_very_many_destinations_holds_up_nobody() -> None:
    # Given a run that has time for five calls
    many = [Route(make_id(), ("*",)) for _ in range(1_000)]
    routes, queue = Known(10, flood=many, shop=[Route(make_id(), ("*",))]), FakeQueue(FakeAws())
    left = iter([60.0] * 5)
    deps = HandOverDeps(routes, queue, NO_LINES, lambda: next(left, 0.0), each=in_turn)
    # When the events of one with a thousand destinations come before another's
    codes = hand_over([*[handed("flood")] * 9, handed("shop")], deps)
    # Then the other's is handed over, and the rest is left to the next run
    assert codes == ["no-time"] * 9 + [None]
    assert sent(queue)[0].destination_id == routes.mine["shop"][0].destination_id
    assert len(queue.sent) == 50
