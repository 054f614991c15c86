"""``make install`` and its packages: all is there, a second run changes nothing, removal leaves no trace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from machine import RELEASES
from machine.cache import Cache
from machine.image import image_for
from machine.progress import to_stderr
from native import Native, why_not
from native.native import WITHOUT_CGROUPS

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("LICENSE", "Makefile", "README.md", "docs", "packaging", "prolog", "slurm-conf", "spank")

EXPECTED = {
    "etc/slurm/plugstack.conf.d/numa-align.conf",
    "usr/bin/numa-align",
    "usr/lib/numa-align/numa-align.so",
    "usr/lib/numa-align/prolog.py",
    "usr/lib/numa-align/epilog.py",
    "usr/lib/numa-align/python/numa_align/topology/read.py",
    "usr/lib/numa-align/python/numa_align_conf/doctor/checks.py",
    "usr/lib/tmpfiles.d/numa-align.conf",
    "usr/sbin/numa-align-prolog",
    "usr/sbin/numa-align-epilog",
    "usr/share/bash-completion/completions/numa-align",
    "usr/share/fish/vendor_completions.d/numa-align.fish",
    "usr/share/zsh/vendor-completions/_numa-align",
    "usr/share/man/man8/numa-align-doctor.8",
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, as `make` writes beside them."""
    folder = tmp_path_factory.mktemp("sources") / "numa-align"
    ignored = shutil.ignore_patterns("build", "__pycache__", "*.so", "*.egg-info", "cffi-gen-src")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(source, folder / name)
    return folder


def make(copy: Path, *words: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", f"PYTHON={python}", *words]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=600, check=False)


def contents(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time and bytes of every file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            found[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, path.read_bytes())
    return found


def test_install_twice_then_remove(copy: Path, tmp_path: Path) -> None:
    words = ("PREFIX=/usr", f"DESTDIR={tmp_path}")
    first = make(copy, "install", *words)
    assert first.returncode == 0, first.stderr
    before = contents(tmp_path)
    assert before.keys() >= EXPECTED
    assert f"installed {tmp_path}/usr/sbin/numa-align-prolog" in first.stdout
    assert sys.executable in (tmp_path / "usr/bin/numa-align").read_text()
    assert not [
        name for name, (_, _, data) in before.items() if b"@LIBDIR@" in data and not name.endswith(".pyc")
    ]

    again = make(copy, "install", *words)
    assert f"numa-align: 0 files installed, {len(before)} were there already" in again.stdout
    assert contents(tmp_path) == before

    removed = make(copy, "uninstall", *words)
    assert removed.returncode == 0, removed.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_was_installed_runs(copy: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "opt"
    words = (f"PREFIX={prefix}", f"SYSCONFDIR={tmp_path}/etc")
    done = make(copy, "install", *words)
    assert done.returncode == 0, done.stderr
    assert f"include {tmp_path}/etc/slurm/plugstack.conf.d/*.conf" in done.stdout
    assert f"Prolog={prefix}/sbin/numa-align-prolog" in done.stdout
    command = [
        str(prefix / "bin/numa-align"),
        "conf",
        "plugstack",
        "--slurm-version",
        "24.11",
        "--node",
        "n1",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert f"\noptional {prefix}/lib/numa-align/numa-align.so\n" in said.stdout
    status = subprocess.run([prefix / "sbin/numa-align-epilog"], env={}, check=False, timeout=60)
    assert status.returncode == 0


def test_the_systems_python_imports_what_was_installed(copy: Path, tmp_path: Path) -> None:
    """With PREFIX=/usr and nothing else: the file that Python's site module reads follows DESTDIR."""
    done = make(copy, "install", "PREFIX=/usr", f"DESTDIR={tmp_path}", python="/usr/bin/python3")
    assert done.returncode == 0, done.stderr
    (line,) = [path.read_text().strip() for path in tmp_path.rglob("numa-align.pth")]
    assert line == "/usr/lib/numa-align/python"
    (folder,) = [path.parent for path in tmp_path.rglob("numa-align.pth")]
    looked_in = subprocess.run(
        ["/usr/bin/python3", "-c", "import site; print(*site.getsitepackages(), sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert f"/{folder.relative_to(tmp_path)}" in looked_in
    # As that Python would if the folder were below /: the path comes last.
    program = (
        f"import sys; sys.path.append({str(tmp_path) + line!r})\n"
        "import numa_align; print(numa_align.bind_local_rank, numa_align.worker_init)"
    )
    command = ["/usr/bin/python3", "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert said.returncode == 0 and "bind_local_rank" in said.stdout, said.stderr


def test_below_another_prefix_no_python_is_changed(copy: Path, tmp_path: Path) -> None:
    done = make(
        copy, "install", f"PREFIX={tmp_path}/opt", f"SYSCONFDIR={tmp_path}/etc", python="/usr/bin/python3"
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*.pth"))
    assert f"{tmp_path}/opt/lib/numa-align/python" in done.stdout, "how to make it importable is said"


def test_the_sites_defaults_are_kept(copy: Path, tmp_path: Path) -> None:
    words = ("PREFIX=/usr", f"DESTDIR={tmp_path}")
    make(copy, "install", *words)
    ours = tmp_path / "etc/slurm/plugstack.conf.d/numa-align.conf"
    ours.write_text("optional /usr/lib/numa-align/numa-align.so on mem=bind\n")
    again = make(copy, "install", *words)
    assert f"kept {ours}, which is yours" in again.stdout
    assert "on mem=bind" in ours.read_text()
    # A plugin that was changed is replaced, not written into: a slurmstepd may have it mapped.
    plugin = tmp_path / "usr/lib/numa-align/numa-align.so"
    inode = plugin.stat().st_ino
    plugin.write_bytes(b"damaged")
    make(copy, "install", *words)
    assert plugin.read_bytes()[:4] == b"\x7fELF"
    assert plugin.stat().st_ino != inode


def test_a_prolog_that_slurm_still_runs_is_not_removed(copy: Path, tmp_path: Path) -> None:
    words = (f"PREFIX={tmp_path}/opt", f"SYSCONFDIR={tmp_path}/etc")
    make(copy, "install", *words)
    conf = tmp_path / "etc/slurm/slurm.conf"
    conf.write_text(f"ClusterName=x\nProlog={tmp_path}/opt/sbin/numa-align-prolog\n")
    refused = make(copy, "uninstall", *words)
    assert refused.returncode != 0
    assert f"{conf}:2:Prolog=" in refused.stderr
    assert (tmp_path / "opt/sbin/numa-align-prolog").exists()


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"slurm.conf": "prolog={sbin}/numa-align-prolog\n"}, "slurm.conf:1"),
        ({"slurm.conf": "Prolog = {sbin}/numa-align-prolog\n"}, "slurm.conf:1"),
        ({"slurm.conf": "PROLOG={sbin}/numa-align-prolog\n"}, "slurm.conf:1"),
        ({"slurm.conf": "ClusterName=x Epilog={sbin}/numa-align-epilog\n"}, "slurm.conf:1"),
        ({"slurm.conf": "TaskProlog={bin}/numa-align-task-prolog\n"}, "slurm.conf:1"),
        (
            {"slurm.conf": "include {elsewhere}/b\n", "{elsewhere}/b": "Prolog={sbin}/numa-align-prolog\n"},
            "b:1",
        ),
        (
            {"slurm.conf": "Prolog={etc}/prolog.d/*\n", "prolog.d/50-x": "{sbin}/numa-align-prolog\n"},
            "50-x:1",
        ),
        (
            {"slurm.conf": "Prolog={elsewhere}/*.sh\n", "{elsewhere}/a.sh": "{sbin}/numa-align-prolog\n"},
            "a.sh:1",
        ),
    ],
)  # fmt: skip
def test_a_script_of_ours_is_found_however_slurm_is_told_of_it(
    files: dict[str, str], place: str, tmp_path: Path
) -> None:
    words = {
        "etc": tmp_path / "slurm",
        "elsewhere": tmp_path / "elsewhere",
        "bin": tmp_path / "bin",
        "sbin": tmp_path / "sbin",
    }
    for name, text in files.items():
        path = tmp_path / "slurm" / name.format(**words)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**words))
    done = still_used(tmp_path / "slurm")
    assert done.returncode == 1
    assert place in done.stderr
    by_variable = still_used(tmp_path, SLURM_CONF=str(tmp_path / "slurm/slurm.conf"))
    assert by_variable.returncode == 1


def still_used(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(ROOT / "packaging/still-used.sh"), str(folder)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_a_link_to_ours_in_a_folder_of_scripts_is_found(tmp_path: Path) -> None:
    ours = tmp_path / "sbin/numa-align-prolog"
    ours.parent.mkdir()
    ours.write_text("#!/bin/sh\n")
    (tmp_path / "slurm/prolog.d").mkdir(parents=True)
    (tmp_path / "slurm/prolog.d/10-gpu").symlink_to(ours)
    done = still_used(tmp_path / "slurm")
    assert done.returncode == 1 and "is a link to" in done.stderr


def test_what_is_commented_out_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "slurm.conf").write_text(
        "# Prolog=/usr/sbin/numa-align-prolog\nProlog=/opt/own # not numa-align-prolog\n"
    )
    assert still_used(tmp_path).returncode == 0


def test_uninstall_from_an_image_leaves_the_images_folders(copy: Path, tmp_path: Path) -> None:
    empty = [tmp_path / name for name in ("proc", "sys", "run", "tmp", "var/lib/empty", "usr/share/doc")]
    for folder in empty:
        folder.mkdir(parents=True)
    words = ("PREFIX=/usr", f"DESTDIR={tmp_path}")
    assert make(copy, "install", *words).returncode == 0
    assert make(copy, "uninstall", *words).returncode == 0
    assert all(folder.is_dir() for folder in empty)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_install_after_an_interrupted_one_completes_it(copy: Path, tmp_path: Path) -> None:
    words = ("PREFIX=/usr", f"DESTDIR={tmp_path}")
    make(copy, "install", *words)
    python = tmp_path / "usr/lib/numa-align/python/numa_align"
    # As ENOSPC leaves it: new sources beside the bytecode of the version before, and a module that is gone.
    (stale,) = (python / "__pycache__").glob("errors.*.pyc")
    stale.write_bytes(stale.read_bytes()[:8] + b"another!" + stale.read_bytes()[16:])
    (python / "gone.py").write_text("")
    (python / ".errors.py.new").write_text("half")
    make(copy, "install", *words)
    assert b"another!" not in stale.read_bytes()[:16]
    assert not (python / "gone.py").exists() and not (python / ".errors.py.new").exists()


def test_files_can_be_read_whatever_the_umask(copy: Path, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        assert make(copy, "install", "PREFIX=/usr", f"DESTDIR={tmp_path}").returncode == 0
    finally:
        os.umask(old)
    hidden = [path for path in (tmp_path / "usr").rglob("*") if path.stat().st_mode & 0o004 == 0]
    assert hidden == []


def test_the_page_on_images_puts_all_in_and_takes_it_out(copy: Path, tmp_path: Path) -> None:
    """Its own commands, in a folder as an image has them, with files of others in it."""
    page = (ROOT / "docs/images.md").read_text(encoding="utf-8")
    install, uninstall = re.findall(r"^    (make (?:un)?install DESTDIR=\$IMAGE .*)$", page, re.MULTILINE)
    line = re.search(r"^    grep -qs .*\n.*plugstack.conf$", page, re.MULTILINE)
    assert line is not None
    others = {"usr/bin/other": "x", "etc/slurm/slurm.conf": "Prolog=/usr/sbin/numa-align-prolog\n"}
    for name, text in others.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    environment = {**os.environ, "IMAGE": str(tmp_path), "PYTHON": sys.executable}

    def typed(command: str) -> dict[str, tuple[int, int, bytes]]:
        subprocess.run(["sh", "-ec", command], cwd=copy, env=environment, check=True, timeout=600)
        return contents(tmp_path)

    before = contents(tmp_path)
    assert typed(install).keys() >= EXPECTED
    included = typed(line[0])
    assert included == typed(line[0]), "the line is there once"
    assert included["etc/slurm/plugstack.conf"][2] == b"include /etc/slurm/plugstack.conf.d/*.conf\n"
    after = typed(uninstall)
    del after["etc/slurm/plugstack.conf"]
    assert after == before


def built(copy: Path, kind: str, tool: str, *words: str) -> list[Path]:
    """The packages, in a folder of their own: the next ones may have the same names."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed: the {kind} packages are not built here")
    if subprocess.run(["/usr/bin/python3", "-c", "import cffi, setuptools"], check=False).returncode:
        pytest.skip(
            "Debian's python3-cffi and python3-setuptools are not installed: no packages are built here"
        )
    done = make(copy, kind, *words, python="/usr/bin/python3")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    kept = Path(tempfile.mkdtemp(prefix="built-", dir=copy / "build"))
    return [Path(shutil.copy(path, kept)) for path in sorted((copy / "build/packages").glob(f"*.{kind}"))]


def release() -> str:
    done = subprocess.run(
        ["sh", ROOT / "packaging/slurm-version.sh"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def debian(copy: Path) -> dict[str, Path]:
    """Name -> file of each package."""
    packages = built(copy, "deb", "dh", "DEB_OPTIONS=-d")
    return {path.name.partition("_")[0]: path for path in packages}


def test_debian_packages(debian: dict[str, Path]) -> None:
    plugin = f"numa-align-plugin-slurm{release()}"
    assert {"numa-align", plugin} <= debian.keys()
    listing = {
        name: subprocess.run(["dpkg", "-c", path], capture_output=True, text=True, check=True).stdout
        for name, path in debian.items()
    }
    assert "./usr/lib/numa-align/numa-align.so" in listing[plugin]
    assert "numa-align.so" not in listing["numa-align"]
    for name in (
        "./usr/sbin/numa-align-prolog",
        "./usr/lib/tmpfiles.d/numa-align.conf",
        "man8/numa-align-conf.8",
    ):
        assert name in listing["numa-align"]


def test_lintian_finds_no_error_in_the_debian_packages(debian: dict[str, Path]) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    files = [str(path) for name, path in debian.items() if not name.endswith("-dbgsym")]
    command = ["lintian", "--allow-root", "--fail-on", "error", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A Slurm that is no package: its headers, and a folder of its own for slurm.conf."""
    shutil.copytree("/usr/include/slurm", tmp_path / "slurm/include/slurm")
    (tmp_path / "slurm/etc").mkdir()
    return tmp_path / "slurm"


def test_the_deb_for_a_slurm_below_a_prefix_keeps_the_sites_words(copy: Path, prefix: Path) -> None:
    packages = built(copy, "deb", "dh", "DEB_OPTIONS=-d", f"SLURM={prefix}")
    plugin = next(path for path in packages if path.name.startswith(f"numa-align-plugin-slurm{release()}_"))
    conf = f"{prefix}/etc/plugstack.conf.d/numa-align.conf"
    listed = subprocess.run(["dpkg", "-c", plugin], capture_output=True, text=True, check=True).stdout
    assert f".{conf}\n" in listed and "./etc/slurm" not in listed

    def control(name: str) -> str:
        command = ["dpkg", "-I", str(plugin), name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert control("conffiles").splitlines() == [conf]
    for script in ("prerm", "postrm", "preinst"):
        assert conf in control(script) and "@" not in control(script).replace('"$@"', "")


def test_the_rpm_for_a_slurm_below_a_prefix_keeps_the_sites_words(copy: Path, prefix: Path) -> None:
    packages = built(copy, "rpm", "rpmbuild", "RPM_OPTIONS=--nodeps", f"SLURM={prefix}")
    plugin = next(path for path in packages if path.name.startswith(f"numa-align-plugin-slurm{release()}-"))

    def asked(question: str) -> str:
        command = ["rpm", "-qp", question, str(plugin)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    conf = f"{prefix}/etc/plugstack.conf.d/numa-align.conf"
    assert asked("--configfiles").splitlines() == [conf]
    assert "/etc/slurm/" not in asked("-l")
    assert f'still-used.sh" {prefix}/etc;' in asked("--scripts")


@pytest.mark.matrix
def test_a_release_has_the_same_bytes_wherever_it_is_built(copy: Path, tmp_path: Path) -> None:
    sums = []
    for number in range(2):
        folder = tmp_path / f"somewhere{number}" / "else"[:number]
        shutil.copytree(copy, folder, ignore=shutil.ignore_patterns("build"))
        for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "CHANGELOG.md"):
            shutil.copy(ROOT / name, folder)
        words = ["dist", "DIST_KINDS=deb rpm archive", "DEB_OPTIONS=-d", "RPM_OPTIONS=--nodeps"]
        for tool in ("dh", "rpmbuild"):
            if shutil.which(tool) is None:
                pytest.skip(f"{tool} is not installed")
        done = make(folder, *words, "SOURCE_DATE_EPOCH=1700000000", python="/usr/bin/python3")
        assert done.returncode == 0, done.stderr[-2000:]
        sums.append((folder / "build/packages/SHA256SUMS").read_text(encoding="utf-8"))
    assert len(sums[0].splitlines()) >= 6
    assert sums[0] == sums[1]


@pytest.fixture
def clean(debian: dict[str, Path]) -> Iterator[Native]:
    """A Debian with this host's release of Slurm, running, without numa-align; the packages in /pkg."""
    reason = why_not() or (None if release() in RELEASES else f"no Debian with Slurm {release()} is known")
    if reason is not None:
        pytest.skip(reason)
    include = "include /etc/slurm/plugstack.conf.d/*.conf"
    with Native(release(), config=replace(WITHOUT_CGROUPS, plugstack_extra=(include,))) as native:
        native.put({f"/pkg/{name}.deb": path.read_bytes() for name, path in debian.items()})
        yield native


#: Where dpkg keeps its own books, and what changes without it.
LISTING = r"""
cd / && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/log -o -path ./var/spool -o -path ./tmp \) \
    -prune -o -printf '%p %m %l\n' | sort; ls -dl /run/numa-align 2>&1
"""


def test_debian_packages_work_and_leave_no_trace(clean: Native) -> None:
    plugin = f"numa-align-plugin-slurm{release()}"
    conf = "/etc/slurm/plugstack.conf.d/numa-align.conf"
    before = clean.run(LISTING).stdout
    clean.run(f"dpkg -i /pkg/numa-align.deb /pkg/{plugin}.deb", check=True)
    clean.run("python3 -c 'import numa_align; numa_align.bind_local_rank()'", user="user", check=True)
    helped = clean.run("numa-align --help && srun --help", check=True)
    assert "doctor" in helped.stdout and "--numa-align" in helped.stdout
    assert "optional /usr/lib/numa-align/numa-align.so" in clean.run(f"cat {conf}", check=True).stdout
    said = clean.run("srun -n1 --gpus=1 --numa-align=verbose true", user="user", check=True)
    assert "numa-align: " in said.stderr
    clean.run("SLURM_JOB_ID=9 numa-align-prolog && test -s /run/numa-align/9", check=True)
    for command in ("conf all", "topo", "plan --help"):  # nothing may be compiled beside the files
        clean.run(f"numa-align {command}", check=True)

    clean.run("echo Epilog=/usr/sbin/numa-align-epilog >>/etc/slurm/slurm.conf", check=True)
    refused = clean.run(f"dpkg -r {plugin} numa-align")
    assert refused.status != 0 and "take that line out first" in refused.stderr
    clean.run("sed -i /^Epilog=/d /etc/slurm/slurm.conf", check=True)

    # Removed, not purged, with words of the site's in plugstack.conf.d: srun has nothing to complain about.
    clean.run(f"dpkg -i /pkg/{plugin}.deb && sed -i 's/^optional .*/& off/' {conf}", check=True)
    clean.run(f"dpkg -r {plugin} numa-align", check=True)
    after = clean.run("srun -n1 true", user="user", check=True)
    assert after.stderr == ""
    clean.run(f"dpkg -i /pkg/numa-align.deb /pkg/{plugin}.deb && grep -q ' off$' {conf}", check=True)
    clean.run(f"dpkg -P {plugin} numa-align", check=True)
    assert clean.run(LISTING).stdout == before


def newer(package: Path, folder: Path) -> bytes:
    """The package as its next version has it, with another word on its configuration file."""
    tree = folder / package.stem
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True, timeout=60)
    control = tree / "DEBIAN/control"
    version = re.search(r"^Version: (.*)$", control.read_text(), re.MULTILINE)
    assert version is not None
    control.write_text(control.read_text().replace(version[1], f"{version[1]}+next"))
    for conf in tree.glob("etc/slurm/plugstack.conf.d/*.conf"):
        conf.write_text(conf.read_text() + "# the next version's\n")
    made = folder / f"{package.stem}-next.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", tree, made], check=True, capture_output=True, timeout=60
    )
    return made.read_bytes()


def fake(package: str, version: str, folder: Path) -> bytes:
    """An empty package of that name."""
    control = folder / package / "DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text(
        f"Package: {package}\nVersion: {version}\nArchitecture: all\n"
        "Maintainer: nobody <nobody@example.org>\nDescription: nothing\n"
    )
    made = folder / f"{package}-{version}.deb"
    subprocess.run(["dpkg-deb", "-b", folder / package, made], check=True, capture_output=True, timeout=60)
    return made.read_bytes()


def test_a_debian_upgrade_that_stops_leaves_what_works(
    clean: Native, debian: dict[str, Path], tmp_path: Path
) -> None:
    """Unpacked and not configured; at dpkg's question; after either answer."""
    plugin = f"numa-align-plugin-slurm{release()}"
    names = ("numa-align", plugin)
    conf = "/etc/slurm/plugstack.conf.d/numa-align.conf"
    clean.put({f"/next/{name}.deb": newer(debian[name], tmp_path) for name in names})

    def states() -> list[str]:
        asked = clean.run(["dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}\n", *names], check=True)
        return [
            f"{'next' if line.partition(' ')[0].endswith('+next') else 'old'} {line.partition(' ')[2]}"
            for line in asked.stdout.splitlines()
        ]

    def works() -> bool:
        plain = clean.run("srun -n1 true", user="user", check=True)
        asked = clean.run("srun -n1 --gpus=1 --numa-align=verbose true", user="user", check=True)
        clean.run(
            "rm -f /run/numa-align/9; SLURM_JOB_ID=9 numa-align-prolog && test -s /run/numa-align/9",
            check=True,
        )
        clean.run("numa-align topo && numa-align conf plugstack", check=True)
        return plain.stderr == "" and "numa-align: " in asked.stderr

    for answer in ("confold", "confnew"):
        clean.run(f"dpkg --force-confnew -i /pkg/numa-align.deb /pkg/{plugin}.deb", check=True)
        clean.run(f"sed -i 's/^optional .*/& off/' {conf}", check=True)
        clean.run(f"dpkg --unpack /next/numa-align.deb /next/{plugin}.deb", check=True)
        assert states() == ["next unpacked"] * 2 and works()
        stopped = clean.run("dpkg --configure -a")
        assert stopped.status != 0 and "end of file on stdin at conffile prompt" in stopped.stderr
        assert states()[0] == "next installed" and states()[1] != "next installed" and works()
        clean.run(f"dpkg --force-{answer} --configure -a", check=True)
        assert states() == ["next installed"] * 2 and works()
        kept = clean.run(["cat", conf], check=True).stdout
        assert (" off\n" in kept, "# the next version's" in kept) == (
            answer == "confold",
            answer == "confnew",
        )
    clean.run(f"dpkg -P {plugin} numa-align", check=True)


def test_debian_configures_no_slurm_that_the_plugin_is_not_for(clean: Native, tmp_path: Path) -> None:
    """`Breaks`: apt takes the plugin for the new release along, or takes this one away."""
    plugin = f"numa-align-plugin-slurm{release()}"
    versions = {"same": f"{release()}.20-1", "newer": "99.05.0-1", "older": "21.08.0-1"}
    clean.put({f"/fake/{name}.deb": fake("slurmd", v, tmp_path / name) for name, v in versions.items()})
    clean.run(f"dpkg -i /pkg/numa-align.deb /pkg/{plugin}.deb", check=True)
    for name in versions:
        done = clean.run(f"dpkg -i /fake/{name}.deb")
        told = plugin in done.stderr and "breaks slurmd" in done.stderr
        assert (told, done.status != 0) == (name != "same", name != "same"), done.stderr
    clean.run(f"dpkg -r {plugin} && dpkg --configure -a", check=True)


#: A release of Slurm before all that are supported, under whose name a package of an older plugin is built.
OLDER = "22.02"


def test_rpm_packages(copy: Path) -> None:
    packages = built(copy, "rpm", "rpmbuild", "RPM_OPTIONS=--nodeps")
    plugin = next(path for path in packages if path.name.startswith(f"numa-align-plugin-slurm{release()}-"))
    main = next(path for path in packages if path.name.startswith("numa-align-0"))

    def asked(question: str, package: Path) -> set[str]:
        environment = {**os.environ, "HOME": str(copy)}
        command = ["rpm", "-qp", *question.split(), str(package)]
        return set(
            subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            .stdout.strip()
            .split("\n")
        )

    conf = "/etc/slurm/plugstack.conf.d/numa-align.conf"
    # Links by build id are the distribution's, in every package with a library.
    files = {name for name in asked("-l", plugin) if not name.startswith("/usr/lib/.build-id")}
    assert files == {
        "/usr/lib/numa-align/numa-align.so",
        "/usr/lib/numa-align/built-for",
        f"/usr/lib/numa-align/built-for/{release()}",
        "/etc/slurm/plugstack.conf.d",
        conf,
    }
    assert asked("--configfiles", plugin) == {conf}
    assert asked("--configfiles", main) == {""}
    assert not files & asked("-l", main), "no file is in two packages"
    wanted = {f"/{name}" for name in EXPECTED} - files
    # rpmbuild compresses manual pages where it is set up to.
    assert {name for name in wanted if "/man/" not in name} <= asked("-l", main)
    assert any(name.startswith("/usr/share/man/man8/numa-align-doctor.8") for name in asked("-l", main))
    assert any(line.startswith("python(abi) = 3.") for line in asked("--requires", main))
    # A newer Slurm is not kept out, and a newer plugin takes the place of this one.
    assert asked("--conflicts", plugin) == {
        "numa-align-plugin", f"slurm < {release()}", f"slurm-ohpc < {release()}",
    }  # fmt: skip
    obsolete = {line.partition(" ")[0] for line in asked("--obsoletes", plugin)}
    assert f"numa-align-plugin-slurm{OLDER}" in obsolete
    assert plugin.name.partition("-0")[0] not in obsolete
    assert asked("--qf %{url}", main) == {"https://example.org/numa-align"}


def test_rpm_debuginfo_has_what_was_taken_from_the_libraries(copy: Path) -> None:
    if shutil.which("eu-strip") is None or shutil.which("cpio") is None:
        pytest.skip("elfutils or cpio is not installed")
    packages = built(copy, "rpm", "rpmbuild", "RPM_OPTIONS=--nodeps")
    (debug,) = (path for path in packages if "debuginfo" in path.name)
    listed = subprocess.run(["rpm", "-qpl", debug], capture_output=True, text=True, check=True).stdout
    assert "/usr/lib/debug/usr/lib/numa-align/numa-align.so-" in listed
    assert "/_claim." in listed


def test_rpm_of_another_python_asks_for_the_modules_of_that_python(copy: Path) -> None:
    """By rpm's own reading of the spec: python3.11 beside EL 8's 3.6, python311 on SLES 15."""
    if shutil.which("rpmspec") is None:
        pytest.skip("rpmspec is not installed")
    command = ["rpmspec", "-q", "--requires", "--define", f"slurm_version {OLDER}", "--define"]
    command += [f"python_ {sys.executable}", "--define", "python_packages python3.11"]
    command += ["--define", "debug_package %{nil}", "packaging/numa-align.spec"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    asked = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=True, env=environment)
    version = ".".join(map(str, sys.version_info[:2]))
    wanted = {"", "-cffi", "-click", "-psutil", "-rich"}
    assert {f"python3.11{name}" for name in wanted} | {f"python(abi) = {version}"} <= set(
        asked.stdout.splitlines()
    )
    on_suse = subprocess.run(
        [*command[:6], "python_ /usr/bin/python3.11", "--define", "suse_version 1500", *command[9:]],
        cwd=copy, capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert {f"python311{name}" for name in wanted} <= set(on_suse.stdout.splitlines())


@pytest.mark.parametrize("target", ["stage", "deb", "rpm"])
@pytest.mark.parametrize(
    ("python", "complaint"),
    [("echo 3 6", "is Python 3.6, and 3.9 or later is needed"), ("exit 1", "is no Python that runs")],
)
def test_a_python_that_is_too_old_is_told_at_once(
    copy: Path, tmp_path: Path, target: str, python: str, complaint: str
) -> None:
    old = tmp_path / "python3"
    old.write_text(f"#!/bin/sh\n{python}\n")
    old.chmod(0o755)
    done = make(copy, target, python=str(old))
    assert done.returncode != 0
    assert complaint in done.stderr and "make PYTHON=/usr/bin/python3.11" in done.stderr
    assert "compil" not in done.stdout


#: Steps in a root of their own, by the host's rpm; after each what is installed and if srun has the option.
RPM_STEPS = r"""
mount -t tmpfs none "$folder"
mkdir "$folder/up" "$folder/work" "$folder/all"
mount -t overlay none -o "lowerdir=$tree,upperdir=$folder/up,workdir=$folder/work" "$folder/all"
root=$folder/all
mount --bind /dev "$root/dev"
mkdir -p "$root/var/lib/rpm" "$root/etc/slurm"
printf 'ClusterName=x\nSlurmctldHost=ctl\nNodeName=n1\n' >"$root/etc/slurm/slurm.conf"
echo 'include /etc/slurm/plugstack.conf.d/*.conf' >"$root/etc/slurm/plugstack.conf"
step() {
    name=$1
    shift
    # Debian's packages are not in rpm's books, and Debian's rpm wants to be asked twice.
    rpm --root "$root" --dbpath /var/lib/rpm $debian --nodeps "$@" >"$folder/said" 2>&1
    status=$?
    cat "$folder/said" >&2
    echo "$name|$status|$(grep -c 'take that line out first' "$folder/said")|$(
        rpm --root "$root" --dbpath /var/lib/rpm -qa --qf '%{name}\n' | sort | tr '\n' ' '
    )|$(chroot "$root" srun --help 2>&1 | grep -q -- --numa-align && echo option)"
}
step installed -i "$base" "$older"
step slurm -i "$slurm"
grep 'which does not load it' "$folder/said"
step upgraded -U "$newer"
echo Epilog=/usr/sbin/numa-align-epilog >>"$root/etc/slurm/slurm.conf"
step refused -e numa-align "$plugin"
sed -i /^Epilog=/d "$root/etc/slurm/slurm.conf"
step erased -e numa-align "$plugin"
cd "$root" && find usr/lib/numa-align usr/sbin/numa-align* etc/slurm/plugstack.conf.d -type f 2>/dev/null
"""


#: An upgrade of Slurm, as rpm sees it: the programs are those of the tree.
SLURM_SPEC = """
Name: slurm
Version: 99.05
Release: 1
Summary: Slurm
License: none
BuildArch: noarch
%description
Slurm.
%files
"""


def package_named_slurm(folder: Path) -> Path:
    """An empty RPM of a newer Slurm."""
    (folder / "slurm.spec").write_text(SLURM_SPEC)
    words = ["rpmbuild", "-bb", "--define", f"_topdir {folder}/rpm", str(folder / "slurm.spec")]
    subprocess.run(words, capture_output=True, check=True, timeout=60)
    return next((folder / "rpm/RPMS").rglob("slurm-*.rpm"))


def test_rpm_packages_come_follow_each_other_and_go(copy: Path, tmp_path: Path) -> None:
    """In the root of a Debian with Slurm; the older plugin is this one under another release's name."""
    reason = why_not() or (None if release() in RELEASES else f"no Debian with Slurm {release()} is known")
    if reason is not None:
        pytest.skip(reason)
    built(copy, "rpm", "rpmbuild", "RPM_OPTIONS=--nodeps", f"SLURM_VERSION={OLDER}")
    packages = built(copy, "rpm", "rpmbuild", "RPM_OPTIONS=--nodeps")
    plugin = f"numa-align-plugin-slurm{release()}"
    begins = {"older": f"numa-align-plugin-slurm{OLDER}-", "newer": f"{plugin}-", "base": "numa-align-0"}
    files = {
        name: str(next(path for path in packages if path.name.startswith(begin)))
        for name, begin in begins.items()
    }
    files["slurm"] = str(package_named_slurm(copy / "build"))
    tree = image_for(release(), Cache(), to_stderr).tree
    debian = "--force-debian" if Path("/etc/debian_version").exists() else ""
    words = {"folder": str(tmp_path), "tree": str(tree), "plugin": plugin, "debian": debian, **files}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", RPM_STEPS],
        env={**os.environ, **words},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    both = f"numa-align {plugin} slurm "
    assert done.stdout.splitlines() == [
        f"installed|0|0|numa-align numa-align-plugin-slurm{OLDER} |option",
        f"slurm|0|0|numa-align numa-align-plugin-slurm{OLDER} slurm |option",
        f"numa-align: the plugin is for Slurm {OLDER} and this is {release()}, which does not load it "
        f"(jobs run all the same): install {plugin}",
        f"upgraded|0|0|{both}|option",
        f"refused|2|2|{both}|option",
        "erased|0|0|slurm |",
    ], done.stderr
