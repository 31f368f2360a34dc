"""Keys, verifiers and signed notes: the C2SP examples, and each way in which a note is not one."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.errors import CouldNotDecide, InvalidInput
from records.keys import NodeKey, Verifier, load_or_create_key, parse_verifier
from records.note import parse_note, sign_note, verify_note

PETER_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
"""The example note of golang.org/x/mod/sumdb/note, with its published verifier."""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> NodeKey:
    return load_or_create_key(tmp_path_factory.mktemp("keys") / "node.pem", "node.example/ledger")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> NodeKey:
    return load_or_create_key(tmp_path_factory.mktemp("keys") / "other.pem", "other.example/ledger")


def test_the_published_example_verifies() -> None:
    """A note and a verifier that others made are read as they read them."""
    verifier = parse_verifier(PETER_VKEY)
    verified = verify_note(PETER_NOTE, [verifier])
    assert verified.text.startswith("If you think")
    assert verified.signers == (verifier,)
    assert verifier.vkey == PETER_VKEY


def test_what_is_signed_verifies_with_the_published_line(key: NodeKey) -> None:
    """The verifier line is all that others need."""
    note = sign_note("first\n\nthird\n", [key])
    assert verify_note(note, [parse_verifier(key.verifier.vkey)]).text == "first\n\nthird\n"


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]) | st.just("\n"), max_size=200).map(
        lambda text: text + "\n"
    )
)
def test_every_text_comes_back(key: NodeKey, text: str) -> None:
    """Whatever text is signed is the text that verifies."""
    assert verify_note(sign_note(text, [key]), [key.verifier]).text == text


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_verifies(key: NodeKey, position: int, bit: int) -> None:
    """Each bit of a note with one signature counts."""
    note = bytearray(sign_note("node.example\n7\nnothing else\n", [key]))
    note[position % len(note)] ^= 1 << bit
    with pytest.raises(InvalidInput):
        verify_note(bytes(note), [key.verifier])


@given(st.binary(max_size=300))
def test_bytes_that_are_no_note_are_refused_and_nothing_else(data: bytes) -> None:
    """The parser raises its own error for any bytes."""
    try:
        parse_note(data)
    except InvalidInput as error:
        assert error.rule == "note/form"


def test_unknown_signers_are_ignored_and_told(key: NodeKey, other: NodeKey) -> None:
    """A signature by a key not known here neither helps nor harms."""
    note = sign_note("text\n", [other, key])
    verified = verify_note(note, [key.verifier])
    assert verified.signers == (key.verifier,)
    assert [signature.name for signature in verified.unknown] == [other.name]


def test_a_bad_signature_by_a_known_key_refuses_the_whole_note(key: NodeKey, other: NodeKey) -> None:
    """One good signature does not make up for a bad one."""
    good = sign_note("text\n", [key]).decode()
    stolen = sign_note("other text\n", [other]).decode().split("\n\n")[1]
    with pytest.raises(InvalidInput, match=r"signature by other\.example"):
        verify_note((good + stolen).encode(), [key.verifier, other.verifier])


def test_no_known_signature_is_no_signature(key: NodeKey, other: NodeKey) -> None:
    """A note by somebody else is refused, and so is any note when nobody is trusted."""
    note = sign_note("text\n", [other])
    for verifiers in ([key.verifier], []):
        with pytest.raises(InvalidInput) as caught:
            verify_note(note, verifiers)
        assert caught.value.rule == "note/signature"


def _line(key: NodeKey, text: str) -> str:
    return sign_note(text, [key]).decode().rpartition("\n\n")[2]


@pytest.mark.parametrize(
    "attack",
    [
        "no signatures",
        "no empty line",
        "no final newline",
        "hyphen for dash",
        "two spaces",
        "tab",
        "carriage return",
        "plus in name",
        "space in name",
        "empty name",
        "no key id",
        "unpadded base64",
        "url-safe base64",
        "spare bits",
        "too many signatures",
        "not utf-8",
        "too large",
    ],
)
def test_malformed_notes(key: NodeKey, attack: str) -> None:
    """Each malformed note is refused as such."""
    text, line = "text\n", _line(key, "text\n")
    encoded = line.split(" ")[2].strip()
    forged = {
        "no signatures": text + "\n",
        "no empty line": text + line,
        "no final newline": (text + "\n" + line)[:-1],
        "hyphen for dash": text + "\n" + line.replace("—", "-"),
        "two spaces": text + "\n" + line.replace("— ", "—  "),
        "tab": "te\txt\n\n" + line,
        "carriage return": text + "\n" + line.replace("\n", "\r\n"),
        "plus in name": text + "\n" + line.replace("node.", "node+"),
        "space in name": text + "\n" + line.replace("node.", "node\u00a0"),
        "empty name": text + "\n" + line.replace("node.example/ledger", ""),
        "no key id": text + "\n— node.example/ledger AAAA\n",
        "unpadded base64": text + "\n" + line.replace("=", ""),
        "url-safe base64": text + "\n— " + key.name + " " + base64.urlsafe_b64encode(b"\xff" * 69).decode() + "\n",
        "spare bits": text + "\n" + line.replace(encoded, encoded[:-2] + chr(ord(encoded[-2]) + 1) + "="),
        "too many signatures": text + "\n" + line * 65,
        "not utf-8": "",
        "too large": "x" * (1 << 20) + "\n\n" + line,
    }[attack]
    data = b"\xff\n\n" + line.encode() if attack == "not utf-8" else forged.encode()
    with pytest.raises(InvalidInput) as caught:
        verify_note(data, [key.verifier])
    assert caught.value.rule == "note/form"


@pytest.mark.parametrize("text", ["no newline", "control\x01\n", "carriage\r\n"])
def test_what_cannot_be_a_note_is_not_signed(key: NodeKey, text: str) -> None:
    """The signer refuses what a reader would refuse."""
    with pytest.raises(InvalidInput):
        sign_note(text, [key])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "name",
        PETER_VKEY.replace("c74f20a3", "c74f20a4"),
        PETER_VKEY.replace("PeterNeumann", "PaulNeumann"),
        PETER_VKEY.replace("+AR", "+AB"),
        PETER_VKEY + "=",
        PETER_VKEY[:-4],
        PETER_VKEY.replace("c74f", "C74F"),
    ],
)
def test_verifier_lines_that_do_not_hold_together(line: str) -> None:
    """Name, id and key of a verifier line belong together."""
    with pytest.raises(InvalidInput) as caught:
        parse_verifier(line)
    assert caught.value.rule == "key/verifier"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2003b"])
def test_names_that_could_not_stand_in_a_note(name: str) -> None:
    """A key is never made under a name that no note can carry."""
    with pytest.raises(InvalidInput):
        Verifier(name, bytes(32))


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """The second loading gives the same key; the file is private and the representation shows nothing."""
    path = tmp_path / "state" / "node.pem"
    first = load_or_create_key(path, "node.example")
    again = load_or_create_key(path, "node.example")
    assert first.verifier == again.verifier
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["node.pem"]
    assert path.read_text().splitlines()[1] not in repr(first)


@pytest.mark.parametrize("attack", ["readable by others", "not a key", "another kind of key", "a link", "a directory"])
def test_key_files_that_are_not_used(tmp_path: Path, attack: str) -> None:
    """A key that others could read or replace, or that is none, is refused with what to do."""
    path = tmp_path / "node.pem"
    load_or_create_key(path, "node.example")
    if attack == "readable by others":
        path.chmod(0o640)
    elif attack == "not a key":
        path.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    elif attack == "another kind of key":
        path.write_bytes(_ec_key())
    elif attack == "a link":
        path.rename(tmp_path / "real.pem")
        path.symlink_to(tmp_path / "real.pem")
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(InvalidInput) as caught:
        load_or_create_key(path, "node.example")
    assert caught.value.next_step


def _ec_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_key_that_cannot_be_written_is_not_pretended(tmp_path: Path) -> None:
    """Where the directory cannot be made, the answer is that nothing could be decided."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CouldNotDecide):
        load_or_create_key(tmp_path / "file" / "node.pem", "node.example")


def test_two_processes_that_come_first_at_once_share_one_key(tmp_path: Path) -> None:
    """The loser of the race uses the winner's key."""
    script = (
        "import sys, pathlib; from records.keys import load_or_create_key;"
        "print(load_or_create_key(pathlib.Path(sys.argv[1]), 'node.example').verifier.vkey)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "node.pem")]
    root = Path(__file__).parents[3]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
        for _ in range(3)
    ]
    assert len({run.communicate()[0] for run in runs}) == 1
