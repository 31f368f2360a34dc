"""Does the manifest say what it should, of this tool? Rules from mistakes seen in real manifests, each with a fix.

The manifest was read before (a hostile one never comes here); this check judges it as a description: whose it is,
whether its command line is unambiguous, whether its outputs can be found, and what it asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator

from checks.interface import CheckResult, Finding, Level, Measurement, status_of
from pratique.errors import InvalidInput
from pratique.intake.document import ProfileName
from pratique.intake.manifest.command import bind, validated
from pratique.intake.manifest.expressions import OUTDIR, referenced_input, references
from pratique.intake.manifest.model import InputBinding, InputParameter, Manifest, PathValue, Scalar, Value
from pratique.intake.manifest.parameters import by_id
from pratique.intake.submission import Submission

CHECK = "manifest"
VERSION = "2"
_GENERIC = frozenset({"ai", "app", "container", "docker", "eucaim", "image", "task", "the", "tool", "tools", "v"})
_LOADER_VARIABLES = frozenset({"LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "PYTHONSTARTUP", "BASH_ENV"})
_HABITUAL_NETWORKS = frozenset({"", "none"})
_USUAL: tuple[ProfileName, ...] = ("default",)


def check_manifest(submission: Submission, *, granted: Collection[ProfileName] = _USUAL) -> CheckResult:
    """Lint the manifest of `submission` against itself, its example and the identity that the submission states.

    `granted` are the sandbox profiles that this node lets tools ask for.
    """
    manifest = submission.manifest
    linted = (finding for rule in _RULES for finding in rule(submission))
    findings = (*linted, *_profile(submission, granted))
    status = status_of(findings)
    errors = sum(finding.level is Level.ERROR for finding in findings)
    others = len(findings) - errors
    summary = f"{manifest.dialect} {manifest.id or '(no id)'}: {_count(errors, 'error')}, {_count(others, 'remark')}"
    measurements = (
        Measurement(name="inputs", value=len(manifest.inputs), method="declared in the manifest"),
        Measurement(name="outputs", value=len(manifest.outputs), method="declared in the manifest"),
    )
    inputs = {"manifest": manifest.digest, "submission": submission.digest}
    return CheckResult(
        check=CHECK,
        version=VERSION,
        status=status,
        summary=summary,
        findings=findings,
        measurements=measurements,
        inputs=inputs,
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _finding(rule: str, level: Level, message: str, where: str, fix: str, *risks: str) -> Finding:
    return Finding(rule_id=f"{CHECK}/{rule}", level=level, message=message, where=where, fix=fix, risks=risks)


# --- whose manifest it is ------------------------------------------------------------------------------------------


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]+[0-9]*|[0-9]+", name.lower())) - _GENERIC


def _identity(submission: Submission) -> Iterator[Finding]:
    name, found = submission.document.tool.name, submission.manifest.id
    if not found:
        yield _finding("id-missing", Level.WARNING, "the manifest has no id", "id", f"Write `id: {name}`.", "G3")
    elif found == name:
        return
    elif _words(name) & _words(found):
        message = f"the id {found!r} is not the name {name!r} of the submission"
        yield _finding("id-differs", Level.WARNING, message, "id", "Use one name in both places.", "G3")
    else:
        message = f"the id {found!r} is that of another tool; the submission is {name!r}"
        yield _finding("id-of-another-tool", Level.ERROR, message, "id", f"Write `id: {name}`.", "G3", "G11")


def _version(submission: Submission) -> Iterator[Finding]:
    stated, found = submission.document.tool.version, submission.manifest.version
    if not found:
        message = "no version in the metadata; a version that stands only in an image tag can move"
        yield _finding("version-missing", Level.WARNING, message, "metadata/version", f"Write {stated!r} there.", "G3")
    elif _trimmed(found) != _trimmed(stated):
        message = f"the manifest is of version {found!r}, the submission of {stated!r}"
        yield _finding("version-differs", Level.ERROR, message, "metadata/version", "Write the same in both.", "G3")


def _trimmed(version: str) -> str:
    return re.sub(r"(\.0)+$", "", version)


def _image(submission: Submission) -> Iterator[Finding]:
    image, where = submission.manifest.requirements.image, "DockerRequirement/dockerPull"
    if not image:
        yield _finding("image-missing", Level.WARNING, "no image is named", where, "Name it, with its digest.", "G3")
        return
    reference, _, digest = image.partition("@")
    repository, colon, tag = reference.rpartition("/")[2].partition(":")
    names = (submission.document.tool.name, submission.manifest.id)
    if repository not in names and not _words(repository) & _words(" ".join(names)):
        message = f"the image {repository!r} seems to be that of another tool"
        yield _finding("image-of-another-tool", Level.WARNING, message, where, "Name this tool's own image.", "G3")
    pinned = f"Write `{reference.removesuffix(colon + tag)}@{submission.document.image.digest}`."
    if digest and digest != submission.document.image.digest:
        message = f"the manifest names the image {digest}, the submission another"
        yield _finding("image-digest-differs", Level.ERROR, message, where, pinned, "G3")
    elif not digest and tag in ("", "latest"):
        message = f"{image!r} names whatever was pushed last"
        yield _finding("image-latest", Level.WARNING, message, where, pinned, "G3")
    elif not digest:
        yield _finding("image-by-tag", Level.NOTE, f"{image!r} is a tag, which can move", where, pinned, "G3")


# --- whether the command line is unambiguous -----------------------------------------------------------------------


def _bound(manifest: Manifest) -> list[tuple[InputParameter, InputBinding]]:
    return [(parameter, parameter.binding) for parameter in manifest.inputs if parameter.binding is not None]


def _prefixes(submission: Submission) -> Iterator[Finding]:
    users: dict[str, list[str]] = {}
    for parameter, binding in _bound(submission.manifest):
        users.setdefault(binding.prefix or "", []).append(f"inputs/{parameter.id}")
    for index, argument in enumerate(submission.manifest.arguments):
        users.setdefault(argument.prefix or "", []).append(f"arguments[{index}]")
    users.pop("", None)
    for prefix, places in users.items():
        if len(places) > 1:
            message = f"{', '.join(places)} share the prefix {prefix!r}, so one overrides the other"
            yield _finding("duplicate-prefix", Level.ERROR, message, places[1], "Give each its own prefix.")
        if not prefix.startswith(("-", "+", "/")) and "=" not in prefix:
            message = f"the prefix {prefix!r} looks like a value, not like an option"
            yield _finding("odd-prefix", Level.NOTE, message, places[0], f"Did you mean '--{prefix}'?")


def _positions(submission: Submission) -> Iterator[Finding]:
    groups: dict[int, list[tuple[str, bool]]] = {}
    for parameter, binding in _bound(submission.manifest):
        groups.setdefault(binding.position or 0, []).append((parameter.id, not binding.prefix))
    fix = "Give each positional argument a position of its own."
    for position, members in groups.items():
        positional = [name for name, is_positional in members if is_positional]
        where = f"inputs/{positional[-1]}/inputBinding/position" if positional else ""
        if len(positional) > 1:
            message = f"{', '.join(positional)} share the position {position}: which comes first is not said"
            yield _finding("position-collision", Level.ERROR, message, where, fix)
        elif positional and len(members) > 1:
            message = f"{positional[0]} shares the position {position} with an option: their order is not said"
            yield _finding("position-shared-with-option", Level.WARNING, message, where, fix)


def _inputs(submission: Submission) -> Iterator[Finding]:
    for parameter, binding in _bound(submission.manifest):
        if parameter.type.value == "boolean" and not binding.prefix and binding.value_from is None:
            message = f"the boolean {parameter.id} has no prefix, so it is never shown on the command line"
            yield _finding("boolean-without-prefix", Level.WARNING, message, f"inputs/{parameter.id}", "Add a prefix.")
    for parameter in submission.manifest.inputs:
        where = f"inputs/{parameter.id}"
        if parameter.hidden and parameter.required and parameter.default is None and not parameter.is_output_directory:
            message = f"{parameter.id} is hidden from users, required, and has no default: nobody can set it"
            yield _finding("hidden-without-default", Level.ERROR, message, where, "Give it a default.")
        if parameter.default is None or parameter.type.is_path or parameter.is_output_directory:
            continue
        try:
            validated(parameter, parameter.default, where)
        except InvalidInput as error:
            fix = "Correct the default or the constraints."
            yield _finding("default-not-allowed", Level.ERROR, f"the default: {error.message}", where, fix)


def _example(submission: Submission) -> Iterator[Finding]:
    """Bind the example, and so every expression and glob, without running anything."""
    example = submission.document.example
    if example is None:
        message = "without an example input it cannot be seen whether the tool does what its manifest says"
        yield _finding("example-missing", Level.WARNING, message, "submission.yaml/example", "Add one.", "G6")
        return
    try:
        bind(submission.manifest, {k: _placed(submission, k, v) for k, v in example.inputs.items() if v is not None})
    except InvalidInput as error:
        message = f"the example cannot be bound to the command line: {error}"
        yield _finding(
            "example-does-not-bind", Level.ERROR, message, f"submission.yaml/example/{error.where}", error.next_step
        )


def _placed(submission: Submission, name: str, value: object) -> Value:
    """`value` as the sandbox would hand it over; anything of a wrong kind is left for `bind` to refuse."""
    parameter = submission.manifest.input(name)
    return [_placed_one(parameter, v) for v in value] if isinstance(value, list) else _placed_one(parameter, value)


def _placed_one(parameter: InputParameter | None, value: object) -> Scalar:
    if parameter is not None and parameter.type.is_path and isinstance(value, str):
        return PathValue(f"/input/{parameter.id}/{value.rstrip('/').rpartition('/')[2]}")
    return value if isinstance(value, str | int | float) else str(value)


# --- whether outputs can be found ----------------------------------------------------------------------------------


def _outputs(submission: Submission) -> Iterator[Finding]:
    manifest, known = submission.manifest, by_id(submission.manifest.inputs)
    if not manifest.outputs:
        yield _finding("no-outputs", Level.ERROR, "no output is declared", "outputs", "Declare what is written.", "G11")
    for output in manifest.outputs:
        where = f"outputs/{output.id}/outputBinding/glob"
        if not output.globs:
            message = f"{output.id} has no glob, so it can never be found"
            yield _finding("output-without-glob", Level.ERROR, message, where, "Add a glob.", "G11")
        for glob in output.globs:
            for reference in references(glob, where=where):
                if reference.scope == "inputs" and referenced_input(reference.name, known) is None:
                    message = f"the glob {glob!r} names the input {reference.name!r}, which does not exist"
                    fix = f"Name one of: {', '.join(known) or 'no input is declared'}."
                    yield _finding("glob-unknown-input", Level.ERROR, message, where, fix, "G11")
    if not _told_where_to_write(manifest):
        message = "no input, argument or variable tells the tool where to write"
        fix = f"Add an input with `valueFrom: {OUTDIR}`."
        yield _finding("output-directory-untold", Level.WARNING, message, "inputs", fix, "G11")


def _told_where_to_write(manifest: Manifest) -> bool:
    texts = [argument.value_from for argument in manifest.arguments]
    texts += [value for _, value in manifest.requirements.environment]
    texts += [binding.value_from or "" for _, binding in _bound(manifest)]
    return any(p.is_output_directory for p in manifest.inputs) or any(OUTDIR in text for text in texts)


# --- what it asks for ----------------------------------------------------------------------------------------------


def _requirements(submission: Submission) -> Iterator[Finding]:
    manifest, needs = submission.manifest, submission.manifest.requirements
    if needs.network or manifest.network not in _HABITUAL_NETWORKS:
        habit = "NetworkAccess" if needs.network else f"the network {manifest.network!r}"
        level = Level.WARNING if needs.network or manifest.network in ("host", "overlay") else Level.NOTE
        message = f"the manifest asks for {habit}; a tool here runs without any network"
        fix = "Remove it unless the tool cannot work without."
        yield _finding("network-not-needed", level, message, "metadata/orchestrator/network", fix, "G1", "T2")
    if needs.cores_min is None or needs.ram_min_mib is None:
        message = "cores and memory are not declared, so what the tool uses cannot be compared with anything"
        fix = "Add ResourceRequirement with coresMin and ramMin (MiB)."
        yield _finding("resources-undeclared", Level.WARNING, message, "requirements", fix, "G5")
    if needs.cuda:
        message = "a GPU is asked for; without one the tool must work on the CPU or say clearly that it cannot"
        yield _finding("gpu", Level.NOTE, message, "requirements", "Say in the documents what happens without.", "G5")
    if needs.work_dir:
        message = "files are wanted in the working directory, which are not provided here"
        fix = "Put them into the image or make them inputs."
        yield _finding("work-dir", Level.WARNING, message, "requirements/InitialWorkDirRequirement", fix)
    for name, _ in needs.environment:
        if name in _LOADER_VARIABLES:
            message = f"the variable {name} changes which code is loaded"
            fix = "Remove it; set paths inside the image."
            yield _finding("loader-variable", Level.ERROR, message, "requirements/EnvVarRequirement", fix, "T2")


def _profile(submission: Submission, granted: Collection[ProfileName]) -> Iterator[Finding]:
    wanted = submission.profile
    if wanted in granted:
        return
    asked = submission.document.sandbox is not None
    where = "submission.yaml/sandbox/profile" if asked else "requirements/CUDARequirement"
    fix = {
        "default": "Ask the node to name `default` under sandbox.profiles in its policy.",
        "gosu": "Let the entry point run as any user without root, or ask the node to grant `gosu` in its policy.",
        "gpu": "Let the tool run on the CPU and write `sandbox: {profile: default}` in submission.yaml, or ask the "
        "node to grant `gpu` in its policy.",
    }[wanted]
    message = f"the sandbox profile {wanted!r} is asked for, which this node does not grant ({_named(granted)})"
    yield _finding("profile-not-granted", Level.ERROR, message, where, fix, "G6")


def _named(granted: Collection[ProfileName]) -> str:
    return f"it grants {', '.join(sorted(granted))}" if granted else "it grants none"


_REMARKS = {
    "unknown-key": (Level.NOTE, "Remove it, or correct its spelling."),
    "exit-code-undeclared": (Level.NOTE, "Write `expectedExitCode: 0`, or the code that success has."),
    "version-not-quoted": (Level.WARNING, "Put the version in quotes."),
}


def _remarks(submission: Submission) -> Iterator[Finding]:
    for remark in submission.manifest.remarks:
        level, fix = _REMARKS[remark.rule]
        yield _finding(remark.rule, level, remark.message, remark.where, fix)


_RULES: tuple[Callable[[Submission], Iterator[Finding]], ...] = (
    _identity,
    _version,
    _image,
    _prefixes,
    _positions,
    _inputs,
    _example,
    _outputs,
    _requirements,
    _remarks,
)
