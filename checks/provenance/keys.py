"""Public keys: loading them strictly and verifying signatures with the hashes that belong to each kind of key.

The pairing of key and hash is Sigstore's algorithm registry
(https://github.com/sigstore/architecture-docs/blob/main/algorithm-registry.md), with the older pairing of any curve
with SHA-256: the certificates of sigstore-python 1 and the keys of cosign 2 sign so, CPython's releases among them.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from checks.provenance.steps import StepFailed

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
MALFORMED = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography, and the libraries on top of it, raise for bytes that are not what they should be."""
_CURVES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def load_public_key(data: bytes) -> PublicKey:
    """The public key in `data` (PEM or DER SubjectPublicKeyInfo); raises `StepFailed` for any other thing."""
    load = (
        serialization.load_pem_public_key if data.lstrip().startswith(b"-----") else serialization.load_der_public_key
    )
    try:
        key = load(data)
    except MALFORMED as error:
        raise StepFailed(f"not a public key: {str(error)[:200]}") from error
    return usable(key)


def usable(key: object) -> PublicKey:
    """`key` where it is of a kind that Sigstore allows (ECDSA on NIST curves, RSA from 2048 bits, Ed25519)."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return key
    raise StepFailed(f"a public key of a kind that is not accepted ({type(key).__name__.strip('_')})")


def hash_of(key: PublicKey) -> hashes.HashAlgorithm | None:
    """The hash that the registry gives signatures by `key`; None for Ed25519, which signs the message itself."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES[key.curve.name]
    return hashes.SHA256() if isinstance(key, rsa.RSAPublicKey) else None


def hashes_of(key: PublicKey) -> tuple[hashes.HashAlgorithm, ...]:
    """The hashes that signatures by `key` may be made with; none for Ed25519."""
    own = hash_of(key)
    if own is None or isinstance(own, hashes.SHA256):
        return (own,) if own else ()
    return own, hashes.SHA256()


def spki(key: PublicKey) -> bytes:
    """`key` as DER SubjectPublicKeyInfo."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def pem_of(key: PublicKey) -> bytes:
    """`key` as PEM SubjectPublicKeyInfo."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def is_signed(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is `key`'s over `message`."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True
    return any(_is_signed(key, signature, digest_with(one, message), one) for one in hashes_of(key))


def is_signed_sha256(key: PublicKey, signature: bytes, digest: bytes) -> bool:
    """Whether `signature` is `key`'s over a message whose SHA-256 is `digest`; False for Ed25519."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return False
    return _is_signed(key, signature, digest, hashes.SHA256())


def _is_signed(
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, signature: bytes, digest: bytes, algorithm: hashes.HashAlgorithm
) -> bool:
    prehashed = utils.Prehashed(algorithm)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(prehashed))
        else:
            key.verify(signature, digest, padding.PKCS1v15(), prehashed)
    except InvalidSignature:
        return False
    return True


def digest_with(algorithm: hashes.HashAlgorithm, message: bytes) -> bytes:
    """Digest of `message`."""
    context = hashes.Hash(algorithm)
    context.update(message)
    return context.finalize()
