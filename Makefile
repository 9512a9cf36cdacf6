# Targets: demo, test, quick, lint, fuzz, drill, bench, setup, runtime, boots, requirements, release, clean.
# `demo` and `test` set up everything that they need on a fresh Debian or Ubuntu machine.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

RUNTIME := $(VENV)/.runtime

# One test process a core, and two at least: much of what tests do is waiting.
# Tests write very many small files: in memory, where root has enough of it, which takes a tenth of the time off. A test
# that fails leaves them there until the next run.
WORKERS := -n $(shell n=$$(nproc); [ $$n -gt 2 ] && echo $$n || echo 2) --dist=loadgroup
MEMORY = $(shell [ "$$(id -u)" = 0 ] && \
  [ "$$(df --output=avail /dev/shm 2>/dev/null | tail -n 1)" -gt 12000000 ] 2>/dev/null && \
  awk '/MemAvailable/ && $$2 > 16000000 { print "/dev/shm" }' /proc/meminfo)

.PHONY: demo test quick lint fuzz drill bench setup runtime boots system browser requirements release clean

# also where GitHub Actions or a variable would choose another profile
demo: export KMOD_PROFILE := sandbox
demo: setup
	@$(BIN)/doit profile sandbox
	@$(BIN)/doit sandbox:up
	@$(BIN)/doit build:2.22.2.0
	@echo
	@$(BIN)/doit status
	@echo
	@echo "What to try next (. $(BIN)/activate puts doit on your path):"
	@echo "  doit build:2.22.2.0                  nothing to do: nothing changed"
	@echo "  touch container/build-module.sh      and again: still nothing; then change it"
	@echo "  doit list                            every task, what is pending first"
	@echo "  doit build                           the other drivers of build-matrix.json"
	@echo "  doit publish && doit export          to the sandbox's registry, and what it then holds"
	@echo "  doit release:2.22.2.0                notes and sources, in build/sandbox/release/2.22.2.0/"
	@echo "  doit archive                         every version of the package in git; doit archive:verify proves it"
	@echo "  podman load -i build/sandbox/cells/<cell>/image.oci.tar"
	@echo "  doit sandbox:down                    stops the sandbox's services"

# The linters are part of the tests. TESTS names some, such as tests/integration.
test: setup browser
	@TMPDIR=$${TMPDIR:-$(MEMORY)} $(BIN)/python -m pytest $(WORKERS) $(TESTS)

# What needs no container: a few minutes.
quick: setup
	@$(BIN)/python -m pytest -q $(WORKERS) tests/lint tests/unit tests/graph

lint: setup
	@$(BIN)/python -m pytest -q tests/lint

# The tests of properties, with a hundred times as many examples.
fuzz: setup
	@KMOD_FUZZ=$${KMOD_FUZZ:-100} $(BIN)/python -m pytest -q $(WORKERS) -m hypothesis tests/unit

# Kills, faults of the network, full disks, damaged files and the like, at random: an hour, or as DRILL says.
drill: setup
	@$(BIN)/python -m tests.drill $(DRILL)

bench: setup
	@$(BIN)/python -m tests.bench

setup: system $(STAMP)

system:
	@container/sandbox/system-packages.sh

# What the tests of the site look at it with.
browser: setup
	@container/sandbox/system-packages.sh tests

# For machines that only build and publish: no Debian packages, and of Python's none that only tests need.
runtime: $(RUNTIME)

# What booting kernels needs besides, on machines of others: packages, and KVM for this user.
boots:
	@container/boot/machine.sh

define venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..." >&2; exit 3; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@# doit must see this folder's modules
	@$(BIN)/python -c "import pathlib, site; \
	    pathlib.Path(site.getsitepackages()[0], 'kmod_foundry.pth').write_text(str(pathlib.Path.cwd()) + '\n')"
	@touch $@
endef

$(STAMP): requirements-dev.txt
	$(venv)

$(RUNTIME): requirements.txt
	$(venv)

# Locks the versions of all Python packages with their hashes.
requirements: setup
	@$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url \
	    --no-emit-find-links --no-emit-trusted-host --output-file=requirements.txt pyproject.toml
	@$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url \
	    --no-emit-find-links --no-emit-trusted-host --extra=dev --output-file=requirements-dev.txt pyproject.toml

# A version of the project itself: CONTRIBUTING.md, "Releasing".
release: setup
	@$(BIN)/python .ci/release.py $(VERSION)

clean:
	@[ ! -x $(BIN)/doit ] || KMOD_PROFILE=sandbox $(BIN)/doit sandbox:down
	@# the driver sources in it are read-only
	@[ ! -d build ] || chmod -R u+w build
	rm -rf build $(VENV)
