"""Options that several commands share, and where results go."""

from __future__ import annotations

import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.plain import plain

if TYPE_CHECKING:
    from pratique.settings import Settings


class OutputFormat(StrEnum):
    """How a result is shown; every form is rendered from the JSON."""

    HUMAN = "human"
    JSON = "json"
    SARIF = "sarif"
    MARKDOWN = "markdown"
    HTML = "html"


class PlainFormat(StrEnum):
    """How a result is shown that is no report: in words, or as JSON."""

    HUMAN = "human"
    JSON = "json"


def path_named(text: str) -> Path:
    """A path that a person names; an unset variable names none, and never the directory that one happens to be in."""
    if not text:
        raise typer.BadParameter("it is empty, as a variable that is not set is")
    return Path(text)


def directory_named(text: str) -> Path:
    """A directory that a person names, and that is there."""
    path = path_named(text)
    if not path.is_dir():
        raise typer.BadParameter(f"{text[:200]!r} is {'a file' if path.exists() else 'not there'}")
    return path


_STREAMS = frozenset({Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd")})


def writable(output: Path | None) -> Path | None:
    """Before hours of work, not after: what the result is written to must have a place, and be no link.

    A link in a folder that somebody else filled, such as a submission, leads to whatever file of the person's it names.
    """
    if output is not None and not output.parent.is_dir():
        raise typer.BadParameter(f"there is no directory {str(output.parent)[:200]!r} for it")
    if output is not None and output.is_symlink() and not _is_systems(output):
        raise typer.BadParameter(f"{str(output)[:200]!r} is a link, which may lead anywhere; name the file itself")
    return output


def replaceable(output: Path | None) -> Path | None:
    """`writable`, and nothing of the system's keeps a result from being put there whole, as `deliver` does.

    Only a file that is made in its directory tells: permissions do not know of a medium that is read-only, or full.
    """
    if output is None or str(output) == "-":
        return output
    try:
        if writable(output) and not _is_stream(output):
            tempfile.TemporaryFile(dir=output.parent).close()
        return output
    except OSError as error:
        raise typer.BadParameter(f"nothing can be written in {str(output.parent)[:200]!r}: {error.strerror}") from error


def _is_stream(path: Path) -> bool:
    """Whether what is written there stays with what was: a pipe, a device, one of the system's links to them."""
    return _is_systems(path) or (path.exists() and not path.is_file())


def _is_systems(path: Path) -> bool:
    """Whether a link is one of the system's own, such as /dev/stdout; elsewhere below /dev anybody may make one."""
    return path.absolute().parent in _STREAMS


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIRECTORY",
        parser=path_named,
        help="Pratique's state directory (default: PRATIQUE_HOME or ~/.local/share/pratique).",
    ),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="The node's policy (default: PRATIQUE_POLICY, or the shipped one, which trusts nobody).",
    ),
]
Format = Annotated[OutputFormat, typer.Option("--format", help="Form of the result on standard output.")]
PlainFormatOption = Annotated[PlainFormat, typer.Option("--format", help="Form of the result.")]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        dir_okay=False,
        callback=replaceable,
        help="Write the result to this file instead of standard output (`-`).",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]


def settings_from(home: Path | None, policy: Path | None = None) -> Settings:
    """Settings from the environment, with what the command line says before them; raises `UsageError`."""
    from pydantic import ValidationError

    from pratique.errors import UsageError
    from pratique.settings import Settings

    given = {name: value.resolve() for name, value in (("home", home), ("policy", policy)) if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"the setting PRATIQUE_{'_'.join(map(str, first['loc'])).upper()} cannot be used: "
            + first["msg"].removeprefix("Value error, "),
            next_step="mend or unset that environment variable",
        ) from error


def deliver(text: str, output: Path | None) -> None:
    """Write a result to `output`, or to standard output (also as `-`).

    A reader of the file sees all of it or what was there.
    """
    if output is None or str(output) == "-":
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        return
    from flows.files import write_whole

    if _is_stream(output):
        with output.open("a", encoding="utf-8") as stream:
            stream.write(text)
    else:
        write_whole(output, text)  # a link that was put there since the command began is replaced, not followed
    typer.echo(f"wrote {plain(str(output))}", err=True)
