"""SNS: publishing, one message or in batches, and the subscriptions of a topic.

Source: Amazon SNS API Reference, "PublishBatch" (an answer of 200 may hold `Failed` entries),
"Subscribe", "Unsubscribe"; Amazon SNS Developer Guide, "Amazon SNS message filtering", "Filter
policy constraints in Amazon SNS".
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError
from msgspec import Struct

from chalicelib.core.errors import ConflictError, InvalidRequestError, LimitReachedError

BATCH_LIMIT = 10
_MARK = "eventline"
_OPENING = "Eventline could not deliver an alert: "
_BAD_CONTENT = frozenset(
    {"InvalidParameter", "InvalidParameterValue", "ParameterValueInvalid", "ValidationError"}
)
"""Codes of a batch refused whole for what is in it: then its messages are tried one by one."""
_TOO_MANY = frozenset({"FilterPolicyLimitExceeded", "SubscriptionLimitExceeded"})
_GONE = frozenset({"NotFound", "NotFoundException"})


BY_OTHERS, BY_MAIL = "owner", "mailOwner"
"""The attribute that names the owner, for the subscriptions by e-mail and for all others: each
filters on one alone, so that SNS counts no product of values (150 at most)."""


class Message(Struct, frozen=True):
    """What is published: `subject` of less than 100 ASCII characters, string attributes. An owner's
    subscriptions get it by e-mail (`BY_MAIL`), in the other ways (`BY_OTHERS`), or both."""

    subject: str
    text: str
    attributes: Mapping[str, str]
    ways: tuple[str, ...] = (BY_OTHERS, BY_MAIL)


class Refusal(Struct, frozen=True):
    """Why one message was not published; `sender_fault`: the message itself is to blame, so that
    sending it again cannot help."""

    code: str
    sender_fault: bool


class Seen(Struct, frozen=True):
    """A subscription as SNS has it: whether its endpoint has confirmed, and the owners that its
    filter policy lets through, by which attribute."""

    is_confirmed: bool
    owners: frozenset[str]
    way: str = BY_OTHERS


class Topic:
    """One SNS topic."""

    def __init__(self, client: Any, arn: str) -> None:
        self._client = client
        self._arn = arn

    def publish(self, message: Message) -> None:
        """Publish one message; one call."""
        self._client.publish(TopicArn=self._arn, **_entry(message))

    def publish_batch(self, messages: Sequence[Message]) -> list[Refusal | None]:
        """Publish at most ten messages; what became of each, in order: None when it was published.

        One call; one more for each message when SNS refuses the batch for what one of them holds.
        Any other error of the whole call passes through.
        """
        try:
            answer = self._client.publish_batch(
                TopicArn=self._arn,
                PublishBatchRequestEntries=[
                    {"Id": str(number), **_entry(message)}
                    for number, message in enumerate(messages)
                ],
            )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in _BAD_CONTENT:
                raise
            if len(messages) == 1:
                return [Refusal(code, sender_fault=True)]
            return [self.publish_batch([message])[0] for message in messages]
        published = {entry["Id"] for entry in answer.get("Successful", [])}
        failed = {entry["Id"]: entry for entry in answer.get("Failed", [])}
        outcomes: list[Refusal | None] = []
        for number in range(len(messages)):
            failure = failed.get(str(number), {})
            refusal = Refusal(
                str(failure.get("Code", "no-answer")), failure.get("SenderFault") is True
            )
            outcomes.append(None if str(number) in published else refusal)
        return outcomes

    def subscribe(self, protocol: str, endpoint: str, owners: Iterable[str]) -> str | None:
        """Subscribe an endpoint to messages to one of `owners`; one call.

        Returns the subscription's ARN; None when SNS keeps it to itself until the endpoint has
        confirmed. Subscribing again changes nothing, but asks an endpoint again that has not
        confirmed. Raises `InvalidRequestError` for an endpoint that SNS refuses, `ConflictError`
        for one that is subscribed with another filter, `LimitReachedError` when the topic has as
        many filter policies as SNS allows (200, unless the account's quota was raised).

        RawMessageDelivery is left off: raw, a queue gets the text alone, without its subject.
        """
        try:
            answer = self._client.subscribe(
                TopicArn=self._arn,
                Protocol=protocol,
                Endpoint=endpoint,
                Attributes={
                    "FilterPolicy": _filter(BY_MAIL if protocol == "email" else BY_OTHERS, owners)
                },
                ReturnSubscriptionArn=True,
            )
        except ClientError as error:
            fault = error.response["Error"]
            if "already exists" in fault.get("Message", ""):
                raise ConflictError("the endpoint is subscribed already") from error
            if fault["Code"] in _TOO_MANY:
                raise LimitReachedError(
                    "this stage has as many subscriptions as its SNS topic can hold"
                ) from error
            if fault["Code"] in _BAD_CONTENT:
                raise InvalidRequestError.at("/endpoint", "SNS refuses it") from error
            raise
        arn: str = answer.get("SubscriptionArn", "")
        return arn if arn.startswith("arn:") else None

    def look(self, subscription_arn: str) -> Seen | None:
        """A subscription as SNS has it; None when it has none of this ARN (any more). One call."""
        try:
            answer = self._client.get_subscription_attributes(SubscriptionArn=subscription_arn)
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                return None
            raise
        attributes = answer["Attributes"]
        policy = json.loads(attributes.get("FilterPolicy") or "{}")
        way = BY_MAIL if BY_MAIL in policy else BY_OTHERS
        return Seen(
            is_confirmed=attributes.get("PendingConfirmation", "false") != "true",
            owners=frozenset(map(str, policy.get(way, ()))),
            way=way,
        )

    def let_through(self, subscription_arn: str, way: str, owners: Iterable[str]) -> None:
        """Replace the owners in a subscription's filter policy; one call. SNS takes up to 15
        minutes until it filters so."""
        self._client.set_subscription_attributes(
            SubscriptionArn=subscription_arn,
            AttributeName="FilterPolicy",
            AttributeValue=_filter(way, owners),
        )

    def unsubscribe(self, subscription_arn: str) -> None:
        """End a subscription that has confirmed, unless it is gone; one call."""
        try:
            self._client.unsubscribe(SubscriptionArn=subscription_arn)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _GONE:
                raise


class AlarmTopic:
    """The topic of alarms, for what Eventline itself has to say there.

    `relay_alarm` listens on the same topic, so these carry a mark that makes it ignore them.
    """

    def __init__(self, client: Any, arn: str) -> None:
        self._client = client
        self._arn = arn

    def publish(self, text: str) -> None:
        """Say that an alert was not delivered; one call."""
        self._client.publish(
            TopicArn=self._arn,
            Subject=_OPENING.rstrip(": "),
            Message=_OPENING + text,
            MessageAttributes={_MARK: {"DataType": "String", "StringValue": "undelivered"}},
        )


def is_own(notification: Mapping[str, Any]) -> bool:
    """Whether `publish` wrote this notification, as Lambda gets it (`Records[].Sns`)."""
    marked = _MARK in (notification.get("MessageAttributes") or {})
    return marked or str(notification.get("Message", "")).startswith(_OPENING)


def _filter(way: str, owners: Iterable[str]) -> str:
    return json.dumps({way: sorted(owners)})


def _entry(message: Message) -> dict[str, Any]:
    attributes = dict(message.attributes)
    if owner := attributes.pop("owner", None):
        attributes |= dict.fromkeys(message.ways, owner)
    return {
        "Subject": message.subject,
        "Message": message.text,
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    }
