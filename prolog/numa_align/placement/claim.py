"""The claim with types: the decisions of the C code in spank/, as frozen values.

The plugin and these functions run the same C. A machine is passed to it as the text of its binding
table, which the plugin reads too, so nothing is lost or added on the way. CPU and node
numbers are Linux's; GPUs are positions in ascending order of PCI address (`Machine.gpus`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Optional

from ..errors import ClaimError, SpecError, TableError
from ..names import CPUS_WORDS, MEM_WORDS, MODES, STATES, VARIABLES, CpusWord, MemWord, PolicyMode, State
from ..topology.model import Gpu, Topology
from .table import format_table

#: CPU and node numbers are below this (NA_SET_BITS in spank/set.h).
SET_BITS = 8192
#: The most GPUs of a step (NA_MAX_GPUS), and the most tasks of a step on a node (NA_MAX_TASKS).
MAX_GPUS = 256
MAX_TASKS = 4096


@dataclass(frozen=True)
class Spec:
    """The option ``--numa-align`` after parsing."""

    on: bool = False
    strict: bool = False
    verbose: bool = False
    smt: bool = True
    help: bool = False
    mem: MemWord = "preferred"
    cpus: CpusWord = "slice"
    tell: bool = True
    all_steps: bool = False
    nic: bool = False


@dataclass(frozen=True)
class Choice:
    """Which of its visible GPUs a task uses: ``count`` from number ``first`` on.

    ``sharers`` tasks use the first of them; this task is number ``share`` of those.
    """

    first: int
    count: int
    share: int
    sharers: int


@dataclass(frozen=True)
class Sight:
    """What is known of each task of a step: the GPUs that it sees, and how many CPUs Slurm gave it."""

    visible: tuple[int, ...]
    cpus: int


@dataclass(frozen=True)
class Step:
    """A step on one node: its CPUs, the nodes whose memory it may use, its tasks and GPUs.

    ``sights`` are what each task sees and has, or None if a task knows only its own. ``nics`` are names of
    the cards that the step may use; None means all that can be chosen.
    """

    cpus: tuple[int, ...]
    memory_nodes: tuple[int, ...]
    tasks: int
    gpus: tuple[int, ...]
    spec: Spec = Spec(on=True)
    sights: Optional[tuple[Sight, ...]] = None
    nics: Optional[tuple[str, ...]] = None


@dataclass(frozen=True)
class Task:
    """What one task sees, and what it was given.

    ``visible`` are the GPUs that it can use, in the order in which it counts them; ``mask`` has the CPUs that
    Slurm gave it.
    """

    id: int
    visible: tuple[int, ...]
    mask: tuple[int, ...]
    cpus_explicit: bool = False
    memory_explicit: bool = False


@dataclass(frozen=True)
class Placement:
    """What a task gets.

    ``state`` is ``aligned``, ``partial``, ``memory-only`` or ``unaligned``; ``reason`` and ``advice``
    are sentences or None. ``cpus`` are its CPUs afterwards, whether bound (``binds_cpus``) or left alone.
    ``policy`` is a name of set_mempolicy(2), or ``default`` if none is set (``sets_memory`` False);
    ``memory_nodes`` are those of the policy, or those near its GPUs if none is set. ``given``: how many CPUs
    Slurm gave it. ``own`` of its CPUs are on the nodes of its GPUs, and ``beside`` of them on other nodes
    that are local to its GPUs. ``note`` says that it has fewer CPUs than it was given, or is None.
    ``nics`` are the names of its own network cards, among those nearest to its GPUs.
    """

    state: State
    gpus: tuple[int, ...]
    cpus: tuple[int, ...]
    binds_cpus: bool
    policy: PolicyMode
    memory_nodes: tuple[int, ...]
    sets_memory: bool
    reason: Optional[str]
    advice: Optional[str]
    given: int = 0
    own: int = 0
    beside: int = 0
    note: Optional[str] = None
    nics: tuple[str, ...] = ()


@cache
def _compiled() -> tuple[Any, Any]:
    """The ``ffi`` and ``lib`` of the extension module, which is imported on first use."""
    try:
        from .._claim import ffi, lib  # noqa: PLC0415
    except ImportError as error:
        raise ClaimError(
            f"the compiled claim is missing or does not fit this Python ({error}); "
            "build it with `pip install .` or `make claim` in the source tree"
        ) from error
    return ffi, lib


def _text(value: Any) -> str:
    ffi, _ = _compiled()
    raw: bytes = ffi.string(value)
    return raw.decode("ascii", "replace")


def _fill(target: Any, numbers: Iterable[int]) -> None:
    """Write numbers into a struct na_set."""
    ffi, _ = _compiled()
    bits = 0
    for number in numbers:
        if not 0 <= number < SET_BITS:
            raise ClaimError(f"{number} is not a CPU or node number (0-{SET_BITS - 1})")
        bits |= 1 << number
    ffi.memmove(target.word, bits.to_bytes(SET_BITS // 8, "little"), SET_BITS // 8)


def _numbers(source: Any) -> tuple[int, ...]:
    """The members of a struct na_set, ascending."""
    ffi, _ = _compiled()
    bits = int.from_bytes(ffi.buffer(source.word), "little")
    found = []
    while bits:
        low = bits & -bits
        found.append(low.bit_length() - 1)
        bits ^= low
    return tuple(found)


def _write_spec(target: Any, spec: Spec) -> None:
    target.on, target.strict, target.verbose = spec.on, spec.strict, spec.verbose
    target.smt, target.tell, target.help = spec.smt, spec.tell, spec.help
    target.all_steps, target.nic = spec.all_steps, spec.nic
    target.mem, target.cpus = MEM_WORDS.index(spec.mem), CPUS_WORDS.index(spec.cpus)


def read_spec(text: Optional[str], *, base: Optional[Spec] = None, request: bool = True) -> Spec:
    """Parse the option's text, starting from ``base`` (None: the built-in defaults).

    With ``request``, as on the command line, alignment is turned on unless the text says off.
    None, "" and "(null)" mean the option without a value. Raises SpecError, which lists the words.
    """
    ffi, lib = _compiled()
    spec = ffi.new("struct na_spec *")
    _write_spec(spec, base or Spec())
    error = ffi.new("char[512]")
    # surrogateescape passes on whatever bytes the shell gave; the parser refuses them.
    raw = ffi.NULL if text is None else ffi.new("char[]", text.encode("utf-8", "surrogateescape"))
    read = lib.na_spec_request if request else lib.na_spec_parse
    if text is not None and "\0" in text:
        raise SpecError(f"--numa-align: {text[:40]!r} has a NUL in it; valid words are {spec_words()}")
    if not read(spec, raw, error, 512):
        raise SpecError(f"--numa-align: {_text(error)}")
    return Spec(
        bool(spec.on), bool(spec.strict), bool(spec.verbose), bool(spec.smt), bool(spec.help),
        MEM_WORDS[spec.mem], CPUS_WORDS[spec.cpus], bool(spec.tell), bool(spec.all_steps), bool(spec.nic),
    )  # fmt: skip


def spec_words() -> str:
    """The words that ``--numa-align`` accepts, in one line."""
    return _text(_compiled()[1].na_spec_words)


def spec_help() -> str:
    """What ``--numa-align=help`` prints."""
    return _text(_compiled()[1].na_spec_help)


def programs() -> dict[str, str]:
    """Variables, with their values, that keep programs from undoing a placement."""
    known = _compiled()[1].na_programs
    end = next(number for number in itertools.count() if not known[number].variable)
    return {_text(known[number].variable): _text(known[number].value) for number in range(end)}


def choose_gpus(task: int, tasks: int, visible: int) -> Choice:
    """Which of ``visible`` GPUs task number ``task`` of ``tasks`` uses when all see the same."""
    choice = _compiled()[1].na_choose_gpus(task, tasks, visible)
    return Choice(choice.first, choice.count, choice.share, choice.sharers)


class ClaimMachine:
    """A node of the cluster, as the C code represents it."""

    def __init__(self, table: str) -> None:
        """Read a binding table. Raises TableError for any other text."""
        ffi, lib = _compiled()
        error = ffi.new("char[256]")
        raw = table.encode("utf-8", "surrogateescape")
        machine = lib.na_table_parse(raw, len(raw), error, 256)
        if machine == ffi.NULL:
            raise TableError(f"not a valid binding table: {_text(error)}")
        self._machine = ffi.gc(machine, lib.na_machine_free)
        # The C structs of the latest step, as all tasks of a step are asked about in turn.
        self._last: Optional[tuple[Step, Any, Any]] = None
        #: PCI addresses, ascending: elsewhere a GPU's number is its position here.
        self.gpus = tuple(_text(machine.gpus[i].bdf) for i in range(machine.gpu_count))
        #: Names of the cards among which tasks choose.
        self.nics = tuple(_text(machine.nics[i].name) for i in range(machine.nic_count))

    @classmethod
    def of(cls, topology: Topology) -> ClaimMachine:
        """The machine that a topology describes, built through its binding table."""
        machine = cls(format_table(topology, 0))
        if machine.gpus != tuple(gpu.bdf for gpu in topology.gpus):
            raise ClaimError("the topology's GPUs are not in ascending order of their PCI addresses")
        return machine

    def claim(self, cpus: Iterable[int], homes: Sequence[Optional[int]]) -> tuple[tuple[int, ...], ...]:
        """Divide CPUs among claimants on the given NUMA nodes: one slice for each.

        A claimant whose node is None gets nothing. Raises ClaimError for a node that does not exist.
        """
        ffi, lib = _compiled()
        claimants = ffi.new("struct na_claimant[]", max(len(homes), 1))
        for claimant, home in enumerate(homes):
            position = -1 if home is None else self._position(home)
            claimants[claimant].owner, claimants[claimant].node = claimant, position
            claimants[claimant].weight = 1
        given = ffi.new("struct na_set *")
        _fill(given, cpus)
        slices = ffi.new("struct na_set[]", max(len(homes), 1))
        request = ffi.new("struct na_request *", (given, claimants, len(homes), len(homes), ffi.NULL))
        if not lib.na_claim(self._machine, request, slices):
            raise ClaimError("out of memory while claiming cores")
        return tuple(_numbers(slices[claimant]) for claimant in range(len(homes)))

    def _position(self, node: int) -> int:
        position: int = _compiled()[1].na_node_position(self._machine, node)
        if position < 0:
            raise ClaimError(f"the machine has no NUMA node {node}")
        return position

    def local_cpus(self, node: Optional[int]) -> frozenset[int]:
        """The CPUs that are local to a GPU on ``node``; none if its node is unknown.

        These are the node's own, and those of other nodes in the same package at a SLIT distance below
        20 to which no GPU of the machine is attached.
        """
        ffi, lib = _compiled()
        if node is None:
            return frozenset()
        found = ffi.new("struct na_set *")
        lib.na_local_cpus(self._machine, self._position(node), found)
        return frozenset(_numbers(found))

    def divide(self, cpus: Iterable[int], parts: int) -> tuple[tuple[int, ...], ...]:
        """Divide CPUs into contiguous parts, irrespective of their owners."""
        ffi, lib = _compiled()
        given, part = ffi.new("struct na_set *"), ffi.new("struct na_set *")
        _fill(given, cpus)
        found = []
        for number in range(parts):
            if not lib.na_claim_part(self._machine, given, number, parts, part):
                raise ClaimError("out of memory while dividing CPUs")
            found.append(_numbers(part))
        return tuple(found)

    def _nic_bits(self, names: Optional[Iterable[str]]) -> int:
        """A set of cards in the C code's representation."""
        wanted = frozenset(self.nics if names is None else names)
        return sum(1 << number for number, name in enumerate(self.nics) if name in wanted)

    def _nic_names(self, bits: int) -> tuple[str, ...]:
        return tuple(name for number, name in enumerate(self.nics) if bits >> number & 1)

    def _check_gpus(self, gpus: Sequence[int]) -> None:
        for gpu in gpus:
            if not 0 <= gpu < len(self.gpus):
                raise ClaimError(f"the machine has no GPU number {gpu} (it has {len(self.gpus)})")
        if len(gpus) > MAX_GPUS:
            raise ClaimError(f"more than {MAX_GPUS} GPUs")

    def _step(self, step: Step) -> tuple[Any, Any]:
        """A struct na_step, and an object that has to live as long."""
        ffi, _ = _compiled()
        if self._last is not None and self._last[0] is step:
            return self._last[1:]
        if not 1 <= step.tasks <= MAX_TASKS:
            raise ClaimError(f"a step has 1 to {MAX_TASKS} tasks on a node, not {step.tasks}")
        self._check_gpus(step.gpus)
        made = ffi.new("struct na_step *")
        made.machine = self._machine
        _write_spec(made.spec, step.spec)
        _fill(made.cpus, step.cpus)
        _fill(made.mems, step.memory_nodes)
        made.task_count, made.gpu_count = step.tasks, len(step.gpus)
        for i, gpu in enumerate(sorted(step.gpus)):
            made.gpus[i] = gpu
        made.nics = self._nic_bits(step.nics)
        sights = self._add_sights(made, step)
        self._last = step, made, sights
        return made, sights

    def _add_sights(self, made: Any, step: Step) -> Any:
        """Add its sights to a struct na_step; the returned object has to live as long."""
        ffi, _ = _compiled()
        if step.sights is None:
            return None
        if len(step.sights) != step.tasks:
            raise ClaimError(f"{len(step.sights)} sights for {step.tasks} tasks")
        sights = ffi.new("struct na_sight[]", step.tasks)
        for sight, known in zip(sights, step.sights):
            self._check_gpus(known.visible)
            sight.count, sight.cpus = len(known.visible), known.cpus
            for i, gpu in enumerate(known.visible):
                sight.gpu[i] = gpu
        made.sights = sights
        return sights

    def _task(self, step: Step, task: Task) -> Any:
        ffi, _ = _compiled()
        if not 0 <= task.id < step.tasks:
            raise ClaimError(f"a step of {step.tasks} tasks has no task {task.id}")
        self._check_gpus(task.visible)
        made = ffi.new("struct na_task *")
        made.id, made.visible_count = task.id, len(task.visible)
        for i, gpu in enumerate(task.visible):
            made.visible[i] = gpu
        _fill(made.mask, task.mask)
        made.cpus_explicit, made.mem_explicit = task.cpus_explicit, task.memory_explicit
        return made

    def place(self, step: Step, task: Task) -> Placement:
        """Decide for one task, as the plugin does. Raises ClaimError for an impossible step."""
        placement, _ = self._place(step, task)
        return Placement(
            state=STATES[placement.state],
            gpus=tuple(placement.gpus[0 : placement.gpu_count]),
            cpus=_numbers(placement.cpus),
            binds_cpus=bool(placement.set_cpus),
            policy=MODES[placement.policy],
            memory_nodes=_numbers(placement.mems),
            sets_memory=bool(placement.set_memory),
            reason=_text(placement.reason) or None,
            advice=_text(placement.advice) or None,
            given=placement.given,
            own=placement.own,
            beside=placement.beside,
            note=_text(placement.note) or None,
            nics=self._nic_names(placement.nics),
        )

    def variables(self, step: Step, placement: Placement) -> dict[str, Optional[str]]:
        """Variables that the plugin would set for a task that it placed so; None: not set."""
        ffi, lib = _compiled()
        self._check_gpus(placement.gpus)
        made, (given, _sights) = ffi.new("struct na_placement *"), self._step(step)
        made.state, made.gpu_count = STATES.index(placement.state), len(placement.gpus)
        for i, gpu in enumerate(placement.gpus):
            made.gpus[i] = gpu
        _fill(made.cpus, placement.cpus)
        _fill(made.mems, placement.memory_nodes)
        made.nics = self._nic_bits(placement.nics)
        made.reason = (placement.reason or "").encode("ascii", "replace")
        made.note = (placement.note or "").encode("ascii", "replace")
        text = ffi.new("char[]", lib.NA_VARIABLE_TEXT_MAX)
        return {
            name: _text(text) if lib.na_variable_text(given, made, number, text, len(text)) else None
            for number, name in enumerate(VARIABLES)
        }

    def libraries(self, placement: Placement) -> dict[str, str]:
        """Variables by which communication libraries use the cards of a task that was placed so."""
        ffi, lib = _compiled()
        placed = ffi.new("struct na_placement *")
        placed.nics = self._nic_bits(placement.nics)
        _fill(placed.cpus, placement.cpus)
        text = ffi.new("char[]", lib.NA_VARIABLE_TEXT_MAX)
        return {
            _text(lib.na_library_variable(number)): _text(text)
            for number in range(lib.NA_LIBRARIES)
            if lib.na_library_text(self._machine, placed, number, text, len(text))
        }

    def _place(self, step: Step, task: Task) -> tuple[Any, Any]:
        """The placement and the step in the C code's representation."""
        ffi, lib = _compiled()
        placement = ffi.new("struct na_placement *")
        made, sights = self._step(step)
        if not lib.na_step_place(made, self._task(step, task), placement):
            raise ClaimError("out of memory while placing a task")
        return placement, (made, sights)

    def slices(self, step: Step, placement: Placement) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
        """For each GPU of a placed task, its part of the task's CPUs, and its memory nodes."""
        ffi, lib = _compiled()
        made, _sights = self._step(step)
        self._check_gpus(placement.gpus)
        placed = ffi.new("struct na_placement *")
        placed.gpu_count = len(placement.gpus)
        for i, gpu in enumerate(placement.gpus):
            placed.gpus[i] = gpu
        _fill(placed.cpus, placement.cpus)
        slices = ffi.new("struct na_set[]", max(len(placement.gpus), 1))
        if not lib.na_placement_slices(made, placed, slices):
            raise ClaimError("out of memory while claiming cores")
        found = []
        for i, gpu in enumerate(placement.gpus):
            nodes = ffi.new("struct na_set *")
            lib.na_gpu_memory(made, gpu, nodes)
            found.append((_numbers(slices[i]), _numbers(nodes)))
        return tuple(found)


@lru_cache(maxsize=2)
def _machine_of(topology: Topology) -> ClaimMachine:
    """Cached, as all processes of a node are judged with one machine."""
    return ClaimMachine.of(topology)


def local_cpus(topology: Topology, gpus: Iterable[Gpu]) -> frozenset[int]:
    """The CPUs that are local to any of these GPUs (`ClaimMachine.local_cpus`).

    Without the compiled claim, or for a machine that fits in no table, those of the GPUs' own nodes.
    """
    gpus = tuple(gpus)
    try:
        machine = _machine_of(topology)
    except (ClaimError, TableError):
        return frozenset(cpu for gpu in gpus for cpu in gpu.cpus)
    return frozenset().union(*(machine.local_cpus(gpu.node) for gpu in gpus))
