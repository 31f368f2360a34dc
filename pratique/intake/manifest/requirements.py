"""What a manifest requires: image, environment, resources, GPU, network, files in the working directory."""

from __future__ import annotations

import re
from typing import Any

from pratique.intake.manifest import fields
from pratique.intake.manifest.expressions import parse_template
from pratique.intake.manifest.guard import refuse, requirement_entries
from pratique.intake.manifest.model import Requirements, WorkDirEntry

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)


def read_requirements(document: dict[str, Any], where: str) -> Requirements:
    """The requirements and hints of `document`; raises `InvalidInput` (`manifest/…`)."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for section in ("hints", "requirements"):  # a requirement overrides a hint of its class
        for entry, place in requirement_entries(document.get(section), f"{where}/{section}"):
            found[entry["class"]] = (entry, place)
    docker, docker_place = found.get("DockerRequirement", ({}, where))
    resources, resources_place = found.get("ResourceRequirement", ({}, where))
    ram = fields.number(resources, "ramMin", resources_place, minimum=0)
    access, access_place = found.get("NetworkAccess", ({}, where))
    return Requirements(
        image=fields.text(docker, "dockerPull", docker_place),
        environment=_environment(*found.get("EnvVarRequirement", ({}, where))),
        cores_min=fields.number(resources, "coresMin", resources_place, minimum=0),
        ram_min_mib=None if ram is None else round(ram),
        cuda="CUDARequirement" in found,
        cuda_required=found.get("CUDARequirement", ({}, ""))[1].startswith(f"{where}/requirements"),
        network=fields.boolean(access, "networkAccess", access_place, default=False),
        work_dir=_work_dir(*found.get("InitialWorkDirRequirement", ({}, where))),
    )


def _environment(entry: dict[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    definition = entry.get("envDef")
    if isinstance(definition, dict):
        definition = [{"envName": key, "envValue": value} for key, value in definition.items()]
    result: dict[str, str] = {}
    for index, item in enumerate(definition if isinstance(definition, list) else []):
        place = f"{where}/envDef[{index}]"
        found = fields.mapping(item, place)
        name = fields.text(found, "envName", place, default=None)
        value = fields.text(found, "envValue", place)
        parse_template(value, where=place)
        if not _ENVIRONMENT_NAME.fullmatch(name) or name in result:
            raise refuse("environment", place, f"the variable {name[:80]!r} is not usable", "Use each name once: A_1.")
        result[name] = value
    return tuple(result.items())


def _work_dir(entry: dict[str, Any], where: str) -> tuple[WorkDirEntry, ...]:
    listing = entry.get("listing")
    result = []
    for index, item in enumerate(listing if isinstance(listing, list) else [] if listing is None else [listing]):
        place = f"{where}/listing[{index}]"
        found = {"entry": item} if isinstance(item, str) else fields.mapping(item, place)
        name = fields.text(found, "entryname", place)
        content = fields.text(found, "entry", place)
        parse_template(content, where=place)
        parse_template(name, where=place)
        if name.startswith("/") or ".." in name.split("/"):
            raise refuse("work-dir", place, f"{name[:80]!r} leaves the working directory", "Use a plain file name.")
        result.append(WorkDirEntry(name, content, fields.boolean(found, "writable", place, default=False)))
    return tuple(result)
