"""A Sigstore trusted root as other platforms take it: certificate chains and log keys in PEM.

No platform can be told from when until when a key was valid, so what is not valid at the moment of the export is left
out: a retired key would otherwise be trusted for ever.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pratique.bounds import MIB, strict_json
from pratique.digests import hex_of, sha256_bytes
from pratique.errors import InvalidInput

MAX_ROOT_BYTES = MIB
_ECDSA = "PKIX_ECDSA_P256_SHA_256"
_LINE = 64


@dataclass(frozen=True)
class Authority:
    """A certificate or timestamp authority: where it is, its name, and its chain (PEM, the root last)."""

    uri: str
    organisation: str
    common_name: str
    chain: str


@dataclass(frozen=True)
class Log:
    """A log: where it is and its public key (PEM). `ecdsa` tells a Rekor v1 or CT log from Rekor v2 with Ed25519."""

    url: str
    key: str
    ecdsa: bool


@dataclass(frozen=True)
class SigstoreRoot:
    """One trusted root; `name` is made of its digest and fit for a Kubernetes resource."""

    name: str
    authorities: tuple[Authority, ...]
    logs: tuple[Log, ...]
    ct_logs: tuple[Log, ...]
    timestamp_authorities: tuple[Authority, ...]

    @property
    def chains(self) -> str:
        """The chains of all certificate authorities, as one PEM text."""
        return "".join(authority.chain for authority in self.authorities)

    @property
    def promising_logs(self) -> tuple[Log, ...]:
        """The logs whose signed promises verifiers of `.sig` tags can check: those with ECDSA keys."""
        return tuple(log for log in self.logs if log.ecdsa)


def read_root(data: bytes, moment: datetime) -> SigstoreRoot:
    """The trusted root in `data` (sigstore's `trusted_root.json`) as of `moment`.

    Raises `InvalidInput` (`enforcement/trusted-root`, and what `strict_json` raises).
    """
    document = strict_json(data, where="the trusted root", max_bytes=MAX_ROOT_BYTES)
    try:
        return SigstoreRoot(
            name=f"pratique-{hex_of(sha256_bytes(data))[:12]}",
            authorities=_authorities(document["certificateAuthorities"], moment),
            logs=_logs(document["tlogs"], moment),
            ct_logs=_logs(document.get("ctlogs", []), moment),
            timestamp_authorities=_authorities(document.get("timestampAuthorities", []), moment),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(
            "not a Sigstore trusted root",
            rule="enforcement/trusted-root",
            cause=f"{type(error).__name__}: {str(error)[:200]}",
            next_step="Give the policy the trusted_root.json that the signature service publishes.",
        ) from error


def pem(label: str, der: bytes) -> str:
    """`der` as PEM (RFC 7468) under `label`."""
    body = base64.b64encode(der).decode("ascii")
    lines = [body[start : start + _LINE] for start in range(0, len(body), _LINE)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def _authorities(items: Sequence[dict[str, Any]], moment: datetime) -> tuple[Authority, ...]:
    return tuple(
        Authority(
            uri=_text(item.get("uri", "")),
            organisation=_text(item["subject"].get("organization", "")),
            common_name=_text(item["subject"].get("commonName", "")),
            chain="".join(pem("CERTIFICATE", _bytes(one)) for one in item["certChain"]["certificates"]),
        )
        for item in items
        if _is_valid(item["validFor"], moment)
    )


def _logs(items: Sequence[dict[str, Any]], moment: datetime) -> tuple[Log, ...]:
    return tuple(
        Log(
            url=_text(item["baseUrl"]),
            key=pem("PUBLIC KEY", _bytes(item["publicKey"])),
            ecdsa=item["publicKey"].get("keyDetails") == _ECDSA,
        )
        for item in items
        if _is_valid(item["publicKey"]["validFor"], moment)
    )


def _is_valid(window: dict[str, str], moment: datetime) -> bool:
    end = window.get("end")
    return _time(window["start"]) <= moment and (end is None or moment <= _time(end))


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return time


def _bytes(item: dict[str, str]) -> bytes:
    der = base64.b64decode(item["rawBytes"], validate=True)
    if not der:
        raise ValueError("a key or certificate without bytes")
    return der


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where a text is expected")
    return value
