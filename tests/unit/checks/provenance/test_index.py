"""Who signed a multi-platform index has signed the image that was reached through it, and nothing else."""

from __future__ import annotations

import pytest

from checks.interface import Status
from checks.provenance import Identity, SignatureFile, Trust, check_provenance
from pratique.digests import Digest, sha256_bytes
from tests.assets.clocks import fixed_clock
from tests.unit.checks.provenance.bench import IMAGE, ISSUER, NOW, OTHER_IMAGE, SIGNER, Bench

INDEX = sha256_bytes(b"the index of the image")


@pytest.mark.parametrize(
    ("signed", "index", "status"),
    [
        (INDEX, INDEX, Status.PASSED),
        (IMAGE, INDEX, Status.PASSED),
        (IMAGE, None, Status.PASSED),
        (INDEX, None, Status.FAILED),
        (OTHER_IMAGE, INDEX, Status.FAILED),
    ],
    ids=["the index", "the image itself", "an image without index", "an index nobody came through", "another image"],
)
@pytest.mark.parametrize("form", ["bundle", "cosign 2"])
def test_what_may_be_signed(bench: Bench, signed: Digest, index: Digest | None, status: Status, form: str) -> None:
    """In both forms that cosign writes."""
    text = bench.v1.sign_image(signed, SIGNER, ISSUER)
    if form == "cosign 2":
        text = bench.v1.sign_image_legacy(signed, SIGNER, ISSUER)
    path = bench.directory / "signature"
    path.write_text(text)
    trust = Trust((bench.root_file(bench.v1.trusted_root),), (Identity(SIGNER, ISSUER),))
    files = [SignatureFile(path, "signature")]
    result = check_provenance(files, IMAGE, trust, clock=fixed_clock(NOW), index_digest=index)
    assert result.status is status, result.summary
    assert result.inputs["image"] == IMAGE
