# numa-align: build, install, test.
#
#   make demo                  the whole thing at work, in a machine of its own (root, Debian 12 or 13)
#   make test                  all tests of everyday use
#   make test-matrix           every Slurm version on every machine, in every way of starting work
#   make docs                  the documentation, below build/docs
#   make install               on a compute or login node, for the Slurm whose headers are installed

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
LIBDIR = $(PREFIX)/lib/numa-align
PLUGSTACKDIR = $(SYSCONFDIR)/slurm/plugstack.conf.d
# The Python of the nodes, not the one of a virtual environment.
PYTHON ?= /usr/bin/python3
INSTALL = install

FILLED = build/numa-align build/numa-align-prolog build/numa-align-epilog build/prolog.py build/epilog.py \
	build/plugstack.conf build/numa-align-task-prolog build/task_prolog.py

all: plugin claim

plugin:
	$(MAKE) -C spank

# The claim for Python (numa_align._claim), from the same C files as the plugin.
claim:
	$(PYTHON) spank/cffi_build.py build/python

build:
	mkdir -p build

# What is filled in depends on PREFIX and PYTHON of this call, so it is made anew each time.
build/%: prolog/bin/%.in FORCE | build
	sed -e 's|@LIBDIR@|$(LIBDIR)|g' -e 's|@PYTHON@|$(PYTHON)|g' $< >$@

build/%: spank/%.in FORCE | build
	sed -e 's|@LIBDIR@|$(LIBDIR)|g' $< >$@

install: plugin claim $(FILLED)
	$(INSTALL) -d $(DESTDIR)$(LIBDIR)/python $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PLUGSTACKDIR)
	$(INSTALL) -m 644 spank/build/numa-align.so $(DESTDIR)$(LIBDIR)/numa-align.so
	cd prolog && find numa_align -name '*.py' -exec $(INSTALL) -D -m 644 {} $(DESTDIR)$(LIBDIR)/python/{} \;
	$(INSTALL) -m 644 build/python/numa_align/_claim*.so $(DESTDIR)$(LIBDIR)/python/numa_align/
	$(INSTALL) -m 644 build/prolog.py build/epilog.py build/task_prolog.py $(DESTDIR)$(LIBDIR)/
	# Compiled here, since nothing may write below PREFIX later; unchecked, to save the prolog the stats.
	$(PYTHON) -m compileall -q -f --invalidation-mode unchecked-hash -s "$(DESTDIR)" -p / \
		$(DESTDIR)$(LIBDIR)/python
	$(INSTALL) -m 755 build/numa-align $(DESTDIR)$(PREFIX)/bin/numa-align
	$(INSTALL) -m 755 build/numa-align-task-prolog $(DESTDIR)$(PREFIX)/bin/numa-align-task-prolog
	$(INSTALL) -m 755 build/numa-align-prolog $(DESTDIR)$(PREFIX)/sbin/numa-align-prolog
	$(INSTALL) -m 755 build/numa-align-epilog $(DESTDIR)$(PREFIX)/sbin/numa-align-epilog
	$(INSTALL) -m 644 build/plugstack.conf $(DESTDIR)$(PLUGSTACKDIR)/numa-align.conf

# Exactly what install put there. Folders go only if nothing of others is in them.
uninstall:
	rm -rf $(DESTDIR)$(LIBDIR)
	rm -f $(DESTDIR)$(PREFIX)/bin/numa-align $(DESTDIR)$(PREFIX)/bin/numa-align-task-prolog \
		$(DESTDIR)$(PREFIX)/sbin/numa-align-prolog \
		$(DESTDIR)$(PREFIX)/sbin/numa-align-epilog $(DESTDIR)$(PLUGSTACKDIR)/numa-align.conf
	-rmdir --ignore-fail-on-non-empty $(DESTDIR)$(PLUGSTACKDIR) 2>/dev/null

clean:
	$(MAKE) -C spank clean
	rm -rf build

# --- below: for working on the project -----------------------------------------------------------

VENV = .venv
APT_LISTS = tests/apt-packages.txt tests/machine/apt-packages.txt
RUN = $(VENV)/bin

# Debian's packages and PyPI's, in a virtual environment; asks for root only if a package is missing.
setup: $(VENV)/.apt $(VENV)/.installed

$(VENV)/.apt: $(APT_LISTS)
	dpkg --status $$(cat $(APT_LISTS)) >/dev/null 2>&1 || \
		{ apt-get update -q && apt-get install -q -y --no-install-recommends $$(cat $(APT_LISTS)); }
	mkdir -p $(VENV) && touch $@

$(VENV)/.installed: pyproject.toml setup.py $(wildcard spank/*.[ch] spank/*.py) | $(VENV)/.apt
	python3 -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

demo: setup
	cd tests && ../$(RUN)/python -m demo

lint: setup
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

test: lint
	$(MAKE) -C spank
	$(RUN)/pytest -m 'not matrix'

# Every Slurm version on every machine, in every way of starting work.
test-matrix: setup
	$(MAKE) -C spank
	$(RUN)/pytest -m matrix

docs: setup
	$(RUN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(RUN)/python docs/make_man.py
	$(RUN)/mkdocs build --strict

FORCE:

.PHONY: all plugin claim install uninstall clean setup demo lint test docs test-matrix FORCE
