"""Queues that a test reads: of its own, which a topic or a bus may send to, or a stage's."""

import json
from typing import Any

from tests.support.deployed_stage import Stage, unique, wait_for

_QUESTION = "Confirm the subscription"


class Mailbox:
    """A queue; what was read of it is deleted there and kept here."""

    def __init__(self, sqs: Any, url: str) -> None:
        self._sqs = sqs
        self.url = url
        self._read: list[dict[str, Any]] = []

    @property
    def arn(self) -> str:
        """The queue's ARN."""
        answer = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])

    def messages(self) -> list[dict[str, Any]]:
        """All messages that came until now, in the order in which they were read."""
        while True:
            answer = self._sqs.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                WaitTimeSeconds=0,
            )
            if not answer.get("Messages"):
                return list(self._read)
            for message in answer["Messages"]:
                self._read.append(message)
                self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])

    def bodies(self) -> list[dict[str, Any]]:
        """Their bodies, which are JSON objects."""
        return [json.loads(message["Body"]) for message in self.messages()]

    def with_text(self, text: str) -> list[dict[str, Any]]:
        """Those whose body holds `text`."""
        return [message for message in self.messages() if text in message["Body"]]

    def take(self, text: str) -> dict[str, Any] | None:
        """Forget the messages whose body holds `text`; the last one's body, if there is one."""
        taken = self.with_text(text)
        self._read = [message for message in self._read if message not in taken]
        return json.loads(taken[-1]["Body"]) if taken else None


def open_mailbox(stage: Stage, sender: str) -> Mailbox:
    """A new queue that the service `sender`, such as "sns.amazonaws.com", may send to."""
    url = stage.sqs.create_queue(QueueName=unique("mailbox"))["QueueUrl"]
    mailbox = Mailbox(stage.sqs, url)
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": sender},
        "Action": "sqs:SendMessage",
        "Resource": mailbox.arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    stage.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    return mailbox


def confirm(stage: Stage, mailbox: Mailbox, token: str) -> str:
    """Subscribe a mailbox to the items of the owner of `token`, and send back what it is asked; the
    subscription's id."""
    order = {"protocol": "sqs", "endpoint": mailbox.arn}
    asked = stage.call("POST", "/subscriptions", token, json=order)
    assert asked.status_code == 201, asked.text
    assert asked.json()["status"] == "pending"
    question = wait_for("the question", lambda: mailbox.take(_QUESTION))
    order["token"] = question["MessageAttributes"]["token"]["Value"]
    agreed = stage.call("POST", "/subscriptions", token, json=order)
    assert agreed.status_code == 201, agreed.text
    assert agreed.json() == {**asked.json(), "status": "confirmed"}
    return str(agreed.json()["subscriptionId"])


def mailbox_of(stage: Stage, arn: str) -> Mailbox:
    """A queue of the stage's, such as one for dead letters."""
    return Mailbox(stage.sqs, stage.queue_url(arn))


def reason_of(message: dict[str, Any]) -> dict[str, str]:
    """A dead letter's message attributes."""
    return {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
