"""The [flasher] table of a rig file: which keys which kind of flasher takes on which board."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from hil.core.errors import RigError


@dataclass(frozen=True)
class FlasherSpec:
    """An entry that a kind does not use must be absent; ``KINDS`` says which are used.

    ``control``: the twin's socket. ``server``: host:port of a GDB server. ``serial``: the debug
    probe's own; ``location``: its place on the USB (bus:port) when it has no serial.
    ``interface``, ``target``: configuration files of OpenOCD; ``target`` with pyocd: its name of
    the chip. ``program``: path of the tool. ``memory``: where a GAP8 program goes, "l2" or
    "hyperflash"; the latter by ``image_tool``, which makes an image of an ELF, and ``sdk_tools``,
    the SDK's utils/openocd_tools.
    ``timeout_s``: of an answer, or of one call of a tool.
    """

    kind: str
    control: str = ""
    server: str = ""
    serial: str = ""
    location: str = ""
    interface: str = ""
    target: str = ""
    program: str = ""
    memory: str = ""
    image_tool: str = ""
    sdk_tools: str = ""
    timeout_s: float = 60.0


@dataclass(frozen=True)
class Use:
    """Keys of a kind: all of ``needs``, at least one of ``one_of``, any of ``may``."""

    needs: tuple[str, ...]
    one_of: tuple[str, ...] = ()
    may: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """Every key that may be given."""
        return (*self.needs, *self.one_of, *self.may)


# By kind, then by board; a board that is not named cannot be flashed that way.
_ANY = "any board"
KINDS: dict[str, dict[str, Use]] = {
    "virtual": {_ANY: Use(("control",))},
    "gdb": {_ANY: Use(("server",))},
    "openocd": {
        "stm32f746": Use(("serial",), may=("program",)),
        "stm32f767": Use(("serial",), may=("program",)),
        "gap8": Use(
            ("interface", "target"),
            ("serial", "location"),
            ("program", "memory", "image_tool", "sdk_tools"),
        ),
    },
    "pyocd": {
        "stm32f746": Use(("serial",), may=("target", "program")),
        "stm32f767": Use(("serial", "target"), may=("program",)),  # target = "stm32f767zi"
    },
    "st-flash": {
        "stm32f746": Use(("serial",), may=("program",)),
        "stm32f767": Use(("serial",), may=("program",)),
    },
}
L2, HYPERFLASH = "l2", "hyperflash"
_KEYS = (
    "control", "server", "serial", "location", "interface", "target", "program", "memory",
    "image_tool", "sdk_tools",
)  # fmt: skip


def check_flasher(spec: FlasherSpec, board: str, place: str) -> None:
    """RigError, beginning with ``place``, for a kind, board or key that do not go together."""
    if spec.kind not in KINDS:
        close = difflib.get_close_matches(spec.kind, list(KINDS), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise RigError(f"{place} kind: no {spec.kind!r}{hint}; known: {', '.join(KINDS)}")
    uses = KINDS[spec.kind]
    use = uses.get(board) or uses.get(_ANY)
    if use is None:
        others = [kind for kind, boards in KINDS.items() if board in boards or _ANY in boards]
        raise RigError(
            f"{place} kind: {spec.kind} cannot flash a {board}; what can: {', '.join(others)}"
        )
    given = [key for key in _KEYS if getattr(spec, key)]
    for key in given:
        if key not in use.known:
            raise RigError(
                f"{place} {key}: {spec.kind} does not use it on a {board}; it uses "
                f"{', '.join(use.known)}"
            )
    missing = [key for key in use.needs if key not in given]
    if not missing and use.one_of and not set(use.one_of) & set(given):
        missing = [" or ".join(use.one_of)]
    if missing:
        raise RigError(f"{place}: {spec.kind} needs {', '.join(missing)}")
    _check_text(spec, place)
    _check_memory(spec, place)
    # What a placeholder stands for has a port.
    if spec.kind == "gdb" and not {":", "{"} & set(spec.server):
        raise RigError(f"{place} server: {spec.server!r} is not host:port")


def _check_memory(spec: FlasherSpec, place: str) -> None:
    """Where a GAP8 program goes, and what that takes."""
    if spec.memory not in ("", L2, HYPERFLASH):
        raise RigError(f"{place} memory: no {spec.memory!r}; known: {L2}, {HYPERFLASH}")
    for key in ("image_tool", "sdk_tools"):
        given = bool(getattr(spec, key))
        if given != (spec.memory == HYPERFLASH):
            raise RigError(
                f"{place} {key} and memory = {HYPERFLASH!r} go together: an image that the SDK's "
                "tools make and write (docs/flashing.md)"
            )


def _check_text(spec: FlasherSpec, place: str) -> None:
    """Serials and places go into command lines and scripts of the tools: plain words only."""
    for key in ("serial", "location", "interface", "target"):
        text = getattr(spec, key)
        if text[:1] == "-" or any(not (c.isalnum() or c in "._:/,+-") for c in text):
            raise RigError(f"{place} {key}: {text!r} holds a character that no {key} has")
