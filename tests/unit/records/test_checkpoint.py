"""Checkpoints are read strictly: what two readers could take differently is refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pratique.errors import InvalidInput
from records.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from records.keys import NodeKey, load_or_create_key
from records.merkle import EMPTY_ROOT
from records.note import sign_note

ORIGIN = "node.example/ledger"
ROOT = base64.b64encode(bytes(range(32))).decode()
EMPTY = base64.b64encode(EMPTY_ROOT).decode()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> NodeKey:
    return load_or_create_key(tmp_path_factory.mktemp("keys") / "node.pem", ORIGIN)


def test_the_specification_s_example_is_read() -> None:
    """The example of tlog-checkpoint."""
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    checkpoint = parse_checkpoint(text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text() == text


@given(
    origin=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1),
    size=st.integers(1, 2**63 - 1),
    root=st.binary(min_size=32, max_size=32),
    extensions=st.lists(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1), max_size=3),
)
def test_what_is_written_is_read_back(origin: str, size: int, root: bytes, extensions: list[str]) -> None:
    """Writing and reading are inverse."""
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))
    assert parse_checkpoint(checkpoint.text()) == checkpoint


@given(st.text(max_size=200))
def test_text_that_is_no_checkpoint_raises_its_own_error_only(text: str) -> None:
    """No text makes the parser raise anything but `InvalidInput`."""
    try:
        parse_checkpoint(text)
    except InvalidInput as error:
        assert error.rule == "checkpoint/form"


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        ("plus sign", f"{ORIGIN}\n+5\n{ROOT}\n"),
        ("minus sign", f"{ORIGIN}\n-5\n{ROOT}\n"),
        ("leading zero", f"{ORIGIN}\n05\n{ROOT}\n"),
        ("double zero", f"{ORIGIN}\n00\n{EMPTY}\n"),
        ("space before", f"{ORIGIN}\n 5\n{ROOT}\n"),
        ("space after", f"{ORIGIN}\n5 \n{ROOT}\n"),
        ("underscore", f"{ORIGIN}\n1_000\n{ROOT}\n"),
        ("Arabic-Indic digits", f"{ORIGIN}\n\u0665\n{ROOT}\n"),
        ("full-width digits", f"{ORIGIN}\n\uff15\n{ROOT}\n"),
        ("superscript", f"{ORIGIN}\n\u00b2\n{ROOT}\n"),
        ("hexadecimal", f"{ORIGIN}\n0x5\n{ROOT}\n"),
        ("exponent", f"{ORIGIN}\n1e3\n{ROOT}\n"),
        ("fraction", f"{ORIGIN}\n5.0\n{ROOT}\n"),
        ("too large", f"{ORIGIN}\n9223372036854775808\n{ROOT}\n"),
        ("a thousand digits", f"{ORIGIN}\n{'9' * 1000}\n{ROOT}\n"),
        ("no size", f"{ORIGIN}\n{ROOT}\n"),
        ("empty origin", f"\n5\n{ROOT}\n"),
        ("root of 31 bytes", f"{ORIGIN}\n5\n{base64.b64encode(bytes(31)).decode()}\n"),
        ("root of 33 bytes", f"{ORIGIN}\n5\n{base64.b64encode(bytes(33)).decode()}\n"),
        ("root without padding", f"{ORIGIN}\n5\n{ROOT.rstrip('=')}\n"),
        ("root with spare bits", f"{ORIGIN}\n5\n{ROOT[:-2]}9=\n"),
        ("root url-safe", f"{ORIGIN}\n5\n{'_' * 42 + '8='}\n"),
        ("root in hex", f"{ORIGIN}\n5\n{bytes(32).hex()}\n"),
        ("another root for nothing", f"{ORIGIN}\n0\n{ROOT}\n"),
        ("empty extension", f"{ORIGIN}\n5\n{ROOT}\n\nmore\n"),
        ("no final newline", f"{ORIGIN}\n5\n{ROOT}"),
        ("carriage returns", f"{ORIGIN}\r\n5\r\n{ROOT}\r\n"),
        ("line separator for newline", f"{ORIGIN}\u20285\u2028{ROOT}\n"),
    ],
)
def test_sizes_and_roots_are_read_strictly(attack: str, text: str) -> None:
    """Each text that a lax reader would take is refused."""
    with pytest.raises(InvalidInput) as caught:
        parse_checkpoint(text)
    assert caught.value.rule == "checkpoint/form", attack


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("two\nlines", 5, bytes(32)),
        Checkpoint(ORIGIN, -1, bytes(32)),
        Checkpoint(ORIGIN, 5, bytes(31)),
        Checkpoint(ORIGIN, 0, bytes(32)),
        Checkpoint(ORIGIN, 5, bytes(32), ("",)),
    ],
)
def test_a_checkpoint_that_could_not_be_read_back_is_never_signed(checkpoint: Checkpoint, key: NodeKey) -> None:
    """The writer is as strict as the reader."""
    with pytest.raises(InvalidInput):
        sign_checkpoint(checkpoint, key)


def test_a_checkpoint_of_another_ledger_by_the_same_key_is_refused(key: NodeKey) -> None:
    """The origin counts, not only the key."""
    signed = sign_checkpoint(Checkpoint("elsewhere.example", 5, bytes(32)), key)
    with pytest.raises(InvalidInput) as caught:
        open_checkpoint(signed.note, ORIGIN, [key.verifier])
    assert caught.value.rule == "checkpoint/origin"
    assert open_checkpoint(signed.note, "elsewhere.example", [key.verifier]) == signed


def test_a_signed_text_that_is_no_checkpoint_is_refused(key: NodeKey) -> None:
    """A good signature does not make a checkpoint."""
    with pytest.raises(InvalidInput) as caught:
        open_checkpoint(sign_note(f"{ORIGIN}\n+5\n{ROOT}\n", [key]), ORIGIN, [key.verifier])
    assert caught.value.rule == "checkpoint/form"
