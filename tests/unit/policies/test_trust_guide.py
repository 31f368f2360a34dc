"""The guide to trust shows what the policy takes, and names every claim."""

from __future__ import annotations

import re
from pathlib import Path

from checks.provenance import Attestation, Identity
from checks.provenance.trust import CLAIMS
from policies.sections.trust import TrustSection
from pratique.bounded_yaml import load_yaml

GUIDE = Path(__file__).parents[3] / "docs" / "how-to" / "trust-signers.md"


def test_the_examples_are_a_trust_section() -> None:
    """All of them together, with digests written out; identities and attestations can be used."""
    text = GUIDE.read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    joined = re.sub(r"sha256: [0-9a-f]*…", f"sha256: {'a' * 64}", "".join(blocks))
    section = TrustSection.model_validate(load_yaml(joined.encode(), where="guide")["trust"])
    assert (len(section.roots), section.need, section.models.required) == (2, 1, True)
    for one in section.identities:
        Identity(one.subject, one.issuer, one.regexp, tuple(one.claims.items()))
    assert [Attestation(one.type, builders=one.builders).type for one in section.demanded()]


def test_every_claim_is_named() -> None:
    """In full."""
    text = GUIDE.read_text(encoding="utf-8")
    assert [claim for claim in CLAIMS if f"`{claim}`" not in text] == []
