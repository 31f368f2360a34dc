"""A client of the sigstore-conformance suite over the verifier that `checks.provenance` uses.

    sigstore-client verify-bundle [--staging] --bundle FILE
                                  (--certificate-identity ID --certificate-oidc-issuer URL | --key FILE)
                                  [--trusted-root FILE] FILE_OR_DIGEST

Exits 0 only when the bundle verifies, and prints the outcome of every step on stderr. Protocol:
https://github.com/sigstore/sigstore-conformance/blob/main/docs/cli_protocol.md. It differs from the check in what it
demands, as the suite does: any statement, or a signature over the artifact itself, is accepted, and one by a key needs
no log entry (one that is there must be genuine). Signing is not offered.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from checks.provenance import Identity, ManagedKey, Trust, TrustedRootFile
from checks.provenance.bundle import MAX_BUNDLE_BYTES
from checks.provenance.legacy import read_signatures
from checks.provenance.library import load_trusted_root
from checks.provenance.verifier import Demand, verify_signature
from pratique.bounds import read_bounded
from pratique.clock import system_clock
from pratique.digests import parse_digest, sha256_bytes
from pratique.errors import PratiqueError

PUBLIC_ROOT = Path(__file__).parents[2] / "policies" / "sigstore-public-good.json"
STAGING_ROOT = files("sigstore._store") / "https%3A%2F%2Ftuf-repo-cdn.sigstage.dev" / "trusted_root.json"
MAX_ARTIFACT_BYTES = 1 << 30
MAX_TRUSTED_BYTES = 16 << 20


def main(arguments: Sequence[str]) -> int:
    """Exit code of the command: 0 verified, 1 not verified, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    if bool(options.key) == bool(options.certificate_identity and options.certificate_oidc_issuer):
        sys.stderr.write("give either --key, or --certificate-identity with --certificate-oidc-issuer\n")
        return 2
    try:
        return 0 if _verify(options) else 1
    except (PratiqueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _verify(options: argparse.Namespace) -> bool:
    default = Path(str(STAGING_ROOT)) if options.staging else PUBLIC_ROOT
    path = options.trusted_root or default
    root = TrustedRootFile(path, sha256_bytes(read_bounded(path, MAX_TRUSTED_BYTES, follow_links=True)))
    trust = Trust(
        roots=(root,),
        identities=() if options.key else (Identity(options.certificate_identity, options.certificate_oidc_issuer),),
        keys=(ManagedKey(options.key.name, read_bounded(options.key, MAX_TRUSTED_BYTES, follow_links=True)),)
        if options.key
        else (),
        require_log_entry=not options.key,
    )
    demand = _demand(options.artifact)
    (bundle,) = read_signatures(
        read_bounded(options.bundle, MAX_BUNDLE_BYTES, follow_links=True), where=options.bundle.name
    )
    report = verify_signature(bundle, options.bundle.name, load_trusted_root(root), trust, demand, system_clock())
    for step in report.steps:
        sys.stderr.write(f"{step.name}: {step.outcome}: {step.detail}\n")
    return report.verified


def _demand(text: str) -> Demand:
    """A signature over the file `text`, or over what has the digest `text` where that is one and no file."""
    path = Path(text)
    if text.startswith("sha256:") and not path.exists():
        return Demand(parse_digest(text), predicate_types=None, blobs=True)
    content = read_bounded(path, MAX_ARTIFACT_BYTES, follow_links=True)
    return Demand(sha256_bytes(content), predicate_types=None, blobs=True, content=content)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sigstore-client", description="Verify a Sigstore bundle.")
    command = parser.add_subparsers(required=True).add_parser("verify-bundle")
    command.add_argument("--staging", action="store_true")
    command.add_argument("--bundle", type=Path, required=True)
    command.add_argument("--certificate-identity", default="")
    command.add_argument("--certificate-oidc-issuer", default="")
    command.add_argument("--key", type=Path)
    command.add_argument("--trusted-root", type=Path)
    command.add_argument("artifact", metavar="FILE_OR_DIGEST")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
