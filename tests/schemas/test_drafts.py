"""Drafts 2020-12, 2019-09 and 7: what each knows, names within a schema, and `format`.

`suite_sample.json` is a sample of the JSON Schema Test Suite (MIT licence), by draft.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.core.errors import InvalidRequestError
from chalicelib.schemas.compiler import check_schema, compile_schema, violations
from chalicelib.schemas.document import DRAFT_7, DRAFT_2019_09, DRAFT_2020_12
from chalicelib.schemas.formats import is_date, is_duration

SAMPLE = json.loads((Path(__file__).parent / "suite_sample.json").read_text("utf-8"))
URIS = {
    "draft2020-12": DRAFT_2020_12.uri,
    "draft2019-09": DRAFT_2019_09.uri,
    "draft7": f"{DRAFT_7.uri}#",
}


def is_valid(schema: Any, data: Any, *, asserts_format: bool = False) -> bool:
    return not violations(compile_schema(schema, asserts_format), data)


@pytest.mark.parametrize(
    ("draft", "group"),
    [(draft, group) for draft, groups in SAMPLE.items() for group in groups],
    ids=lambda value: value if isinstance(value, str) else value["description"][:40],
)
def test_the_verdicts_are_those_of_the_official_suite(draft: str, group: dict[str, Any]) -> None:
    schema = {"$schema": URIS[draft], **group["schema"]}
    compiled = check_schema(schema, len(json.dumps(schema)))
    for case in group["tests"]:
        assert (not violations(compiled, case["data"])) is case["valid"], case["description"]


def test_each_draft_enforces_its_own_keywords_alone() -> None:
    dependent: Any = {"dependencies": {"a": ["b"], "c": {"required": ["d"]}}}
    for data in ({"a": 1}, {"c": 1}):
        assert is_valid(dependent, data)
        assert is_valid({"$schema": DRAFT_2019_09.uri, **dependent}, data)
        assert not is_valid({"$schema": DRAFT_7.uri, **dependent}, data)
    later: Any = {"dependentRequired": {"a": ["b"]}, "prefixItems": [{"type": "string"}]}
    assert not is_valid(later, {"a": 1})
    assert not is_valid(later, [1])
    assert is_valid({"$schema": DRAFT_7.uri, **later}, {"a": 1})
    assert is_valid({"$schema": DRAFT_2019_09.uri, **later}, [1])
    # What a draft does not know is data, not a schema.
    assert is_valid({"$schema": DRAFT_7.uri, "$defs": {"a": {"pattern": "("}}}, 1)
    beside = {"$ref": "#/definitions/a", "maxLength": 1, "definitions": {"a": {"minLength": 1}}}
    assert is_valid({"$schema": DRAFT_7.uri, **beside}, "abc")
    assert not is_valid(beside, "abc")


@pytest.mark.parametrize("uri", URIS.values())
def test_a_bundled_schema_is_taken_and_nothing_is_fetched(uri: str) -> None:
    place = "definitions" if "draft-07" in uri else "$defs"
    bundle = {
        "$schema": uri,
        "$id": "https://example.invalid/order",
        "properties": {"to": {"$ref": "address"}, "from": {"$ref": "/address#/properties/zip"}},
        place: {
            "address": {
                "$id": "https://example.invalid/address",
                "properties": {"zip": {"type": "string"}},
                "required": ["zip"],
            }
        },
    }
    assert is_valid(bundle, {"to": {"zip": "1"}, "from": "2"})
    assert [f.pointer for f in violations(compile_schema(bundle), {"to": {"zip": 1}})] == [
        "/to/zip"
    ]
    assert not is_valid(bundle, {"to": {}})
    assert not is_valid(bundle, {"from": 2})
    bundle[place] = {}
    with pytest.raises(InvalidRequestError) as raised:
        compile_schema(bundle)
    assert "nothing is fetched" in raised.value.errors[0].detail


@pytest.mark.parametrize("reference", ["#/$defs/é", "#/$defs/%C3%A9", "#/%24defs/é"])
def test_a_pointer_may_be_escaped_or_not(reference: str) -> None:
    schema = {"$defs": {"é": {"type": "string"}}, "$ref": reference}
    assert is_valid(schema, "a")
    assert not is_valid(schema, 1)


def test_a_name_that_means_several_schemas_by_the_way_to_it_is_refused() -> None:
    schema = {
        "$id": "https://example.invalid/a",
        "$dynamicAnchor": "n",
        "$defs": {"b": {"$id": "b", "$dynamicAnchor": "n", "items": {"$dynamicRef": "#n"}}},
    }
    with pytest.raises(InvalidRequestError) as raised:
        compile_schema(schema)
    assert raised.value.errors[0].pointer == "/$defs/b/items/$dynamicRef"


def test_an_embedded_schema_cannot_hide_what_it_costs() -> None:
    chain = {
        f"d{n}": {"$id": f"urn:x:{n}", "allOf": [{"$ref": f"urn:x:{n + 1}"}] * 2} for n in range(20)
    }
    chain["d20"] = {"$id": "urn:x:20"}
    with pytest.raises(InvalidRequestError, match="too long"):
        compile_schema({"$defs": chain, "$ref": "urn:x:0"})
    with pytest.raises(InvalidRequestError, match="for ever"):
        compile_schema({"$id": "urn:x:a", "allOf": [{"$id": "urn:x:b", "$ref": "urn:x:a"}]})


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2026-11-28T04:00:00.5+01:00", "2026-11-28 04:00"),
        ("date", "2024-02-29", "2023-02-29"),
        ("time", "04:00:00Z", "25:00:00Z"),
        ("duration", "P1DT2H", "PT1D"),
        ("email", "a@example.com", "a@"),
        ("hostname", "a.example", "-a"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "::1", ":::"),
        ("uri", "https://a.b/c", "a b"),
        ("uuid", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "f81d4fae"),
        ("json-pointer", "/a~0b", "/a~2"),
    ],
)
def test_a_format_is_asserted_if_it_is_asked_for(name: str, good: str, bad: str) -> None:
    schema = {"format": name}
    assert is_valid(schema, bad)
    assert is_valid(schema, good, asserts_format=True)
    assert not is_valid(schema, bad, asserts_format=True)
    assert is_valid(schema, 7, asserts_format=True)


def test_a_format_that_is_not_asserted_takes_any_text() -> None:
    for name in ("regex", "idn-email", "uri-template", "ours"):
        assert is_valid({"format": name}, "(", asserts_format=True)


def test_dates_and_durations_are_those_of_rfc_3339() -> None:
    for text in ("P1Y", "P1Y2M3D", "P2W", "PT36H", "PT1M", "P4DT12H30M5S"):
        assert is_duration(text), text
    for text in ("", "P", "PT", "P1YT", "1D", "P1D2H", "P2D1Y", "P1Y2D", "PT1H2S", "P1W1D", "P-1D"):
        assert not is_duration(text), text
    assert is_date("1963-06-19")
    for text in ("1963-6-19", "19630619", "1963-06-1\u0661", "2021-02-30", "1963-W01-1", ""):
        assert not is_date(text), text
