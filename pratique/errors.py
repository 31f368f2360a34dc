"""Errors that Pratique raises on purpose: each says what happened, why, and what to do next.

*Refused* (the input is definitively bad) is told apart from *could not decide* (something needed to decide was
missing); the exit code follows from the class.
"""

from __future__ import annotations


class PratiqueError(Exception):
    """Base of every deliberate error; never raised itself."""

    exit_code = 3

    def __init__(self, message: str, *, cause: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.next_step = next_step

    def __str__(self) -> str:
        return self.message + (f" ({self.cause})" if self.cause else "")


class Refused(PratiqueError):
    """What was handed in is definitively not acceptable."""

    exit_code = 1


class InvalidInput(Refused):
    """Bytes from outside are not what they claim to be.

    `rule` is the stable identifier of the rule that was broken (e.g. `yaml/duplicate-key`), `where` the place.
    """

    def __init__(self, message: str, *, rule: str, where: str = "", cause: str = "", next_step: str = "") -> None:
        super().__init__(message, cause=cause, next_step=next_step)
        self.rule = rule
        self.where = where

    def __str__(self) -> str:
        return (f"{self.where}: " if self.where else "") + super().__str__()


class UsageError(PratiqueError):
    """The command was called in a way that cannot work."""

    exit_code = 2


class CouldNotDecide(PratiqueError):
    """Something needed for a decision was missing, broke or timed out; never counts as a pass."""

    exit_code = 3


class EngineUnavailable(CouldNotDecide):
    """No container engine answers, or it went away in the middle."""


class NotAuthorised(PratiqueError):
    """The person or key may not do this."""

    exit_code = 4
