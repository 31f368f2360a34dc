"""Signers as other platforms can demand them, which never means a wider set than the policy's.

Go's regular expressions (RE2) are searched for, not matched in full, and differ from Python's in corners, so only the
part of the syntax that means the same in both passes, anchored at both ends. What has no equal is left out with a
warning, and an export that could then not demand what the policy demands is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pratique.errors import InvalidInput
from records.enforcement.references import quoted
from records.enforcement.roots import pem

if TYPE_CHECKING:
    from checks.provenance.trust import Identity, ManagedKey
    from records.enforcement.model import Signers

_LITERAL = r"[A-Za-z0-9 !\"#%&',/:;<=>@_`~-]"
_ESCAPED = r"\\[!-/:-@\[-`{-~]"
_CLASS = rf"\[\^?(?:[A-Za-z0-9 !\"#%&'()*+,./:;<=>?@_`{{|}}~$-]|{_ESCAPED})+\]"
_REPEAT = r"(?:[*+?]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\})\??(?![*+?{])"
_PORTABLE = re.compile(rf"(?:{_LITERAL}|{_ESCAPED}|\\d|{_CLASS}|{_REPEAT}|[.^$|)]|\((?:\?:|(?!\?)))*", re.ASCII)
_TEMPLATING = ("{{", "$(")
"""What Kyverno would replace by a variable or a reference."""


@dataclass(frozen=True)
class IdentityDemand:
    """An identity as Sigstore's Go libraries take it: `subject` or `subjectRegExp`, `issuer` or `issuerRegExp`."""

    fields: dict[str, str]

    @property
    def exact(self) -> bool:
        """Whether neither is a regular expression."""
        return set(self.fields) == {"subject", "issuer"}


@dataclass(frozen=True)
class KeyDemand:
    """A public key: PEM of its SubjectPublicKeyInfo, and the hash that its signatures are made with."""

    name: str
    pem: str
    hash_name: str


@dataclass(frozen=True)
class Demands:
    """What a target has to find: `need` of `identities` and `keys`."""

    identities: tuple[IdentityDemand, ...]
    keys: tuple[KeyDemand, ...]
    need: int
    warnings: tuple[str, ...]

    @property
    def signers(self) -> list[IdentityDemand | KeyDemand]:
        """All of them."""
        return [*self.identities, *self.keys]

    @property
    def needs_all(self) -> bool:
        """Whether every one of them must have signed."""
        return self.need == len(self.signers)


def demands(signers: Signers, moment: datetime, *, keys: bool = True) -> Demands:
    """What can be demanded of `signers` at `moment`; a target that cannot use public keys says so with `keys`.

    Raises `InvalidInput` (`enforcement/signers`) where that would be less than the policy demands, or nobody at all.
    """
    warnings = _unsaid(signers)
    identities = []
    for identity in signers.identities:
        cause = _unusable_identity(identity)
        if cause:
            warnings.append(f"the signer {quoted(str(identity))} is left out: {cause}")
        else:
            identities.append(IdentityDemand(_fields(identity)))
    usable_keys = []
    for key in signers.keys:
        cause = _unusable_key(key, moment) if keys else "this platform reads no signatures by public keys in this form"
        if cause:
            warnings.append(f"the key {quoted(key.name)} is left out: {cause}")
        else:
            usable_keys.append(_key_demand(key))
    left = len(identities) + len(usable_keys)
    need = len(signers.identities) + len(signers.keys) if signers.need == "all" else signers.need
    if not 1 <= need <= left:
        raise impossible(f"the policy demands {need} signers, and {left} can be named", warnings)
    return Demands(tuple(identities), tuple(usable_keys), need, tuple(warnings))


def impossible(cause: str, warnings: list[str] | tuple[str, ...] = ()) -> InvalidInput:
    """That a target cannot verify the signatures that the policy demands."""
    return InvalidInput(
        "this platform cannot be told to verify the signatures that the policy demands",
        rule="enforcement/signers",
        cause="; ".join([cause, *warnings]),
        next_step="Let the digest alone decide (`--signatures none`): signatures were verified at the admission.",
    )


def portable_regexp(pattern: str) -> str | None:
    """`pattern` anchored at both ends for RE2; None where RE2 has no equal for what Python matches in full."""
    return f"^(?:{pattern})$" if _PORTABLE.fullmatch(pattern) else None


def _unsaid(signers: Signers) -> list[str]:
    """What the policy demands and no export says."""
    demanded = [f"attestations of the type {quoted(kind)}" for kind in signers.attestations]
    if signers.require_timestamp:
        demanded.append("timestamps")
    return [f"{what} were verified at the admission and are not looked for again" for what in demanded]


def _unusable_identity(identity: Identity) -> str:
    """Why a platform cannot be told of `identity`; empty text where it can."""
    texts = (identity.subject, identity.issuer)
    if identity.claims:
        return "further claims of its certificate cannot be demanded there"
    if any(mark in text for text in texts for mark in _TEMPLATING):
        return "it holds what a platform would replace by a variable"
    if not all(text.isprintable() for text in texts):
        return "it holds characters that cannot be shown"
    if identity.regexp and any(portable_regexp(text) is None for text in texts):
        return "its regular expression has no equal in RE2"
    return ""


def _fields(identity: Identity) -> dict[str, str]:
    """Exactly, or as expressions; a wildcard in an exact subject is escaped, since Kyverno would expand it."""
    named = {"subject": identity.subject, "issuer": identity.issuer}
    fields = {}
    for name, text in named.items():
        if identity.regexp:
            fields[f"{name}RegExp"] = str(portable_regexp(text))
        elif "*" in text or "?" in text:
            fields[f"{name}RegExp"] = f"^{re.escape(text)}$"
        else:
            fields[name] = text
    return fields


def _unusable_key(key: ManagedKey, moment: datetime) -> str:
    early = key.not_before is not None and moment < key.not_before
    late = key.not_after is not None and moment > key.not_after
    return "this is not within its window" if early or late else ""


def _key_demand(key: ManagedKey) -> KeyDemand:
    from checks.provenance.keys import hash_of, load_public_key, spki
    from checks.provenance.steps import StepFailed

    try:
        loaded = load_public_key(key.public_key)
    except StepFailed as error:
        raise InvalidInput(
            f"{key} cannot be used",
            rule="enforcement/key",
            cause=str(error),
            next_step="Name a PEM file with a public key in the policy.",
        ) from error
    algorithm = hash_of(loaded)
    return KeyDemand(key.name, pem("PUBLIC KEY", spki(loaded)), algorithm.name if algorithm is not None else "sha256")
