"""A VISA connection to an instrument that takes lines: what the SCPI drivers stand on.

Every wait has a deadline and every failure is an InstrumentError that names resource, identity,
command and what was seen. After a failure the connection is closed, so that a late answer cannot
be taken for that of the next question.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pyvisa
from pyvisa.resources import MessageBasedResource

from hil.core.errors import InstrumentError, InstrumentLostError
from hil.core.provenance import Origin

MOST_ERRORS = 32  # read at once; the instruments' queues are shorter or hold repetitions
PIECE_BYTES = 65536
POLL_S = 0.02  # between two status questions
# Whose samples are computed from a model: the bench's own meter, and simulated products, which
# answer with the product's name and this in front of their serial number.
VIRTUAL_VENDOR = "HIL"
SIMULATED_SERIAL = "HILSIM"


def origin_of(identity: str) -> Origin:
    """Measured, unless the answer to *IDN? says that the instrument is a virtual one."""
    fields = [field.strip() for field in identity.split(",")] + ["", "", ""]
    virtual = fields[0] == VIRTUAL_VENDOR or fields[2].startswith(SIMULATED_SERIAL)
    return Origin.MODELLED if virtual else Origin.MEASURED


def preload() -> None:
    """Import the VISA backend now; a process that forks for each connection spares its children
    that."""
    pyvisa.highlevel.get_wrapper_class("py")


class ScpiLink:
    """The instrument at VISA ``resource``; connects at once. ``timeout_s``: for one answer."""

    def __init__(self, resource: str, timeout_s: float) -> None:
        self.resource = resource
        self.timeout_s = timeout_s
        self.identity = ""  # for messages, once known
        self._session: MessageBasedResource | None = None
        self.connect()

    # -- connection -------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the connection unless it is open. InstrumentLostError when nobody is there."""
        if self._session is not None:
            return
        try:
            manager = pyvisa.ResourceManager("@py")
            session = manager.open_resource(
                self.resource,
                open_timeout=round(self.timeout_s * 1000),
                read_termination="\n",
                write_termination="\n",
            )
        except Exception as error:  # pyvisa-py raises plain Exception here
            raise InstrumentLostError(
                f"{self.resource}: cannot be opened: {error}; check address, cable and power"
            ) from error
        if not isinstance(session, MessageBasedResource):
            session.close()
            raise InstrumentError(f"{self.resource}: not a resource that takes commands")
        self._session = session

    @property
    def is_open(self) -> bool:
        """False after a failure, until ``connect``."""
        return self._session is not None

    def close(self) -> None:
        """Give the instrument back."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def failed(self, command: str, reason: object) -> InstrumentError:
        """Close the connection and return the error to raise."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(pyvisa.Error, OSError):  # it is broken already, which is being told
                session.close()
        return self.refused(command, reason)

    def refused(self, command: str, reason: object) -> InstrumentError:
        """An error to raise for something that leaves the connection sound."""
        who = f" ({self.identity})" if self.identity else ""
        return InstrumentError(f"{self.resource}{who}: {command}: {reason}")

    def _open_session(self, command: str) -> MessageBasedResource:
        if self._session is None:
            raise InstrumentError(
                f"{self.resource}: {command}: the connection was closed after an error; "
                "configure the meter again"
            )
        return self._session

    # -- lines ------------------------------------------------------------------------------

    def send(self, command: str) -> None:
        """A command that has no answer."""
        session = self._open_session(command)
        try:
            session.timeout = self.timeout_s * 1000
            session.write(command)
        except (pyvisa.Error, OSError) as error:
            raise self.failed(command, error) from error

    def query(self, command: str) -> str:
        """The one-line answer."""
        self.send(command)
        try:
            return self._open_session(command).read().strip()
        except pyvisa.errors.VisaIOError as error:
            raise self.failed(command, _explained(error, self.timeout_s)) from error
        except (pyvisa.Error, OSError, UnicodeDecodeError) as error:
            raise self.failed(command, error) from error

    def number(self, command: str) -> float:
        """The answer as a number."""
        answer = self.query(command)
        try:
            return float(answer)
        except ValueError as error:
            raise self.failed(command, f"answered {answer!r}, not a number") from error

    def numbers(self, command: str, count: int) -> list[float]:
        """The answer as ``count`` numbers with commas between."""
        answer = self.query(command)
        try:
            found = [float(part) for part in answer.split(",")]
        except ValueError as error:
            raise self.failed(command, f"answered {answer!r}, not numbers") from error
        if len(found) != count:
            raise self.failed(command, f"answered {len(found)} numbers, not {count}: {answer!r}")
        return found

    def check_errors(self, what: str, command: str = "SYST:ERR?") -> None:
        """Empty the error queue; InstrumentError with all that was in it."""
        errors = []
        for _ in range(MOST_ERRORS):
            answer = self.query(command)
            if answer.lstrip("+").startswith("0,"):
                break
            errors.append(answer)
        if errors:
            raise self.failed(what, f"the instrument objects: {'; '.join(errors)}")

    def wait_until(self, done: Callable[[], bool], wait_s: float, what: str) -> None:
        """Ask ``done`` until it is true; InstrumentError after ``wait_s``."""
        deadline = time.monotonic() + wait_s
        while not done():
            if time.monotonic() > deadline:
                raise self.failed(what, f"timed out: not so within {wait_s:.1f} s")
            time.sleep(POLL_S)

    # -- blocks -----------------------------------------------------------------------------

    def block(
        self,
        command: str,
        kind: np.dtype,
        wait_s: float | None = None,
        before: bytes = b"",
        after: bytes = b"\n",
        indefinite_bytes: int = 0,
    ) -> np.ndarray:
        """A block as an array; ``wait_s`` is how long its first byte may take.

        ``before`` and ``after`` are the bytes around the block in this instrument's answers.
        ``indefinite_bytes``: the size of a block that begins ``#0``, if the caller knows it; a
        socket has no other mark for its end.
        """
        self.send(command)
        session = self._open_session(command)
        # A read that ends at every LF byte would cut the data.
        session.read_termination = None
        try:
            session.timeout = (self.timeout_s if wait_s is None else wait_s) * 1000
            if before and (head := self._bytes(command, session, len(before))) != before:
                raise self.failed(command, f"an answer begins with {before!r}, not with {head!r}")
            size = self._block_size(command, session, indefinite_bytes)
            session.timeout = self.timeout_s * 1000
            data = self._take(command, session, size)
            self._bytes(command, session, len(after))
        finally:
            if self._session is session:  # otherwise a failure has closed it
                session.read_termination = "\n"
        if size % kind.itemsize:
            raise self.failed(command, f"a block of {size} bytes for {kind.itemsize}-byte samples")
        return np.frombuffer(data, kind)

    def _block_size(
        self, command: str, session: MessageBasedResource, indefinite_bytes: int
    ) -> int:
        head = self._bytes(command, session, 2)
        digits = head[1:]
        if head == b"#0" and indefinite_bytes:
            return indefinite_bytes
        if head[:1] != b"#" or not digits.isdigit() or digits == b"0":
            raise self.failed(command, f"a block begins with # and a digit, not with {head!r}")
        length = self._bytes(command, session, int(digits))
        if not length.isdigit():
            raise self.failed(command, f"a block's length is {length!r}")
        return int(length)

    def _take(self, command: str, session: MessageBasedResource, size: int) -> bytes:
        parts: list[bytes] = []
        got = 0
        while got < size:
            try:
                part = session.read_bytes(min(PIECE_BYTES, size - got), chunk_size=PIECE_BYTES)
            except (pyvisa.Error, OSError) as error:
                raise self.failed(
                    command,
                    f"truncated waveform: the block of {size} bytes broke off in the "
                    f"{PIECE_BYTES} bytes after byte {got} ({error})",
                ) from error
            parts.append(part)
            got += len(part)
        return b"".join(parts)

    def _bytes(self, command: str, session: MessageBasedResource, count: int) -> bytes:
        try:
            return session.read_bytes(count)
        except pyvisa.errors.VisaIOError as error:
            waited_s = (session.timeout or math.nan) / 1000
            raise self.failed(command, _explained(error, waited_s)) from error
        except (pyvisa.Error, OSError) as error:
            raise self.failed(command, error) from error


def _explained(error: pyvisa.errors.VisaIOError, waited_s: float) -> str:
    if error.error_code == pyvisa.constants.StatusCode.error_timeout:
        return f"timed out: no complete answer within {waited_s:.1f} s"
    return str(error)
