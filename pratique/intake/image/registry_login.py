"""Answering a registry's challenge: Basic, or a token from the service that it names (distribution's token protocol).

An account goes to the registry itself, and to a token service under the same domain, nowhere else. An identity token
(what `docker login` or a credential helper keeps instead of a password) is exchanged for an access token as OAuth 2
asks: by POST, in the body.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping

import httpx

from pratique.bounds import strict_json
from pratique.errors import CouldNotDecide
from pratique.intake.image.model import KIB, Credentials
from pratique.intake.image.registry_network import LAYOUT, Origin

_MAX_TOKEN = 64 * KIB
_CHALLENGE = re.compile(r'(realm|service|scope)="([^"]{1,2000})"')
_CLIENT = "pratique"

Extensions = Callable[[str], dict[str, object]]
"""What a request to a URL tells httpx beside its headers."""


class Login:
    """Who we are to one registry; `header` is the Authorization that it accepted last, empty before a challenge."""

    def __init__(self, origin: Origin, credentials: Credentials | None, scope: str) -> None:
        self.header = ""
        self._origin = origin
        self._credentials = credentials
        self._scope = scope

    def answers(self, client: httpx.Client, challenge: str, extensions: Extensions) -> bool:
        """Whether there is an answer to `challenge`, which is then in `header`; an old token is replaced.

        Raises `InvalidInput` (`image/registry-redirect`) for a token service that must not be visited.
        """
        scheme = challenge.partition(" ")[0].lower()
        self.header = ""
        if scheme == "basic":
            self.header = self._basic()
        elif scheme == "bearer":
            self.header = self._bearer(client, dict(_CHALLENGE.findall(challenge)), extensions)
        return bool(self.header)

    def _basic(self) -> str:
        if self._credentials is None or not self._credentials.password:
            return ""
        pair = f"{self._credentials.username}:{self._credentials.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")

    def _bearer(self, client: httpx.Client, values: Mapping[str, str], extensions: Extensions) -> str:
        realm = values.get("realm")
        if realm is None:
            return ""
        self._origin.require_public(realm)
        known = self._credentials if self._origin.neighbours(realm) else None
        asked = {"service": values.get("service", ""), "scope": self._scope}
        headers = {"Accept-Encoding": "identity", "User-Agent": "pratique"}
        if known is not None and known.identity_token:
            form = {**asked, "grant_type": "refresh_token", "client_id": _CLIENT, "refresh_token": known.identity_token}
            request = client.build_request("POST", realm, headers=headers, data=form, extensions=extensions(realm))
        else:
            if known is not None:
                headers["Authorization"] = self._basic()
            url = httpx.URL(realm).copy_merge_params(asked)
            request = client.build_request("GET", url, headers=headers, extensions=extensions(realm))
        response = client.send(request, stream=True)
        try:
            return f"Bearer {self._token(response)}" if response.status_code == 200 else ""
        finally:
            response.close()

    def _token(self, response: httpx.Response) -> str:
        data = bytearray()
        for chunk in response.iter_raw(_MAX_TOKEN):
            data += chunk
            if len(data) > _MAX_TOKEN:
                break
        value = strict_json(bytes(data), where=self._origin.host, max_bytes=_MAX_TOKEN)
        token = (value.get("token") or value.get("access_token")) if isinstance(value, dict) else None
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise CouldNotDecide(f"the token service of {self._origin.host} gave no token", next_step=LAYOUT)
        return token
