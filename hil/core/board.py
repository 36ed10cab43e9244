"""A kind of target: chip, clocks, memories and how to build for it, as read from board.toml."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Memory:
    """A memory of the chip. ``use`` lists roles: "code", "weights", "arena", "scratch", "stack".

    ``reserved_bytes`` are kept for what every image has: the board's own code, data and stacks.
    The planner adds each layer's share and gives the rest away.
    """

    name: str
    base: int
    size_bytes: int
    use: tuple[str, ...]
    reserved_bytes: int = 0


@dataclass(frozen=True)
class Toolchain:
    """Compilers to look for, best first, and flags for each family ("gcc", "zig")."""

    gcc_names: tuple[str, ...]
    gcc_flags: tuple[str, ...]
    zig_flags: tuple[str, ...]
    entry: str
    linker_script: str


@dataclass(frozen=True)
class PowerModel:
    """Published operating point that the virtual chip's energy is scaled to: modelled."""

    supply_v: float
    active_w: float
    idle_w: float
    source: str


@dataclass(frozen=True)
class Board:
    """One folder of ``boards/``. ``compute_clock_hz`` is the clock the kernels' cycles count."""

    name: str
    chip: str
    title: str
    compute_clock_hz: int
    cores: int
    baud: int
    memories: tuple[Memory, ...]
    toolchain: Toolchain
    power: PowerModel
    sources: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    def memory(self, name: str) -> Memory:
        """The memory of that name."""
        return next(m for m in self.memories if m.name == name)

    def memories_for(self, use: str) -> tuple[Memory, ...]:
        """Memories with that role, in order of preference."""
        return tuple(m for m in self.memories if use in m.use)
