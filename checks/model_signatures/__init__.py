"""Are the models in the image the ones that somebody signed? OpenSSF model signatures (`model.sig`), verified.

A signature is a Sigstore bundle that lies with its model in the image. Whoever signed, the files must be the listed
ones, all of them and unchanged, with no model beside them that nobody signed; who may sign, and whether every model
must be signed, the policy says. Nothing is extracted, loaded or run.
"""

from __future__ import annotations

from checks.model_signatures.check import CHECK, VERSION, ModelTrust, check_model_signatures

__all__ = ["CHECK", "VERSION", "ModelTrust", "check_model_signatures"]
