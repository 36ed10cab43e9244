"""A current digitiser with a marker input, by SCPI over a VISA socket (pyvisa).

Command set: docs/virtual-meter.md (the shipped VPM1 speaks it). Blocks are IEEE 488.2 definite
blocks; errors are read from SYST:ERR? after every set-up, as SCPI-99 volume 1, 19.7 wants.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, suppress

import numpy as np
import pyvisa
from pyvisa.resources import MessageBasedResource

from hil.core.errors import DataError, InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.rig.meter import Acquisition, acquire

MEASURING = 16  # STAT:OPER:COND? bit 4
MOST_ERRORS = 32  # read at once; the instrument's queue is shorter
PIECE_BYTES = 65536
# Who calls himself so computes his samples from a model.
VIRTUAL_VENDOR = "HIL"


class ScpiDigitizer:
    """The instrument at VISA ``resource``, for example ``TCPIP0::192.168.1.9::5025::SOCKET``.

    ``timeout_s`` is granted for an answer; waiting for an acquisition adds its duration times
    ``slowdown``. After an error the connection is closed, so that a late answer cannot be taken
    for that of the next question; the next ``configure`` or ``arm`` connects again.
    """

    def __init__(self, resource: str, timeout_s: float = 5.0, slowdown: float = 1.0) -> None:
        self.resource = resource
        self.identity = ""
        self.sample_interval_s = math.nan
        self.range_a = math.nan
        self._timeout_s = timeout_s
        self._slowdown = slowdown
        self._asked: tuple[float, float] | None = None  # sample rate, range
        self._duration_s = 0.0
        self._points = 0
        self._supply_v = math.nan
        self._session: MessageBasedResource | None = None
        self._connect()

    # -- hil.rig.meter.Meter ----------------------------------------------------------------

    def identify(self) -> str:
        self.identity = self._query("*IDN?")
        return self.identity

    def configure(self, sample_rate_hz: float, range_a: float) -> None:
        if self._session is None:
            self._connect()
        self._send("*CLS")
        self._send("ABOR")
        self._send("FORM:BORD SWAP")
        self._send(f"CURR:RANG {range_a:.9g}")
        self._send(f"SWE:TINT {1.0 / sample_rate_hz:.9g}")
        self._check("the set-up")
        self.identify()
        self.range_a = self._number("CURR:RANG?")
        self.sample_interval_s = self._number("SWE:TINT?")
        self._supply_v = self._number("MEAS:VOLT?")
        self._asked = (sample_rate_hz, range_a)

    def arm(self, duration_s: float) -> None:
        if self._asked is None:
            raise InstrumentError(f"{self.resource}: armed before it was configured")
        if self._session is None:
            self.configure(*self._asked)
        self._points = math.ceil(duration_s / self.sample_interval_s)
        self._duration_s = self._points * self.sample_interval_s
        self._send(f"SWE:POIN {self._points}")
        self._check(f"an acquisition of {self._points} samples")
        self._supply_v = self._number("MEAS:VOLT?")
        self._send("INIT")
        # Asking is what makes sure that sampling has begun before the board is told to work.
        if not int(self._number("STAT:OPER:COND?")) & MEASURING:
            self._check("INIT")
            raise self._failed("INIT", "it is not measuring")

    def read(self) -> Waveform:
        wait_s = self._timeout_s + self._duration_s * self._slowdown
        current = self._block("FETC:ARR:CURR?", np.dtype("<f4"), wait_s)
        marker = self._block("FETC:ARR:MARK?", np.dtype(np.uint8), self._timeout_s)
        points, overloaded, lost, t0_s = self._statistics()
        self._check("the acquisition")
        if not len(current) == len(marker) == points:
            raise self._failed(
                "FETC:ARR", f"{len(current)} currents and {len(marker)} markers of {points} points"
            )
        if points + lost != self._points:
            raise self._failed(
                "FETC:ARR",
                f"truncated waveform: {points} samples and {lost} reported as lost, "
                f"{self._points} were asked for",
            )
        try:
            return Waveform(
                t0_s=t0_s,
                sample_interval_s=self.sample_interval_s,
                current_a=current.astype(np.float32),
                marker=marker.astype(np.bool_),
                supply_v=self._supply_v,
                range_a=self.range_a,
                overload=overloaded > 0,
                lost_samples=lost,
                meter=self.identity,
                origin=self.origin,
            )
        except DataError as error:
            raise self._failed("FETC:ARR", error) from error

    def abort(self) -> None:
        if self._session is not None:
            self._send("ABOR")

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def acquisition(self, busy_s: float) -> AbstractContextManager[Acquisition]:
        return acquire(self, busy_s)

    # -- beyond the protocol ----------------------------------------------------------------

    @property
    def origin(self) -> Origin:
        """Measured, unless the instrument says itself that it is a virtual one."""
        virtual = self.identity.split(",")[0] == VIRTUAL_VENDOR
        return Origin.MODELLED if virtual else Origin.MEASURED

    @property
    def supply_v(self) -> float:
        """The target's supply as read last, in volts."""
        return self._supply_v

    # -- VISA -------------------------------------------------------------------------------

    def _connect(self) -> None:
        try:
            manager = pyvisa.ResourceManager("@py")
            session = manager.open_resource(
                self.resource,
                open_timeout=round(self._timeout_s * 1000),
                read_termination="\n",
                write_termination="\n",
            )
        except Exception as error:  # pyvisa-py raises plain Exception here
            raise InstrumentError(
                f"{self.resource}: cannot be opened: {error}; check address, cable and power"
            ) from error
        if not isinstance(session, MessageBasedResource):
            session.close()
            raise InstrumentError(f"{self.resource}: not a resource that takes commands")
        self._session = session

    def _open_session(self, command: str) -> MessageBasedResource:
        if self._session is None:
            raise InstrumentError(
                f"{self.resource}: {command}: the connection was closed after an error; "
                "configure the meter again"
            )
        return self._session

    def _failed(self, command: str, reason: object) -> InstrumentError:
        """Close the connection and return the error to raise."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(pyvisa.Error, OSError):  # it is broken already, which is being told
                session.close()
        who = f" ({self.identity})" if self.identity else ""
        return InstrumentError(f"{self.resource}{who}: {command}: {reason}")

    def _send(self, command: str) -> None:
        session = self._open_session(command)
        try:
            session.timeout = self._timeout_s * 1000
            session.write(command)
        except (pyvisa.Error, OSError) as error:
            raise self._failed(command, error) from error

    def _query(self, command: str) -> str:
        self._send(command)
        try:
            return self._open_session(command).read().strip()
        except pyvisa.errors.VisaIOError as error:
            raise self._failed(command, self._explained(error, self._timeout_s)) from error
        except (pyvisa.Error, OSError, UnicodeDecodeError) as error:
            raise self._failed(command, error) from error

    @staticmethod
    def _explained(error: pyvisa.errors.VisaIOError, waited_s: float) -> str:
        if error.error_code == pyvisa.constants.StatusCode.error_timeout:
            return f"timed out: no complete answer within {waited_s:.1f} s"
        return str(error)

    def _number(self, command: str) -> float:
        answer = self._query(command)
        try:
            return float(answer)
        except ValueError as error:
            raise self._failed(command, f"answered {answer!r}, not a number") from error

    def _statistics(self) -> tuple[int, int, int, float]:
        answer = self._query("FETC:STAT?")
        try:
            points, overloaded, lost, t0 = answer.split(",")
            return int(points), int(overloaded), int(lost), float(t0)
        except ValueError as error:
            raise self._failed("FETC:STAT?", f"answered {answer!r}, not four numbers") from error

    def _check(self, what: str) -> None:
        """Empty the error queue; InstrumentError with all that was in it."""
        errors = []
        for _ in range(MOST_ERRORS):
            answer = self._query("SYST:ERR?")
            if answer.lstrip("+").startswith("0,"):
                break
            errors.append(answer)
        if errors:
            raise self._failed(what, f"the instrument objects: {'; '.join(errors)}")

    # -- blocks -----------------------------------------------------------------------------

    def _block(self, command: str, kind: np.dtype, wait_s: float) -> np.ndarray:
        """A definite block as an array; ``wait_s`` is how long its first byte may take."""
        self._send(command)
        session = self._open_session(command)
        # A read that ends at every LF byte would cut the data.
        session.read_termination = None
        try:
            session.timeout = wait_s * 1000
            size = self._block_size(command, session)
            session.timeout = self._timeout_s * 1000
            data = self._take(command, session, size)
            self._bytes(command, session, 1)  # the LF behind the block
        finally:
            if self._session is session:  # otherwise a failure has closed it
                session.read_termination = "\n"
        if size % kind.itemsize:
            raise self._failed(command, f"a block of {size} bytes for {kind.itemsize}-byte samples")
        return np.frombuffer(data, kind)

    def _block_size(self, command: str, session: MessageBasedResource) -> int:
        head = self._bytes(command, session, 2)
        digits = head[1:]
        if head[:1] != b"#" or not digits.isdigit() or digits == b"0":
            raise self._failed(command, f"a block begins with # and a digit, not with {head!r}")
        length = self._bytes(command, session, int(digits))
        if not length.isdigit():
            raise self._failed(command, f"a block's length is {length!r}")
        return int(length)

    def _take(self, command: str, session: MessageBasedResource, size: int) -> bytes:
        parts: list[bytes] = []
        got = 0
        while got < size:
            try:
                part = session.read_bytes(min(PIECE_BYTES, size - got), chunk_size=PIECE_BYTES)
            except (pyvisa.Error, OSError) as error:
                raise self._failed(
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
            raise self._failed(command, self._explained(error, waited_s)) from error
        except (pyvisa.Error, OSError) as error:
            raise self._failed(command, error) from error
