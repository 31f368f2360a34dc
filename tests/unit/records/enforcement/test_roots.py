"""Trusted roots are read whole or refused, and what is retired is not handed on."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.signing.private_sigstore import PrivateSigstore
from policies.load import DEFAULT_POLICY
from pratique.errors import InvalidInput
from records.enforcement.roots import read_root
from tests.unit.records.enforcement.bench import NOW

KEY_WORDS = ["tlogs", "certificateAuthorities", "validFor", "start", "publicKey", "subject"]


def test_retired_keys_are_left_out() -> None:
    """A platform would trust them for ever."""
    document = PrivateSigstore(1, now=lambda: NOW).trusted_root
    document["tlogs"][0]["publicKey"]["validFor"]["end"] = "2026-09-30T23:59:59.999Z"
    document["certificateAuthorities"][0]["validFor"]["start"] = "2026-10-02T00:00:00Z"
    root = read_root(json.dumps(document).encode(), NOW)
    assert not root.logs
    assert not root.authorities
    assert root.ct_logs


def test_the_public_good_root_is_read() -> None:
    """The one that ships: one active chain, the log that makes promises, the certificate log that is not retired."""
    root = read_root(DEFAULT_POLICY.with_name("sigstore-public-good.json").read_bytes(), NOW)
    assert [log.url for log in root.promising_logs] == ["https://rekor.sigstore.dev"]
    assert len(root.authorities) == len(root.ct_logs) == 1


def _log(**changes: Any) -> dict[str, Any]:
    key = {"rawBytes": "AA==", "validFor": {"start": "2020-01-01T00:00:00Z"}}
    log = {"baseUrl": "https://rekor.example", "publicKey": key | changes.pop("key", {})} | changes
    return {"tlogs": [log], "certificateAuthorities": []}


BROKEN = {
    "no object": [],
    "no authorities": {"tlogs": []},
    "a text for a list": {"tlogs": "x", "certificateAuthorities": []},
    "a key that is no base64": _log(key={"rawBytes": "ä"}),
    "an empty key": _log(key={"rawBytes": ""}),
    "a time without a zone": _log(key={"validFor": {"start": "2020-01-01"}}),
    "no time at all": _log(key={"validFor": {}}),
    "a number for a place": _log(baseUrl=1),
}


@pytest.mark.parametrize("document", BROKEN.values(), ids=BROKEN)
def test_broken_roots(document: Any) -> None:
    """Are refused whole."""
    with pytest.raises(InvalidInput):
        read_root(json.dumps(document).encode(), NOW)


def test_what_is_broken_is_so_because_of_that() -> None:
    """Without the change the same root is read."""
    assert read_root(json.dumps(_log()).encode(), NOW).logs


PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JSON = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEY_WORDS), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_json_as_a_root(document: Any) -> None:
    """Is a root or refused."""
    with contextlib.suppress(InvalidInput):
        read_root(json.dumps(document).encode(), NOW)
