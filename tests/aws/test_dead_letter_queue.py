"""Looking into a dead-letter queue, and taking messages out of it."""

from tests.support.factories import unique
from tests.support.store_backends import Backend


def test_a_peek_shows_a_message_and_leaves_it(aws_backends: Backend) -> None:
    # Given a message that somebody set aside
    body = unique("body")
    aws_backends.queue.send(body, {"reason": "no good", "code": "x"})
    assert aws_backends.dead.visible() == 1
    aws_backends.calls.clear()
    # When it is looked at again and again
    for _ in range(3):
        (seen,) = aws_backends.dead.peek()
    # Then it is there still, for anybody
    assert (seen.body, seen.attributes) == (body, {"reason": "no good", "code": "x"})
    assert seen.sent_at.endswith("Z")
    assert aws_backends.calls[:2] == ["ReceiveMessage", "ChangeMessageVisibilityBatch"]
    assert [got for got, _ in aws_backends.receive()] == [body]


def test_what_is_taken_is_hidden_until_it_is_given_back_or_deleted(aws_backends: Backend) -> None:
    # Given more messages than one call gives
    bodies = [unique("body") for _ in range(12)]
    for body in bodies:
        aws_backends.queue.send(body)
    # When they are taken
    taken = aws_backends.dead.take(100)
    # Then each came once, and nobody else sees them
    assert sorted(message.body for message in taken) == sorted(bodies)
    assert aws_backends.receive() == []
    # When one is deleted and one given back
    aws_backends.dead.delete([taken[0].handle])
    aws_backends.dead.give_back([taken[1].handle])
    # Then that one is there again
    assert [body for body, _ in aws_backends.receive()] == [taken[1].body]


def test_no_more_is_taken_than_asked_for(aws_backends: Backend) -> None:
    for _ in range(5):
        aws_backends.queue.send(unique("body"))
    assert len(aws_backends.dead.take(3)) == 3
    assert len(aws_backends.receive()) == 2


def test_an_empty_queue_has_nothing(aws_backends: Backend) -> None:
    assert aws_backends.dead.visible() == 0
    assert aws_backends.dead.peek() == []
    assert aws_backends.dead.take(10) == []
    aws_backends.dead.delete([])
    aws_backends.dead.give_back([])
