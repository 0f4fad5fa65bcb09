"""Checking events by their type's schema: what is read when, kept how long, forgotten when."""

import threading
from typing import Any

import pytest

from chalicelib.core.errors import (
    InvalidRequestError,
    NotFoundError,
    SchemaViolationError,
    UnavailableError,
)
from chalicelib.schemas import check, compiler
from chalicelib.schemas.check import MAX_ABSENT, MAX_COMPILED, SchemaCheck
from chalicelib.schemas.manage import (
    SchemaDeps,
    delete_schema,
    get_schema,
    put_schema,
)
from chalicelib.schemas.store import Schema
from chalicelib.web.callers import Caller
from tests.support.fake_schemas import FakeSchemaStore
from tests.support.fake_stores import FakeAws
from tests.support.faults import Fault

AT = "2026-03-14T12:00:00.000Z"
ALICE = Caller("alice", frozenset({"schemas:write"}), "t")
INTEGER, STRING = b'{"type": "integer"}', b'{"type": "string"}'


class Process:
    """One process of the API over a store that others share."""

    def __init__(self, aws: FakeAws, store: FakeSchemaStore | None = None) -> None:
        self.aws = aws
        self.store = store or FakeSchemaStore(aws)
        self.seconds = 1000.0
        self.schemas = SchemaCheck(self.store, 60, lambda: self.seconds)
        self.deps = SchemaDeps(self.store, self.schemas.forget)

    def put(self, event_type: str, body: bytes) -> tuple[Schema, bool]:
        return put_schema(event_type, body, ALICE, AT, self.deps)

    def check(self, event_type: str, data: Any) -> int | None:
        """Check, and count the calls in `self.aws.calls`."""
        self.aws.calls.clear()
        return self.schemas.check(event_type, data, is_json=True)


@pytest.fixture
def process() -> Process:
    return Process(FakeAws())


def test_a_type_without_a_schema_takes_everything_at_one_call(process: Process) -> None:
    assert process.check("free", {"any": "thing"}) is None
    assert process.aws.calls == ["BatchGetItem"]
    assert process.check("free", None) is None
    assert process.aws.calls == []
    assert process.schemas.check("free", b"\xff", is_json=False) is None


def test_data_is_checked_against_the_newest_version(process: Process) -> None:
    process.put("n", STRING)
    process.put("n", INTEGER)
    assert process.check("n", 1) == 2
    with pytest.raises(SchemaViolationError) as raised:
        process.check("n", "text")
    assert process.aws.calls == []
    assert (raised.value.status, raised.value.code) == (422, "schema-violation")
    assert isinstance(raised.value, InvalidRequestError)
    assert "version 2" in raised.value.detail
    assert [fault.pointer for fault in raised.value.errors] == [""]


def test_of_many_that_are_read_together_each_is_compiled_when_it_is_needed(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        process.put(name, INTEGER)
    compiled: list[Any] = []

    def note(schema: Any, asserts_format: bool) -> Any:
        compiled.append(schema)
        return compiler.compile_schema(schema, asserts_format)

    monkeypatch.setattr(check, "compile_schema", note)
    process.schemas.load_many("abc")
    assert compiled == []
    for _ in range(2):
        assert process.check("a", 1) == 1
    assert len(compiled) == 1
    # And not again when it is read again
    process.seconds += 61
    assert process.check("a", 1) == 1
    assert len(compiled) == 1


def test_pointers_go_below_where_the_data_is(process: Process) -> None:
    process.put("n", b'{"properties": {"a": false}}')
    with pytest.raises(SchemaViolationError) as raised:
        process.schemas.check("n", {"a": 1}, is_json=True, below="/data")
    assert [fault.pointer for fault in raised.value.errors] == ["/data/a"]


def test_what_is_no_json_breaks_every_schema(process: Process) -> None:
    process.put("n", b"true")
    with pytest.raises(SchemaViolationError):
        process.schemas.check("n", "aGVsbG8=", is_json=False)


def test_another_process_sees_a_change_when_its_copy_is_old(process: Process) -> None:
    # Given another process that has read the schema
    other = Process(process.aws, process.store)
    process.put("n", STRING)
    assert other.check("n", "text") == 1
    # When the schema changes
    process.put("n", INTEGER)
    # Then this process knows at once, the other within the age
    assert process.check("n", 1) == 2
    other.seconds += 59.9
    assert other.check("n", "text") == 1
    other.seconds += 0.1
    assert other.check("n", 1) == 2
    # And the end of it, too
    delete_schema("n", process.deps)
    assert process.check("n", "text") is None
    other.seconds += 60
    assert other.check("n", "text") is None


def test_a_schema_that_did_not_change_is_not_compiled_again(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.put("n", INTEGER)
    process.check("n", 1)

    def refuse(_schema: Any) -> Any:
        raise AssertionError("compiled again")

    monkeypatch.setattr(compiler, "compile_schema", refuse)
    process.seconds += 60
    assert process.check("n", 1) == 1
    assert process.aws.calls == ["BatchGetItem"]


def test_an_old_schema_serves_while_dynamodb_fails(process: Process) -> None:
    # Given a schema that was read, and DynamoDB out of reach when it is old
    process.put("n", INTEGER)
    process.check("n", 1)
    process.seconds += 61
    process.aws.calls.clear()
    process.aws.fail(1)
    # When events come
    assert process.schemas.check("n", 1, is_json=True) == 1
    with pytest.raises(SchemaViolationError):
        process.schemas.check("n", "text", is_json=True)
    # Then DynamoDB was asked once, and is again some seconds later
    assert process.aws.calls == ["BatchGetItem"]
    process.aws.faults.clear()
    process.put("other", STRING)
    process.seconds += 5
    process.check("n", 1)
    assert process.aws.calls == ["BatchGetItem"]


def test_without_a_copy_the_failure_is_told(process: Process) -> None:
    process.check("known", 1)
    process.seconds += 61
    process.aws.calls.clear()
    process.aws.fail(1)
    with pytest.raises(Exception, match="made up by a test"):
        process.schemas.load_many(["known", "unknown"])


def test_many_types_are_loaded_in_one_call(process: Process) -> None:
    names = [f"t{n}" for n in range(20)]
    for name in names[:10]:
        process.put(name, INTEGER)
    process.aws.calls.clear()
    process.schemas.load_many([*names, *names])
    assert process.aws.calls == ["BatchGetItem"]
    assert [process.check(name, 1) for name in names] == [1] * 10 + [None] * 10
    assert process.aws.calls == []


def test_ever_new_types_push_no_schema_out_and_fill_no_memory(process: Process) -> None:
    process.put("n", INTEGER)
    process.check("n", 1)
    for number in range(MAX_ABSENT + 100):
        process.schemas.check(f"new{number}", 1, is_json=True)
    assert process.check("n", 1) == 1
    assert process.aws.calls == []
    assert len(process.schemas._absent) == MAX_ABSENT
    for number in range(MAX_COMPILED + 5):
        process.put(f"s{number}", INTEGER)
        process.check(f"s{number}", 1)
    assert len(process.schemas._compiled) == MAX_COMPILED
    assert process.check("n", 1) == 1


def test_more_types_than_are_kept_can_be_loaded_at_once(process: Process) -> None:
    names = [f"s{n}" for n in range(MAX_COMPILED + 10)]
    for name in names:
        process.put(name, INTEGER)
    process.schemas.load_many(names)
    assert all(process.check(name, 1) == 1 for name in names)


def test_what_was_read_before_a_change_is_not_kept(process: Process) -> None:
    # Given a check that has read "no schema", when a schema is put before it goes on
    answered, go_on = threading.Event(), threading.Event()

    def gate(operation: str, effect: Any) -> Any:
        answer = effect()
        if operation == "BatchGetItem" and not answered.is_set():
            answered.set()
            assert go_on.wait(5)
        return answer

    process.aws.gate = gate
    versions: list[int | None] = []
    thread = threading.Thread(
        target=lambda: versions.append(process.schemas.check("n", "text", is_json=True))
    )
    thread.start()
    assert answered.wait(5)
    process.put("n", INTEGER)
    go_on.set()
    thread.join(5)
    assert versions == [None]
    # Then the next event sees the schema
    assert process.check("n", 1) == 1


def test_a_stored_schema_that_can_not_be_used_is_no_fault_of_the_sender(process: Process) -> None:
    process.store.add(Schema("n", 1, '{"type": "objekt"}', AT, "alice"), None)
    with pytest.raises(UnavailableError):
        process.check("n", 1)


def test_versions_count_and_the_same_schema_is_no_new_one(process: Process) -> None:
    first, created = process.put("n", b'{"type": "integer", "minimum": 1}')
    assert (first.version, created, first.created_by) == (1, True, "alice")
    assert process.put("n", b' {"minimum":1,"type":"integer"}') == (first, False)
    second, created = process.put("n", INTEGER)
    assert (second.version, created) == (2, True)
    assert process.put("n", b'{"type": "integer", "minimum": 1}')[0].version == 3
    assert get_schema("n", None, process.deps).version == 3
    assert get_schema("n", 1, process.deps) == first


def test_an_ended_schema_keeps_its_versions_and_counts_on(process: Process) -> None:
    first, _ = process.put("n", INTEGER)
    delete_schema("n", process.deps)
    with pytest.raises(NotFoundError):
        get_schema("n", None, process.deps)
    with pytest.raises(NotFoundError):
        delete_schema("n", process.deps)
    assert get_schema("n", 1, process.deps) == first
    assert process.deps.store.page(10, None) == ([], None)
    again, created = process.put("n", INTEGER)
    assert (again.version, created) == (2, True)


def test_what_never_was_is_not_found(process: Process) -> None:
    process.put("n", INTEGER)
    for name, version in (("m", None), ("n", 2), ("m", 1)):
        with pytest.raises(NotFoundError):
            get_schema(name, version, process.deps)
    with pytest.raises(NotFoundError):
        delete_schema("m", process.deps)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"a":1,"a":2}', b"[" * 100_000])
def test_a_body_that_is_no_schema_makes_no_call(process: Process, body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        process.put("n", body)
    assert process.aws.calls == []


def test_a_large_body_is_refused_before_it_is_read(process: Process) -> None:
    with pytest.raises(InvalidRequestError, match="65536"):
        process.put("n", b"{" * 70_000)


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.REFUSED])
def test_after_a_put_whose_answer_is_lost_the_store_decides(process: Process, fault: Fault) -> None:
    # Given a process that knows that there is no schema
    process.check("n", "text")
    process.aws.calls.clear()
    process.aws.fail(2, fault)
    # When the write fails
    with pytest.raises(Exception, match=r"made up|timeout"):
        process.put("n", INTEGER)
    # Then what the store has is used
    process.aws.faults.clear()
    if fault is Fault.REFUSED:
        assert process.check("n", "text") is None
    else:
        assert process.check("n", 1) == 1
        assert process.put("n", INTEGER)[1] is False


def test_a_write_that_always_loses_is_given_up(process: Process) -> None:
    def lose(operation: str, effect: Any) -> Any:
        return False if operation == "TransactWriteItems" else effect()

    process.aws.gate = lose
    with pytest.raises(UnavailableError):
        process.put("n", INTEGER)
