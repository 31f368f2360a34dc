"""What these tests share: exports read back as a platform reads them, checked by its schema, and asked for images."""

from __future__ import annotations

import copy
import functools
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cel
import jsonschema
from ruamel.yaml import YAML

from pratique.digests import Digest
from records.enforcement import AdmittedImage, Target

NOW = datetime(2026, 10, 1, tzinfo=UTC)
ASSETS = Path(__file__).parents[3] / "assets" / "enforcement"
REPOSITORY = "registry.hospital.example/tools/risk-classifier"


def digest(letter: str) -> Digest:
    """A digest that is easy to tell apart."""
    return Digest("sha256:" + letter * 64)


def image(
    name: str = "risk-classifier", version: str = "1.0.0", repository: str | None = REPOSITORY, letter: str = "a"
) -> AdmittedImage:
    """An admitted image."""
    return AdmittedImage(name, version, repository, digest(letter))


def read(target: Target, text: str) -> list[Any]:
    """The documents of an export, which every parser of its language must read alike, each valid by the schema."""
    return copy.deepcopy(_read(target, text))


@functools.lru_cache(maxsize=64)
def _read(target: Target, text: str) -> list[Any]:
    if target is Target.CONTAINERS_POLICY:
        documents = [json.loads(text)]
    else:
        documents = _yaml(text, (1, 2))
        assert documents == _yaml(text, (1, 1)), "YAML 1.1 and 1.2 read it differently"
    for document in documents:
        _validator(target).validate(document)
    return documents


def _yaml(text: str, version: tuple[int, int]) -> list[Any]:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    return list(yaml.load_all(io.StringIO(text)))


@functools.cache
def _validator(target: Target) -> jsonschema.Draft202012Validator:
    schema = json.loads((ASSETS / f"{target.value}.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def allows(target: Target, text: str, reference: str) -> bool:
    """Whether a platform with this export runs the image that a user names `reference`, signatures aside."""
    documents = read(target, text)
    return {
        Target.VANTAGE6: _vantage6,
        Target.KYVERNO: _kyverno,
        Target.KYVERNO_CEL: _kyverno,
        Target.POLICY_CONTROLLER: _policy_controller,
        Target.CONTAINERS_POLICY: _containers_policy,
        Target.EUCAIM_LAUNCHER: _eucaim_launcher,
    }[target](documents, reference)


def _vantage6(documents: list[Any], reference: str) -> bool:
    """`DockerManager.is_docker_image_allowed` of vantage6-node 4.9.1, for entries that look like expressions."""
    allowed = documents[0]["policies"]["allowed_algorithms"]
    assert all(any(sign in entry for sign in "*\\?$^[](){}|+") for entry in allowed), "not taken for an expression"
    return not allowed or any(re.compile(entry).match(reference) for entry in allowed)


def _kyverno(documents: list[Any], reference: str) -> bool:
    return pod_allowed(documents, {"containers": [{"image": reference}]})


def pod_allowed(documents: list[Any], spec: dict[str, Any]) -> bool:
    """Whether the CEL of a Kyverno policy, of the older or the newer kind, is true of a Pod with this `spec`."""
    policy = documents[0]["spec"]
    if "rules" in policy:
        (demand,) = policy["rules"][0]["validate"]["cel"]["expressions"]
    else:
        (demand,) = policy["validations"]
    expression = demand["expression"]
    return cel.evaluate(expression, {"object": {"spec": spec}}) is True


def _policy_controller(documents: list[Any], reference: str) -> bool:
    """Globs as `pkg/apis/glob` compiles them, over references as go-containerregistry spells them."""
    if not re.fullmatch(r"[^@\s]+@sha256:[0-9a-f]{64}", reference):
        return False
    name = reference.replace("docker.io/", "index.docker.io/", 1) if reference.startswith("docker.io/") else reference
    policies = [document for document in documents if document["kind"] == "ClusterImagePolicy"]
    matching = [policy for policy in policies if any(_glob(one["glob"], name) for one in policy["spec"]["images"])]
    satisfied = [_one_passes(policy["spec"]["authorities"]) for policy in matching]
    return bool(satisfied) and all(satisfied)


def _glob(glob: str, name: str) -> bool:
    expression = glob.replace(".", r"\.").replace("**", "#").replace("*", "[^/]*").replace("#", ".*")
    return re.search(rf"^{expression}\Z", name) is not None


def _one_passes(authorities: list[Any]) -> bool:
    return any(authority.get("static", {"action": "pass"})["action"] == "pass" for authority in authorities)


def _containers_policy(documents: list[Any], reference: str) -> bool:
    """The most specific scope decides: the reference, its repository, its namespaces, the host, the default."""
    policy = documents[0]
    scopes = policy.get("transports", {}).get("docker", {})
    repository = reference.partition("@")[0]
    parts = repository.split("/")
    names = [reference, *("/".join(parts[:count]) for count in range(len(parts), 0, -1)), ""]
    requirements = next((scopes[name] for name in names if name in scopes), policy["default"])
    return all(requirement["type"] != "reject" for requirement in requirements)


def _eucaim_launcher(documents: list[Any], reference: str) -> bool:
    return any(
        reference == entry["image"] if "image" in entry else reference.endswith(f"@{entry['digest']}")
        for entry in documents[0]["images"]
    )
