"""Registry accounts as Docker keeps them, and what a broken configuration or a hostile helper leads to."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pratique.errors import CouldNotDecide
from pratique.intake.image import Credentials
from pratique.intake.image.accounts import account_for, authorities_for

HOST = "registry.example:5000"
AUTH = base64.b64encode(b"robot:pass:word").decode()


def config(tmp_path: Path, document: Any) -> Path:
    path = tmp_path / "config.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a credential helper called `test` on PATH that runs this shell script."""

    def make(script: str) -> None:
        path = tmp_path / "docker-credential-test"
        path.write_text(f"#!/bin/sh\nread host\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return make


@pytest.mark.parametrize("name", [HOST, f"https://{HOST}", f"https://{HOST}/v1/", f"https://{HOST}/v2/"])
def test_an_account_in_the_file(tmp_path: Path, name: str) -> None:
    """The password may have colons; it shows in no representation."""
    found = account_for(HOST, config(tmp_path, {"auths": {name: {"auth": AUTH}}}))
    assert found == Credentials("robot", "pass:word")
    assert "pass:word" not in repr(found)


@pytest.mark.parametrize("name", ["https://index.docker.io/v1/", "docker.io"])
def test_the_names_of_docker_hub(tmp_path: Path, name: str) -> None:
    """Its registry is called otherwise than its accounts."""
    assert account_for("registry-1.docker.io", config(tmp_path, {"auths": {name: {"auth": AUTH}}})) is not None


@pytest.mark.parametrize(
    "document", [{}, [], {"auths": {}}, {"auths": {"other.example": {"auth": AUTH}}}, {"auths": {HOST: {}}}]
)
def test_no_account(tmp_path: Path, document: Any) -> None:
    """The account of another registry is given to nobody."""
    assert account_for(HOST, config(tmp_path, document)) is None
    assert account_for(HOST, tmp_path / "absent.json") is None


@pytest.mark.parametrize(
    "document",
    [
        "not json",
        '{"auths": {}, "auths": {}}',
        {"auths": {HOST: {"auth": "%%%"}}},
        {"auths": {HOST: {"auth": base64.b64encode(b"nocolon").decode()}}},
        {"auths": {HOST: {"auth": 7}}},
        {"credHelpers": {HOST: "../../bin/sh"}},
        {"credHelpers": {HOST: "x; rm -rf /"}},
        {"credHelpers": {HOST: 7}},
        {"credHelpers": {HOST: "nowhere-to-be-found"}},
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path: Path, document: Any) -> None:
    """Could not decide, with what to do next; nothing of a path or a shell is tried."""
    with pytest.raises(CouldNotDecide) as caught:
        account_for(HOST, config(tmp_path, document))
    assert caught.value.next_step


def test_a_credential_helper(tmp_path: Path, helper: Any) -> None:
    """It is asked for the host, on its standard input."""
    helper(f'test "$1 $host" = "get {HOST}" && echo \'{{"Username":"robot","Secret":"s3cret"}}\'')
    for document in ({"credHelpers": {HOST: "test"}}, {"auths": {HOST: {}}, "credsStore": "test"}):
        assert account_for(HOST, config(tmp_path, document)) == Credentials("robot", "s3cret")


def test_an_identity_token(tmp_path: Path, helper: Any) -> None:
    """From a helper, which calls its user `<token>`, or written in the file; it shows in no representation."""
    helper('echo \'{"Username":"<token>","Secret":"s3cret"}\'')
    for document in (
        {"credHelpers": {HOST: "test"}},
        {"auths": {HOST: {"auth": base64.b64encode(b"00000000:").decode(), "identitytoken": "s3cret"}}},
    ):
        found = account_for(HOST, config(tmp_path, document))
        assert found == Credentials(identity_token="s3cret")
        assert "s3cret" not in repr(found)


def test_a_helper_without_an_account(tmp_path: Path, helper: Any) -> None:
    """As Docker's own helpers say it."""
    helper("echo 'credentials not found in native keychain'; exit 1")
    assert account_for(HOST, config(tmp_path, {"credHelpers": {HOST: "test"}})) is None


@pytest.mark.parametrize(
    "script",
    [
        'echo \'{"Username":"<token>","Secret":""}\'',
        'echo \'{"Secret":"s3cret"}\'',
        "echo 's3cret is not json'",
        "echo s3cret >&2; exit 3",
        "head -c 200000 /dev/zero",
    ],
    ids=["empty identity token", "no user", "no JSON", "failed", "endless"],
)
def test_a_helper_that_fails(tmp_path: Path, helper: Any, script: str) -> None:
    """Could not decide; what it printed may be the secret and is not repeated."""
    helper(script)
    with pytest.raises(CouldNotDecide) as caught:
        account_for(HOST, config(tmp_path, {"credHelpers": {HOST: "test"}}))
    assert "s3cret" not in str(caught.value)


def test_a_helper_that_hangs(tmp_path: Path, helper: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given a time."""
    monkeypatch.setattr("pratique.intake.image.accounts.HELPER_SECONDS", 0.3)
    helper("exec sleep 20")
    with pytest.raises(CouldNotDecide, match="cannot be used"):
        account_for(HOST, config(tmp_path, {"credHelpers": {HOST: "test"}}))


def test_authorities_of_a_host(tmp_path: Path) -> None:
    """As Docker and Podman keep them: certificates in a folder of the registry's name."""
    folder = tmp_path / HOST
    folder.mkdir()
    for name in ("b.crt", "a.crt", "client.key"):
        (folder / name).write_text("x")
    assert [path.name for path in authorities_for(HOST, [tmp_path, tmp_path / "absent"])] == ["a.crt", "b.crt"]
    assert authorities_for("other.example", [tmp_path]) == ()
