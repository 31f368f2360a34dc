"""What verifying costs: medians over 20 rounds, warm, beside sigstore-python alone on the same bundle in the same run.

Goal: under 15 ms for a signature (each is verified by our own steps and, where it knows the form, by sigstore-python).
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from checks.interface import Status  # noqa: E402 the repository's root must be on the path first
from checks.provenance import (  # noqa: E402
    Identity,
    ManagedKey,
    SignatureFile,
    Trust,
    TrustedRootFile,
    check_provenance,
)
from checks.provenance.check import MAX_FILES, MAX_SIGNATURES  # noqa: E402
from checks.provenance.library import load_trusted_root  # noqa: E402
from examples.signing.private_sigstore import PrivateSigstore  # noqa: E402
from examples.signing.services import new_key  # noqa: E402
from pratique.clock import system_clock  # noqa: E402
from pratique.digests import Digest, sha256_bytes  # noqa: E402

ROUNDS = 20
SIGNER, ISSUER = "release@provider.example", "https://idp.example"
IMAGE = Digest("sha256:" + "1" * 64)


def median(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median wall time of `rounds` calls in milliseconds, after one to warm up."""
    action()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        action()
        times.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times)


def asked(directory: Path, name: str, texts: list[str], trust: Trust, expected: Status) -> Callable[[], object]:
    """One call of the check on so many files."""
    files = []
    for number, text in enumerate(texts):
        path = directory / f"{name}-{number}"
        path.write_text(text)
        files.append(SignatureFile(path, path.name))

    def ask() -> None:
        result = check_provenance(files, IMAGE, trust, clock=system_clock)
        if result.status is not expected:
            sys.exit(f"bench: {name} ended {result.status}: {result.summary}")

    return ask


def library_alone(bundle: str, root: TrustedRootFile) -> Callable[[], object]:
    """sigstore-python's own verification of an envelope, its trusted root read each time as ours is."""
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.verify import Verifier, policy

    identity = policy.Identity(identity=SIGNER, issuer=ISSUER)

    def verify() -> None:
        verifier = Verifier(trusted_root=TrustedRoot.from_file(str(root.path)))
        verifier.verify_dsse(Bundle.from_json(bundle), identity)

    return verify


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        directory, key = Path(scratch), new_key()
        from checks.provenance.keys import pem_of

        managed = ManagedKey("key", pem_of(key.public_key()))
        for rekor in (1, 2):
            sigstore = PrivateSigstore(rekor)
            path = directory / f"root-{rekor}.json"
            path.write_bytes(sigstore.trusted_root_json)
            root = TrustedRootFile(path, sha256_bytes(path.read_bytes()))
            trust = Trust((root,), (Identity(SIGNER, ISSUER),), (managed,))
            bundle = sigstore.sign_image(IMAGE, SIGNER, ISSUER)
            ours = median(asked(directory, f"bundle-{rekor}", [bundle], trust, Status.PASSED))
            theirs = median(library_alone(bundle, root))
            print(
                f"bundle, Rekor v{rekor}: {ours:6.1f} ms, sigstore-python alone {theirs:.1f} ms ({ours / theirs:.2f} x)"
            )
            by_key = sigstore.sign_image_with_key(IMAGE, key)
            print(f"  by a key:     {median(asked(directory, 'key', [by_key], trust, Status.PASSED)):6.1f} ms")
            print(f"  root alone:   {median(lambda root=root: load_trusted_root(root)):6.1f} ms")  # type: ignore[misc]
            many = [sigstore.sign_image(IMAGE, SIGNER, ISSUER) for _ in range(MAX_FILES)]
            twenty = median(asked(directory, "many", many[:20], trust, Status.PASSED), 3) / 20
            print(f"  each of 20:   {twenty:6.1f} ms ({twenty / ours:.2f} x one alone)")
        line = PrivateSigstore(1).sign_image_legacy("sha256:" + "2" * 64, "mallory@elsewhere.example")
        flood = ["\n".join([line] * (MAX_SIGNATURES // 2))] * 2
        roots = Trust((root,) * 3, (Identity(SIGNER, ISSUER),))
        worst = median(asked(directory, "flood", flood, roots, Status.FAILED), 1)
        print(f"the most that is verified ({MAX_SIGNATURES} signatures, 3 roots): {worst / 1e3:.2f} s")
        print(
            f"{os.cpu_count()} CPUs, bundle of {len(json.loads(bundle)['dsseEnvelope']['payload'])} payload characters"
        )


if __name__ == "__main__":
    main()
