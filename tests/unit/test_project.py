"""What stands around the code agrees with it: packaging, pins, workflow, compose files."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdc.config.load import load_config
from cdc.extras import install_hint
from cdc.facturascripts.schema import specs

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads(PYPROJECT)
SUPPORTED = {
    "python": ["3.11", "3.12", "3.13", "3.14"],
    "MySQL": ["8.0", "8.4", "9"],
    "MariaDB": ["10.6", "10.11", "11.8"],
    "PostgreSQL": ["13", "14", "15", "16", "17", "18"],
}


def _yaml(path: str) -> dict[Any, Any]:
    document: dict[Any, Any] = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return document


def _name(requirement: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[=<>;! ]", requirement, maxsplit=1)[0]).lower()


def test_every_package_folder_is_installed() -> None:
    folders = {path.parent for path in (ROOT / "cdc").rglob("*.py")}
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages | {"cdc.sql"}


def test_every_data_file_is_installed() -> None:
    """Files that are not Python are named by the patterns of package-data."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    tracked = subprocess.run(["git", "ls-files", "cdc", "sql"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in tracked.stdout.splitlines():
        path = Path(name)
        if path.suffix == ".py":
            continue
        folder = next(each for each in path.parents if (ROOT / each / "__init__.py").exists())
        package = "cdc.sql" if path.parts[0] == "sql" else ".".join(folder.parts)
        inside = path.relative_to(folder)
        assert any(inside.match(pattern.removeprefix("**/")) for pattern in patterns.get(package, [])), name


def test_every_dependency_says_why() -> None:
    requirements = [
        *PROJECT["project"]["dependencies"],
        *(r for extra in PROJECT["project"]["optional-dependencies"].values() for r in extra),
        *(r for group in PROJECT["dependency-groups"].values() for r in group),
    ]
    for requirement in requirements:
        lines = [line for line in PYPROJECT.splitlines() if line.strip().startswith(f'"{requirement}"')]
        assert lines, requirement
        assert all(re.search(r'",?\s*# \S', line) for line in lines), f"no reason beside {requirement}"


def test_constraints_are_exact_and_cover_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", pin)] == []
    pinned = {_name(pin) for pin in pins}
    assert len(pinned) == len(pins)
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    assert {_name(requirement) for requirement in wanted} - pinned == set()


def test_workflow_tests_every_supported_version() -> None:
    matrix = _yaml(".github/workflows/test.yml")["jobs"]["versions"]["strategy"]["matrix"]
    rows = [*matrix["databases"], *(row["databases"] for row in matrix["include"])]
    assert matrix["python"] == SUPPORTED["python"]
    for title in ("MySQL", "MariaDB", "PostgreSQL"):
        versions = {row[title.lower()] for row in rows}
        assert versions == set(SUPPORTED[title])


def test_requirements_are_the_constraints_with_hashes() -> None:
    """`make lock` writes them."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?! )", text.strip())
    assert [block for block in blocks if not re.search(r"\\\n    --hash=sha256:[0-9a-f]{64}", block)] == []
    pins = {block.split()[0] for block in blocks}
    constraints = {line.lower() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    assert {pin for pin in pins if _plain(pin) not in map(_plain, constraints)} == set()
    extras = [r for name, extra in PROJECT["project"]["optional-dependencies"].items() if name != "demo" for r in extra]
    wanted = {_plain(_name(requirement)) for requirement in [*PROJECT["project"]["dependencies"], *extras]}
    assert wanted - {_plain(_name(pin)) for pin in pins} == set()


def _plain(name: str) -> str:
    """As the index compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.partition("==")[0]).lower() + "".join(name.partition("==")[1:])


@pytest.mark.parametrize("workflow", ["test", "release"])
def test_workflow_pins_actions_and_its_container_by_digest(workflow: str) -> None:
    jobs = _yaml(f".github/workflows/{workflow}.yml")["jobs"].values()
    used = [step["uses"] for job in jobs for step in job["steps"] if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)] == []
    text = (ROOT / f".github/workflows/{workflow}.yml").read_text(encoding="utf-8")
    assert len(re.findall(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+\n", text)) == len(used), "its version beside each commit"
    assert [job["container"] for job in jobs if "container" in job and not DIGEST.fullmatch(job["container"])] == []


#: FacturaScripts' image is the one whose digest is not known here.
DIGEST, TAG = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}"), re.compile(r"facturascripts/facturascripts:\d+\.\d+")


@pytest.mark.parametrize("engine", ["mariadb", "postgres"])
def test_containers_are_pinned_and_confined(engine: str) -> None:
    services = _yaml(f"docker/compose.{engine}.yaml")["services"]
    for name, service in services.items():
        image = service["image"]
        assert "build" in service or DIGEST.fullmatch(image) or TAG.fullmatch(image), image
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
    for name in ("install-triggers", "create-outbox", "cdc"):
        assert "cap_add" not in services[name]
        assert services[name]["pids_limit"] == 100
    bases = re.findall(r"(?m)^FROM (\S+)", (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8"))
    assert [base for base in bases if not DIGEST.fullmatch(base)] == []


def test_supported_versions_are_what_the_package_and_the_readme_say() -> None:
    classifiers = [c.rsplit(" ", 1)[1] for c in PROJECT["project"]["classifiers"] if "Python :: 3." in c]
    assert classifiers == SUPPORTED["python"]
    assert PROJECT["project"]["requires-python"] == f">={SUPPORTED['python'][0]}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for title, versions in SUPPORTED.items():
        first, last = re.escape(versions[0]), re.escape(versions[-1])
        assert re.search(rf"(?i){title}\b[^\n]*?\b{first}\b[^\n]*?\b{last}\b", readme), (
            f"README.md says nothing of {title}"
        )


@pytest.mark.parametrize("engine", ["mariadb", "postgres"])
def test_compose_file_is_whole(engine: str) -> None:
    compose = _yaml(f"docker/compose.{engine}.yaml")
    services = compose["services"]
    assert set(services) == {"database", "facturascripts", "install-triggers", "create-outbox", "cdc"}
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(compose["volumes"])
        assert {config["source"] for config in service.get("configs", [])} <= set(compose["configs"])
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
    for service, before in (("create-outbox", "install-triggers"), ("cdc", "create-outbox")):
        assert services[service]["depends_on"] == {before: {"condition": "service_completed_successfully"}}
    assert (ROOT / "docker" / services["cdc"]["build"]["dockerfile"].removeprefix("docker/")).is_file()
    assert (ROOT / "docker" / compose["configs"]["cdc"]["file"]).is_file()


@pytest.mark.parametrize("engine", ["mariadb", "postgres"])
def test_compose_configuration_is_valid(engine: str) -> None:
    config = load_config(ROOT / "docker" / f"cdc.{engine}.toml", environment={})
    assert list(config.source) == ["main"]
    assert config.dispatch.allow_private


def test_image_is_built_from_files_that_the_build_may_see() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    seen = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }
    copied = {name for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", dockerfile) for name in line.split()}
    assert copied == seen
    assert all((ROOT / name).exists() for name in copied)
    assert re.search(r"(?m)^USER cdc$", dockerfile)


def test_no_table_of_ours_has_the_name_of_a_table_of_facturascripts() -> None:
    """FacturaScripts looks at table names without their schema: ours must never be one of its."""
    theirs = {spec.name for spec in specs()}
    ours = set()
    for path in (ROOT / "sql").rglob("*.sql"):
        found = re.findall(r"(?i)CREATE TABLE (?:IF NOT EXISTS )?[\"`]?(\w+)", path.read_text(encoding="utf-8"))
        ours.update(found)
    assert ours.isdisjoint(theirs)


def test_make_names_packages_while_pip_installs_them_and_fails_as_pip_does(tmp_path: Path) -> None:
    """``make demo`` with a pip that stands for the real one."""
    programs = tmp_path / "bin"
    programs.mkdir()
    pip = "echo 'Collecting aiohttp>=3 (x)'; echo 'Collecting msgspec'; echo 'Installing collected packages: a'"
    for name, script in (("pip", pip), ("cdc", "echo played")):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (programs / name).chmod(0o700)
    (programs / "pip-upgraded").touch()
    make = ["make", "-C", str(ROOT), "--no-print-directory", "demo", f"VENV={tmp_path}"]
    done = subprocess.run(make, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["  aiohttp msgspec", "  Installing them …", "played"]
    (tmp_path / "demo-installed").unlink()
    (programs / "pip").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    assert subprocess.run(make, capture_output=True, check=False).returncode != 0
    assert not (tmp_path / "demo-installed").exists()


def test_no_text_installs_the_package_from_an_index_that_does_not_have_it() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    told = re.compile(r"\binstall\s(--?\S+\s)*[\"'`]*facturascripts-cdc")
    here = Path(__file__).name
    names = [name for name in listed.stdout.split("\0") if name and not name.endswith((here, ".gz"))]
    texts = {name: (ROOT / name).read_bytes().decode(errors="replace") for name in names if (ROOT / name).is_file()}
    assert [name for name, text in texts.items() if told.search(text)] == []


def test_install_hint_lists_what_the_extra_needs() -> None:
    """The extras of the installed package: what pyproject.toml says may be newer."""
    for extra in metadata("facturascripts-cdc").get_all("Provides-Extra", ()):
        wanted = PROJECT["project"]["optional-dependencies"][extra]
        words = shlex.split(install_hint(extra).removeprefix("Install it with: "))
        assert words[:4] == [sys.executable, "-m", "pip", "install"]
        assert {_name(word) for word in words[4:]} == {_name(requirement) for requirement in wanted}
