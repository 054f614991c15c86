"""Checks of slurm.conf, cgroup.conf, plugin, prolog and tables."""

from __future__ import annotations

from collections.abc import Iterator

from numa_align.cpulist import format_cpulist

from ..facts import NodeFacts, kind_of_one
from ..gres import gres_of
from ..layout import PARAMETERS, Layout, choose_kind, layout_of
from ..slurm import PROLOG_LIMIT
from ..version import remark_on
from .gres_checks import gres_lines
from .model import Facts, Finding, Plugin

#: If the prolog takes more seconds than this, jobs start noticeably later.
SLOW_PROLOG = 0.5


def configuration(facts: Facts) -> Iterator[Finding]:
    """Whether there is a slurm.conf, and whether it has this node."""
    if facts.slurm_conf is None:
        yield Finding(
            "slurm-conf",
            "warn",
            "no slurm.conf was found: only the machine is checked",
            "Slurm's settings here are unknown",
            "name it: --slurm-conf FILE",
        )
    elif (
        facts.has_gpus and facts.declared is None and facts.settings.get("maxnodecount", "0") not in ("", "0")
    ):
        yield Finding(
            "slurm-conf",
            "ok",
            f"{facts.name} is not declared and may register itself (MaxNodeCount=); for "
            "`slurmd -Z --conf` see `numa-align conf slurm --diff`",
        )
    elif facts.has_gpus and facts.declared is None:
        yield Finding(
            "slurm-conf",
            "fail",
            f"{facts.slurm_conf} does not declare {facts.name}, which has GPUs",
            "no job runs here",
            f"{facts.slurm_conf}: see `numa-align conf slurm`; or name this node: --node-name NAME",
        )


def release(facts: Facts) -> Iterator[Finding]:
    """Whether the release, by whose rules to judge, is known."""
    if facts.slurm_conf is None:
        return
    if facts.version is None:
        yield Finding(
            "slurm-version",
            "warn",
            "Slurm's release is not known: no scontrol, slurmd or slurmctld was found",
            f"the rules of {facts.checked_version} are applied, and whether the plugin fits is not known",
            "name it: --slurm-version X.Y; or say where Slurm is: SLURM=/opt/slurm",
        )
        return
    remark = remark_on(facts.version)
    if remark is not None:
        yield Finding(
            "slurm-version", "warn", remark, "what changed since is not checked", "install a newer numa-align"
        )


def given_files(facts: Facts) -> Iterator[Finding]:
    """Files that slurmctld sends (configless): where the originals are, and what is not sent."""
    if facts.controller is not None:
        yield Finding(
            "configless",
            "ok",
            f"{facts.slurm_conf} and the files beside it are slurmd's copies; the originals are on "
            f"{facts.controller}",
        )
    for place in facts.patterns if facts.configless else ():
        yield Finding(
            "configless",
            "warn",
            f"{place}: includes by a pattern (Slurm does not support glob parsing)",
            "slurmctld complains at each start and does not send these files: nodes lack the plugins in them",
            f"{place}: replace it with the lines of these files, see `numa-align conf plugstack`",
        )


def declared_twice(facts: Facts) -> Iterator[Finding]:
    """A node on two lines, with which no daemon starts."""
    if facts.declared_again is not None:
        yield Finding(
            "node-twice",
            "fail",
            f"{facts.declared_again}: {facts.name} is in {facts.place('nodename')} already (Duplicated "
            "NodeHostName in config file)",
            "no daemon starts",
            f"{facts.declared_again}: remove {facts.name}",
        )


def single_values(facts: Facts) -> Iterator[Finding]:
    """Lines with two settings, and keys that stand twice: the first value does not hold."""
    for place, key in facts.crowded:
        yield Finding(
            "slurm-line",
            "fail",
            f"{place}: {key}= is behind another setting (Parse error in file {facts.slurm_conf})",
            "no daemon starts, and no command works",
            f"{place}: put {key}= on a line of its own",
        )
    for one in facts.repeated:
        where = "twice on this line" if one.earlier == one.later else f"in {one.earlier} already"
        yield Finding(
            "key-twice",
            "warn",
            f"{one.later}: {one.key}= is {where} ({one.key} specified more than once, latest value used)",
            f"{one.key}={one.value} does not count, and every Slurm daemon and command complains",
            f"{one.earlier}: remove {one.key}={one.value}, or the later one",
        )


def declared_shape(facts: Facts) -> Iterator[Finding]:
    """Compares declared with real sockets, cores and threads."""
    declared = facts.declared
    if declared is None:
        return
    real = facts.layout.shape
    told = (declared.sockets, declared.cores_per_socket, declared.threads)
    if real == told:
        words = "{} sockets of {} cores of {} threads".format(*real)
        yield Finding("node-shape", "ok", f"{facts.name} is declared as it is: {words}")
        return
    said = f"{facts.place('nodename')}: {facts.name} is declared as {_words(told)} ({declared.source})"
    if facts.aimed is not facts.layout:
        yield Finding(
            "node-shape",
            "fail",
            f"{said}, with {facts.aimed.socket_name} as a socket, but no parameter tells slurmd to count so",
            f"slurmd counts {_words(real)}: the node does not register as it is declared",
            _parameter(facts, facts.aimed),
        )
        return
    yield Finding(
        "node-shape",
        "fail",
        f"{said} but is {_words(real)}",
        "Slurm's core numbers mean other cores and binding goes wrong: a loss of 40 % was reported",
        f"{facts.place('nodename')}: {_words(real)}",
    )


def _words(shape: tuple[int, int, int]) -> str:
    return "Sockets={} CoresPerSocket={} ThreadsPerCore={}".format(*shape)


def _parameter(facts: Facts, layout: Layout) -> str:
    """The line that makes slurmd count sockets so: the node's own, or one for all nodes before 25.11."""
    own = facts.checked_version.has_node_parameters
    place, key = ("nodename", "Parameters") if own else ("slurmdparameters", "SlurmdParameters")
    there = facts.node.get("parameters", "") if own else facts.settings.get("slurmdparameters", "")
    words = [*(word for word in there.split(",") if word), str(PARAMETERS[layout.kind])]
    return f"{facts.place(place)}: {key}={','.join(words)}"


def numa_sockets(facts: Facts) -> Iterator[Finding]:
    """NUMA nodes smaller than what Slurm takes as a socket, if Slurm could tell them apart.

    The change includes parameter, shape and Cores= together, as Slurm refuses any of them alone. If Cores=
    or the shape are wrong with packages as sockets, that is reported first, and this is not.
    """
    if not facts.has_gpus or facts.slurm_conf is None or facts.layout.kind != "package":
        return
    kind = choose_kind(facts.topology, facts.checked_version)
    if kind == "package" or facts.aimed is not facts.layout:
        return
    wrong = (one for check in (declared_shape, gres_lines) for one in check(facts) if one.status != "ok")
    if any(one.check.startswith(("gres-cores", "node-shape")) for one in wrong):
        return
    target = layout_of(facts.topology, kind)
    everyone = "" if facts.checked_version.has_node_parameters else " (which holds for all nodes)"
    yield Finding(
        "numa-sockets",
        "warn",
        f"{len({core.node for core in target.cores})} NUMA nodes on {len(facts.layout.sockets)} sockets: "
        "Slurm cannot tell nodes apart",
        "cores near a job's GPUs are chosen by package only",
        f"{_parameter(facts, target)}{everyone}, with {_words(target.shape)} and, in "
        f"{facts.gres_conf or 'gres.conf'}, {_cores(facts, target)}: all of these together",
    )


def _cores(facts: Facts, layout: Layout) -> str:
    kind = kind_of_one(facts.name, NodeFacts(facts.topology))
    records = gres_of(kind, layout, facts.checked_version).records
    return ", ".join(
        f"File={record.file} Cores={format_cpulist(record.cores)}" for record in records if record.cores
    )


def task_plugins(facts: Facts) -> Iterator[Finding]:
    """TaskPlugin, SelectType and the confinement of tasks."""
    if facts.slurm_conf is None:
        return
    plugins = {word.removeprefix("task/") for word in facts.words("taskplugin")}
    for name, cost in (
        ("affinity", "tasks are not bound to CPUs, and --cpu-bind does nothing"),
        ("cgroup", "nothing keeps tasks on their cores and away from others' GPUs"),
    ):
        if name not in plugins:
            change = f"{facts.place('taskplugin')}: TaskPlugin=task/affinity,task/cgroup"
            yield Finding("task-plugin", "fail", f"TaskPlugin has no task/{name}", cost, change)
    if {"affinity", "cgroup"} <= plugins:
        yield Finding("task-plugin", "ok", "TaskPlugin has task/affinity and task/cgroup")
    selector = facts.settings.get("selecttype", "").lower()
    if selector == "select/cons_res" and not facts.checked_version.has_cons_res:
        yield Finding(
            "select-type",
            "fail",
            "SelectType=select/cons_res was removed in Slurm 23.11",
            "no daemon starts, and no command works",
            f"{facts.place('selecttype')}: SelectType=select/cons_tres",
        )
    elif facts.has_gpus and selector not in ("select/cons_tres", ""):
        yield Finding(
            "select-type",
            "fail",
            f"SelectType={facts.settings['selecttype']} does not support GPUs",
            "cores are not chosen near GPUs",
            f"{facts.place('selecttype')}: SelectType=select/cons_tres",
        )


def constraints(facts: Facts) -> Iterator[Finding]:
    """ConstrainCores and ConstrainDevices in cgroup.conf."""
    if facts.slurm_conf is None:
        return
    costs = {
        "ConstrainCores": "a task can run on cores of other jobs",
        "ConstrainDevices": ("a task can open others' GPUs, and only variables say which are its own"),
    }
    for key, cost in costs.items():
        place = facts.cgroup_conf or "cgroup.conf"
        if facts.cgroup.get(key.lower(), "no").lower() in ("yes", "true", "1"):
            yield Finding("constrain", "ok", f"{key}=yes")
        else:
            yield Finding("constrain", "fail", f"{place}: {key} is not yes", cost, f"{place}: {key}=yes")


def spec_cpus(facts: Facts) -> Iterator[Finding]:
    """CpuSpecList takes one thread of a core and leaves its sibling to jobs."""
    if facts.declared is None or not facts.declared.spec_cpus or facts.layout.threads < 2:
        return
    threads = facts.layout.threads
    reserved = set(facts.declared.spec_cpus)
    cores = {cpu // threads for cpu in reserved}
    split = sorted(
        core for core in cores if len(reserved & set(range(core * threads, (core + 1) * threads))) < threads
    )
    if split:
        whole = format_cpulist(core * threads + thread for core in cores for thread in range(threads))
        yield Finding(
            "spec-cpus",
            "warn",
            f"CpuSpecList reserves only some threads of {len(split)} cores (core {split[0]}, ...): it "
            "counts Slurm's CPUs",
            "the system's work shares cores with jobs",
            f"{facts.place('nodename')}: CpuSpecList={whole}",
        )
    else:
        yield Finding("spec-cpus", "ok", "CpuSpecList reserves whole cores")


def plugin(facts: Facts) -> Iterator[Finding]:
    """The plugin: named in plugstack.conf, present, optional, built for this Slurm."""
    if facts.slurm_conf is None:
        return
    if not facts.plugins:
        line = "include /etc/slurm/plugstack.conf.d/*.conf"
        if facts.configless:
            line = "the line of `numa-align conf plugstack`, as slurmctld does not send included files"
        yield Finding(
            "plugin",
            "fail",
            "plugstack.conf does not name numa-align.so",
            "there is no option --numa-align",
            f"plugstack.conf: {line}; then restart slurmd",
        )
    for entry in facts.plugins:
        yield from _plugin(facts, entry)


def _plugin(facts: Facts, entry: Plugin) -> Iterator[Finding]:
    if entry.requirement != "optional":
        yield Finding(
            "plugin-required",
            "warn",
            f"{entry.place}: the plugin is {entry.requirement}",
            "if it cannot be loaded srun fails and slurmd does not start",
            f"{entry.place}: optional {entry.path}",
        )
    if not entry.exists:
        yield Finding(
            "plugin",
            "fail",
            f"{entry.place}: {entry.path} does not exist",
            "there is no option --numa-align here",
            f"install numa-align on this node, or remove the line from {entry.place}",
        )
        return
    if entry.built_for is None:
        yield Finding(
            "plugin", "fail", f"{entry.path} is not a Slurm plugin", "it is not loaded", "`make install`"
        )
        return
    built = "{}.{:02d}".format(*entry.built_for)
    if facts.version is None:
        what = f"{entry.path} exists, built for Slurm {built}; the release that runs here is unknown"
        yield Finding("plugin", "ok", what)
    elif entry.built_for != facts.version:
        yield Finding(
            "plugin-version",
            "fail",
            f"{entry.path} is built for Slurm {built}, this is {facts.version}",
            "Slurm refuses it: there is no option --numa-align",
            f"install the package for Slurm {facts.version}, or `make install` with its headers",
        )
    else:
        yield Finding("plugin", "ok", f"{entry.path} exists and fits this Slurm")


def prolog(facts: Facts) -> Iterator[Finding]:
    """Prolog and epilog: configured, present, executable, fast enough."""
    if facts.slurm_conf is None:
        return
    for key in ("prolog", "epilog"):
        scripts = facts.scripts.get(key, ())
        place = facts.place(key)
        if not any(script.ours for script in scripts):
            cost = (
                "no task of this node is aligned"
                if key == "prolog"
                else "tables stay behind in /run/numa-align"
            )
            name = key.capitalize()
            change = f"{place}: {name}={facts.sbin}/numa-align-{key}"
            if scripts and not facts.checked_version.runs_several_scripts:
                change = f"{scripts[-1].path}: have it call {facts.sbin}/numa-align-{key}"
            yield Finding(key, "fail", f"{name} is not numa-align-{key}", cost, change)
        for script in scripts:
            if not script.exists or not script.executable:
                wrong = "cannot be run" if script.exists else "does not exist"
                cost = "slurmd drains every node that gets a job"
                change = (
                    f"chmod 755 {script.path}"
                    if script.exists
                    else f"{place}: remove this line, or install {script.path}"
                )
                yield Finding(key, "fail", f"{place}: {script.path} {wrong}", cost, change)
            elif script.ours:
                yield Finding(key, "ok", f"{script.path} exists")
    yield from _prolog_times(facts)


def _prolog_times(facts: Facts) -> Iterator[Finding]:
    flags = facts.words("prologflags")
    if facts.scripts.get("prolog") and not {"alloc", "contain", "x11", "runinjob"} & set(flags):
        yield Finding(
            "prolog-flags",
            "warn",
            "PrologFlags has no Alloc",
            "on nodes without a task of the first step the prolog runs late",
            f"{facts.place('prologflags')}: PrologFlags=Alloc,Contain",
        )
    elif facts.scripts.get("prolog") and not {"contain", "x11"} & set(flags):
        yield Finding(
            "prolog-contain",
            "warn",
            "PrologFlags has no Contain",
            "a job between two steps has no process here: its table is kept until a day after its time "
            "limit, and a limit that is raised later does not count",
            f"{facts.place('prologflags')}: PrologFlags=Alloc,Contain",
        )
    seconds = facts.prolog_seconds
    if seconds is not None and seconds > SLOW_PROLOG:
        yield Finding(
            "prolog-slow",
            "warn",
            f"describing this node takes {seconds:.1f} s",
            "every job starts that much later",
            f"find out whether /sys or {facts.gres_conf or 'gres.conf'} is slow; keep Slurm's limit at "
            f"{PROLOG_LIMIT} s",
        )
    elif seconds is not None:
        yield Finding("prolog-slow", "ok", f"describing this node takes {seconds:.2f} s")


def tables(facts: Facts) -> Iterator[Finding]:
    """Tables of jobs that have ended, and those that the plugin does not read."""
    if facts.stale_tables:
        jobs = ", ".join(map(str, facts.stale_tables[:5]))
        yield Finding(
            "tables",
            "warn",
            f"{len(facts.stale_tables)} binding tables of jobs that have ended ({jobs})",
            "none yet, but the epilog does not run",
            f"{facts.place('epilog')}: Epilog=; the next epilog removes them",
        )
    others = [job for job in facts.other_tables if job not in facts.stale_tables]
    if others:
        yield Finding(
            "tables",
            "warn",
            f"the tables of {len(others)} jobs ({', '.join(map(str, others[:5]))}) are of another version of "
            "numa-align: it was upgraded or downgraded while they ran",
            "their next steps are not aligned, or fail with strict; jobs that start from now on are aligned",
            "wait for these jobs to end, or run the prolog again for each, as root on this node: "
            f"SLURM_JOB_ID={others[0]} SLURM_JOB_GPUS=IDX numa-align-prolog, with the IDX of `scontrol show "
            f"job -d {others[0]}`",
        )
