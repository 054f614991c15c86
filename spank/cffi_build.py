"""Compiles the claim for Python: the same C files that make up the plugin.

``setup.py`` names `ffibuilder`; the result is the module ``numa_align._claim``. Only the parts
that touch nothing outside their arguments are compiled (spank/placement), and what `bench` measures with.
"""

import sys
from pathlib import Path

if sys.version_info < (3, 9):  # noqa: UP036 (the project says so, but nothing else reads it here)
    # EL 8 and SLES 15 call 3.6 python3, and have newer ones beside it.
    sys.exit(
        f"numa-align: Python 3.9 or later is needed, {sys.executable} is {sys.version.split()[0]}; "
        "name another one: make PYTHON=/usr/bin/python3.11"
    )

from cffi import FFI

HERE = Path(__file__).resolve().parent
SOURCES = sorted(
    f"spank/{folder}/{path.name}" for folder in ("placement", "bench") for path in (HERE / folder).glob("*.c")
)

DECLARATIONS = """
struct na_set { uint64_t word[128]; };
bool na_set_parse(struct na_set *set, const char *text);
bool na_set_format(const struct na_set *set, char *text, size_t size);

struct na_gpu { char bdf[24]; int node; int index; ...; };
typedef uint64_t na_nics;
struct na_nic { char name[64]; char bdf[24]; char device[64]; int fabric, port, node; ...; };
struct na_machine {
    int node_count, core_count, gpu_count, nic_count;
    struct na_gpu *gpus;
    struct na_nic *nics;
    struct na_set cpus;
    ...;
};
struct na_machine *na_table_parse(const char *text, size_t length, char *error, size_t size);
int na_node_position(const struct na_machine *machine, int id);
void na_machine_free(struct na_machine *machine);

struct na_spec { bool on, strict, verbose, smt, tell, nic, help, all_steps; int mem, cpus; ...; };
extern const struct na_spec na_spec_built_in;
extern const char na_spec_words[];
extern const char na_spec_help[];
bool na_spec_parse(struct na_spec *spec, const char *text, char *error, size_t size);
bool na_spec_request(struct na_spec *spec, const char *text, char *error, size_t size);

struct na_claimant { int owner, node, weight; };
struct na_request {
    const struct na_set *cpus;
    const struct na_claimant *claimants;
    int count;
    int owners;
    const int *fill;
};
bool na_claim(const struct na_machine *machine, const struct na_request *request, struct na_set *slices);
bool na_claim_part(const struct na_machine *machine, const struct na_set *cpus, int part, int parts,
                   struct na_set *slice);

na_nics na_nics_of_one_fabric(const struct na_machine *machine, na_nics usable);
na_nics na_nearest_nics(const struct na_machine *machine, int gpu, na_nics usable);
struct na_nic_user { int owner, weight; na_nics near; };
bool na_deal_nics(const struct na_nic_user *users, int count, int owners, na_nics *dealt);
const char *na_library_variable(int library);
#define NA_LIBRARIES ...
const char *na_fabric_name(int fabric);
const char *na_path_name(int path);

struct na_sight { uint16_t count; uint8_t gpu[256]; uint16_t cpus; };
struct na_step {
    const struct na_machine *machine;
    struct na_spec spec;
    struct na_set cpus;
    struct na_set mems;
    int task_count;
    int gpu_count;
    int gpus[256];
    na_nics nics;
    const struct na_sight *sights;
};
struct na_task {
    int id;
    int visible_count;
    int visible[256];
    struct na_set mask;
    bool cpus_explicit;
    bool mem_explicit;
    bool cpus_by_variable, mem_by_variable;
};
struct na_placement {
    int state;
    int gpu_count;
    int gpus[256];
    bool set_cpus;
    struct na_set cpus;
    int given;
    int own, beside;
    bool set_memory;
    int policy;
    struct na_set mems;
    na_nics nics;
    char reason[240];
    char advice[480];
    char note[240];
};
bool na_step_place(const struct na_step *step, const struct na_task *task, struct na_placement *placement);
bool na_placement_slices(const struct na_step *step, const struct na_placement *placement,
                         struct na_set *slices);
void na_gpu_memory(const struct na_step *step, int gpu, struct na_set *mems);
void na_local_cpus(const struct na_machine *machine, int node, struct na_set *cpus);
struct na_choice { int first, count, share, sharers; };
struct na_choice na_choose_gpus(int id, int tasks, int visible);
int na_cpu_bind(const char *value);
int na_mem_bind(const char *value);
bool na_bind_inherited(const char *value, const char *verbose, const char *type, const char *list);
void na_judge_memory(const struct na_task *task, struct na_placement *placement, const struct na_set *nodes);
struct na_program { const char *variable; const char *value; };
extern const struct na_program na_programs[];
const char *na_state_name(int state);
const char *na_policy_name(int policy);
const char *na_mem_name(int mem);
const char *na_cpus_name(int cpus);
const char *na_node_kind_name(int kind);
bool na_library_text(const struct na_machine *machine, const struct na_placement *placement, int library,
                     char *text, size_t size);
const char *na_variable_name(int variable);
#define NA_VARIABLE_TEXT_MAX ...
bool na_chase(size_t size, size_t loads, int runs, double *nanoseconds);
bool na_variable_text(const struct na_step *step, const struct na_placement *placement, int variable,
                      char *text, size_t size);
"""


def builder(root: Path) -> FFI:
    """The extension module with sources named from ``root``."""
    ffi = FFI()
    ffi.cdef(DECLARATIONS)
    ffi.set_source(
        "numa_align._claim",
        "".join(
            f'#include "{name}.h"\n'
            for name in (
                "explicit",
                "chase",
                "claim",
                "explain",
                "libraries",
                "nics",
                "parts",
                "place",
                "programs",
                "spec",
                "tasks",
                "table",
                "variables",
            )
        ),
        sources=[str(root / source) for source in SOURCES],
        include_dirs=[str(HERE / "placement"), str(HERE / "bench")],
        define_macros=[("_GNU_SOURCE", "1")],
        extra_compile_args=["-std=c11", "-O2", "-fvisibility=hidden"],
    )
    return ffi


if __name__ == "__main__":
    # Without setuptools' commands, for `make install`: the argument is the folder to build in.
    builder(HERE.parent).compile(tmpdir=sys.argv[1])
else:
    # setuptools wants names relative to the folder of setup.py.
    ffibuilder = builder(Path())
