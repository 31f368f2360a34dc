"""NeMo's configuration (`model_config.yaml`, in a `.nemo` archive beside the weights): the loader calls what it names.

What stands in a key for a class is imported and called with the values beside it (Hydra's `instantiate`, and NeMo's
own keys). Which names reach out is known to the check of code, which reads the same in the configurations of tools.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from checks.code.texts import signs_of_configuration
from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part
from pratique.bounded_yaml import load_yaml
from pratique.errors import InvalidInput

_NAME = "model_config.yaml"
_KEYS = ("_target_", "target", "cls")
_MAX_SIZE = 4 * 1024**2
_MAX_NODES = 100_000
_MAX_TARGET = 1000
"""Letters of the longest name that is judged."""
_RULE = "python-code"


def is_configuration(part: Part) -> bool:
    """Whether NeMo would take a file for the configuration of a model."""
    return part.name.rpartition("/")[2] == _NAME


def examine_configuration(part: Part, found: Found) -> None:
    """Raises `Unparsable` where it is no YAML without anchors and tags, as NeMo writes it, or a name is too long."""
    found.formats.append("NeMo configuration")
    part.stream.seek(0)
    data = part.stream.read(_MAX_SIZE + 1)
    _judge(data.decode("utf-8", "replace"), found, part.name)
    try:
        document = load_yaml(data, where=part.name, max_bytes=_MAX_SIZE, max_nodes=_MAX_NODES)
    except InvalidInput as error:
        raise Unparsable(f"a configuration that cannot be read: {error}"[:300]) from error
    for target in dict.fromkeys(_targets(document)):
        if len(target) > _MAX_TARGET:
            raise Unparsable(f"a configuration that has called what a name of {len(target):,} letters stands for")
        if "${" in target:
            found.unsafe(
                _RULE, f"a configuration: has called what {target[:80]!r} stands for, when it is loaded", part.name
            )
        _judge("\n".join(f"_target_: {json.dumps(name)}" for name in _endings(target)), found, part.name)


def _judge(text: str, found: Found, where: str) -> None:
    for sign in signs_of_configuration(text):
        found.unsafe(_RULE, f"a configuration: {sign.what}", where)
        return


def _targets(document: Any) -> Iterator[str]:
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield from (value[key] for key in _KEYS if isinstance(value.get(key), str))
        if isinstance(value, dict | list):
            pending.extend(value.values() if isinstance(value, dict) else value)


def _endings(target: str) -> Iterator[str]:
    """The name, and what it is to a module that imports others: `os.system` of `torch.os.system`."""
    yield target
    parts = target.split(".")
    yield from (".".join(parts[start:]) for start in range(1, len(parts) - 1))
