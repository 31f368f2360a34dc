"""What the text of a Python source shows: letters that deceive, lines that hide, names where no tree is to be had."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from checks.code.names import COOKIE, IN_TEXT, PLAIN_CODECS

_MAX_LINE = 2000
_INVISIBLE = frozenset("\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u3164\uffa0")
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
_WORD = re.compile(r"\w*[^\W\d_a-zA-Z]\w*")
_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "FULLWIDTH", "MATHEMATICAL")


@dataclass(frozen=True, order=True)
class Sign:
    """One thing seen: line (from 1), rule, and what, in words without the source's own text beyond names."""

    line: int
    rule: str
    what: str


def of_encoding(source: bytes) -> Iterator[Sign]:
    """A cookie that has Python read the source otherwise than it looks to a person."""
    for number, line in enumerate(re.split(rb"\r\n?|\n", source[:4096])[:2], 1):
        cookie = COOKIE.match(line)
        name = cookie[1].decode("ascii", "replace").lower() if cookie else ""
        if name and not PLAIN_CODECS.fullmatch(name):
            yield Sign(
                number, "odd-characters", f"the encoding {name[:40]}, in which the source runs otherwise than it reads"
            )


def decoded(source: bytes) -> str:
    """The source as text, whatever its encoding."""
    return source.decode("utf-8-sig", "replace")


def of_text(text: str) -> Iterator[Sign]:
    """Lines that read otherwise than they run, and code where nobody looks."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.isascii():
            yield from _odd_characters(number, line)
        if len(line) > _MAX_LINE:
            yield Sign(number, "long-line", f"a line of {len(line):,} characters")
        elif ";" in line and re.search(r"\S[ \t]{100,}[^\s#]", line):
            yield Sign(number, "long-line", "code far to the right of what a screen shows")


def _odd_characters(number: int, line: str) -> Iterator[Sign]:
    found = set(line)
    if found & _BIDI:
        yield Sign(number, "odd-characters", "characters that change the direction of text, so that it reads otherwise")
    if found & _INVISIBLE:
        yield Sign(number, "odd-characters", "characters that cannot be seen")
    for word in _WORD.findall(line):
        scripts = {_script(character) for character in word if character.isalpha()}
        if len(scripts & set(_SCRIPTS)) > 1:
            yield Sign(number, "odd-characters", "a word of letters that only look alike")
            return


def _script(character: str) -> str:
    return "LATIN" if character.isascii() else unicodedata.name(character, "?").partition(" ")[0]


def by_line(text: str) -> Iterator[Sign]:
    """The names to look for, in a source that cannot be parsed."""
    for number, line in enumerate(text.split("\n"), 1):
        for rule, pattern in IN_TEXT:
            if pattern.search(line[:_MAX_LINE]):
                yield Sign(number, rule, "by the words of a line that could not be parsed")
