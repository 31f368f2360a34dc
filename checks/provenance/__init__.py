"""The `provenance` check: is the image signed, over its digest, by those whom the policy trusts?

For every signature each step has its own outcome (see `checks.provenance.steps`); the findings say what failed and what
to do. Importing this package is cheap: sigstore is imported when the first signature is verified.
"""

from __future__ import annotations

from checks.provenance.check import SignatureFile, check_provenance
from checks.provenance.steps import CHECK, VERSION
from checks.provenance.trust import COSIGN_SIGN, Attestation, Identity, ManagedKey, Trust, TrustedRootFile

__all__ = [
    "CHECK",
    "COSIGN_SIGN",
    "VERSION",
    "Attestation",
    "Identity",
    "ManagedKey",
    "SignatureFile",
    "Trust",
    "TrustedRootFile",
    "check_provenance",
]
