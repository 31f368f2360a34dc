"""When two names mean the same person or the same organisation, however they are written.

Pure. What cannot be seen, or is only another way of writing, makes no second voice: case, spaces, zero-width
characters, accents, compatibility forms, the punctuation of an organisation's name, the tag in `anna+x@node.example`.
"""

from __future__ import annotations

import unicodedata

_UNSEEN = ("Cc", "Cf", "Mn", "Me")
_ALIKE = {"LATIN", "CYRILLIC", "GREEK"}
"""Alphabets whose letters look like each other's."""


def person_key(identity: str) -> str:
    """An identity (a mail address) as it is compared."""
    folded = "".join(_folded(identity).split())
    local, at, domain = folded.rpartition("@")
    return f"{local.partition('+')[0]}@{domain.rstrip('.')}" if at else folded


def organisation_key(name: str) -> str:
    """An organisation's name as it is compared: letters and digits only."""
    return "".join(character for character in _folded(name) if character.isalnum())


def mixes_alphabets(text: str) -> bool:
    """Whether a word of `text` mixes alphabets, as only look-alikes do: `Nоrth` with a Cyrillic о."""
    return any(len(_alphabets(word)) > 1 for word in unicodedata.normalize("NFKC", text).split())


def _folded(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text)
    seen = "".join(character for character in apart if unicodedata.category(character) not in _UNSEEN)
    return unicodedata.normalize("NFKC", seen.casefold())


def _alphabets(word: str) -> set[str]:
    names = {unicodedata.name(letter, "?").partition(" ")[0] for letter in word if letter.isalpha()}
    return names & _ALIKE
