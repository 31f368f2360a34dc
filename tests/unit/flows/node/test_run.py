"""The node runs what is admitted, exactly that, and records it; everything else it refuses, and records that."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from console.terminal.app import app
from flows.decide import admit, withdraw
from flows.images import remember_image
from flows.node import Node
from flows.run import Finished, Order, run
from flows.tools import parse_tool
from pratique.clock import system_clock
from pratique.digests import parse_digest, sha256_bytes
from pratique.errors import CouldNotDecide, EngineUnavailable, PratiqueError, Refused, UsageError
from pratique.intake.image import ArchiveImage
from records import intoto, statements
from records.admissions import signed_statements
from records.dsse import sign_statement
from records.keys import load_or_create_key
from records.mark import RolledBack
from records.statements import PROVENANCE, RUN_REFUSAL, RUN_START, VSA, PolicyReference
from records.verify import verify_ledger
from sandbox.record import EndedBy, RefusedEntry
from sandbox.spec import SandboxRequest
from tests.unit.flows.node.homes import ANNA, MANIFEST, START, Home, image_config, image_manifest, statements_of
from tests.unit.flows.node.machines import FakeMachine

PATIENT, PERSON, DATASET = "Erika Mustermann", "Doctor.Who@node.example", "breast-cohort-7"


@dataclass
class Bench:
    """A node, a machine that holds the admitted image, and an order for it."""

    home: Home
    machine: FakeMachine
    order: Order

    def run(self, node: Node | None = None, **changes: Any) -> Finished:
        return run(node or self.home.node(), replace(self.order, **changes), self.machine.connect)

    def refused(self, rule: str, error: type[PratiqueError] = Refused, **changes: Any) -> dict[str, Any]:
        """Nothing runs, no output is there, and the refusal is the newest entry of a sound ledger; its predicate."""
        node = self.home.node()
        with pytest.raises(error) as caught:
            self.run(node, **changes)
        assert getattr(caught.value, "rule", rule) == rule, caught.value
        assert caught.value.next_step
        assert self.machine.calls == []
        assert not self.order.output.exists()
        entries = list(signed_statements(self.home.node().ledger))
        assert entries[-1][1]["predicateType"] == RUN_REFUSAL
        predicate: dict[str, Any] = entries[-1][1]["predicate"]
        assert predicate["rule"] == rule
        assert verify_ledger(node.settings.ledger, node.key.verifier).verified
        assert not any(path.name.startswith(".out.") for path in self.order.output.parent.iterdir())
        return predicate


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / f"{PATIENT}.csv"
    path.write_text(f"patient,age\n{PATIENT},70\n")
    return path


@pytest.fixture
def bench(home: Home, tmp_path: Path, table: Path) -> Bench:
    """The scorer is admitted, and its image in the engine."""
    admit(home.node(), home.inspected(), ANNA)
    order = Order(parse_tool("scorer"), (f"table={table}",), tmp_path / "out", PERSON, DATASET)
    return Bench(home, FakeMachine(engine_images("one")), order)


def engine_images(*words: str) -> dict[str, Any]:
    return {sha256_bytes(image_config(word)): (sha256_bytes(word.encode()),) for word in words}


# --- what is admitted runs -------------------------------------------------------------------------------------------


def test_an_admitted_tool_runs_by_the_id_of_its_image(bench: Bench) -> None:
    """Entry point and working directory from the admitted config, arguments from the admitted manifest."""
    finished = bench.run()
    (request,) = bench.machine.calls
    assert request.image_id == bench.home.tool().config_digest
    assert (request.entrypoint, request.working_dir) == (("/app/scorer",), "/app")
    assert request.argv[:2] == ("-i", f"/input/table/{PATIENT}.csv")
    assert finished.succeeded
    assert sorted(path.name for path in bench.order.output.iterdir()) == ["scores.csv"]


def test_the_record_of_a_run(bench: Bench) -> None:
    """Image, manifest, admission, policy, spec and end are in the ledger; the papers that it names lie with the run."""
    finished = bench.run()
    node = bench.home.node()
    (statement,) = statements_of(node, PROVENANCE)
    definition = statement["predicate"]["buildDefinition"]
    image, manifest, admission = definition["resolvedDependencies"]
    tool = bench.home.tool()
    assert "sha256:" + image["digest"]["sha256"] == tool.image_digest
    assert image["annotations"]["configDigest"] == tool.config_digest
    assert "sha256:" + manifest["digest"]["sha256"] == sha256_bytes(MANIFEST)
    assert "sha256:" + admission["digest"]["sha256"] == sha256_bytes(node.ledger.entry(2))
    internal = definition["internalParameters"]
    assert (internal["policy"], internal["exitCode"], internal["endedBy"]) == (node.policy.digest, 0, "exit")
    papers = node.settings.runs / finished.execution.run_id
    for named in (*statement["subject"], *statement["predicate"]["runDetails"]["byproducts"]):
        data = (papers / named["name"]).read_bytes()
        assert "sha256:" + named["digest"]["sha256"] == sha256_bytes(data)
    order = json.loads((papers / "sandbox-run.json").read_text())["order"]
    assert (order["person"], order["dataset"]) == (PERSON, DATASET)
    assert (papers / "log").read_text() == "scored\n"
    assert (papers / "sandbox-run.json").stat().st_mode & 0o077 == 0


def test_no_personal_data_in_the_ledger(bench: Bench) -> None:
    """Neither names nor digests that one could guess; the node itself finds the runs of a dataset again."""
    bench.run()
    shutil.rmtree(bench.order.output)
    bench.run()
    node = bench.home.node()
    written = b"".join(path.read_bytes() for path in node.settings.ledger.rglob("*") if path.is_file())
    texts = [json.dumps(statement) for _, statement in signed_statements(node.ledger)]
    for secret in (PATIENT, PERSON, PERSON.casefold(), DATASET, "scores.csv", sha256_bytes(DATASET.encode())[7:]):
        assert secret.encode() not in written
        assert not any(secret in text for text in texts)
    first, second = [s["predicate"]["buildDefinition"]["externalParameters"] for s in statements_of(node, PROVENANCE)]
    assert first["dataset"].startswith("hmac-sha256:")
    assert (first["person"], first["dataset"]) == (second["person"], second["dataset"])
    subjects = [s["subject"][0]["digest"]["sha256"] for s in statements_of(node, PROVENANCE)]
    assert len(set(subjects)) == 2, "the same outputs under two salts have two digests"


@pytest.mark.parametrize("name", ["scorer", "scorer@1.0.0", "scorer@{digest}"])
def test_names_of_a_tool(bench: Bench, name: str) -> None:
    """By name while one version is admitted, by version, by image digest."""
    assert bench.run(tool=parse_tool(name.format(digest=bench.home.tool().image_digest))).succeeded


def test_a_name_that_means_several_versions(bench: Bench) -> None:
    """Nobody guesses which; an expired one does not stand in the way."""
    home = bench.home
    admit(home.node(), home.inspected("two", version="2.0.0"), ANNA, until=START + timedelta(days=1))
    with pytest.raises(UsageError, match=r"1\.0\.0, 2\.0\.0"):
        bench.run()
    home.later(days=2)
    assert bench.run().execution.entitled.admitted.tool.version == "1.0.0"


@pytest.mark.parametrize("profile", ["", "default", "gosu", "gpu"])
def test_a_tool_runs_with_the_profile_that_was_admitted(home: Home, tmp_path: Path, table: Path, profile: str) -> None:
    """What was inspected is what is admitted, what runs, and what is recorded; nothing said is the least."""
    home.policy["sandbox"] = {"profiles": ["default", "gosu", "gpu"]}
    admit(home.node(), home.inspected(profile=profile), ANNA)
    bench = Bench(
        home, FakeMachine(engine_images("one")), Order(parse_tool("scorer"), (f"table={table}",), tmp_path / "out")
    )
    assert bench.run().succeeded
    assert [spec.profile for spec in bench.machine.specs] == [profile or "default"]
    (statement,) = statements_of(home.node(), PROVENANCE)
    assert statement["predicate"]["buildDefinition"]["internalParameters"]["sandboxProfile"] == (profile or "default")


def test_a_profile_that_the_policy_takes_back(home: Home, tmp_path: Path, table: Path) -> None:
    """A later policy that lets the admissions of the earlier one count, but grants less."""
    home.policy["sandbox"] = {"profiles": ["default", "gosu"]}
    admit(home.node(), home.inspected(profile="gosu"), ANNA)
    order = Order(parse_tool("scorer"), (f"table={table}",), tmp_path / "out")
    bench = Bench(home, FakeMachine(engine_images("one")), order)
    home.policy |= {"admissions": {"also_under": [home.node().policy.digest]}, "sandbox": {"profiles": ["default"]}}
    bench.refused("run/profile")
    assert bench.machine.connected == 0


def test_an_image_that_the_engine_lost(bench: Bench, tmp_path: Path) -> None:
    """It is loaded again from where it lay, by its digest; nobody knows where: could not decide."""
    bench.machine.images.clear()
    bench.refused("could-not-decide", CouldNotDecide)
    archive = tmp_path / "other.tar"
    archive.write_bytes(b"no image at all")
    remember_image(bench.home.node().settings, bench.home.tool().image_digest, ArchiveImage(archive))
    with pytest.raises(Refused):
        bench.run()
    assert bench.machine.loaded == []


# --- what is not admitted does not -----------------------------------------------------------------------------------


def foreign_admission(bench: Bench, **changes: Any) -> bytes:
    """A VSA as another node, or under another policy, would write it."""
    node = bench.home.node()
    fields: dict[str, Any] = {
        "verifier_id": node.uri,
        "resource_uri": node.uri,
        "time_verified": bench.home.moment,
        "policy": PolicyReference("urn:p", node.policy.digest),
        "input_attestations": [intoto.descriptor(name="inspection", digest=sha256_bytes(b"x"))],
        "passed": True,
        "manifest": intoto.descriptor(name="scorer.cwl", digest=sha256_bytes(MANIFEST)),
    }
    key = changes.pop("key", node.key)
    tool = changes.pop("tool", bench.home.tool("two", version="2.0.0"))
    return sign_statement(statements.vsa(tool, **(fields | changes)), key)


def vsa_of_another_node(bench: Bench) -> None:
    other = load_or_create_key(bench.home.directory / "other.pem", "other.example/ledger")
    bench.home.node().append(foreign_admission(bench, key=other))


def vsa_in_the_name_of_another_verifier(bench: Bench) -> None:
    bench.home.node().append(foreign_admission(bench, verifier_id="urn:pratique:node:other.example/ledger"))


def vsa_for_another_place(bench: Bench) -> None:
    bench.home.node().append(foreign_admission(bench, resource_uri="urn:pratique:node:other.example/ledger"))


def vsa_of_another_policy(bench: Bench) -> None:
    bench.home.node().append(foreign_admission(bench, policy=PolicyReference("urn:p", sha256_bytes(b"lenient"))))


def vsa_of_another_level(bench: Bench) -> None:
    bench.home.node().append(foreign_admission(bench, levels=("SLSA_BUILD_LEVEL_3",)))


def vsa_without_a_manifest(bench: Bench) -> None:
    bench.home.node().append(foreign_admission(bench, manifest=None))


def vsa_without_a_config(bench: Bench) -> None:
    tool = replace(bench.home.tool("two", version="2.0.0"), config_digest=None)
    bench.home.node().append(foreign_admission(bench, tool=tool))


def vsa_that_is_too_old(bench: Bench) -> None:
    bench.home.node().append(foreign_admission(bench, time_verified=bench.home.moment - timedelta(days=365)))


def vsa_that_expired(bench: Bench) -> None:
    bench.home.node().append(foreign_admission(bench, expires=bench.home.moment))


def vsa_with_an_unknown_profile(bench: Bench) -> None:
    bench.home.node().append(foreign_admission(bench, profile="root"))


def vsa_with_a_profile_that_is_not_granted(bench: Bench) -> None:
    bench.home.node().append(foreign_admission(bench, profile="gosu"))


def vsa_that_failed(bench: Bench) -> None:
    bench.home.node().append(foreign_admission(bench), foreign_admission(bench, passed=False))


@pytest.mark.parametrize(
    ("attack", "rule"),
    [
        (vsa_of_another_node, "run/not-admitted"),
        (vsa_in_the_name_of_another_verifier, "admission/other-verifier"),
        (vsa_for_another_place, "admission/other-place"),
        (vsa_of_another_policy, "admission/other-policy"),
        (vsa_of_another_level, "admission/result"),
        (vsa_without_a_manifest, "admission/form"),
        (vsa_without_a_config, "admission/form"),
        (vsa_that_is_too_old, "admission/expired"),
        (vsa_that_expired, "admission/expired"),
        (vsa_that_failed, "run/withdrawn"),
        (vsa_with_an_unknown_profile, "admission/form"),
        (vsa_with_a_profile_that_is_not_granted, "run/profile"),
    ],
)
def test_admissions_that_do_not_count_here(bench: Bench, attack: Callable[[Bench], None], rule: str) -> None:
    """Whole, signed, in the ledger, and worth nothing here and now."""
    attack(bench)
    predicate = bench.refused(rule, tool=parse_tool("scorer@2.0.0"))
    assert predicate["asked"]["tool"] == "scorer@2.0.0"
    assert bench.machine.connected == 0, "the engine is not even asked"


@pytest.mark.parametrize(
    "tool", ["another", "scorer@2.0.0", f"scorer@{sha256_bytes(b'other')}"], ids=["name", "version", "digest"]
)
def test_a_tool_that_is_not_admitted(bench: Bench, tool: str) -> None:
    """Another name, another version, another digest."""
    bench.refused("run/not-admitted", tool=parse_tool(tool))


def test_a_node_without_a_ledger(home: Home, tmp_path: Path) -> None:
    """Refused, and with that its ledger begins."""
    bench = Bench(home, FakeMachine(), Order(parse_tool("scorer"), (), tmp_path / "out"))
    bench.refused("run/not-admitted")


def test_an_admission_that_expired(bench: Bench) -> None:
    """To the second."""
    bench.home.later(days=365, seconds=-1)
    bench.run()
    shutil.rmtree(bench.order.output)
    bench.machine.calls.clear()
    bench.home.later(seconds=1)
    bench.refused("admission/expired")


def test_a_tool_that_was_withdrawn(bench: Bench) -> None:
    """From the next run on."""
    withdraw(bench.home.node(), "scorer", ANNA)
    bench.refused("run/withdrawn")


def test_a_tool_that_is_withdrawn_while_the_run_waits(bench: Bench) -> None:
    """The admission is looked at again when the container is there and nothing in it runs yet."""

    def withdrawn() -> None:
        withdraw(bench.home.node(), "scorer", ANNA)

    bench.machine.while_queued = withdrawn
    bench.refused("run/withdrawn")


@pytest.mark.parametrize("other", ["withdrawal", "another run"])
def test_a_ledger_that_grows_just_before_the_start(bench: Bench, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    """Between the last look and the record of the start nothing may happen: it looks again, and only then starts."""
    append, waiting = Node.append, [True]

    def overtaken(self: Node, *envelopes: bytes, **more: Any) -> Any:
        if more.get("after") is not None and waiting:
            waiting.clear()
            if other == "withdrawal":
                withdraw(bench.home.node(), "scorer", ANNA)
            else:
                append(bench.home.node(), b'{"an":"entry of another run"}')
        return append(self, *envelopes, **more)

    monkeypatch.setattr(Node, "append", overtaken)
    if other == "withdrawal":
        bench.refused("run/withdrawn")
    else:
        assert bench.run().succeeded


def test_a_policy_that_changed(bench: Bench) -> None:
    """Admissions under the old one count only where the new one says so."""
    old = bench.home.node().policy.digest
    bench.home.policy["description"] = "stricter"
    bench.refused("admission/other-policy")
    bench.home.policy["admissions"] = {"also_under": [old]}
    assert bench.run().succeeded


def test_roll_back_of_the_withdrawal_list(bench: Bench) -> None:
    """A copy of the ledger from before the withdrawal, put back together with the index: nothing runs any more."""
    settings = bench.home.node().settings
    for place in (settings.ledger, settings.admissions):
        shutil.copytree(place, place.with_name(place.name + ".old"))
    withdraw(bench.home.node(), "scorer", ANNA)
    for place in (settings.ledger, settings.admissions):
        shutil.rmtree(place)
        place.with_name(place.name + ".old").rename(place)
    with pytest.raises(RolledBack):
        bench.run()
    assert bench.machine.calls == []
    assert not bench.order.output.exists()


def test_verifying_a_ledger_that_was_put_back(bench: Bench) -> None:
    """It is whole and signed, so its own verification cannot tell; a copy elsewhere is judged by itself."""
    settings = bench.home.node().settings
    old = settings.home / "old"
    shutil.copytree(settings.ledger, old)
    withdraw(bench.home.node(), "scorer", ANNA)
    verify = ["log", "verify", "--home", str(settings.home)]
    assert CliRunner().invoke(app, verify).exit_code == 0
    shutil.rmtree(settings.ledger)
    old.rename(settings.ledger)
    done = CliRunner().invoke(app, verify)
    assert done.exit_code == 3
    assert "put back" in done.stderr
    assert CliRunner().invoke(app, [*verify, "--ledger", str(settings.ledger)]).exit_code == 0
    shown = CliRunner().invoke(app, ["log", "show", "--home", str(settings.home)])
    assert (shown.exit_code, len(shown.stdout.splitlines()), "put back" in shown.stderr) == (3, 3, True)


def test_outputs_whose_place_was_taken_meanwhile(bench: Bench) -> None:
    """Two runs into one directory: the other's outputs stay, and those of this one are not lost."""
    tool = bench.machine.tool

    def overtaken(request: SandboxRequest, output: Path) -> int:
        bench.order.output.mkdir()
        (bench.order.output / "scores.csv").write_text("of the other run")
        return tool(request, output)

    bench.machine.tool = overtaken
    with pytest.raises(CouldNotDecide, match="has run") as caught:
        bench.run()
    (kept,) = bench.home.node().settings.runs.glob("*/output/scores.csv")
    assert str(kept.parent) in caught.value.next_step
    assert (bench.order.output / "scores.csv").read_text() == "of the other run"


def test_a_ledger_without_its_key(bench: Bench) -> None:
    """Nothing is run, and no new key takes the place of the one that a backup may still have."""
    settings = bench.home.node().settings
    key = settings.keys / "node.pem"
    key.unlink()
    with pytest.raises(CouldNotDecide, match="the key that signed"):
        bench.run(bench.home.node())
    assert bench.machine.calls == []
    assert not key.exists()


DOCUMENTS = {"manifest": MANIFEST, "config": image_config("one"), "image-manifest": image_manifest("one")}


@pytest.mark.parametrize("what", DOCUMENTS)
@pytest.mark.parametrize("change", ["altered", "missing"])
def test_documents_changed_after_admission(bench: Bench, what: str, change: str) -> None:
    """What was inspected is run, or nothing."""
    node = bench.home.node()
    data = DOCUMENTS[what]
    path = node.store.path_of(sha256_bytes(data))
    if change == "altered":
        path.chmod(0o644)
        path.write_bytes(data[:-1] + b" ")
    else:
        path.unlink()
    bench.refused(f"run/{what}")


# --- the digests of an image lead to each other ----------------------------------------------------------------------


def index_of(*digests: str, media_type: str = "application/vnd.oci.image.manifest.v1+json") -> bytes:
    manifests = [{"mediaType": media_type, "digest": digest, "size": 1} for digest in digests]
    index_type = "application/vnd.oci.image.index.v1+json"
    return json.dumps({"schemaVersion": 2, "mediaType": index_type, "manifests": manifests}).encode()


def admitted_through(bench: Bench, index: bytes, *kept: bytes) -> None:
    """Version 2.0.0 was named by this multi-platform index; `kept` is in the store."""
    node, home = bench.home.node(), bench.home
    home.keep(node, "two")
    for document in kept:
        node.store.put(document, name="image.json", media_type="application/json")
    bench.machine.images |= engine_images("two")
    tool = replace(home.tool("two", version="2.0.0"), index_digest=sha256_bytes(index))
    node.append(foreign_admission(bench, tool=tool))


def test_a_multi_platform_image(bench: Bench) -> None:
    """Index, the platform's manifest and config are recorded; an index inside an index leads on."""
    inner = index_of(bench.home.tool("two").image_digest, sha256_bytes(b"arm64"))
    outer = index_of(sha256_bytes(inner), sha256_bytes(b"else"), media_type="application/vnd.oci.image.index.v1+json")
    admitted_through(bench, outer, outer, inner)
    bench.run(tool=parse_tool("scorer@2.0.0"))
    (statement,) = statements_of(bench.home.node(), PROVENANCE)
    image = statement["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    assert "sha256:" + image["digest"]["sha256"] == bench.home.tool("two").image_digest
    assert image["annotations"]["indexDigest"] == sha256_bytes(outer)
    assert image["annotations"]["configDigest"] == bench.home.tool("two").config_digest


def test_an_index_that_is_gone(bench: Bench) -> None:
    admitted_through(bench, index_of(bench.home.tool("two").image_digest))
    bench.refused("run/index", tool=parse_tool("scorer@2.0.0"))


@pytest.mark.parametrize(
    "index",
    [index_of(sha256_bytes(b"another image")), image_manifest("two"), b"{}", b"[]", b"no JSON"],
    ids=["of another image", "a manifest", "empty", "list", "text"],
)
def test_an_index_that_does_not_lead_to_the_image(bench: Bench, index: bytes) -> None:
    """The digest that people named, and the image that would run, have nothing to do with each other."""
    admitted_through(bench, index, index)
    bench.refused("run/pinning", tool=parse_tool("scorer@2.0.0"))


def test_indexes_without_end(bench: Bench) -> None:
    """They are not followed for long."""
    indexes = [index_of(bench.home.tool("two").image_digest)]
    for _ in range(6):
        nested = index_of(sha256_bytes(indexes[-1]), media_type="application/vnd.oci.image.index.v1+json")
        indexes.append(nested)
    admitted_through(bench, indexes[-1], *indexes)
    bench.refused("run/pinning", tool=parse_tool("scorer@2.0.0"))


def test_a_config_digest_that_differs(bench: Bench) -> None:
    """The admission names the config of one image and the manifest of another; the engine holds both."""
    home, node = bench.home, bench.home.node()
    for image in ("two", "three"):
        home.keep(node, image)
        bench.machine.images |= engine_images(image)
    tool = replace(home.tool("two", version="2.0.0"), config_digest=home.tool("three").config_digest)
    node.append(foreign_admission(bench, tool=tool))
    bench.refused("run/pinning", tool=parse_tool("scorer@2.0.0"))


def test_the_engines_image_replaced_while_the_run_waits(bench: Bench) -> None:
    """The engine is asked again when the container is there and nothing in it runs yet."""
    (image_id,) = bench.machine.images

    def replaced() -> None:
        bench.machine.images[image_id] = (sha256_bytes(b"other"),)

    bench.machine.while_queued = replaced
    bench.refused("run/other-image")


def test_the_engines_image_removed_while_the_run_waits(bench: Bench) -> None:
    bench.machine.while_queued = bench.machine.images.clear
    bench.refused("run/other-image")


def test_another_image_under_the_admitted_id(bench: Bench) -> None:
    """An engine that answers with other layers for the id that was admitted."""
    (image_id,) = bench.machine.images
    bench.machine.images[image_id] = (sha256_bytes(b"other"),)
    bench.refused("run/other-image")


def test_a_value_that_looks_like_an_option(bench: Bench, tmp_path: Path) -> None:
    """Binding refuses what the manifest does not mean; what was given is not quoted in the ledger."""
    other = tmp_path / "a,b.csv"
    other.write_text("x")
    predicate = bench.refused("run/input", inputs=(f"table={other}",))
    assert predicate["reason"] == ""


def test_no_engine(bench: Bench) -> None:
    """Could not decide, recorded."""

    def nobody() -> Any:
        raise EngineUnavailable("no container engine answers", next_step="start one")

    with pytest.raises(EngineUnavailable):
        run(bench.home.node(), bench.order, nobody)
    assert statements_of(bench.home.node(), RUN_REFUSAL)[0]["predicate"]["rule"] == "could-not-decide"


# --- runs that end badly ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "facts"),
    [
        (3, {}),
        (0, {"ended_by": EndedBy.DEADLINE}),
        (0, {"oom_killed": True}),
        (0, {"refused": (RefusedEntry(path="link", reason="symlink"),)}),
        (0, {"ended_by": EndedBy.ENGINE_LOST, "exit_code": None}),
    ],
    ids=["wrong exit code", "out of time", "out of memory", "left a symlink", "engine lost"],
)
def test_a_run_that_failed(bench: Bench, code: int, facts: dict[str, Any]) -> None:
    """It is recorded; its outputs stay with its papers, where nobody takes them for results."""
    bench.machine.facts = facts
    bench.machine.tool = lambda request, output: [(output / "half.csv").write_text("x"), code][1]
    finished = bench.run()
    assert not finished.succeeded
    assert not bench.order.output.exists()
    assert (finished.outputs / "half.csv").is_file()
    assert finished.outputs.is_relative_to(bench.home.node().settings.runs)
    assert len(statements_of(bench.home.node(), PROVENANCE)) == 1


def ends(exit_code: int | None = 0, ended_by: EndedBy = EndedBy.EXIT) -> Callable[[Bench], None]:
    def tool(bench: Bench) -> None:
        bench.machine.facts = {"ended_by": ended_by, "exit_code": exit_code}

    return tool


def is_interrupted(bench: Bench) -> None:
    def tool(request: SandboxRequest, output: Path) -> int:
        raise KeyboardInterrupt

    bench.machine.tool = tool


@pytest.mark.parametrize(
    ("tool", "code", "told"),
    [
        (ends(), 0, True),
        (ends(7), 1, False),
        (ends(ended_by=EndedBy.DEADLINE), 1, False),
        (ends(None, EndedBy.ENGINE_LOST), 3, False),
        (ends(None, EndedBy.KILLED), 3, False),
        (is_interrupted, 130, None),
    ],
    ids=["well", "wrong exit code", "out of time", "engine lost", "container removed", "Ctrl-C"],
)
def test_the_command_says_how_a_run_ended(
    bench: Bench, tool: Callable[[Bench], None], code: int, told: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was ended from elsewhere says nothing of the tool; and every end is JSON where that was asked for."""
    bench.home.moment = system_clock()
    admit(bench.home.node(), bench.home.inspected(), ANNA)
    tool(bench)
    monkeypatch.setattr("flows.machine.engine_machine", lambda settings: bench.machine.connect())
    settings = bench.home.node().settings
    given = ["--home", str(settings.home), "--policy", str(settings.policy), "--input", bench.order.inputs[0]]
    command = ["run", "scorer", *given, "-o", str(bench.order.output), "--format", "json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == code, done.output
    answer = json.loads(done.stdout)
    assert answer["succeeded"] is told if told is not None else answer["error"]["exit_code"] == code


def test_outputs_are_not_led_elsewhere_by_whoever_owns_the_place_beside(bench: Bench, tmp_path: Path) -> None:
    """They are moved away while the tool runs, and a link to a directory of the system lies there instead."""
    elsewhere = tmp_path / "etc"
    elsewhere.mkdir()

    def swapped(request: SandboxRequest, output: Path) -> int:
        (staged,) = bench.order.output.parent.glob(f".{bench.order.output.name}.*")
        staged.rename(staged.with_name("mine"))
        staged.symlink_to(elsewhere)
        (output / "cron").write_text("x")
        return 0

    bench.machine.tool = swapped
    with pytest.raises(CouldNotDecide, match="cannot go to"):
        bench.run()
    assert not list(elsewhere.iterdir())
    assert not bench.order.output.exists()
    (kept,) = bench.home.node().settings.runs.glob("*/output/cron")
    assert kept.read_text() == "x"
    assert not list(bench.order.output.with_name("mine").iterdir())


def test_outputs_do_not_go_into_a_directory_that_somebody_else_put_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its opening; nothing runs then."""
    make = tempfile.mkdtemp

    def swapped(**names: Any) -> str:
        path = str(make(**names))
        Path(path).chmod(0o707)
        return path

    monkeypatch.setattr("flows.staging.tempfile.mkdtemp", swapped)
    with pytest.raises(CouldNotDecide, match="somebody else put"):
        bench.run()
    assert bench.machine.calls == []
    assert not bench.order.output.exists()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_nothing_is_run_from_a_home_that_others_may_write_to(bench: Bench, mode: int) -> None:
    """There they could put another ledger, store and key, which fit each other."""
    settings = bench.home.node().settings
    settings.home.chmod(mode)
    with pytest.raises(UsageError, match="others may write"):
        Node.open(settings)


def test_nothing_is_run_under_a_policy_that_everybody_may_write(bench: Bench) -> None:
    settings = bench.home.node().settings
    bench.home.policy_file.chmod(0o646)
    with pytest.raises(UsageError, match="may write the policy"):
        Node.open(settings)
    bench.home.policy_file.chmod(0o664)
    assert Node.open(settings)


def test_nothing_is_run_from_a_home_of_somebody_else(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may write there whatever its mode; root owns everything anyway."""
    settings = bench.home.node().settings
    owner = settings.home.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    if owner:
        with pytest.raises(UsageError, match="belongs to another user"):
            Node.open(settings)
        return
    assert Node.open(settings)
    os.chown(settings.home, 65_534, -1)
    for user in (4711, 0):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        with pytest.raises(UsageError, match="belongs to another user"):
            Node.open(settings)


def test_a_run_that_never_started(bench: Bench) -> None:
    """That is no run."""
    bench.machine.facts = {"ended_by": EndedBy.NOT_STARTED, "detail": "no memory left", "exit_code": None}
    with pytest.raises(CouldNotDecide, match="not started"):
        bench.run()
    assert statements_of(bench.home.node(), PROVENANCE) == []
    assert not list(bench.home.node().settings.runs.iterdir())


def test_a_person_who_breaks_off(bench: Bench) -> None:
    """The tool may have seen the data, so that stands in the ledger."""

    def interrupted(request: SandboxRequest, output: Path) -> int:
        raise KeyboardInterrupt

    bench.machine.tool = interrupted
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    (statement,) = statements_of(bench.home.node(), PROVENANCE)
    assert statement["predicate"]["buildDefinition"]["internalParameters"]["endedBy"] == "interrupted"
    assert not bench.order.output.exists()


def test_a_process_that_is_killed_in_the_middle(bench: Bench) -> None:
    """That the tool was started stands in the ledger before it sees any data."""

    class Killed(BaseException):
        """As if the process were gone: nothing catches this."""

    def killed(request: SandboxRequest, output: Path) -> int:
        (started,) = statements_of(bench.home.node(), RUN_START)
        assert "sha256:" + started["subject"][0]["digest"]["sha256"] == bench.home.tool().image_digest
        assert PERSON not in json.dumps(started)
        raise Killed

    bench.machine.tool = killed
    with pytest.raises(Killed):
        bench.run()
    assert not bench.order.output.exists()


def test_outputs_without_a_record(bench: Bench) -> None:
    """A ledger that breaks during the run: the person gets no outputs that nothing tells of."""
    node = bench.home.node()

    def break_ledger(request: SandboxRequest, output: Path) -> int:
        (output / "scores.csv").write_text("x")
        (node.settings.ledger / "checkpoint").write_bytes(b"")
        return 0

    bench.machine.tool = break_ledger
    with pytest.raises(CouldNotDecide):
        bench.run(node)
    assert not bench.order.output.exists()


@pytest.mark.parametrize(
    "inputs",
    [
        ("table=/nowhere.csv",),
        ("nothing",),
        ("unknown=1",),
        ("output_dir=/etc",),
        ("threshold=abc",),
        ("threshold=nan",),
        ("rounds=1.5",),
        ("rounds=9007199254740993",),
        ("threshold=0.5", "threshold=0.6"),
    ],
)
def test_inputs_that_cannot_be_read(bench: Bench, inputs: tuple[str, ...]) -> None:
    """Wrong usage: nothing runs, and there is nothing to record."""
    size = bench.home.node().head().size
    with pytest.raises(UsageError):
        bench.run(inputs=inputs)
    assert bench.machine.calls == []
    assert bench.home.node().head().size == size


def test_an_output_directory_that_is_in_use(bench: Bench, tmp_path: Path) -> None:
    """Nothing there is overwritten; an empty one is fine."""
    used = tmp_path / "used"
    used.mkdir()
    assert bench.run(output=used).succeeded
    for place in (used, tmp_path / "missing" / "out", tmp_path / f"{PATIENT}.csv"):
        with pytest.raises(UsageError, match="outputs cannot go"):
            bench.run(output=place)


def test_admissions_written_for_other_tests_do_count(bench: Bench) -> None:
    """The table of attacks above fails for what it changes, not for what it leaves."""
    node = bench.home.node()
    config = image_config("two")
    bench.home.keep(node, "two")
    bench.machine.images |= engine_images("two")
    node.append(foreign_admission(bench))
    assert statements_of(node, VSA)
    finished = bench.run(tool=parse_tool("scorer@2.0.0"))
    assert finished.execution.image_id == parse_digest(sha256_bytes(config))
