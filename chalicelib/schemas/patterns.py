"""Patterns of JSON Schema, which are ECMA-262's, in the words of the validator's engine.

The engine (Rust's `regex`) runs in linear time and has a syntax of its own: it reads `[a&&b]`,
`\\<` or `[[:alpha:]]` as something else, and lets `.` match a carriage return. So each pattern is
parsed as ECMA-262 says (section 22.2.1, with code points for characters as under the flag `u`, and
what annex B.1.2 lets pass: `a{,2}`, `[\\w-.]`, `\\<`), and written anew with nothing that is read
in two ways. What no linear engine has is refused by name: look-around and back references. So is
what is no ECMA-262: `\\A`, `(?i)`, `x*+`.
"""

import re
from typing import NamedTuple, NoReturn

MAX_GROUPS_DEEP = 50
_LAST, _HIGH, _LOW, _AFTER = 0x10FFFF, 0xD800, 0xDC00, 0xE000
"""The last code point; where high and low surrogates begin, and end."""
_ANY, _NONE = r"[\x{0}-\x{10FFFF}]", r"[^\x{0}-\x{10FFFF}]"
_DIGIT, _WORD = "0-9", "0-9A-Z_a-z"
_SPACE = (
    r"\x{9}-\x{D}\x{20}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}"
    r"\x{FEFF}"
)
_DOT = r"[^\x{A}\x{D}\x{2028}\x{2029}]"
_CLASSES = {
    "d": f"[{_DIGIT}]",
    "D": f"[^{_DIGIT}]",
    "w": f"[{_WORD}]",
    "W": f"[^{_WORD}]",
    "s": f"[{_SPACE}]",
    "S": f"[^{_SPACE}]",
}
_CONTROLS = {"f": 0xC, "n": 0xA, "r": 0xD, "t": 0x9, "v": 0xB}
_REPEAT = re.compile(r"\{([0-9]+)(,([0-9]*))?\}")
_HEX = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]+)\}")
_LOW_SURROGATE = re.compile(r"\\u([Dd][C-Fc-f][0-9A-Fa-f]{2})")
_PROPERTY = re.compile(r"[pP]\{(?:([A-Za-z_]+)=)?([A-Za-z0-9_]+)\}")
_GROUP_NAME = re.compile(r"\(\?<[A-Za-z_$][A-Za-z0-9_$]*>")
_ONE_CLASS = re.compile(
    r"\^(\[[^\[\]]*\]|\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)+\])\{(\d+)(?:,(\d+))?\}\$"
)
_SCRIPTS = frozenset({"Script", "sc", "Script_Extensions", "scx"})
_CATEGORY = frozenset({"General_Category", "gc"})
_CATEGORIES_TEXT = """
L Letter LC Cased_Letter Lu Uppercase_Letter Ll Lowercase_Letter Lt Titlecase_Letter Lm
Modifier_Letter Lo Other_Letter M Mark Combining_Mark Mn Nonspacing_Mark Mc Spacing_Mark Me
Enclosing_Mark N Number Nd Decimal_Number digit Nl Letter_Number No Other_Number P
Punctuation punct Pc Connector_Punctuation Pd Dash_Punctuation Ps Open_Punctuation Pe
Close_Punctuation Pi Initial_Punctuation Pf Final_Punctuation Po Other_Punctuation S Symbol
Sm Math_Symbol Sc Currency_Symbol Sk Modifier_Symbol So Other_Symbol Z Separator Zs
Space_Separator Zl Line_Separator Zp Paragraph_Separator C Other Cc Control cntrl Cf Format
Co Private_Use Cn Unassigned
"""
_BINARY_TEXT = """
ASCII ASCII_Hex_Digit AHex Alphabetic Alpha Any Assigned Bidi_Control Bidi_C Bidi_Mirrored
Bidi_M Case_Ignorable CI Cased Changes_When_Casefolded CWCF Changes_When_Casemapped CWCM
Changes_When_Lowercased CWL Changes_When_Titlecased CWT Changes_When_Uppercased CWU Dash
Default_Ignorable_Code_Point DI Deprecated Dep Diacritic Dia Emoji Emoji_Component
Emoji_Modifier Emoji_Modifier_Base Emoji_Presentation Extended_Pictographic Extender Ext
Grapheme_Base Gr_Base Grapheme_Extend Gr_Ext Hex_Digit Hex IDS_Binary_Operator IDSB
ID_Continue IDC ID_Start IDS Ideographic Ideo Join_Control Join_C Logical_Order_Exception
LOE Lowercase Lower Math Noncharacter_Code_Point NChar Pattern_Syntax Pat_Syn
Pattern_White_Space Pat_WS Quotation_Mark QMark Radical Regional_Indicator RI
Sentence_Terminal STerm Soft_Dotted SD Terminal_Punctuation Term Unified_Ideograph UIdeo
Uppercase Upper Variation_Selector VS White_Space space XID_Continue XIDC XID_Start XIDS
"""

_CATEGORIES, _BINARY = frozenset(_CATEGORIES_TEXT.split()), frozenset(_BINARY_TEXT.split())


class PatternError(Exception):
    """A pattern that is no ECMA-262, or cannot run in linear time; says which part."""


class Translated(NamedTuple):
    """A pattern in the engine's words; and of one that is a class repeated, such as
    `^[a-z]{1,64}$`, how often: its text then has any number, and the length says the rest."""

    text: str
    least: int = 0
    most: int | None = None


def translate(pattern: str) -> str:
    """The pattern in the engine's words. Raises `PatternError`."""
    return _Parser(pattern).parse()


def translate_with_length(pattern: str) -> Translated:
    """As `translate`, with what the pattern says of the length taken out: a class repeated up to
    255 times takes some hundred kilobytes when compiled, and a length nothing."""
    text = translate(pattern)
    found = _ONE_CLASS.fullmatch(text)
    if found is None:
        return Translated(text)
    return Translated(f"^{found[1]}*$", int(found[2]), int(found[3] or found[2]))


class _Parser:
    """Reads one pattern from left to right; `_at` is the next character's place."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._deep = 0

    def parse(self) -> str:
        text = self._alternatives()
        if self._at < len(self._pattern):
            self._refuse("a ) without a (")
        return text

    def _refuse(self, what: str) -> NoReturn:
        raise PatternError(f"{what} at character {self._at + 1}")

    def _here(self, text: str) -> bool:
        return self._pattern.startswith(text, self._at)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._pattern, self._at)
        if found:
            self._at = found.end()
        return found

    def _alternatives(self) -> str:
        parts: list[str] = []
        while self._at < len(self._pattern) and not self._here(")"):
            if self._here("|"):
                self._at += 1
                parts.append("|")
            else:
                parts.append(self._term())
        return "".join(parts)

    def _term(self) -> str:
        for assertion, text in (("^", "^"), ("$", "$"), (r"\b", r"(?-u:\b)"), (r"\B", r"(?-u:\B)")):
            if self._here(assertion):
                self._at += len(assertion)
                if self._repeat():
                    self._refuse(f"a quantifier after {assertion}")
                return text
        if self._pattern[self._at] in "*+?" or _REPEAT.match(self._pattern, self._at):
            self._refuse("a quantifier with nothing to repeat")
        return self._atom() + self._repeat()

    def _repeat(self) -> str:
        """The quantifier here, if there is one."""
        start = self._at
        if self._at < len(self._pattern) and self._pattern[self._at] in "*+?":
            self._at += 1
        elif found := self._take(_REPEAT):
            least, most = found[1], found[3] if found[2] else found[1]
            if most and int(most) < int(least):
                self._refuse("a quantifier whose numbers are out of order")
        if start == self._at:
            return ""
        text = self._pattern[start : self._at]
        if self._here("?"):
            self._at += 1
            text += "?"
        return text

    def _atom(self) -> str:
        first = self._pattern[self._at]
        if first == "(":
            return self._group()
        if first == "[":
            return self._class()
        if first == ".":
            self._at += 1
            return _DOT
        if first != "\\":
            self._at += 1
            return _literal(ord(first))
        escaped = self._escape()
        if isinstance(escaped, int):
            return _literal(escaped)
        return escaped if escaped.startswith("[") else f"[{escaped}]"

    def _group(self) -> str:
        if self._here("(?:"):
            self._at += 3
        elif self._here("(?="):
            self._refuse("look-ahead (?=")
        elif self._here("(?!"):
            self._refuse("negative look-ahead (?!")
        elif self._here("(?<=") or self._here("(?<!"):
            self._refuse("look-behind (?<")
        elif self._here("(?"):
            if not self._take(_GROUP_NAME):
                self._refuse("inline flags or another (? that is no ECMA-262,")
        else:
            self._at += 1
        self._deep += 1
        if self._deep > MAX_GROUPS_DEEP:
            self._refuse(f"more than {MAX_GROUPS_DEEP} groups in one another")
        text = self._alternatives()
        if not self._here(")"):
            self._refuse("a ( without a )")
        self._at += 1
        self._deep -= 1
        return f"(?:{text})"

    def _class(self) -> str:
        self._at += 1
        negated = self._here("^")
        self._at += negated
        items: list[str] = []
        while not self._here("]"):
            first = self._element()
            if not self._here("-") or self._here("-]"):
                items.append(_item(first))
                continue
            self._at += 1
            last = self._element()
            if isinstance(first, str) or isinstance(last, str):
                # Annex B.1.2: a class at either end, so the - is a character.
                items += [_item(first), _item(ord("-")), _item(last)]
            elif last < first:
                self._refuse("a range whose ends are out of order")
            else:
                items.append(f"{_item(first)}-{_item(last)}")
        self._at += 1
        if not items:
            return _ANY if negated else _NONE
        return f"[{'^' if negated else ''}{''.join(items)}]"

    def _element(self) -> str | int:
        """A class or a character within [ ]."""
        if self._at >= len(self._pattern):
            self._refuse("a [ without a ]")
        if self._here(r"\b"):
            self._at += 2
            return 0x8
        if self._here("\\"):
            return self._escape()
        self._at += 1
        return ord(self._pattern[self._at - 1])

    def _escape(self) -> str | int:
        """What an escape stands for: a class in the engine's words, or a character."""
        if self._at + 1 >= len(self._pattern):
            self._refuse("a \\ with nothing after it")
        letter = self._pattern[self._at + 1]
        if letter in "pP":
            return self._property()
        if letter in "xu":
            return self._code()
        if letter == "c":
            control = self._pattern[self._at + 2 : self._at + 3]
            if not (control.isascii() and control.isalpha()):
                self._refuse("\\c without a letter")
            self._at += 3
            return ord(control) % 32
        if letter == "0" and not self._pattern[self._at + 2 : self._at + 3].isdigit():
            self._at += 2
            return 0
        if letter.isdecimal() and letter.isascii():
            self._refuse(f"back reference or octal escape \\{letter}")
        if letter == "k":
            self._refuse("back reference \\k")
        known = _CLASSES.get(letter, _CONTROLS.get(letter))
        if known is None and letter.isascii() and letter.isalpha():
            self._refuse(f"\\{letter}, which is no escape of ECMA-262,")
        self._at += 2
        return ord(letter) if known is None else known

    def _code(self) -> int:
        self._at += 1
        found = self._take(_HEX)
        if found is None:
            self._refuse("\\x or \\u without its digits")
        code = int(found[1] or found[2] or found[3], 16)
        low = _LOW_SURROGATE.match(self._pattern, self._at) if found[2] else None
        if low and _HIGH <= code < _LOW:
            self._at = low.end()
            code = 0x10000 + ((code - _HIGH) << 10) + int(low[1], 16) - _LOW
        if _HIGH <= code < _AFTER:
            self._refuse("half a surrogate pair")
        if code > _LAST:
            self._refuse("a code point beyond 10FFFF")
        return code

    def _property(self) -> str:
        self._at += 1
        found = self._take(_PROPERTY)
        if found is None:
            self._refuse("\\p without a property in braces")
        kind, value = found[1], found[2]
        is_known = (
            value in _CATEGORIES | _BINARY
            if kind is None
            else kind in _SCRIPTS or (kind in _CATEGORY and value in _CATEGORIES)
        )
        if not is_known or (kind in _SCRIPTS and not value[0].isupper()):
            self._refuse(f"the property {found[0][2:-1]}, which is none of ECMA-262,")
        return f"\\{found[0]}"


def _literal(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else rf"\x{{{code:X}}}"


def _item(element: str | int) -> str:
    return element if isinstance(element, str) else _literal(element)
