"""Archives of NeMo, whose configuration says what is imported and called when the model is restored."""

from __future__ import annotations

import gzip

import pytest

from checks.model_files import Verdict
from tests.unit.checks.model_files.makers import scan, state_dict, tarred, torch_zip

HONEST = b"""\
sample_rate: 16000
optim: {name: adamw, lr: 0.001}
target: nemo.collections.asr.models.EncDecCTCModel
encoder:
  _target_: nemo.collections.asr.modules.ConformerEncoder
  feat_in: ${preprocessor.features}
  dropout: ???
labels: [" ", a, b]
"""


def nemo(configuration: bytes) -> bytes:
    return tarred({"./model_config.yaml": configuration, "./model_weights.ckpt": torch_zip(state_dict())})


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_nemo_writes_is_safe(pack: type[bytes]) -> None:
    verdict = scan(pack(nemo(HONEST)), "m.nemo")
    assert verdict.verdict is Verdict.SAFE, verdict
    assert {"NeMo configuration", "PyTorch"} <= set(verdict.formats)


RUNS: dict[str, bytes] = {
    "os.system": b"a:\n  _target_: os.system\n  command: id\n",
    "in quotes": b'a: {"_target_": "subprocess.run", args: [id]}\n',
    "in escapes": b'a: {"\\x5ftarget_": "os\\x2esystem"}\n',
    "on the next line": b"a:\n  _target_:\n    os.system\n",
    "folded": b"a:\n  _target_: >-\n    os.system\n",
    "with the key asked for": b"a:\n  ? _target_\n  : os.system\n",
    "NeMo's own key": b"a: {target: os.system, params: {command: id}}\n",
    "NeMo's older key": b"a: {cls: builtins.eval, params: {}}\n",
    "through another module": b"a: {_target_: torch.os.system}\n",
    "put together when it is loaded": b"b: os\na: {_target_: '${b}.system'}\n",
    "an object of Python": b"a: !!python/object/apply:os.system [id]\n",
}


@pytest.mark.parametrize("trick", RUNS)
def test_what_has_something_else_called_is_unsafe(trick: str) -> None:
    verdict = scan(nemo(HONEST + RUNS[trick]), "m.nemo")
    assert verdict.verdict is Verdict.UNSAFE, verdict
    assert "model_config.yaml" in verdict.reasons[0].member


UNREADABLE = {
    "an alias": b"a: &a os.system\nb: {_target_: *a}\n",
    "no YAML": b"a: [\n",
    "wide letters": HONEST.decode().encode("utf-16"),
    "a second document": HONEST + b"---\na: 1\n",
    "a name too long to be judged": b"a: {_target_: torch" + b".nn.torch" * 200 + b".os.system}\n",
    "endless": b"a: 1\n# " + b"x" * (5 << 20),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_is_refused(kind: str) -> None:
    assert scan(nemo(UNREADABLE[kind]), "m.nemo").verdict in (Verdict.UNREADABLE, Verdict.UNSAFE)
