"""OAuth2 and JWT of endpoints on the command line and in files: secrets come from elsewhere and are never shown."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cdc.model.endpoint import origin_of

URL, TOKENS = "http://127.0.0.1:9/hook", "http://127.0.0.1:8/token"
OAUTH2 = ("--oauth2", TOKENS, "--client-id", "cdc", "--client-secret", "env:PLANTED")
PEM = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "planted-1")
    monkeypatch.setenv("PLANTED_2", "planted-2")


def added(run_cdc: Callable, *options: str) -> str:
    return str(json.loads(run_cdc("endpoint", "add", URL, "--events", "*", *options, "--json").stdout)["id"])


def shown(run_cdc: Callable, endpoint_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_cdc("endpoint", "show", endpoint_id, "--json").stdout)["authentication"]
    return found


def credentials(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "cdc.db")) as db:
        return [secret for (secret,) in db.execute("SELECT json_extract(settings, '$.credential') FROM endpoint")]


def test_oauth2_is_added_changed_and_removed(run_cdc: Callable, folder: Path) -> None:
    made = added(run_cdc, *OAUTH2, "--scope", "a", "--token-parameter", "resource=urn:x")
    run_cdc("endpoint", "update", made, "--scope", "b", "--client-authentication", "body")
    found = shown(run_cdc, made)
    assert (found["type"], found["token_url"], found["client_id"], found["scope"]) == ("oauth2", TOKENS, "cdc", "b")
    assert (found["parameters"], found["client_authentication"]) == ({"resource": "urn:x"}, "body")
    assert credentials(folder) == ["planted-1"], "the secret stays"
    texts = [run_cdc("endpoint", name, *more).output for name, *more in (("show", made), ("list", "--json"))]
    assert "scope b" in texts[0]
    assert "planted" not in "".join([*texts, run_cdc("export").output])
    run_cdc("endpoint", "update", made, "--no-authentication")
    assert shown(run_cdc, made) is None
    assert credentials(folder) == [""]


def test_jwt_key_is_never_shown_but_its_public_half(run_cdc: Callable, folder: Path) -> None:
    (folder / "key.pem").write_text(PEM)
    made = added(run_cdc, "--jwt-key", f"@{folder / 'key.pem'}", "--issuer", "erp", "--key-id", "k1")
    found = shown(run_cdc, made)
    assert found["public_jwk"] == {
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k1", "x": found["public_jwk"]["x"],
    }  # fmt: skip
    text = run_cdc("endpoint", "show", made).output
    assert found["public_jwk"]["x"] in text.replace("\n", "").replace(" ", "")
    assert "PRIVATE" not in text + run_cdc("export").output


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((*OAUTH2, "--jwt-key", "env:PLANTED"), "exclude each other"),
        ((*OAUTH2[:4],), "needs a client_secret"),
        ((*OAUTH2[:4], "--client-secret", "planted-0"), "on the command line"),
        (("--jwt-key", "env:PLANTED"), "cannot be read"),
        ((*OAUTH2, "--issuer", "x"), "has no issuer"),
        ((*OAUTH2, "--bearer", "env:PLANTED"), "header Authorization already"),
        (("--oauth2", "ftp://127.0.0.1/token", *OAUTH2[2:]), "needs a token URL"),
        ((*OAUTH2, "--token-parameter", "client_id=x"), "by the request for a token itself"),
    ],
)
def test_wrong_options_are_refused(run_cdc: Callable, options: tuple[str, ...], reason: str) -> None:
    refused = run_cdc("endpoint", "add", URL, "--events", "*", *options, code=2)
    assert reason in " ".join(refused.stderr.split())
    assert "planted-" not in refused.stderr


def test_file_describes_them_and_export_changes_nothing(run_cdc: Callable, folder: Path) -> None:
    file = folder / "endpoints.toml"
    text = f"""[endpoint.shop]
url = "{URL}"
events = ["*"]
authentication = {{ type = "oauth2", token_url = "{TOKENS}", client_id = "cdc", client_secret = "env:PLANTED" }}
"""
    file.write_text(text)
    run_cdc("apply", str(file))
    assert credentials(folder) == ["planted-1"]
    assert "1 of 1" not in run_cdc("apply", str(file)).stderr
    plan = run_cdc("apply", str(file.with_name("endpoints.toml")), "--dry-run", "--json")
    assert json.loads(plan.stdout)["steps"][0]["action"] == "none"

    exported = run_cdc("export").stdout
    assert 'authentication.token_url = "http://127.0.0.1:8/token"' in exported
    file.write_text(exported)
    run_cdc("apply", str(file))
    assert credentials(folder) == ["planted-1"]

    file.write_text(text.replace("PLANTED", "PLANTED_2"))
    changed = run_cdc("apply", str(file))
    assert "authentication's secret" in " ".join(changed.stdout.split())
    assert "planted-" not in changed.output
    assert credentials(folder) == ["planted-2"]

    file.write_text(text.replace("127.0.0.1:8", "127.0.0.1:7").replace(', client_secret = "env:PLANTED"', ""))
    refused = run_cdc("apply", str(file), code=2)
    assert "Enter it again: client_secret" in " ".join(refused.stderr.split())
    file.write_text(text.replace("env:PLANTED", "planted-0"))
    refused = run_cdc("apply", str(file), code=2)
    assert "named in the file, not written" in " ".join(refused.stderr.split())
    assert "planted-0" not in refused.stderr
    file.write_text(text.replace("client_id", "client"))
    assert "client_id" in run_cdc("apply", str(file), code=2).stderr


def test_url_or_token_url_of_another_origin_needs_the_secret_again(run_cdc: Callable) -> None:
    made = added(run_cdc, *OAUTH2)
    other, elsewhere = "http://127.0.0.1:7/token", "http://127.0.0.1:6/hook"
    assert origin_of(other) != origin_of(TOKENS)
    update = ("endpoint", "update", made)
    assert "client_secret" in run_cdc(*update, "--oauth2", other, code=2).stderr
    assert "client_secret of oauth2" in " ".join(run_cdc(*update, "--url", elsewhere, code=2).stderr.split())
    run_cdc(*update, "--oauth2", "http://127.0.0.1:8/other")
    run_cdc(*update, "--oauth2", other, "--client-secret", "env:PLANTED_2")
    run_cdc(*update, "--url", elsewhere, "--client-secret", "env:PLANTED_2")
    run_cdc(*update, "--url", URL, "--no-authentication")
