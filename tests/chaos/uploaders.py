"""Clients who upload files under the faults, and what became of each object.

A file is sent with the form of `POST /uploads` until S3 says 204; a try whose answer was lost may
have made another version of the object. Every version is to be recorded, and once.
"""

import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.chaos.clients import AGAIN, PATIENCE_SECONDS, TRIES, persist
from tests.support.deployed_stage import Stage
from tests.support.mailbox import Mailbox, mailbox_of

_SCOPES = ("uploads:write", "uploads:read")
_PAUSE_SECONDS = (0.2, 1.5)
_TAKEN = 204


@dataclass
class Pier:
    """The bucket of uploads, its records, and what was sent there."""

    stage: Stage
    letters: Mailbox
    taken: set[str] = field(default_factory=set)
    """The keys of files that S3 said it took."""
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def versions(self) -> set[tuple[str, str]]:
        """(key, version) of all that lies in the bucket."""
        pages = self.stage.s3.get_paginator("list_object_versions").paginate(
            Bucket=self.stage.settings.uploads_bucket
        )
        return {
            (entry["Key"], entry["VersionId"])
            for page in pages
            for entry in page.get("Versions", [])
        }

    def records(self) -> Counter[tuple[str, str]]:
        """How often each (key, version) is recorded."""
        pages = self.stage.dynamodb.get_paginator("scan").paginate(
            TableName=self.stage.settings.uploads_table
        )
        return Counter(
            (item["objectKey"]["S"], item.get("versionId", {}).get("S", ""))
            for page in pages
            for item in page["Items"]
        )

    def unrecorded(self) -> int:
        """How many objects have no record yet."""
        return len(self.versions() - self.records().keys())

    def invoke_letters(self) -> None:
        """Have recorded what lies in the dead-letter queue, as docs/operations.md says."""
        for body in self.letters.bodies():
            self.stage.invoke("record_upload", body.get("requestPayload") or {"Records": [body]})
            self.counts["uploads set aside"] += 1

    def judge(self) -> tuple[list[str], list[str]]:
        """(lost, doubled): an object without its record, a file that S3 had taken and is not there,
        an object that is recorded twice, a record of nothing."""
        versions, records = self.versions(), self.records()
        keys = {key for key, _ in versions}
        lost = [
            f"upload {key} {version}: not recorded" for key, version in versions - records.keys()
        ]
        lost += [f"upload {key}: taken, and not in the bucket" for key in self.taken - keys]
        doubled = [f"upload {one}: recorded {n} times" for one, n in records.items() if n > 1]
        doubled += [f"upload {one}: a record of nothing" for one in records.keys() - versions]
        self.counts["uploads taken"] = len(self.taken)
        self.counts["uploads in the bucket"] = len(versions)
        self.counts["uploads recorded"] = len(records)
        return lost, doubled


@dataclass
class Uploader:
    """Sends one file after the other; `doors` are the URLs of the API."""

    token: str
    doors: tuple[str, ...]
    numbers: random.Random
    pier: Pier

    def work(self, stop: threading.Event) -> None:
        """Upload until it is time to stop."""
        with requests.Session() as session:
            while not stop.wait(self.numbers.uniform(*_PAUSE_SECONDS)):
                self._upload(session)

    def _upload(self, session: requests.Session) -> None:
        order = {"filename": f"{self.numbers.getrandbits(32):x} a+b é.txt", "maxBytes": 4096}
        send = {"Authorization": f"Bearer {self.token}"}
        answer, _ = persist(session, self.numbers, self.doors, "POST", "/uploads", send, order)
        if answer is None:
            return
        if answer.status_code != 201:
            self.pier.wrong.append(f"a form: {answer.status_code} {answer.text[:200]}")
            return
        offer = answer.json()
        content = self.numbers.randbytes(self.numbers.randrange(1, 4096))
        for _ in range(TRIES):
            status = self._post(session, offer, content)
            if status == _TAKEN:
                self.pier.taken.add(offer["objectKey"])
                return
            if status and status not in AGAIN:
                self.pier.wrong.append(f"a file: {status}")
                return

    def _post(self, session: requests.Session, offer: dict[str, Any], content: bytes) -> int:
        """The status of S3's answer; 0 for none."""
        try:
            answer = session.post(
                offer["url"],
                data=offer["fields"],
                files={"file": ("file", content)},
                timeout=(5, PATIENCE_SECONDS),
            )
        except requests.RequestException:
            return 0
        return answer.status_code


def hire(stage: Stage, doors: tuple[str, ...], seed: int) -> Uploader:
    """An uploader with a token; to be called while there are no faults."""
    pier = Pier(stage, mailbox_of(stage, stage.settings.uploads_dlq_arn))
    token = stage.token("uploader", *_SCOPES)
    return Uploader(token, doors, random.Random(f"{seed}/uploader"), pier)
