"""cgroup.conf, plugstack.conf, and the Lua script for 22.05: the same for every machine.

Source: cgroup.conf(5), spank(8), and etc/cli_filter.lua.example of Slurm.
"""

from __future__ import annotations

from collections.abc import Iterator

from .gres import comment
from .version import Version

#: Keys and values of cgroup.conf with their reasons.
CGROUP_SETTINGS = (
    (
        "ConstrainCores",
        "yes",
        "A step stays on its own cores, and so does what --numa-align chooses among them.",
    ),
    (
        "ConstrainDevices",
        "yes",
        "A task can open its own GPUs only. This is also how the plugin knows for certain which they are.",
    ),
    (
        "ConstrainRAMSpace",
        "yes",
        "A job that takes more memory than it asked for does not push others to far nodes.",
    ),
)


def cgroup_conf() -> str:
    """The lines of cgroup.conf."""
    lines = ["# cgroup.conf, by numa-align conf cgroup."]
    for key, value, reason in CGROUP_SETTINGS:
        lines += ["", *comment(reason), f"{key}={value}"]
    return "\n".join(lines) + "\n"


def plugstack_conf(library: str, defaults: str) -> str:
    """The lines of plugstack.conf; ``defaults`` are the site's words for ``--numa-align``."""
    return "\n".join(_plugstack(library, defaults)) + "\n"


def _plugstack(library: str, defaults: str) -> Iterator[str]:
    yield "# plugstack.conf, or a file of its own in a folder that it includes; by numa-align conf plugstack."
    yield from comment(
        "Adds --numa-align to srun, sbatch and salloc. optional: whatever goes wrong in the plugin, jobs "
        "run; as required it would stop them and drain nodes. slurmd reads this when it starts."
    )
    yield from comment(
        "Where nodes get their files from slurmctld (enable_configless) this line belongs in plugstack.conf "
        "itself: slurmctld does not send what `include ....d/*.conf` stands for, and complains at each start."
    )
    if defaults:
        yield from comment("The words after the path are the site's defaults; users' own words win.")
    else:
        yield from comment(
            "Without words after the path a step is aligned if it asks for it; `on` aligns every step that "
            "does not say --numa-align=off."
        )
    yield f"optional {library}{' ' if defaults else ''}{defaults}"


_LUA = """\
-- /etc/slurm/cli_filter.lua, with CliFilterPlugins=lua in slurm.conf; by numa-align conf lua.
--
-- Jobs that ask for --numa-align get only cores near their GPUs (--gres-flags=enforce-binding), unless they
-- set --gres-flags themselves. {why}
-- If you have a cli_filter.lua, take the body of slurm_cli_pre_submit into yours.

function slurm_cli_setup_defaults(options, early_pass)
   return slurm.SUCCESS
end

function slurm_cli_pre_submit(options, pack_offset)
   local asked = options.spank and options.spank["numa_align"] and options.spank["numa_align"]["numa-align"]
   local flags = options["gres-flags"]
   if asked ~= nil and asked ~= "unset" and not string.find("," .. asked .. ",", ",off,", 1, true)
         and (flags == nil or flags == "unset") then
      options["gres-flags"] = "enforce-binding"
   end
   return slurm.SUCCESS
end

function slurm_cli_post_submit(offset, job_id, step_id)
   return slurm.SUCCESS
end
"""


def cli_filter_lua(version: Version) -> str:
    """A cli_filter that adds enforce-binding to what asks for ``--numa-align``."""
    if version.enforces_by_default:
        why = (
            f"Slurm {version} can do\n-- it for all jobs, SelectTypeParameters=ENFORCE_BINDING_GRES; this "
            "is for sites that do not want that."
        )
    else:
        why = f"Slurm {version} has no ENFORCE_BINDING_GRES."
    return _LUA.format(why=why)
