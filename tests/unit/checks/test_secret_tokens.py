"""Tokens in their issuers' own forms, made here of random letters: each is found, and never repeated."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import Level
from checks.secret_forms import find_hits, kind_of, masked, may_be_text, text_of
from tests.unit.checks.test_code import SITE
from tests.unit.checks.test_image_secrets import KEY, judged, of, secrets

LETTERS = "q7Zk2mVx9RtB4nLw8YpD3sHf6JgC1vKe5XaTuM0o" * 8
HEX = hashlib.sha512(b"of nobody").hexdigest() * 2
UPPER = "Q7ZKMVXRTBNLWYPDSHFJGCVKEXATUMO2345678W3" * 2
PEM = "-----BEGIN {}PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA7bq0z1x2c3v4b5n6m7" * 3
TOKENS: dict[str, str] = {
    "AWS, temporary": f"ASIA{UPPER[:16]}",
    "AWS, of a role": f"ABIA{UPPER[:16]}",
    "AWS, in the environment": f"AWS_SECRET_ACCESS_KEY={LETTERS[:40]}",
    "AWS Bedrock": f"ABSK{LETTERS[:120]}",
    "AWS session": f"aws_session_token=IQoJb3JpZ2luX2Vj{LETTERS[:200]}",
    "Google service account": f'{{"type": "service_account", "private_key": "{PEM.format("")}"}}',
    "Google refresh token": f"1//0{LETTERS[:60]}",
    "Azure signature of another order": f"https://x.blob/c?sp=r&sr=c&sv=2022-11-02&sig={LETTERS[:43]}%3D",
    "Azure DevOps": f"{LETTERS[:76]}AZDO{LETTERS[:4]}",
    "Azure IoT": f"SharedAccessKey={LETTERS[:43]}=",
    "GitHub, fine-grained": f"github_pat_{LETTERS[:22]}_{LETTERS[:59]}",
    "GitHub, of an installation": f"ghs_123456_eyJ{LETTERS[:40]}.eyJ{LETTERS[:40]}.{LETTERS[:40]}",
    "GitHub, refresh": f"ghr_{LETTERS[:76]}",
    "GitLab, routable": f"glpat-{LETTERS[:27]}.01.{HEX[:9]}",
    "GitLab, of an agent": f"glagent-{LETTERS[:50]}",
    "GitLab, of a feed": f"glft-{LETTERS[:20]}",
    "Slack, rotated": f"xoxe.xoxp-1-{LETTERS[:140]}",
    "Slack, of a workflow": f"https://hooks.slack.com/workflows/T{UPPER[:9]}/A{UPPER[:9]}/123456/{LETTERS[:24]}",
    "Discord": f"https://discord.com/api/webhooks/192837465564738291/{LETTERS[:68]}",
    "Stripe, restricted": f"rk_live_{LETTERS[:99]}",
    "Stripe, of a hook": f"whsec_{LETTERS[:32]}",
    "npm, of before": f"//registry.npmjs.org/:_authToken={HEX[:8]}-1111-4222-8333-{HEX[:12]}",
    "PyPI": f"pypi-AgEIcHlwaS5vcmc{LETTERS[:150]}",
    "Hugging Face": f"hf_{LETTERS[:34]}",
    "OpenAI, of a project": f"sk-proj-{LETTERS[:74]}T3BlbkFJ{LETTERS[:74]}",
    "Anthropic": f"sk-ant-api03-{LETTERS[:93]}AA",
    "Anthropic, of an administrator": f"sk-ant-admin01-{LETTERS[:93]}AA",
    "Groq": f"gsk_{LETTERS[:52]}",
    "OpenRouter": f"sk-or-v1-{HEX[:64]}",
    "Docker Hub, of an organisation": f"dckr_oat_{LETTERS[:32]}",
    "Docker's credentials in another file": f'{{"auths": {{"r.io": {{"auth": "{LETTERS[:24]}"}}}}}}',
    "DigitalOcean": f"doo_v1_{HEX[:64]}",
    "Vault, service": f"hvs.{LETTERS[:95]}",
    "Terraform": f"{LETTERS[:14]}.atlasv1.{LETTERS[:67]}",
    "RubyGems": f"rubygems_{HEX[:48]}",
    "Grafana": f"glsa_{LETTERS[:32]}_{HEX[:8]}",
    "Tailscale": f"tskey-auth-{LETTERS[:12]}-{LETTERS[:32]}",
    "Atlassian": f"ATATT3xFfGF0{LETTERS[:180]}={HEX[:8].upper()}",
    "JSON web token behind a name": f"session_eyJ{LETTERS[:20]}.eyJ{LETTERS[:30]}.{LETTERS[:43]}".replace(
        "session_", "="
    ),
    "key for a VPN": f"[Interface]\nPrivateKey = {LETTERS[:43]}=\n",
    "key as JSON": f'{{"kty": "RSA", "n": "{LETTERS[:80]}", "d": "{LETTERS[:80]}"}}',
    "key as XML": f"<RSAKeyValue><Modulus>a</Modulus><D>{LETTERS[:80]}=</D></RSAKeyValue>",
    "key in base64": base64.b64encode(PEM.format("RSA ").encode()).decode(),
    "key of SSH in base64": base64.b64encode(PEM.format("OPENSSH ").encode()).decode(),
    "key of PGP": f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{LETTERS[:64]}\n",
    "key of SSH's other form": f"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: x\n{LETTERS[:70]}\n",
    "header": f"curl -H 'Authorization: Bearer {LETTERS[:40]}' x",
    "password without a name": f"redis://:{LETTERS[:16]}@redis:6379/0",
    "token in an address": f"git clone https://{HEX[:40]}@git.corp/x",
    "password for curl": "curl -sS -u bob:hunter22zebra https://x",
    "password for a registry": "docker login -u bob -p hunter22zebra r.io",
    "password as an option": "tool --password=hunter22zebra",
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_is_found_in_texts_and_settings_of_the_image(kind: str) -> None:
    text = f"first line\nx: {TOKENS[kind]}\n" if "\n" not in TOKENS[kind] else f"first line\n{TOKENS[kind]}"
    hits = [hit for hit in find_hits(text) if hit.certain]
    assert hits
    assert hits[0].line >= 2
    assert kind_of(TOKENS[kind])


BARE = {
    "settings": f"api_token: {LETTERS[:32]}\n",
    "shell": f"export SIGNING_SECRET={LETTERS[:24]}\n",
    "ini": f"[x]\nsecret_key = {LETTERS[:30]}\n",
}


@pytest.mark.parametrize("kind", BARE)
def test_a_random_value_without_quotes_is_a_warning(kind: str) -> None:
    assert [hit.certain for hit in find_hits(BARE[kind])] == [False]


QUIET = {
    "a manual of options": "usage: tool --password PASSWORD --token <token> --secret=$SECRET --api-key KEY\n",
    "a header in a manual": "Authorization: Bearer <your token>\nAuthorization: Bearer $TOKEN\n",
    "an address with a name": "https://user@example.org/x https://git@github.com/x/y\n",
    "a public key as JSON": f'{{"kty": "RSA", "n": "{LETTERS[:80]}", "e": "AQAB"}}',
    "a certificate in base64": base64.b64encode(b"-----BEGIN CERTIFICATE-----\n" + LETTERS.encode()).decode(),
    "a public key of a VPN": f"PublicKey = {LETTERS[:43]}=\n",
    "a key for reports": f"https://{HEX[:32]}@o1.ingest.sentry.io/2\n",
    "a test's key of Stripe": f"sk_test_{LETTERS[:24]}\n",
    "settings with words": "token: my-own-token-name\npassword: ${DB_PASSWORD}\nsecret_name: db-secret-production\n",
    "standard input": "docker login -u bob --password-stdin r.io\n",
    "a path": "private_key: /run/secrets/key4711.pem\n",
}


@pytest.mark.parametrize("kind", QUIET)
def test_what_is_no_token_is_left_alone(kind: str) -> None:
    assert list(find_hits(QUIET[kind])) == []


def test_a_secret_in_a_path_or_a_name_is_not_given_out(tmp_path: Path) -> None:
    token = f"ghp_{LETTERS[:36]}"
    image = of((f"app/{token}.txt", token.encode()), run={"Env": [f"{token}={token}"], "Labels": {token: token}})
    result = judged(tmp_path, image)
    assert len(secrets(result)) == 3
    assert LETTERS[:12] not in result.model_dump_json()


def test_a_label_and_a_command_are_judged_by_name_too(tmp_path: Path) -> None:
    run = {"Labels": {"registry_password": "zebra77"}, "Cmd": ["sh", "-c", "API_TOKEN=zebra77 tool"]}
    found = dict(secrets(judged(tmp_path, of(run=run))))
    assert found == {"config: Labels registry_password": Level.ERROR, "config: Cmd": Level.ERROR}


def test_a_key_that_a_package_brings_unchanged_is_a_note(tmp_path: Path) -> None:
    digest = base64.urlsafe_b64encode(hashlib.sha256(KEY.encode()).digest()).rstrip(b"=").decode()
    record = f"web/demo.pem,sha256={digest},1\nweb-1.dist-info/RECORD,,\n".encode()
    image = of(
        (f"{SITE}/web/demo.pem", KEY.encode()),
        (f"{SITE}/web/other.pem", KEY.encode()),
        (f"{SITE}/web-1.dist-info/METADATA", b"Name: web\nVersion: 1\n"),
        (f"{SITE}/web-1.dist-info/RECORD", record),
    )
    assert dict(secrets(judged(tmp_path, image))) == {
        f"/{SITE}/web/demo.pem (layer 0)": Level.NOTE,
        f"/{SITE}/web/other.pem (layer 0)": Level.ERROR,
    }


ENDLESS: dict[str, str] = {
    "beginnings of web tokens": "-eyJaaaaaaaaaaaa",
    "beginnings of keys": "T3BlbkFJ -sk-aaaaaaaaaa",
    "beginnings of signed addresses": "&sv=sig",
    "beginnings of key files": "PuTTY-User-Key-File-2: ",
    "beginnings of connections": "Pwd host=a;",
    "commands without a password": "curl -u a ",
    "assignments of nothing": "=",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_beginnings_without_an_end_are_passed_over_once_each(kind: str) -> None:
    """Each searched to the end of the text would take minutes."""
    text = ENDLESS[kind]
    assert list(find_hits(text * (200_000 // len(text)))) == []


def test_a_secret_behind_many_beginnings_is_found() -> None:
    """What ends a beginning early hides nothing behind it."""
    signed = f"https://a.blob.core.windows.net/x?sv=2020&sr=c&sp=r&sig={LETTERS[:44]}%3D"
    connection = "Server=db;User Id=app;Uid=app;Password=Zebra-77;"
    assert [hit.kind for hit in find_hits(f"&sv= {signed}\n")] == ["an Azure signature"]
    assert [hit.kind for hit in find_hits(f"host= {connection}\n")] == ["a password in a connection string"]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(TOKENS)), st.integers(0, 60), st.text("aA0-_.:/=\n\"' ", max_size=80))
def test_any_part_of_a_token_is_searched(kind: str, cut: int, more: str) -> None:
    text = TOKENS[kind][:cut] + more
    list(find_hits(text))
    masked(text)


GITHUB = f"github_pat_{LETTERS[:22]}_{LETTERS[:59]}"


@pytest.mark.parametrize(
    "text, line",
    [
        (f'first = 1\nkey = "{base64.b64encode(GITHUB.encode()).decode()}"\n', 2),
        (f"data:\n  key: {base64.urlsafe_b64encode(b'?>' + GITHUB.encode()).decode().rstrip('=')}\n", 2),
        (f'key = "{GITHUB[:30]}" + "{GITHUB[30:]}"', 1),
        (f"first = 1\nkey = (\n    '{GITHUB[:30]}'\n    '{GITHUB[30:]}'\n)", 3),
        (f"first = 1\nkey = '{GITHUB.encode().hex()}'\n", 2),
        (f"first = 1\nkey = '{GITHUB.encode().hex().upper()}'\n", 2),
        ('{{\n"key": "{}"}}'.format(GITHUB.replace("_", "\\u005f")), 2),
        ("{{\n'key': '{}'}}".format("".join(f"\\x{ord(letter):02X}" for letter in GITHUB)), 2),
        (f"first = 1\ncurl https://example.org/?key={GITHUB.replace('_', '%5F')}\n", 2),
    ],
    ids=[
        *("base64", "base64 for addresses", "added", "one after another"),
        *("hexadecimal", "HEXADECIMAL", "a letter of JSON", "letters by number", "of an address"),
    ],
)
def test_a_token_that_is_packed_or_in_pieces_is_found_at_its_line(text: str, line: int) -> None:
    """Nobody writes a token so but to get it past a search."""
    hits = list(find_hits(text))
    assert [(hit.line, hit.certain) for hit in hits if "GitHub" in hit.kind] == [(line, True)]


def test_a_token_in_base64_is_found_in_the_configuration_too() -> None:
    """An environment variable of any name."""
    assert kind_of(base64.b64encode(GITHUB.encode()).decode()) == "a GitHub token in base64"


@pytest.mark.parametrize("text", [f'a = ["{LETTERS[:40]}", "{LETTERS[:44]}"]', "b = 'usr/lib/python3/dist-packages/x'"])
def test_what_base64_does_not_hold_is_no_secret(text: str) -> None:
    """Digests and paths are written in the same letters."""
    assert not [hit for hit in find_hits(text) if hit.certain]


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be"])
def test_a_token_in_wide_letters_is_found(encoding: str) -> None:
    """With a mark of byte order and without one."""
    data = f'# settings of it\nkey = "{GITHUB}"\n'.encode(encoding)
    assert may_be_text(data[:64])
    assert [(hit.kind, hit.line) for hit in find_hits(text_of(data))] == [("a GitHub token", 2)]


@pytest.mark.parametrize("kind", sorted(TOKENS))
def test_a_token_is_found_whatever_stands_around_it(kind: str) -> None:
    """Marks are looked for in runs of letters only; none may be lost so."""
    assert kind_of(TOKENS[kind]) == kind_of(f"first = 'a' 'b' %41\n{TOKENS[kind]}\n")
