"""A meter that streams on a serial port, without what is its own: commands and decoding.

A stream comes whether somebody reads it or not, and the kernel keeps only some kilobytes of it.
So a thread takes the bytes while the board works.
"""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Protocol

from hil.core.errors import DataError, InstrumentError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.rig.meter import Acquisition, acquire
from hil.rig.meters.usb_serial import POLL_S, SerialLink, UsbModel, find_port


class Recording(Protocol):
    """Bytes of a stream on their way to samples."""

    @property
    def begun(self) -> bool:
        """Whether samples are coming."""

    @property
    def complete(self) -> bool:
        """Whether all that was asked for has come."""

    def feed(self, data: bytes) -> None:
        """The next bytes. InstrumentError when they cannot be part of the stream."""


class StreamReader:
    """Feeds ``recording`` from ``link`` in a thread until it is complete, fails or is stopped.

    A stream that pauses for ``silence_s`` has failed.
    """

    def __init__(self, link: SerialLink, recording: Recording, silence_s: float) -> None:
        self._link = link
        self._recording = recording
        self._silence_s = silence_s
        self._begun = threading.Event()
        self._ended = threading.Event()
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"reader of {link.who}", daemon=True)
        self._thread.start()

    def wait_begun(self) -> None:
        """Return when samples are coming; InstrumentError when none do."""
        # The thread notices silence by itself; the limit here is for a thread that hangs.
        self._begun.wait(2 * self._silence_s + POLL_S)
        if self._error is not None:
            raise self._error
        if not self._begun.is_set():
            raise InstrumentError(f"{self._link.who}: no sample within {self._silence_s:.1f} s")

    def wait_complete(self, limit_s: float) -> None:
        """Return when all has come; InstrumentError at failure or after ``limit_s``."""
        if not self._ended.wait(limit_s):
            raise InstrumentError(
                f"{self._link.who}: timed out: acquisition incomplete after {limit_s:.1f} s"
            )
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Let the thread end; its recording keeps what it has."""
        self._stop.set()
        self._thread.join(4 * POLL_S + 1.0)

    def _run(self) -> None:
        try:
            self._copy()
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits
            self._error = error
        finally:
            self._begun.set()
            self._ended.set()

    def _copy(self) -> None:
        heard = time.monotonic()
        while not (self._stop.is_set() or self._recording.complete):
            data = self._link.read()
            if data:
                self._recording.feed(data)
                if self._recording.begun:
                    self._begun.set()
                heard = time.monotonic()
            elif time.monotonic() - heard > self._silence_s:
                raise InstrumentError(
                    f"{self._link.who}: timed out: no data for {self._silence_s:.1f} s"
                )


class StreamMeter(ABC):
    """hil.rig.meter.Meter over a serial port; a driver fills in what is abstract.

    ``resource`` is ``usb:SERIAL``, ``usb:`` for the only one attached, or a port's path.
    ``timeout_s`` is granted for an answer and for a pause in the stream; waiting for an
    acquisition adds its duration times ``slowdown``. After an error the port is closed, so that
    late bytes cannot be taken for new ones; the next ``configure`` or ``arm`` opens it again.
    The target's supply stays as it is when the meter is closed.
    """

    model: UsbModel
    baud: int
    start_command: bytes
    stop_command: bytes

    def __init__(self, resource: str, timeout_s: float, slowdown: float) -> None:
        self.resource = resource
        self.identity = ""
        self.sample_interval_s = math.nan
        self.range_a = math.nan
        self.origin = Origin.MODELLED
        self.usb_serial = ""
        self._timeout_s = timeout_s
        self._slowdown = slowdown
        self._asked: tuple[float, float] | None = None  # sample rate, range
        self._stream_s = 0.0
        self._link: SerialLink | None = None
        self._reader: StreamReader | None = None
        self._connect()

    # -- the driver's own part ------------------------------------------------------------

    @abstractmethod
    def _hello(self) -> str:
        """Ask a stopped device who it is; the identity: vendor, model, serial, version."""

    @abstractmethod
    def _set_up(self, sample_rate_hz: float, range_a: float) -> None:
        """Send the settings; set ``sample_interval_s`` and ``range_a``."""

    @abstractmethod
    def _new_recording(self, duration_s: float) -> tuple[Recording, float]:
        """Where the bytes of the next acquisition go, and how long they take to come."""

    @abstractmethod
    def _waveform(self) -> Waveform:
        """The finished recording as a waveform."""

    # -- hil.rig.meter.Meter ----------------------------------------------------------------

    def identify(self) -> str:
        if self._link is None:
            self._connect()
        return self.identity

    def configure(self, sample_rate_hz: float, range_a: float) -> None:
        if self._link is None:
            self._connect()
        with self._closing_on_error():
            self._set_up(sample_rate_hz, range_a)
        self._asked = (sample_rate_hz, range_a)

    def arm(self, duration_s: float) -> None:
        if self._asked is None:
            raise InstrumentError(f"{self.resource}: armed before it was configured")
        if self._link is None:
            self.configure(*self._asked)
        with self._closing_on_error():
            self._end_stream()
            recording, self._stream_s = self._new_recording(duration_s)
            self._send(self.start_command, "start")
            silence_s = self._timeout_s + self.sample_interval_s
            self._reader = StreamReader(self._opened(), recording, silence_s)
            self._reader.wait_begun()

    def read(self) -> Waveform:
        if self._reader is None:
            raise InstrumentError(f"{self.resource}: read before it was armed")
        with self._closing_on_error():
            self._reader.wait_complete(self._timeout_s + self._stream_s * self._slowdown)
            self._end_stream()
            return self._waveform()

    def abort(self) -> None:
        if self._link is not None:
            with self._closing_on_error():
                self._end_stream()

    def close(self) -> None:
        if self._link is not None:
            with suppress(InstrumentError):  # what fails now can only be a port that is gone
                self.abort()
            self._disconnect()

    def acquisition(self, busy_s: float) -> AbstractContextManager[Acquisition]:
        return acquire(self, busy_s)

    # -- the link ---------------------------------------------------------------------------

    def _connect(self) -> None:
        port = find_port(self.resource, self.model)
        self.origin, self.usb_serial = port.origin, port.serial
        self._link = SerialLink(port, self.baud, self.resource)
        with self._closing_on_error():
            # It may still be streaming for a program that has died.
            self._send(self.stop_command, "stop")
            self._link.drain(self._timeout_s)
            self.identity = self._hello()

    def _send(self, command: bytes, what: str) -> None:
        self._opened().write(command, what)

    def _read_until(self, found: Callable[[str], bool], what: str) -> str:
        """The answer's text, once ``found`` says that it is complete."""
        text, deadline = "", time.monotonic() + self._timeout_s
        while not found(text):
            text += self._opened().read().decode("ascii", "replace")
            if time.monotonic() > deadline:
                raise InstrumentError(
                    f"{what}: timed out: no complete answer within {self._timeout_s:.1f} s but "
                    f"{text[-60:]!r}; is this a {self.model.name}?"
                )
        return text

    def _end_stream(self) -> None:
        """Stop the reader and the device; what is still on its way is thrown away."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stop()
            self._send(self.stop_command, "stop")
            self._opened().drain(self._timeout_s)

    def _opened(self) -> SerialLink:
        if self._link is None:
            raise InstrumentError(
                f"{self.resource}: the port was closed after an error; configure the meter again"
            )
        return self._link

    def _disconnect(self) -> None:
        link, self._link = self._link, None
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stop()
        if link is not None:
            link.close()

    @contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        """Errors of the block close the port and leave as InstrumentError that names it."""
        try:
            yield
        except (InstrumentError, DataError) as error:
            self._disconnect()
            text, who = str(error), f"{self.resource}: "
            raise InstrumentError(text if text.startswith(who) else who + text) from error
