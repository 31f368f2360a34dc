"""Notes of the one pass: openings survive every edit that changes no function, digests are taken where they serve."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.intake.image.notes import OPENING, Managers, openings

CODE = b'''"""A module."""
import os


class Pool:
    def connect(self, host, port=443, *, timeout=None, retries=3):
        """Open a connection to the host, and wait for it to answer."""
        self.host, self.port = host, port
        return os.open(self.host, timeout or self.default_timeout_of_pool)  # later: IPv6

    async def close(self):
        """Close every connection that is still open, in the order in which they were opened."""
        for one in list(self.connections):
            await one.close(reason="the pool is closing", grace=self.grace_of_pool)
'''
EDITS = {
    "lines end as on Windows": CODE.replace(b"\n", b"\r\n"),
    "lines end as on old machines": CODE.replace(b"\n", b"\r"),
    "blank lines between all": CODE.replace(b"\n", b"\n\n"),
    "blanks at every end": CODE.replace(b"\n", b"  \t\n"),
    "a comment at every end": CODE.replace(b"\n", b"  # checked\n"),
    "code put before": b"import sys\nx = 1\n" + CODE,
    "code put behind": CODE + b"\n\ny = 2\n",
    "all of it under a condition": b"if True:\n" + b"".join(b"    " + line + b"\n" for line in CODE.split(b"\n")),
    "other quotation marks": CODE.replace(b'"', b"'"),
    "wrapped lines": CODE.replace(b", ", b",\n        "),
    "tabs": CODE.replace(b"    ", b"\t").replace(b"def ", b"def\t"),
    "a byte order mark": b"\xef\xbb\xbf" + CODE,
    "definitions in a comment": b"# def def def def def\n" * 100 + b"#" + b" def" * 10_000 + b"\n" + CODE,
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_that_changes_no_function_changes_no_opening(edit: str) -> None:
    assert len(openings(CODE)) == 2 * OPENING
    assert openings(EDITS[edit]) == openings(CODE)


def test_one_edited_function_leaves_the_others_known() -> None:
    edited = openings(CODE.replace(b"def connect(self", b"def join(self"))
    assert edited[:OPENING] != openings(CODE)[:OPENING]
    assert edited[OPENING:] == openings(CODE)[OPENING:]


@pytest.mark.parametrize("code", [b"", b"x = 1\n" * 1000, b"def f(): pass\n", b"# def " * 100_000])
def test_code_without_functions_of_its_own_has_no_opening(code: bytes) -> None:
    assert openings(code) == b""


@given(st.binary(max_size=3000), st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_have_few_openings(noise: bytes, inside: bytes) -> None:
    found = openings(noise + b"\ndef f" + inside * 20 + noise)
    assert len(found) in range(0, 5 * OPENING, OPENING)


def taken(paths: list[str]) -> tuple[str, ...]:
    """What is taken of the last file of an image whose files come in this order."""
    managers = Managers()
    return [managers.digests_of(path) for path in paths][-1]


SIGNS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "nothing has shown itself": (["usr/bin/a"], ("md5", "sha1")),
    "Debian": (["etc/debian_version", "usr/bin/a"], ("md5",)),
    "dpkg alone": (["var/lib/dpkg/status.d/a", "usr/bin/a"], ("md5",)),
    "Alpine": (["etc/alpine-release", "bin/a"], ("sha1",)),
    "Alpine that dpkg came to": (["etc/alpine-release", "var/lib/dpkg/status", "bin/a"], ("md5", "sha1")),
    "RPM": (["etc/redhat-release", "usr/bin/a"], ()),
    "RPM that is Debian": (["etc/redhat-release", "etc/debian_version", "usr/bin/a"], ("md5",)),
    "where no package puts anything": (["opt/a"], ()),
    "what the tool's author put there": (["usr/local/bin/a"], ()),
}


@pytest.mark.parametrize("case", SIGNS)
def test_digests_are_taken_where_a_list_may_name_the_file(case: str) -> None:
    paths, expected = SIGNS[case]
    assert taken(paths) == expected
