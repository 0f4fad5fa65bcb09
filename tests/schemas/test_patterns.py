"""Patterns are ECMA-262's: read as a browser reads them, or refused by the part that is not."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import InvalidRequestError
from chalicelib.schemas.compiler import compile_schema, violations
from chalicelib.schemas.patterns import PatternError, translate

BLANKS = "\t\n\v\f\r \u00a0\ufeff\u1680\u2000\u200a\u2028\u202f\u205f\u3000"


def matches(pattern: str, text: str) -> bool:
    return not violations(compile_schema({"pattern": pattern}), text)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (r"^[\w-\.]+@([\w-]+\.)+[\w-]{2,4}$", ["a-b.c@d-e.org"], ["a@b", "é@b.org"]),
        (r"^[\p{L}\p{N}_-]{1,64}$", ["é٣_-", "x" * 64], ["", "a b", "x" * 65]),
        (r"^\p{Lu}{1,64}$", ["ÄB"], ["äB", "A" * 65]),
        (r"^\p{Lu}{3}$", ["ÄBC"], ["ÄB", "ABCD"]),
        (r"^[^]$", ["a", "\n", "😀"], ["", "ab"]),
        (r"^[]$", [], ["", "a"]),
        (r"^a{,2}$", ["a{,2}"], ["", "a", "aa"]),
        (r"^a{}{$", ["a{}{"], ["a"]),
        (r"^]}$", ["]}"], []),
        (r"^\ud83d\ude00$", ["😀"], ["\ufffd"]),
        (r"^[\ud83d\ude00]$", ["😀"], []),
        (r"^\u{1F600}$", ["😀"], []),
        (r"^[\b]$", ["\b"], ["b"]),
        (r"^[a&&b]$", ["a", "&", "b"], ["c"]),
        (r"^[!--]$", ["#", "!", "-"], ["."]),
        (r"^[a~~b]$", ["a", "~", "b"], []),
        (r"^\<a\>$", ["<a>"], ["a"]),
        (r"^\/\-\_\"\@$", ['/-_"@'], []),
        (r"^[[:alpha:]]$", ["a]", ":]", "[]"], ["a", "b]"]),
        (r"^.$", ["a", "\t", "\u0085"], ["\n", "\r", "\u2028", "\u2029"]),
        (r"a\b", ["a", "a b", "aé"], ["ab"]),
        (r"^\bé", [], ["é"]),
        (r"^\Bé", ["é"], []),
        (r"^\d$", ["1"], ["٣"]),
        (r"^\D$", ["٣"], ["1"]),
        (r"^\w$", ["_"], ["é", "-"]),
        (r"^[\W\d]$", ["é", "1"], ["a"]),
        (
            r"^\s$",
            [*BLANKS],
            ["\u0085"],
        ),
        (r"^\S$", ["\u0085", "\u200b"], [" "]),
        (r"^\cA\cj\0\x41\u0042$", ["\x01\n\0AB"], []),
        (r"^(?<year>\d{4})-(?:\d\d)$", ["2026-11"], ["26-11"]),
        (r"^a+?b*?c??d{2,3}?$", ["aadd"], ["ad"]),
        (r"^(a|)$", ["a", ""], ["b"]),
        (r"^$", [""], ["\n", "a"]),
        (r"a$", ["ba"], ["a\n"]),
        (r"^\p{Script=Greek}\P{L}$", ["\u03b11"], ["a1", "\u03b1\u03b1"]),
        (r"^[^\p{L}]\p{gc=Nd}$", ["-1"], ["a1"]),
        (r"^\p{Letter}\p{Alphabetic}\p{Emoji_Presentation}$", ["aa😀"], []),
        ("^é [#]$", ["é #"], []),
        (r"^[a-]$", ["a", "-"], []),
        (r"^[-a^]$", ["a", "-", "^"], ["b"]),
        (r"^[\d-x]$", ["1", "-", "x"], ["a"]),
        (r"x", ["axb"], ["a"]),
    ],
)
def test_a_pattern_means_what_it_means_in_ecma_262(
    pattern: str, yes: list[str], no: list[str]
) -> None:
    assert [text for text in yes if not matches(pattern, text)] == []
    assert [text for text in no if matches(pattern, text)] == []


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        (r"(?=a)", "look-ahead (?= at character 1"),
        (r"a(?!b)", "negative look-ahead (?! at character 2"),
        (r"(?<=a)b", "look-behind"),
        (r"(?<!a)b", "look-behind"),
        (r"(a)\1", r"back reference or octal escape \1 at character 4"),
        (r"(?<n>a)\k<n>", r"back reference \k"),
        (r"\Aabc\z", r"\A, which is no escape of ECMA-262"),
        (r"abc\z", r"\z"),
        (r"\Qa\E", r"\Q"),
        (r"^(?i)abc$", "inline flags"),
        (r"(?i:abc)", "inline flags"),
        (r"(?P<n>a)", "inline flags"),
        (r"(?#note)", "inline flags"),
        (r"(?>a)", "inline flags"),
        (r"x*+", "nothing to repeat at character 3"),
        (r"x{2}{3}", "nothing to repeat"),
        (r"+a", "nothing to repeat"),
        (r"{2}", "nothing to repeat"),
        (r"^*", "quantifier after ^"),
        (r"x{3,2}", "out of order"),
        (r"[b-a]", "out of order"),
        (r"[a", "[ without a ]"),
        (r"(a", "( without a )"),
        (r"a)", ") without a ("),
        ("a\\", "nothing after it"),
        (r"\ud83d", "half a surrogate pair"),
        (r"\u12", "without its digits"),
        (r"\xg", "without its digits"),
        (r"\u{110000}", "beyond 10FFFF"),
        (r"\c1", "without a letter"),
        (r"\p{Greek}", "the property Greek"),
        (r"\p{lu}", "the property lu"),
        (r"\p{Script=greek}", "the property"),
        (r"\pL", "without a property"),
        (r"\07", r"\0"),
        ("(" * 100 + ")" * 100, "more than 50 groups"),
    ],
)
@pytest.mark.parametrize("keyword", ["pattern", "patternProperties"])
def test_what_is_not_taken_is_named(pattern: str, named: str, keyword: str) -> None:
    schema: Any = {"pattern": pattern} if keyword == "pattern" else {keyword: {pattern: True}}
    with pytest.raises(InvalidRequestError) as raised:
        compile_schema(schema)
    (fault,) = raised.value.errors
    assert named in fault.detail
    assert fault.pointer.startswith(f"/{keyword}")


def test_an_unknown_script_and_a_large_pattern_are_refused() -> None:
    for pattern in (r"\p{Script=Klingon}", "(?:a{1000}){1000}", "a{99999999999}"):
        with pytest.raises(InvalidRequestError) as raised:
            compile_schema({"pattern": pattern})
        assert raised.value.errors[0].pointer == "/pattern"


def test_patterns_of_names_are_the_same_dialect_and_keep_their_place() -> None:
    schema = {
        "patternProperties": {r"^\d$": {"type": "integer"}, "^[0-9]$": {"minimum": 5}},
        "additionalProperties": {"$ref": r"#/patternProperties/%5E%5Cd$"},
    }
    compiled = compile_schema(schema)
    assert violations(compiled, {"1": 7, "٣": 1}) == []
    told = {(fault.pointer, fault.detail) for fault in violations(compiled, {"1": 1, "٣": "x"})}
    assert told == {
        ("/1", "is less than the minimum of 5"),
        ("/\u0663", 'is not of type "integer"'),
    }


def test_a_broken_pattern_is_told_as_it_was_written() -> None:
    compiled = compile_schema({"pattern": r'^\<"\d$', "type": "string"})
    assert [f.detail for f in violations(compiled, "x")] == [r'does not match "^\<"\d$"']
    compiled = compile_schema({"propertyNames": {"pattern": r"^[\w-.]$"}})
    assert [f.detail for f in violations(compiled, {"é": 1})] == [r'"é" does not match "^[\w-.]$"']


def test_a_class_repeated_keeps_the_lengths_of_its_own_schema() -> None:
    for schema, valid in (
        ({"pattern": "^[a-z]{2,9}$", "maxLength": 3}, [False, True, True, False]),
        ({"pattern": "^[a-z]{2,3}$", "minLength": 1, "maxLength": 9}, [False, True, True, False]),
        ({"pattern": "^[a-z]{2,}$"}, [False, True, True, True]),
        ({"not": {"pattern": "^[a-z]{2,3}$"}}, [True, False, False, True]),
    ):
        compiled = compile_schema(schema)
        assert [not violations(compiled, "x" * n) for n in range(1, 5)] == valid
    assert violations(compile_schema({"pattern": "^[a-z]{2,3}$"}), 7) == []


def test_a_pattern_takes_time_by_the_character() -> None:
    compiled = compile_schema({"pattern": r"^(a+)+(a|aa)*\b$"})
    started = time.process_time()
    violations(compiled, "a" * 100_000 + "!")
    assert time.process_time() - started < 1


@given(st.text(st.sampled_from(r"ab0\(){}[]^$|?*+.,-:<>=!&~dDwWsSbBpPuxck1Lé😀"), max_size=9))
def test_whatever_is_taken_compiles_as_it_is_written_anew(pattern: str) -> None:
    try:
        translate(pattern)
    except PatternError:
        return
    violations(compile_schema({"pattern": pattern}), "ab0")
