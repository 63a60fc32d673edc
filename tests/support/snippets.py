"""The verification functions of ``docs/signing.md``, each run by its own language on requests as they arrived."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "signing.md"


@dataclass(frozen=True)
class Case:
    """A request as it arrived, and what the receiver verifies with.  ``headers``: names in lower case."""

    secret: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Language:
    """``title``: its heading.  ``program``: what runs it.  ``command``: makes the files, and says what to run; it reads
    cases as JSON from standard input and prints true or false for each, a line each."""

    title: str
    program: str
    command: Callable[[str, Path], Sequence[str]]
    signatures: tuple[str, ...] = ("v1", "v1a")

    def available(self) -> bool:
        return self.program == sys.executable or shutil.which(self.program) is not None


def snippet(title: str) -> str:
    """The first code below the heading."""
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text.partition(f"\n### {title}\n")[2]
    found = re.search(r"^```\w+\n(.*?)^```$", re.split(r"(?m)^##+ ", section)[0], re.MULTILINE | re.DOTALL)
    assert found, f"docs/signing.md has no code for {title}"
    return found[1]


def judged(language: Language, cases: Sequence[Case], folder: Path) -> list[bool]:
    """Return the snippet's verdict on each case."""
    requests = [
        {"secret": case.secret, "headers": dict(case.headers), "body": base64.b64encode(case.body).decode()}
        for case in cases
    ]
    command = language.command(snippet(language.title), folder)
    done = subprocess.run(
        command, cwd=folder, input=json.dumps(requests), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split()]


def _write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")


def _php(code: str, folder: Path) -> list[str]:
    driver = """
foreach (json_decode(stream_get_contents(STDIN), true) as $case) {
    echo webhook_is_genuine($case['headers'], base64_decode($case['body']), $case['secret']) ? "true\n" : "false\n";
}
"""
    _write(folder, verify__php=code + driver)
    return ["php", "-d", "display_errors=stderr", "verify.php"]


def _python(code: str, folder: Path) -> list[str]:
    driver = """

import json, sys
for case in json.load(sys.stdin):
    print(json.dumps(webhook_is_genuine(case["headers"], base64.b64decode(case["body"]), case["secret"])))
"""
    _write(folder, verify__py=code + driver)
    return [sys.executable, "-W", "error", "verify.py"]


def _node(code: str, folder: Path) -> list[str]:
    driver = """
for (const { headers, body, secret } of JSON.parse(require('node:fs').readFileSync(0, 'utf8'))) {
  console.log(webhookIsGenuine(headers, Buffer.from(body, 'base64'), secret));
}
"""
    _write(folder, verify__js=code + driver)
    return ["node", "verify.js"]


def _n8n(code: str, folder: Path) -> list[str]:
    """Run code as n8n's Code node does: an async function with these names around it.

    Half of the cases have the secret in a variable of n8n, where n8n 2 and newer blocks its environment.
    """
    driver = """
const code = require('node:fs').readFileSync('code.js', 'utf8');
const AsyncFunction = (async () => {}).constructor;
(async () => {
  const cases = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
  for (const [number, { headers, body, secret }] of cases.entries()) {
    const blocked = new Proxy({}, { get: () => { throw new Error('access to env vars denied'); } });
    const [$vars, $env] = number % 2 ? [{ WEBHOOK_SECRET: secret }, blocked] : [{}, { WEBHOOK_SECRET: secret }];
    const bytes = Buffer.from(body, 'base64');
    const $input = { first: () => ({ json: { headers, body: {} } }) };
    const self = { helpers: { getBinaryDataBuffer: async (item, name) => item === 0 && name === 'data' && bytes } };
    const run = new AsyncFunction('$input', '$vars', '$env', 'require', code);
    try {
      const [{ json }] = await run.call(self, $input, $vars, $env, require);
      console.log(JSON.stringify(json) === JSON.stringify(JSON.parse(bytes)));
    } catch (error) {
      if (error.message !== 'This webhook is not genuine.') throw error;
      console.log(false);
    }
  }
})();
"""
    _write(folder, driver__js=driver, code__js=code)
    return ["node", "driver.js"]


def _go(code: str, folder: Path) -> list[str]:
    driver = """package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

func main() {
	var cases []struct {
		Secret, Body string
		Headers      map[string]string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	for _, each := range cases {
		headers := http.Header{}
		for name, value := range each.Headers {
			headers.Set(name, value)
		}
		body, _ := base64.StdEncoding.DecodeString(each.Body)
		fmt.Println(IsGenuine(headers, body, each.Secret))
	}
}
"""
    verify = code.replace("package webhook", "package main", 1)
    _write(folder, verify__go=verify, main__go=driver, go__mod="module verify\n\ngo 1.19\n")
    return ["go", "run", "."]


def _csharp(code: str, folder: Path) -> list[str]:
    driver = """
using System.Collections.Generic;
using System.Text.Json;

foreach (var each in JsonDocument.Parse(System.Console.In.ReadToEnd()).RootElement.EnumerateArray())
{
    var headers = new Dictionary<string, string>();
    foreach (var header in each.GetProperty("headers").EnumerateObject())
    {
        headers[header.Name] = header.Value.GetString()!;
    }
    byte[] body = each.GetProperty("body").GetBytesFromBase64();
    bool genuine = Webhook.IsGenuine(headers, body, each.GetProperty("secret").GetString()!);
    System.Console.WriteLine(genuine ? "true" : "false");
}
"""
    version = subprocess.run(["dotnet", "--version"], capture_output=True, text=True, check=True).stdout.split(".")[0]
    project = (
        f'<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><OutputType>Exe</OutputType>'
        f"<TargetFramework>net{version}.0</TargetFramework></PropertyGroup></Project>\n"
    )
    _write(folder, Webhook__cs=code, Program__cs=driver, verify__csproj=project)
    return ["dotnet", "run"]


LANGUAGES = (
    Language("PHP", "php", _php),
    Language("Python", sys.executable, _python),
    Language("Node", "node", _node),
    Language("Go", "go", _go),
    Language("C#", "dotnet", _csharp, ("v1",)),
    Language("n8n", "node", _n8n, ("v1",)),
)
