"""The shell completion that ``docs/install.md`` installs in one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "install.md"


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """With the command of this installation as ``cdc``."""
    return os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


def _line_of(shell: str) -> str:
    """The line that the page has one's shell read at its start."""
    (line,) = re.findall(
        rf"^echo '(.*_CDC_COMPLETE={shell}_source.*)' >>? ", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return str(line)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("cdc en", "endpoint"),
        ("cdc uninstall-t", "uninstall-triggers"),
        ("cdc endpoint rot", "rotate-secret"),
        ("cdc endpoint add --filt", "--filter"),
        ("cdc delivery list --state de", "delivered dead"),
    ],
)
def test_bash_completes_commands_options_and_values(environment: dict[str, str], typed: str, offered: str) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("not verified: there is no bash on this machine")
    words = typed.split()
    script = (
        f"set -u\n{_line_of('bash')}\n"
        f"COMP_WORDS=({typed})\nCOMP_CWORD={len(words) - 1}\n_cdc_completion cdc\n"
        'complete -p cdc\necho "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        [bash, "--norc", "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    registered, completions = done.stdout.splitlines()
    assert registered == "complete -o nosort -F _cdc_completion cdc"
    assert completions == offered


@pytest.mark.parametrize(
    ("shell", "begins", "arguments", "offered"),
    [
        ("zsh", "#compdef cdc", {"COMP_WORDS": "cdc en", "COMP_CWORD": "1"}, "plain\nendpoint\nAdd, change"),
        ("fish", "function _cdc_completion;", {"COMP_WORDS": "cdc en", "COMP_CWORD": "en"}, "plain,endpoint"),
    ],
)
def test_zsh_and_fish_get_their_script_and_their_answers(
    environment: dict[str, str], shell: str, begins: str, arguments: dict[str, str], offered: str
) -> None:
    assert f"_CDC_COMPLETE={shell}_source cdc" in _line_of(shell)

    def call(instruction: str, **more: str) -> str:
        asked = environment | {"_CDC_COMPLETE": f"{shell}_{instruction}"} | more
        return subprocess.run(["cdc"], env=asked, capture_output=True, text=True, check=True, timeout=120).stdout

    assert call("source").startswith(begins)
    assert offered in call("complete", **arguments)
