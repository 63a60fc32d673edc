"""The health of the running consumer, which the doctor asks for, so that both report the same."""

from __future__ import annotations

from typing import Any, Final

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout

from cdc.config import Config
from cdc.model.finding import Finding, Severity

#: Seconds that the consumer may take to answer: health reads memory and asks no database.
PATIENCE: Final = 10.0
#: No answer about health is longer (bytes).
_LONGEST: Final = 1 << 20
#: Addresses on which everybody listens, and by which nobody is reached.
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - it is read here, and nothing listens
_START: Final = "cdc run; as a service of systemd: systemctl start facturascripts-cdc"


async def consumer_findings(config: Config) -> list[Finding]:
    """Return why the consumer that serves `[web] listen` is not ready, a finding for each reason, or that it is.  Empty
    where health is not served."""
    listen = config.web.listen
    if not listen:
        return []
    host, _, port = listen.rpartition(":")
    try:
        report = await _ask(f"http://{_ANYWHERE.get(host, host)}:{port}/health/ready")
    except TimeoutError:
        detail = f"What listens on {listen} does not answer within {PATIENCE:g} s."
        return [Finding("running", Severity.WRONG, detail, "Read the log of cdc run, and start it again.")]
    except (ClientError, OSError):
        return [Finding("running", Severity.WARNING, f"No cdc run answers on {listen}: is it stopped?", _START)]
    if report is None:
        detail = f"What listens on {listen} is no cdc run."
        return [Finding("running", Severity.WARNING, detail, "Give [web] listen a free port, then start cdc run.")]
    if set(report["sources"]) != set(config.source):
        detail = f"The cdc run that listens on {listen} reads other sources than this configuration has."
        return [Finding("running", Severity.WARNING, detail, "Reload it, or give each installation a [web] listen.")]
    findings = [
        Finding("ready", Severity.WRONG, str(reason), "Other checks may say how; else read the log of cdc run.")
        for reason in report["reasons"]
    ]
    return findings or [Finding("ready", Severity.OK, f"cdc run works, and answers on {listen}")]


async def _ask(url: str) -> dict[str, Any] | None:
    """Return the answer; None when it is not one of ours."""
    timeout = ClientTimeout(total=PATIENCE)
    async with ClientSession(timeout=timeout) as session, session.get(url, allow_redirects=False) as answer:
        body = await answer.content.read(_LONGEST)
    try:
        report = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    ours = (
        isinstance(report, dict) and isinstance(report.get("reasons"), list) and isinstance(report.get("sources"), dict)
    )
    return report if ours else None
