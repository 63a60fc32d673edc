# The project's commands. Everything they need is installed into .venv and .cache; Python 3.11 or newer is found by itself.
#
#   make demo    see it work on a PostgreSQL of its own (ARGS="--once" plays a short story and ends)
#   make test    a part of each kind of test, on real MariaDB, MySQL and PostgreSQL servers of their own (ARGS="-k journal"
#                and the like: all that match)
#   make test-all   all tests
#   make check   formatting, lint, types, import rules, guards, generated documentation
#   make bench   one benchmark of tests/bench: make bench BENCH=journal (ARGS="--servers postgresql"; docs/performance.md)
#   make faults  kill, stop, cut and alter while the ERP writes, and judge what arrived (ARGS="--faults 2000"; docs/reliability.md)
#   make moves   moves between triggers and the log, killed at every step (ARGS="--flavour mysql --moves 3000")
#   make chaos   20 sources and 50 endpoints, a third of them failing, for an hour (ARGS="--minutes 60 --seed 7 --priority")
#   make cluster workers on one replicated PostgreSQL outbox, killed, stopped, cut off, failed over (ARGS="--events 1000000")
#   make simulate   runs with simulated time, network and disk, SEEDS=1000 of them (ARGS="--first 5000", ARGS="--seed 17")
#   make mutants change the pure core in small ways, and count the changes that its tests notice (ARGS="placement --sample 0")
#   make fuzz    look for bytes that break the binlog decoder, for SECONDS=600, with atheris (installed separately)
#   make docs    write docs/events.md, docs/cli.md, docs/api.md, docs/imports.md and the TypeScript types again
#   make release-fixtures   keep what this version leaves behind, for the tests of later ones (CONTRIBUTING.md)
#   make screenshots   take the pictures of docs/web.md again
#   make lock    write requirements.txt again: constraints.txt with hashes, for images and careful installations
#   make sbom    the software bill of materials of a release, dist/facturascripts-cdc.cdx.json
#   make release-dry-run   all files of a release but the image, in dist/: wheel, source, .deb, SBOM, notes, checksums
#   make clean   remove what these commands made

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# Tests also wait, for databases and for time to pass: two more at once than there are cores.  Still more take no less
# time: they take processors and caches from each other, and writers that go on until something is done write more.
JOBS ?= $(shell echo $$(( $$(nproc) + 2 )))
ARGS ?=
# For .venv, instead of the first that is found.
PYTHON ?=
SECONDS ?= 600
SEEDS ?= 1000
# Generated documentation: each page with the module that prints it.
PAGES := events.md=support.events_page es/events.md=support.spanish_events_page cli.md=support.cli_page api.md=support.api_page imports.md=support.import_rules \
  packages/typescript/events.d.ts=support.typescript_types

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
# Every process of the tests would compile all modules by itself.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all check bench faults moves chaos cluster simulate mutants fuzz docs release-fixtures screenshots databases guards lock sbom release-dry-run clean
.DELETE_ON_ERROR:

demo: $(VENV)/demo-installed
	@$(BIN)/cdc demo $(ARGS)

test: SHORT := $(if $(ARGS),,--short)
test test-all: $(VENV)/dev-installed databases
	$(BIN)/pytest $(SHORT) --tx '$(JOBS)*popen//python=$(BIN)/python tests/support/forked_worker.py' --dist worksteal $(ARGS) || { [ $$? = 1 ] && PYTHONPATH=tests $(BIN)/python -m support.again; }

check: $(VENV)/dev-installed guards
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p cdc -p support
	$(BIN)/lint-imports
	PYTHONPATH=tests $(BIN)/python -m support.translations
	PYTHONPATH=tests $(BIN)/python -m support.program_messages --check
	@for page in $(PAGES); do \
	  diff docs/$${page%=*} <(PYTHONPATH=tests $(BIN)/python -m $${page#*=}) >&2 || { echo "docs/$${page%=*} is out of date: make docs" >&2; exit 1; }; \
	done

bench: $(VENV)/dev-installed databases
	@test -n "$(BENCH)" || { echo "Which one?  make bench BENCH=NAME with one of: $(patsubst tests/bench/bench_%.py,%,$(wildcard tests/bench/bench_*.py))" >&2; exit 2; }
	PYTHONPATH=tests $(BIN)/python tests/bench/bench_$(BENCH).py $(ARGS)

faults: $(VENV)/dev-installed databases
	PYTHONPATH=tests $(BIN)/python -m support.fault $(ARGS)

moves: $(VENV)/dev-installed databases
	PYTHONPATH=tests $(BIN)/python -m support.moves $(ARGS)

chaos: $(VENV)/dev-installed databases
	PYTHONPATH=tests $(BIN)/python -m support.chaos $(ARGS)

cluster: $(VENV)/dev-installed databases
	PYTHONPATH=tests $(BIN)/python -m support.cluster $(ARGS)

simulate: $(VENV)/dev-installed
	PYTHONPATH=tests $(BIN)/python -m support.simulated --seeds $(SEEDS) $(ARGS)

mutants: $(VENV)/dev-installed
	PYTHONPATH=tests $(BIN)/python -m support.mutants $(ARGS)

fuzz: $(VENV)/dev-installed
	PYTHONPATH=tests $(BIN)/python tests/fuzz/fuzz_binlog_decode.py -max_total_time=$(SECONDS) $(ARGS)

docs: $(VENV)/dev-installed
	@for page in $(PAGES); do \
	  text=$$(PYTHONPATH=tests $(BIN)/python -m $${page#*=}) && printf '%s\n' "$$text" > docs/$${page%=*} || exit 1; \
	done

release-fixtures: $(VENV)/dev-installed databases
	PYTHONPATH=tests $(BIN)/python -m support.releases

screenshots: $(VENV)/dev-installed databases
	PYTHONPATH=tests $(BIN)/python tests/browser/screenshots.py

guards:
	bash .ci/guards

# Without demo, whose database server no production needs.
lock: $(VENV)/dev-installed
	$(BIN)/pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 \
	  --constraint constraints.txt $(addprefix --extra ,amqp kafka nats redis tracing zstd) --group build pyproject.toml \
	  --output-file requirements.txt

sbom: $(VENV)/dev-installed
	$(BIN)/pip install --quiet --constraint constraints.txt cyclonedx-bom
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	  --output-file dist/facturascripts-cdc.cdx.json requirements.txt

# From what is committed.
release-dry-run: sbom
	rm -rf dist/build && mkdir -p dist/build && rm -f dist/*.whl dist/*.deb dist/*.tar.gz
	git archive HEAD | tar -x -C dist/build
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist ./dist/build
	PIP=$(CURDIR)/$(BIN)/pip bash dist/build/docker/debian/build.sh dist/*.whl dist
	version=$$(basename dist/*.whl | cut -d- -f2) && bash dist/build/.ci/notes.sh $$version > dist/NOTES.md && \
	  git archive --format tar.gz --prefix facturascripts-cdc-$$version/ --output dist/facturascripts-cdc-$$version.tar.gz HEAD
	rm -rf dist/build
	cd dist && sha256sum *.whl *.deb *.tar.gz *.cdx.json NOTES.md > SHA256SUMS && cat SHA256SUMS

databases: $(VENV)/dev-installed
	@PYTHONPATH=tests $(BIN)/python -m support.install

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	find cdc sql tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The names of packages as pip fetches them, in lines of 80 columns: minutes without a word look like a hang.
pip_install = set -o pipefail; PYTHONWARNINGS=ignore $(BIN)/pip install --constraint constraints.txt $(1) | awk ' \
  /^Collecting/ { name = $$2; sub(/[^A-Za-z0-9._-].*/, "", name); \
    if (column + length(name) > 77) { print ""; column = 0 } \
    printf "%s%s", column ? " " : "  ", name; column += length(name) + 1; fflush() } \
  /^Installing collected/ { printf "%s  Installing them …\n", column ? "\n" : ""; fflush() }'

# Stamps: installed again when the dependencies or their pins change.
$(VENV)/demo-installed: $(BIN)/pip-upgraded pyproject.toml constraints.txt
	@echo "Installing cdc and what it needs into $(VENV): 230 MB, a minute or two."
	@$(call pip_install,--editable '.[demo]')
	@touch $@

$(VENV)/dev-installed: $(BIN)/pip-upgraded pyproject.toml constraints.txt
	@echo "Installing cdc and what its tests need into $(VENV): a few minutes."
	@$(call pip_install,--editable '.[demo]' --group dev)
	@touch $@ $(VENV)/demo-installed

# A Python of the system first: one that was compiled by hand, or by pyenv, is often not optimized, and then takes half
# as much time again.  Dependency groups need a pip that is newer than the one that comes with Python 3.11.
$(BIN)/pip-upgraded: | constraints.txt
	@for python in $(PYTHON) /usr/bin/python3.1[1-9] python3 python3.14 python3.13 python3.12 python3.11; do \
	  if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Creating the Python environment $(VENV) ($$($$python --version)) …"; \
	    $$python -m venv --clear $(VENV) && $(BIN)/pip install --quiet --constraint constraints.txt --upgrade pip && touch $@; \
	    exit; \
	  fi; \
	done; \
	echo "No Python 3.11 or newer with venv here: install one (Debian: apt-get install python3 python3-venv)." >&2; exit 1
