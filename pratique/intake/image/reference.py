"""Registry references by digest: `host[:port]/repository[:tag]@sha256:…`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from pratique.digests import Digest, parse_digest
from pratique.errors import InvalidInput

_HOST = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9-]+)*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", re.ASCII)
_DOCKER_HUB = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository in a registry, and the digest of an image in it."""

    host: str
    repository: str
    digest: Digest

    @property
    def loopback(self) -> bool:
        """Whether the registry is on this machine, judged by the words alone."""
        name = self.host.rpartition(":")[0] if re.search(r":[0-9]+$", self.host) else self.host
        if name == "localhost":
            return True
        try:
            return ipaddress.ip_address(name.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def base_url(self) -> str:
        """Where the registry API of the repository starts; plain HTTP on loopback only."""
        return f"{'http' if self.loopback else 'https'}://{self.host}/v2/{self.repository}"


def parse_reference(text: str) -> Reference:
    """Read a reference; a name without a host means Docker Hub, a tag beside the digest decides nothing.

    Raises `InvalidInput`: `image/reference-by-tag` (no digest), `image/reference`, `digest/form`.
    """
    if len(text) > 1000:
        raise _malformed(text)
    name, at, digest_text = text.partition("@")
    if not at:
        raise InvalidInput(
            "the image is named by a tag only, which can point to other bytes tomorrow",
            rule="image/reference-by-tag",
            where=text[:200],
            next_step="Name it by digest: host/repository@sha256:… (`docker buildx imagetools inspect` shows it).",
        )
    digest = parse_digest(digest_text, where=text[:200])
    host, slash, repository = _TAG.sub("", name).partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        repository = f"{host}/{repository}" if slash else f"library/{host}"
        host = _DOCKER_HUB
    if host in ("docker.io", "index.docker.io"):
        host, repository = _DOCKER_HUB, repository if "/" in repository else f"library/{repository}"
    if not _HOST.fullmatch(host) or not _REPOSITORY.fullmatch(repository):
        raise _malformed(text)
    return Reference(host, repository, digest)


def _malformed(text: str) -> InvalidInput:
    return InvalidInput(
        "not a registry reference",
        rule="image/reference",
        where=text[:200],
        next_step="Write host[:port]/repository@sha256:…, the repository in lower case.",
    )
