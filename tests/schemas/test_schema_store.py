"""Schemas: numbered without a gap or a double, ended without being forgotten, listed by type."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.schemas.compiler import MAX_SCHEMA_BYTES
from chalicelib.schemas.manage import SchemaDeps, put_schema
from chalicelib.schemas.store import Listed, Schema, SchemaStore
from chalicelib.web.callers import Caller
from tests.support.factories import unique
from tests.support.store_backends import Backend

AT = "2026-03-14T12:00:00.000Z"


def make_schema(event_type: str, version: int = 1, text: str = '{"type": "object"}') -> Schema:
    return Schema(event_type, version, text, AT, "alice")


def put(store: SchemaStore, event_type: str) -> Schema:
    """Write the next version."""
    before = store.head(event_type)
    schema = make_schema(event_type, 1 if before is None else before.schema.version + 1)
    assert store.add(schema, before)
    return schema


def test_what_was_never_put_is_not_there(aws_backends: Backend) -> None:
    name = unique("nothing")
    assert aws_backends.schemas.head(name) is None
    assert aws_backends.schemas.version(name, 1) is None
    assert aws_backends.schemas.active([name]) == {}
    assert not aws_backends.schemas.end(name)


@pytest.mark.parametrize("name", ["order.created", "größe 日本", "a/b", "head", "version#1", "#"])
def test_a_schema_is_read_back_as_it_was(aws_backends: Backend, name: str) -> None:
    schema = make_schema(unique(name), text=' {"b": 1,\n "a": "é"} ')
    assert aws_backends.schemas.add(schema, None)
    head = aws_backends.schemas.head(schema.event_type)
    assert head is not None
    assert (head.schema, head.active) == (schema, True)
    assert aws_backends.schemas.version(schema.event_type, 1) == schema
    assert aws_backends.schemas.active([schema.event_type]) == {schema.event_type: schema}
    assert aws_backends.calls == ["TransactWriteItems", "GetItem", "GetItem", "BatchGetItem"]


def test_the_largest_schema_fits(aws_backends: Backend) -> None:
    schema = make_schema(unique("large"), text='"' + "x" * (MAX_SCHEMA_BYTES - 2) + '"')
    assert aws_backends.schemas.add(schema, None)
    assert aws_backends.schemas.version(schema.event_type, 1) == schema


def test_the_second_of_two_writers_of_a_number_loses_and_changes_nothing(
    aws_backends: Backend,
) -> None:
    # Given two who read the same head
    store, name = aws_backends.schemas, unique("race")
    put(store, name)
    seen = store.head(name)
    # When both write the next version
    first, second = make_schema(name, 2, "true"), make_schema(name, 2, "false")
    assert store.add(first, seen)
    assert not store.add(second, seen)
    # Then the first is there
    assert store.version(name, 2) == first
    head = store.head(name)
    assert head is not None
    assert head.schema == first


def test_two_first_versions_are_one(aws_backends: Backend) -> None:
    store, name = aws_backends.schemas, unique("first")
    assert store.add(make_schema(name, 1, "true"), None)
    assert not store.add(make_schema(name, 1, "false"), None)
    assert store.version(name, 1) == make_schema(name, 1, "true")


def test_a_schema_ended_meanwhile_is_not_revived_by_a_writer_who_did_not_see_it(
    aws_backends: Backend,
) -> None:
    store, name = aws_backends.schemas, unique("ended")
    put(store, name)
    seen = store.head(name)
    assert store.end(name)
    assert not store.add(make_schema(name, 2), seen)
    assert store.version(name, 2) is None
    assert store.active([name]) == {}


def test_an_ended_schema_keeps_its_history_and_counts_on(aws_backends: Backend) -> None:
    store, name = aws_backends.schemas, unique("ended")
    first = put(store, name)
    assert store.end(name)
    assert not store.end(name)
    assert store.active([name]) == {}
    assert store.version(name, 1) == first
    assert put(store, name).version == 2
    assert store.active([name]) == {name: make_schema(name, 2)}


# Moto undoes a transaction that fails by putting all tables back as they were: others' writes too.
@pytest.mark.parametrize(
    "aws_backends",
    ["fake", pytest.param("emulator", marks=pytest.mark.emulator)],
    indirect=True,
)
def test_writers_at_the_same_time_all_get_a_number(aws_backends: Backend) -> None:
    # Given eight who put a schema of their own at once
    name, store = unique("crowd"), aws_backends.schemas
    deps = SchemaDeps(store, lambda _name: None)
    caller = Caller("alice", frozenset({"schemas:write"}), "t")

    def write(number: int) -> int:
        body = f'{{"minimum": {number}}}'.encode()
        while True:
            try:
                return put_schema(name, body, caller, AT, deps)[0].version
            except Exception as error:
                if getattr(error, "code", "") != "unavailable":
                    raise

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(write, range(8)))
    # Then each has a number, and under it what it wrote
    assert sorted(numbers) == list(range(1, 9))
    for number, version in enumerate(numbers):
        kept = store.version(name, version)
        assert kept is not None
        assert kept.text == f'{{"minimum": {number}}}'


def test_many_types_are_read_together(aws_backends: Backend) -> None:
    store = aws_backends.schemas
    names = [put(store, unique("many")).event_type for _ in range(3)]
    aws_backends.calls.clear()
    wanted = [*names, *names, *(unique("none") for _ in range(120))]
    assert store.active(wanted).keys() == set(names)
    assert aws_backends.calls == ["BatchGetItem"] * 2


def test_pages_list_every_enforced_type_once_by_name(aws_backends: Backend) -> None:
    # Given types with several versions, and one that was ended
    store = aws_backends.schemas
    made = [put(store, unique("listed")).event_type for _ in range(7)]
    put(store, made[0])
    gone = put(store, unique("listed")).event_type
    store.end(gone)
    # When they are listed page by page
    seen: list[str] = []
    versions: dict[str, int] = {}
    after: str | None = None
    aws_backends.calls.clear()
    pages = 0
    while pages < 200:
        pages += 1
        page, after = store.page(2, after)
        assert len(page) <= 2
        seen += [listed.event_type for listed in page]
        versions |= {listed.event_type: listed.version for listed in page}
        if after is None:
            break
    # Then each is there once, in order, at one call a page
    assert after is None
    assert seen == sorted(set(seen))
    assert set(made) <= set(seen)
    assert gone not in seen
    assert versions[made[0]] == 2
    assert aws_backends.calls == ["Query"] * pages


def test_versions_are_listed_newest_first_a_page_at_a_time(aws_backends: Backend) -> None:
    # Given a type with eleven versions, which was ended, and another whose name begins like it
    store, name = aws_backends.schemas, unique("many")
    for _ in range(11):
        put(store, name)
    put(store, f"{name}.more")
    store.end(name)
    aws_backends.calls.clear()
    # When they are read four at a time
    found, below = [], None
    while True:
        some, below = store.versions(name, 4, below)
        found += some
        if below is None:
            break
    # Then each is there once, the newest first, at a call a page
    assert found == [Listed(name, version, AT) for version in range(11, 0, -1)]
    assert aws_backends.calls == ["Query"] * 3


def test_a_type_that_never_had_a_schema_has_no_versions(aws_backends: Backend) -> None:
    assert aws_backends.schemas.versions(unique("nothing"), 10, None) == ([], None)
