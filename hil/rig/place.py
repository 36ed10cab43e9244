"""A labgrid place: a board of another computer, acquired from a coordinator while a rig is open.

    [place]
    name = "nucleo-3"
    coordinator = "lab:20408"     # without it labgrid's own default: LG_COORDINATOR, or 127.0.0.1

Its resources replace ``{place_serial}`` (a NetworkSerialPort) and ``{place_gdb}`` (a
NetworkService: the GDB server beside the probe) in the rig file, and ``[power]`` of kind
"labgrid" switches its power port. Where a place has several of a kind, the one that a named match
calls ``console`` or ``gdb`` is meant.

labgrid is driven by its command line, as flashing tools are: its Python package brings a serial
module of its own, and may live in an environment of its own. Written for labgrid 26.0.
"""

from __future__ import annotations

import ast
import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hil.core.errors import FlashError, RigError
from hil.core.secrets import remember
from hil.rig.flashers.tool import Output, Tool
from hil.rig.presence import host_missing

CLIENT = Tool(
    "labgrid-client",
    "pip install 'hil-clio[labgrid]', or pipx install labgrid for an environment of its own",
)
TAKEN = re.compile(r"already acquired by (?P<host>[^/\s]+)/(?P<user>\S+?)\.(?:\s|$)")
DEFAULT_PORT = "20408"
COORDINATOR_HINT = "is labgrid-coordinator running? correct [place] coordinator"
OURS = "You have already acquired place"
_RESOURCE = re.compile(r"^Acquired resource '(.*)' \(\S+\):\n((?:  .*\n?)+)", re.MULTILINE)


@dataclass(frozen=True)
class PlaceSpec:
    """``[place]`` of a rig file. ``timeout_s``: of one call of labgrid's client."""

    name: str
    coordinator: str = ""
    timeout_s: float = 20.0


@dataclass(frozen=True)
class Resource:
    """A resource of the place, as its exporter describes it."""

    name: str
    kind: str
    params: Mapping[str, Any]


class Place:
    """The place of ``spec``; nothing is asked before it is acquired. All raise RigError."""

    def __init__(self, spec: PlaceSpec) -> None:
        self._spec = spec

    @contextmanager
    def acquired(self) -> Iterator[None]:
        """Ours in the block and released behind it, also after a failure.

        A place that this user has acquired before stays acquired. RigError at once, naming the
        holder, when somebody else has it.
        """
        if missing := host_missing(*self._coordinator(), COORDINATOR_HINT):
            raise RigError(f"{self}: {missing}")
        output = self._call("acquire")
        if output.status and OURS in output.text:
            yield
            return
        if output.status:
            raise RigError(self._refused(output))
        try:
            yield
        except BaseException as error:
            try:
                self._release()
            except RigError as second:  # the first failure is the one worth telling
                error.add_note(str(second))
            raise
        self._release()

    def resources(self) -> list[Resource]:
        """Those of the acquired place."""
        text = self._done("show").text
        found = []
        for name, block in _RESOURCE.findall(text):
            try:
                said = ast.literal_eval(textwrap.dedent(block).strip())
                resource = Resource(name, said["cls"], said["params"])
            except (ValueError, SyntaxError, KeyError, TypeError) as error:
                raise RigError(
                    f"{self}: labgrid-client describes resource {name!r} in a way that is not "
                    f"understood ({error}); labgrid 26.0 is"
                ) from error
            remember(resource.params)
            found.append(resource)
        return found

    def serial_url(self) -> str:
        """The console, as pyserial opens it."""
        port = self._one("NetworkSerialPort", "console").params
        scheme = "socket" if port.get("protocol") == "raw" else "rfc2217"
        return f"{scheme}://{port.get('host')}:{port.get('port')}"

    def gdb_server(self) -> str:
        """host:port of the GDB server beside the probe."""
        service = self._one("NetworkService", "gdb").params
        return f"{service.get('address')}:{service.get('port')}"

    def switch(self, on: bool) -> None:
        """Switch the place's power port, and ask whether it did."""
        wanted = "on" if on else "off"
        self._done("power", wanted)
        said = self._done("power", "get").text
        if not re.search(rf"\bis {wanted}\b", said):
            raise RigError(
                f"{self}: its power is not {wanted} after being switched: {said.strip()}"
            )

    def close(self) -> None:
        """As a power switch nothing is held; ``acquired`` releases the place."""

    def __str__(self) -> str:
        at = f" at {self._spec.coordinator}" if self._spec.coordinator else ""
        return f"labgrid place {self._spec.name}{at}"

    def _one(self, kind: str, name: str) -> Resource:
        resources = self.resources()
        fitting = [resource for resource in resources if resource.kind == kind]
        named = [resource for resource in fitting if resource.name == name]
        if len(fitting) != 1 and len(named) != 1:
            has = ", ".join(f"{r.name} ({r.kind})" for r in resources) or "nothing"
            raise RigError(
                f"{self}: {len(fitting)} resources of kind {kind}, one is wanted, or one named "
                f"{name!r}; it has: {has}. See labgrid-client add-match and add-named-match"
            )
        return (named or fitting)[0]

    def _coordinator(self) -> tuple[str, str]:
        """Host and port, as labgrid's client chooses them."""
        address = self._spec.coordinator or os.environ.get("LG_COORDINATOR") or "127.0.0.1"
        host, _, port = address.partition(":")
        return host, port or DEFAULT_PORT

    def _release(self) -> None:
        self._done("release")

    def _done(self, *words: str) -> Output:
        output = self._call(*words)
        if output.status:
            raise RigError(
                f"{self}: labgrid-client {' '.join(words)} ended with status {output.status}: "
                f"{output.last_words}"
            )
        return output

    def _call(self, *words: str) -> Output:
        spec = self._spec
        at = ["-x", spec.coordinator] if spec.coordinator else []
        try:
            return CLIENT.run([*at, "-p", spec.name, *words], spec.timeout_s)
        except FlashError as error:
            raise RigError(f"{self}: {error}") from error

    def _refused(self, output: Output) -> str:
        if taken := TAKEN.search(output.text):
            return (
                f"{self} is in use by {taken['user']} on {taken['host']}; wait for it, or ask for "
                f"`labgrid-client -p {self._spec.name} release` there"
            )
        return f"{self} could not be acquired: {output.last_words}"


def check_place(spec: PlaceSpec, place: str) -> None:
    """RigError, beginning with ``place``, for values that are no names for labgrid."""
    for key in ("name", "coordinator"):
        text = getattr(spec, key)
        if text[:1] == "-" or any(char.isspace() for char in text):
            raise RigError(f"{place} {key}: {text!r} holds a character that no {key} has")
    if not spec.name:
        raise RigError(f"{place} name is empty")
    if not 0 < spec.timeout_s < float("inf"):
        raise RigError(f"{place} timeout_s: {spec.timeout_s} is not a number above 0")
