"""Everything that was thought of to get a model past its signature; each must fail, and say why."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from checks.interface import CheckResult, Level, Status
from checks.model_signatures import ModelTrust
from examples.signing.services import new_key
from tests.assets.images import make_tar
from tests.unit.checks.model_signatures.bench import (
    EVIL,
    FILES,
    HASHINGS,
    NOW,
    STRANGER,
    Models,
    link,
    rules,
)

Asked = Callable[[Models], CheckResult]
FORGERIES: dict[str, tuple[Asked, set[str]]] = {}


def forgery(name: str, *expected: str) -> Callable[[Asked], Asked]:
    """Enter a forgery with the rules that must catch it."""

    def enter(make: Asked) -> Asked:
        assert name not in FORGERIES
        FORGERIES[name] = (make, set(expected))
        return make

    return enter


def with_files(change: dict[str, bytes | None], *, how: str = "files", **more: Any) -> Asked:
    """A real signature, and files of the model added, changed or (None) removed."""

    def ask(models: Models) -> CheckResult:
        files = {**FILES, "model.sig": models.by_key(models.write(FILES), HASHINGS[how]())}
        return models.ask({k: v for k, v in {**files, **change}.items() if v is not None}, **more)

    return ask


for _how in HASHINGS:
    forgery(f"one byte of the weights changed ({_how})", "changed-file")(
        with_files({"weights.npy": b"\x93NUMPY" + bytes(199) + b"\1"}, how=_how)
    )
    forgery(f"bytes added at the end ({_how})", "changed-file")(
        with_files({"parts/second.npy": FILES["parts/second.npy"] + b"\0"}, how=_how)
    )
    forgery(f"the end cut off at a piece's border ({_how})", "changed-file")(
        with_files({"parts/second.npy": FILES["parts/second.npy"][:3000]}, how=_how)
    )
forgery("a small file changed", "changed-file")(with_files({"config.json": b'{"layers": 4}'}))
forgery("a file removed", "missing-file")(with_files({"config.json": None}))
forgery("a model added", "unlisted-file")(with_files({"third.npy": EVIL}))
forgery("code added", "unlisted-file")(with_files({"loader.py": b"import os"}))
forgery("a model hidden in a directory that the signer left out", "unlisted-file")(with_files({".git/x.npy": EVIL}))
forgery("a link added that leads out of the directory", "unlisted-file")(
    with_files({}, extra=[link("opt/model/third.npy", "/srv/evil.npy")])
)
forgery("a file replaced by a link to its like", "missing-file")(
    with_files({"weights.npy": None}, extra=[link("opt/model/weights.npy", "/srv/w.npy"), ("srv/w.npy", EVIL)])
)
forgery("a file replaced by a later layer", "changed-file")(with_files({}, later=[("opt/model/weights.npy", EVIL)]))
forgery("a file removed by a later layer", "missing-file")(with_files({}, later=[("opt/model/.wh.weights.npy", b"")]))
forgery("a file replaced by a directory", "missing-file", "unlisted-file")(
    with_files({"config.json": None, "config.json/x.npy": EVIL})
)


@forgery("the signature of another model", "missing-file", "unlisted-file")
def _(models: Models) -> CheckResult:
    return models.ask({**FILES, "model.sig": models.by_key(models.write({"other.npy": EVIL}))})


@forgery("the signature of an older version of the model", "changed-file")
def _(models: Models) -> CheckResult:
    old = {**FILES, "weights.npy": EVIL}
    return models.ask({**FILES, "model.sig": models.by_key(models.write(old))})


def _edited(models: Models, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The statement after `change`, signed again by nobody."""
    bundle = json.loads(models.by_key(models.write(FILES)))
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    change(statement)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps(bundle).encode()


@forgery("a list rewritten for changed files, the signature kept", "signature")
def _(models: Models) -> CheckResult:
    other = json.loads(models.payload(models.write({**FILES, "weights.npy": EVIL})))
    return models.ask({**FILES, "weights.npy": EVIL, "model.sig": _edited(models, lambda s: s.update(other))})


def statement(change: Callable[[dict[str, Any]], object], *, digest: bool = True, **files: bytes) -> Asked:
    """A statement that `change` worked on, truly signed by the trusted signer, who may be tricked or tired."""

    def ask(models: Models) -> CheckResult:
        document = json.loads(models.payload(models.write(FILES)))
        change(document)
        if digest:
            import hashlib

            resources = document["predicate"]["resources"]
            hashed = b"".join(bytes.fromhex(one["digest"]) for one in resources)
            document["subject"] = [{"name": "model", "digest": {"sha256": hashlib.sha256(hashed).hexdigest()}}]
        signature = models.keyless(json.dumps(document).encode())
        return models.ask({**FILES, **files, "model.sig": signature}, extra=[("etc/evil.npy", EVIL)])

    return ask


def _rename(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda s: s["predicate"]["resources"][0].update(name=name)


for _path in ("../../etc/evil.npy", "/etc/evil.npy", "parts/../weights.npy", "parts//second.npy", "./weights.npy", ""):
    forgery(f"a name that is no plain path: {_path!r}", "parsed")(statement(_rename(_path)))
forgery("a name with a backslash", "parsed")(statement(_rename("parts\\second.npy")))
forgery("a name with a zero byte", "parsed")(statement(_rename("weights.npy\0")))
forgery("a name twice", "parsed")(
    statement(lambda s: s["predicate"]["resources"].append(dict(s["predicate"]["resources"][0])))
)
forgery("a root digest of other files", "subject-digest")(
    statement(lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), digest=False)
)
forgery("another predicate type", "parsed")(
    statement(lambda s: s.update(predicateType="https://model_signing/Digests/v0.1"))
)
forgery("a hash that nobody knows", "parsed")(
    statement(lambda s: s["predicate"]["serialization"].update(hash_type="md5"))
)
forgery("a method that nobody knows", "parsed")(statement(lambda s: s["predicate"]["serialization"].update(method="x")))
forgery("a resource by another hash than the list's", "parsed")(
    statement(lambda s: s["predicate"]["resources"][0].update(algorithm="blake2b"))
)
forgery("a short hash", "parsed")(statement(lambda s: s["predicate"]["resources"][0].update(digest="ab")))
forgery("resources that are no list", "parsed")(
    statement(lambda s: s["predicate"].update(resources={"a": 1}), digest=False)
)
forgery("no resource at all", "parsed")(statement(lambda s: s["predicate"].update(resources=[])))
forgery("a list of everything ignored", "unlisted-file")(
    statement(lambda s: s["predicate"]["serialization"].update(ignore_paths=[".", "", "..", "/"]), loader_py=b"x")
)
forgery("an image signature put where the model's belongs", "unsigned-model")(
    lambda models: models.ask(
        {**FILES, "model.sig": models.sigstore.sign_image("sha256:" + "0" * 64, "models@provider.example").encode()},
        trust=ModelTrust(models.trust, required=True),
    )
)


def _shards(change: Callable[[list[dict[str, Any]]], object]) -> Asked:
    def ask(models: Models) -> CheckResult:
        document = json.loads(models.payload(models.write(FILES), HASHINGS["shards"]()))
        change(document["predicate"]["resources"])
        return models.ask({**FILES, "model.sig": models.keyless(json.dumps(document).encode())})

    return ask


forgery("a piece left out", "parsed")(_shards(lambda pieces: pieces.pop(2)))
forgery("a piece twice", "parsed")(_shards(lambda pieces: pieces.append(dict(pieces[1]))))
forgery("a piece that starts late", "parsed")(_shards(lambda pieces: pieces[0].update(name="config.json:1:13")))
forgery("a piece of negative length", "parsed")(_shards(lambda pieces: pieces[0].update(name="config.json:0:0")))
forgery("a piece in foreign digits", "parsed")(_shards(lambda pieces: pieces[0].update(name="config.json:0:١٣")))
forgery("a piece without its ends", "parsed")(_shards(lambda pieces: pieces[0].update(name="config.json")))


@forgery("a stranger's signature where one is required", "identity", "unsigned-model")
def _(models: Models) -> CheckResult:
    signature = models.keyless(models.payload(models.write(FILES)), STRANGER)
    return models.ask({**FILES, "model.sig": signature}, trust=ModelTrust(models.trust, required=True))


@forgery("a stranger's signature that is broken besides", "identity", "log-entry")
def _(models: Models) -> CheckResult:
    """A signer whom nobody names is only warned of while the signature is sound."""
    return models.ask({**FILES, "model.sig": models.keyless(models.payload(models.write(FILES)), STRANGER, log=False)})


@forgery("a stranger's key that takes the hint of a trusted one", "signature", "identity")
def _(models: Models) -> CheckResult:
    good = json.loads(models.by_key(models.write(FILES)))
    theirs = json.loads(Models(models.directory, models.sigstore, new_key()).by_key(models.write(FILES)))
    theirs["verificationMaterial"] = good["verificationMaterial"]
    return models.ask({**FILES, "model.sig": json.dumps(theirs).encode()})


@forgery("a keyless signature without a log entry", "log-entry")
def _(models: Models) -> CheckResult:
    return models.ask({**FILES, "model.sig": models.keyless(models.payload(models.write(FILES)), log=False)})


@forgery("a keyless signature after its certificate's end", "chain")
def _(models: Models) -> CheckResult:
    late = models.keyless(models.payload(models.write(FILES)), stamped_at=NOW + timedelta(minutes=20))
    return models.ask({**FILES, "model.sig": late}, now=NOW + timedelta(hours=1))


@forgery("duplicate keys in the bundle", "parsed")
def _(models: Models) -> CheckResult:
    good = models.by_key(models.write(FILES))
    return models.ask({**FILES, "model.sig": good.rstrip()[:-1] + b',"dsseEnvelope":{}}'})


@forgery("a bundle cut in half", "parsed")
def _(models: Models) -> CheckResult:
    good = models.by_key(models.write(FILES))
    return models.ask({**FILES, "model.sig": good[: len(good) // 2]})


forgery("a model in an archive where signatures are required", "unsigned-model")(
    lambda models: models.ask(
        {**FILES, "model.sig": models.by_key(models.write(FILES))},
        extra=[("srv/data.tar", make_tar([("m.npy", EVIL)]))],
        trust=ModelTrust(models.trust, required=True),
    )
)
forgery("an archive hidden in a directory that the signer left out", "unlisted-file")(
    with_files({".git/data.tar": make_tar([("m.npy", EVIL)])})
)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_fails_and_says_why(models: Models, name: str) -> None:
    """Failed, by the rules that were expected; every error says what to do."""
    ask, expected = FORGERIES[name]
    result = ask(models)
    assert result.status is Status.FAILED, result.summary
    assert expected <= rules(result), rules(result)
    assert all(finding.fix for finding in result.findings if finding.level is Level.ERROR)


def test_many_wrong_files_are_counted_and_not_all_listed(models: Models) -> None:
    """A directory of strangers' files."""
    result = with_files({f"x{number}.npy": EVIL for number in range(50)})(models)
    assert len(result.findings) < 15
    assert "50 files" in result.summary
    assert any("42 more" in finding.message for finding in result.findings)
