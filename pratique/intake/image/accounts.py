"""Accounts and authorities of registries, from where Docker and Podman users already have them.

Accounts: `config.json` of Docker (`$DOCKER_CONFIG`, else `~/.docker`), its credential helpers included. Authorities
(own CA): `*.crt` in `/etc/containers/certs.d/HOST`, `/etc/docker/certs.d/HOST` and, for one user,
`~/.config/containers/certs.d/HOST`, beside those of the system.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pratique.bounds import read_bounded, strict_json
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.model import MIB, Credentials

HELPER_SECONDS = 20.0
CERTIFICATE_FOLDERS = (
    Path("~/.config/containers/certs.d"),
    Path("/etc/containers/certs.d"),
    Path("/etc/docker/certs.d"),
)
_IDENTITY_TOKEN = "<token>"  # noqa: S105 the user name by which helpers say that the secret is one
_DOCKER_HUB = "registry-1.docker.io"
_HUB_NAMES = ("https://index.docker.io/v1/", "docker.io", "index.docker.io", _DOCKER_HUB)
_HELPER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_MAX_ANSWER = 64 << 10


def account_for(host: str, config: Path | None = None) -> Credentials | None:
    """The account of this user at the registry `host`, None where there is none.

    Raises `CouldNotDecide` where the configuration cannot be read, or the credential helper that it names fails.
    """
    path = config or Path(os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser() / "config.json"
    if not path.is_file():
        return None
    try:
        document = strict_json(read_bounded(path, MIB, follow_links=True), where=str(path), max_bytes=MIB)
    except InvalidInput as error:
        raise _unusable(path, str(error)) from error
    names = (
        _HUB_NAMES if host == _DOCKER_HUB else (host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/")
    )
    settings = document if isinstance(document, dict) else {}
    helpers = _mapping(settings, "credHelpers")
    helper = next((helpers[name] for name in names if name in helpers), None)
    if helper is not None:
        return _from_helper(path, helper, names)
    auths = _mapping(settings, "auths")
    written = next((auths[name] for name in names if name in auths), None)
    if written is None:
        return None
    found = _written(path, written)
    return found if found or "credsStore" not in settings else _from_helper(path, settings["credsStore"], names)


def authorities_for(host: str, folders: Sequence[Path] = CERTIFICATE_FOLDERS) -> tuple[Path, ...]:
    """Files with certificates of authorities that are believed for `host` beside the system's."""
    return tuple(path for folder in folders for path in sorted((folder.expanduser() / host).glob("*.crt")))


def _mapping(settings: dict[str, Any], name: str) -> dict[str, Any]:
    value = settings.get(name)
    return value if isinstance(value, dict) else {}


def _written(path: Path, entry: Any) -> Credentials | None:
    """Account that stands in the file itself; None where a helper has it."""
    fields = entry if isinstance(entry, dict) else {}
    text, token = fields.get("auth"), fields.get("identitytoken")
    if isinstance(token, str) and token:
        return Credentials(identity_token=token)
    if not text:
        return None
    try:
        username, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (TypeError, ValueError, binascii.Error) as error:
        raise _unusable(path, "an `auth` that is not base64 of name:password") from error
    if not colon or not username:
        raise _unusable(path, "an `auth` that is not base64 of name:password")
    return Credentials(username, password.strip("\0"))


def _from_helper(path: Path, helper: Any, names: Sequence[str]) -> Credentials | None:
    """What the program `docker-credential-HELPER` answers; None where it has no account."""
    if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
        raise _unusable(path, "the name of a credential helper that is none")
    for name in names:
        answer = _ask(path, f"docker-credential-{helper}", name)
        if answer is None:
            continue
        username, secret = answer.get("Username"), answer.get("Secret")
        if not isinstance(username, str) or not isinstance(secret, str) or not secret:
            raise _unusable(path, f"docker-credential-{helper} gave no user name and password")
        return Credentials(identity_token=secret) if username == _IDENTITY_TOKEN else Credentials(username, secret)
    return None


def _ask(path: Path, program: str, name: str) -> dict[str, Any] | None:
    try:
        done = subprocess.run(
            [program, "get"], input=name.encode(), capture_output=True, timeout=HELPER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unusable(path, f"{program}: {error}") from error
    if done.returncode != 0:
        if b"not found" in done.stdout + done.stderr:
            return None
        raise _unusable(path, f"{program} ended with exit code {done.returncode}")
    try:
        answer = strict_json(done.stdout[: _MAX_ANSWER + 1], where=program, max_bytes=_MAX_ANSWER)
    except InvalidInput as error:
        raise _unusable(path, f"{program}: {error.rule}") from error  # never its words: they may hold the secret
    return answer if isinstance(answer, dict) else {}


def _unusable(path: Path, cause: str) -> CouldNotDecide:
    return CouldNotDecide(
        f"the registry accounts in {path} cannot be used",
        cause=cause[:300],
        next_step="Log in again with `docker login`, or hand the image in as an OCI layout.",
    )
