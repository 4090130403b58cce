# The commands one needs: make demo, make test, make test-fast, make test-bare, make fmt, make setup, make docs.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
KERNEL_STAMP := $(VENV)/.stamp-kernel
BARE_STAMP := $(VENV)/.stamp-bare
DEB_STAMP := $(VENV)/.stamp-deb
LAVA_STAMP := $(VENV)/.stamp-lava
PYTHON_STAMP := $(VENV)/.stamp-python
DOCS_STAMP := $(VENV)/.stamp-docs

.PHONY: setup setup-kernel demo docs test test-riscv64 test-cross test-interpreter test-fast fast-tests test-bare deb test-deb test-lava lint types fmt picture screenshots terminal-shots check-corpus man fuzz coverage mutants clean
.PHONY: boot-matrix machine-table board-table bench-match bench-boot bench-growth bench-hotplug bench-network bench-opened bench-root
.PHONY: bench-image boot-calls

setup: $(STAMP)

$(STAMP): debian-packages.txt constraints.txt pyproject.toml scripts/setup.sh
	@scripts/setup.sh $(VENV)
	@touch $@

# What `hostbuild kernel build` needs besides; the tests of kernels from source use it.
setup-kernel: $(KERNEL_STAMP)

$(KERNEL_STAMP): $(STAMP) debian-packages-kernel.txt
	@scripts/setup.sh $(VENV) debian-packages-kernel.txt
	@touch $@

demo: $(STAMP)
	@$(BIN)/hostbuild demo

# What takes tens of minutes, or packages of its own, has a target below.
OF_TEST := not riscv64 and not cross and not interpreter

# Lint, format, types, layering, unit, and the tests in virtual machines. The first run builds a kernel (some
# minutes), which stays in hostbuild's cache.
test: lint types setup-kernel
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder -m "$(OF_TEST)" tests

# A riscv64 machine, which takes minutes; needs Debian's qemu-system-misc, and packages of sid.
test-riscv64: $(STAMP)
	$(BIN)/pytest -m riscv64 tests

# Kernels from source for arm64 and riscv64, built and booted: minutes each, the first time; needs Debian's
# gcc-aarch64-linux-gnu, gcc-riscv64-linux-gnu and qemu-system-misc, and packages of sid.
test-cross: $(KERNEL_STAMP)
	$(BIN)/pytest -m cross tests

# CPython from Debian's source, built twice and booted: ten minutes of CPU time, the first time. Another source:
# make test-interpreter PYTHON=build:deb:python3.11=3.11.2-6+deb12u8
test-interpreter: $(PYTHON_STAMP)
	HOSTBUILD_TEST_PYTHON=$(or $(PYTHON),build) $(BIN)/pytest -m interpreter tests

$(PYTHON_STAMP): $(STAMP) debian-packages-python.txt
	@scripts/setup.sh $(VENV) debian-packages-python.txt
	@touch $@

# The part without machines, browsers, compilers, and comparisons of whole tables; its searches are short ones.
# Types are checked beside them: mypy keeps one processor busy.
test-fast: lint
	@$(MAKE) --no-print-directory --jobs=2 types fast-tests

fast-tests: $(STAMP)
	$(BIN)/pytest -n 2 --hypothesis-profile=fast -m "not vm and not slow and not toolchain" tests

# The README's commands in bare Debians: debootstrap's smallest, as root and as a user with sudo; by choice
# make test-bare RELEASE="bookworm trixie" USER_KIND="root user" COMMANDS="demo test-fast"
test-bare: $(BARE_STAMP)
	@exec env PYTHONPATH=. $(BIN)/python scripts/bare.py $(if $(RELEASE),--release $(RELEASE)) \
		$(if $(USER_KIND),--user-kind $(USER_KIND)) $(if $(COMMANDS),--command $(COMMANDS)) $(BARE)

$(BARE_STAMP): $(STAMP) debian-packages-bare.txt
	@scripts/setup.sh $(VENV) debian-packages-bare.txt
	@touch $@

# The daemon's Debian package, for full systems: dist/modaliasd_VERSION_all.deb
deb: $(DEB_STAMP)
	@scripts/deb.sh

# Installs that package here, looks whether it works, and removes it; in a fresh Debian:
# make test-bare RELEASE=trixie USER_KIND=root COMMANDS=test-deb
test-deb: deb
	@scripts/try-deb.sh dist/modaliasd_*_all.deb

# Has LAVA's dispatcher play jobs of `hostbuild matrix --emit lava`, without a server; in a fresh Debian:
# make test-bare RELEASE=bookworm USER_KIND=root COMMANDS=test-lava
test-lava: $(LAVA_STAMP)
	@scripts/try-lava.sh $(BIN)/hostbuild

$(LAVA_STAMP): $(STAMP) debian-packages-lava.txt
	@scripts/setup.sh $(VENV) debian-packages-lava.txt
	@touch $@

$(DEB_STAMP): $(STAMP) debian-packages-deb.txt
	@scripts/setup.sh $(VENV) debian-packages-deb.txt
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

fmt: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The matcher beside libkmod, a linear fnmatch and regular expressions: a table, a few minutes.
bench-match: $(STAMP)
	PYTHONPATH=. $(BIN)/python benchmarks/bench_match.py $(if $(CORPUS),--corpus $(CORPUS)) \
		$(if $(MODULES_DIR),--modules-dir $(MODULES_DIR))

# A boot with modaliasd beside systemd-udevd, mdev and the shell's one-liners, by instructions: ten minutes.
bench-boot: $(STAMP)
	PYTHONPATH=. $(BIN)/python benchmarks/bench_boot.py --svg docs/boot.svg $(BENCH)

# What the daemon calls until its first modprobe, which an image's boot file has at once: a boot of some 30 seconds.
boot-calls: $(STAMP)
	PYTHONPATH=. $(BIN)/python scripts/boot_calls.py

# What of the default image is ever read: by a boot, by plugs, by the guest's commands; a table, two minutes.
bench-opened: $(STAMP)
	PYTHONPATH=. $(BIN)/python benchmarks/bench_opened.py

# From power-on to the init of a root file system, by instructions, beside dracut's and mkinitramfs's images of the same
# kernel: a table, a quarter of an hour. Making theirs takes root and debootstrap, once; without, these rows are left out.
bench-root: $(STAMP)
	PYTHONPATH=. $(BIN)/python benchmarks/bench_root.py $(BENCH)

# Images side by side, ours and others': size, CPU time to make, power-on to disk, network card, settled. As above.
bench-image: $(STAMP)
	PYTHONPATH=. $(BIN)/python benchmarks/bench_image.py $(BENCH)

# The coldplug of 100, 1,000 and 10,000 devices: time and memory.
bench-growth: $(STAMP)
	PYTHONPATH=. $(BIN)/python benchmarks/bench_growth.py

# From plug to load and to bind, beside systemd-udevd in the same machine: a table, some ten minutes.
bench-hotplug: $(STAMP)
	PYTHONPATH=. $(BIN)/python benchmarks/bench_hotplug.py

# From plugging a network card to a file fetched from the host: a minute.
bench-network: $(STAMP)
	PYTHONPATH=. $(BIN)/python benchmarks/bench_network.py $(BENCH)

# The table of docs/machines.md: every machine that comes along, booted. Some minutes.
machine-table: $(STAMP)
	PYTHONPATH=. $(BIN)/python scripts/machine_table.py

# docs/boot-matrix.md: Debian's kernels of three releases and two architectures on our machines. Results are kept: what
# has none is booted, 24 machines the first time, half an hour. make boot-matrix MATRIX="--again" boots all of them.
boot-matrix: $(STAMP)
	PYTHONPATH=. $(BIN)/python scripts/boot_matrix.py $(MATRIX)

# The table of boards in docs/predicting.md: what of Debian's arm64 device trees has a module.
board-table: $(STAMP)
	PYTHONPATH=. $(BIN)/python scripts/board_table.py

# All searches carried further: 20,000 examples of each property, 100,000 worlds of modules. Hours.
fuzz: $(STAMP)
	$(BIN)/pytest -n 2 --hypothesis-profile=long --timeout=0 -m fuzz tests

# Which lines the tests without machines reach; CONTRIBUTING.md has the figure. make coverage VM=1 counts those with
# machines, too: the host's side of them, for what runs in a guest is not measured.
coverage: setup-kernel
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder -m "$(if $(VM),,not vm and )$(OF_TEST)" \
		--cov --cov-report=term-missing tests

# How strong the tests are: mutants of the guest's core and loop, each held against its module's tests; by choice
# make mutants SAMPLE=0 (all) SEED=2 MODULES="scheduler rules" JOBS=1. CONTRIBUTING.md has the figure.
mutants: $(STAMP)
	$(BIN)/python scripts/mutants.py $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) \
		$(if $(JOBS),--jobs $(JOBS)) $(MODULES)

# The manual pages in docs/man, from the commands' own help: after a change of an option.
man: $(STAMP)
	PYTHONPATH=. $(BIN)/python scripts/man_pages.py

# make check-corpus CORPUS=FILE [MODULES_DIR=DIR]: our answers beside libkmod's for anybody's modaliases.
check-corpus: $(STAMP)
	$(if $(CORPUS),,$(error CORPUS=FILE is missing: a file with modaliases, one a line))
	PYTHONPATH=. $(BIN)/python scripts/check_corpus.py $(CORPUS) $(if $(MODULES_DIR),--modules-dir $(MODULES_DIR))

# The documentation as a site, site/index.html: no network is needed to read it, and none to build it again. A link
# to nowhere fails.
docs: $(DOCS_STAMP)
	$(BIN)/sphinx-build -W --keep-going -q -d build/docs docs site
	@echo "open site/index.html"

$(DOCS_STAMP): $(STAMP) constraints.txt pyproject.toml
	@echo "docs: installing the Python packages of the extra docs (pinned in constraints.txt)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[docs]'
	@touch $@

# The README's picture, from the last demo's ledger.
picture: $(STAMP)
	$(BIN)/python scripts/picture.py build/demo.ledger.jsonl docs/images/tree.svg vda 10:0:0:0 nvme0n1 0000:01:00

# The pictures of a terminal in docs/images, from commands that are run: guests are booted, some minutes; by choice
# make terminal-shots SHOTS="run plug"
terminal-shots: $(DOCS_STAMP)
	PYTHONPATH=. $(BIN)/python scripts/terminal_shots.py $(SHOTS)

# The pictures of pages in docs/images, by Debian's chromium: make screenshots FROM=DIR, where docs/tutorial.md was followed.
screenshots: $(STAMP)
	$(if $(FROM),,$(error FROM=DIR is missing: the directory where docs/tutorial.md was followed))
	PYTHONPATH=. $(BIN)/python scripts/screenshots.py $(FROM)/boot.jsonl $(FROM)/small.img docs/images

clean:
	rm -rf $(VENV) build dist site docs/reference .mypy_cache .ruff_cache .pytest_cache .hypothesis
