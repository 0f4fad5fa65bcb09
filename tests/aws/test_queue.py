"""The queue: sent is received, deleted is gone, put off comes later."""

from tests.support.factories import unique
from tests.support.store_backends import Backend


def test_a_message_that_was_sent_can_be_received(aws_backends: Backend) -> None:
    body = f'{{"text":"grüße {unique("x")}"}}'
    aws_backends.queue.send(body)
    assert aws_backends.calls == ["SendMessage"]
    assert aws_backends.queue.visible() == 1
    assert [got for got, _ in aws_backends.receive()] == [body]
    assert aws_backends.queue.visible() == 0


def test_messages_are_deleted_ten_a_call(aws_backends: Backend) -> None:
    # Given more messages than one call can delete
    for number in range(13):
        aws_backends.queue.send(str(number))
    received = aws_backends.receive() + aws_backends.receive()
    assert len(received) == 13
    aws_backends.calls.clear()
    # When they are deleted
    aws_backends.queue.delete([handle for _, handle in received])
    # Then it took two calls, and none is left even when made visible again
    assert aws_backends.calls == ["DeleteMessageBatch"] * 2
    aws_backends.queue.put_off([(handle, 0) for _, handle in received])
    assert aws_backends.receive() == []


def test_a_message_put_off_by_nothing_comes_at_once(aws_backends: Backend) -> None:
    aws_backends.queue.send("now")
    aws_backends.queue.send("later")
    handles = dict(aws_backends.receive())
    aws_backends.calls.clear()
    aws_backends.queue.put_off([(handles["now"], 0), (handles["later"], 900)])
    assert aws_backends.calls == ["ChangeMessageVisibilityBatch"]
    assert [body for body, _ in aws_backends.receive()] == ["now"]


def test_nothing_to_do_makes_no_call(aws_backends: Backend) -> None:
    aws_backends.queue.delete([])
    aws_backends.queue.put_off([])
    assert aws_backends.calls == []


def test_many_messages_are_sent_ten_a_call(aws_backends: Backend) -> None:
    bodies = [unique("body") for _ in range(12)]
    assert aws_backends.queue.send_many(bodies) == [None] * 12
    assert aws_backends.calls == ["SendMessageBatch"] * 2
    received = aws_backends.receive() + aws_backends.receive()
    assert sorted(body for body, _ in received) == sorted(bodies)


def test_no_call_takes_more_than_sqs_does(aws_backends: Backend) -> None:
    # Given messages of which four are too long for one call
    bodies = [unique("x") + "ü" * 40_000 for _ in range(4)]
    # When they are sent
    assert aws_backends.queue.send_many(bodies) == [None] * 4
    # Then they go in as many calls as they need
    assert aws_backends.calls == ["SendMessageBatch"] * 2
    assert aws_backends.queue.visible() == 4
    assert aws_backends.queue.send_many([]) == []


def test_each_of_many_messages_has_its_own_delay(aws_backends: Backend) -> None:
    aws_backends.queue.send_many(["now", "later"], [0, 900])
    assert [body for body, _ in aws_backends.receive()] == ["now"]
