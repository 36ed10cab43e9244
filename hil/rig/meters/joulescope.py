"""Joulescope JS110 and JS220 by their maker's library, pyjoulescope_driver.

Sources: jetperch/joulescope_driver (src/devices/js220/js220_usb.c and js110_usb.c for topics,
rates and sample ids; pyjoulescope_driver/binding.pyx for the calls and messages),
jetperch/pyjoulescope_examples (bin/read_by_pyjoulescope_driver.py for reading streams).

The instrument runs at its full rate (JS220 1 MS/s, JS110 2 MS/s; inputs 2 MS/s) and this driver
takes means of as many samples as make the asked interval: exact averages without the delay of
the library's own filter. All streams count one sample id at 2 MHz, by which they are joined;
ids that never come and samples that are NaN are lost.
"""

from __future__ import annotations

import importlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hil.core.errors import DataError, InstrumentError, InstrumentLostError
from hil.core.provenance import Origin
from hil.core.waveform import Waveform
from hil.rig.meter import Acquisition, acquire
from hil.rig.meter_options import JoulescopeOptions
from hil.rig.meters.supply_fit import fit_supply

ID_RATE_HZ = 2_000_000
POLL_S = 0.02
LEVELS_V = (1.8, 2.1, 2.5, 2.7, 3.0, 3.3, 3.6, 5.0)  # JS110 s/extio/voltage
_LIBRARY = "pyjoulescope_driver"

Message = Mapping[str, Any]


class Library(Protocol):
    """What is used of pyjoulescope_driver.Driver. Calls raise RuntimeError or TimeoutError."""

    def device_paths(self) -> list[str]: ...
    def open(self, device_prefix: str, mode: str) -> None: ...
    def close(self, device_prefix: str) -> None: ...
    def publish(self, topic: str, value: object) -> None: ...
    def query(self, topic: str) -> Any: ...
    def subscribe(self, topic: str, flags: str, fn: Callable[[str, Message], None]) -> None: ...
    def unsubscribe(self, topic: str, fn: Callable[[str, Message], None]) -> None: ...
    def finalize(self) -> None: ...


def open_library() -> Library:
    """The maker's library; InstrumentError says how to install it."""
    try:
        return importlib.import_module(_LIBRARY).Driver()
    except ImportError as error:
        raise InstrumentError(
            f"a Joulescope needs {_LIBRARY}, which cannot be imported ({error}); install it with "
            "pip install 'hil-clio[joulescope]'"
        ) from error
    except (RuntimeError, TimeoutError) as error:
        raise InstrumentError(f"{_LIBRARY} does not start: {error}; see its udev rules") from error


def look_for(resource: str) -> None:
    """InstrumentError unless the library is there and the instrument attached; opens none."""
    library = open_library()
    try:
        path_of(resource, library.device_paths())
    except (RuntimeError, TimeoutError) as error:
        raise InstrumentError(f"{resource}: {_LIBRARY} finds no devices: {error}") from error
    finally:
        with suppress(RuntimeError, TimeoutError):
            library.finalize()


def path_of(resource: str, paths: list[str]) -> str:
    """The device path that ``resource`` means: ``u/js220/001234``."""
    known = [path for path in paths if path.lower().split("/")[1] in MODELS]
    wanted = resource.lower().removeprefix("u/")
    fitting = [p for p in known if f"{p.lower().removeprefix('u/')}/".startswith(f"{wanted}/")]
    if len(fitting) != 1:
        kind = InstrumentError if fitting else InstrumentLostError
        raise kind(
            f"{len(fitting)} Joulescopes fit; attached are: {', '.join(paths) or 'none'}; "
            "plug it in, or correct [meter] resource (js220/SERIAL)"
        )
    return fitting[0]


@dataclass(frozen=True)
class Model:
    """What differs between the models.

    ``every``: sample ids from one current to the next. ``ranges``: amperes and the setting of
    ``range_topic`` for them. ``settings`` are published once.
    """

    name: str
    every: int
    inputs: int
    range_topic: str
    ranges: tuple[tuple[float, str], ...]
    settings: tuple[tuple[str, object], ...]

    @property
    def rate_hz(self) -> float:
        return ID_RATE_HZ / self.every


MODELS = {
    # It changes its ranges by itself; what it cannot convert meanwhile is NaN, and lost.
    "js220": Model(
        name="JS220",
        every=2,
        inputs=4,
        range_topic="s/i/range/mode",
        ranges=((10.0, "auto"),),
        settings=(("h/fs", 1_000_000), ("s/v/range/mode", "auto")),
    ),
    # A change of its range spoils samples, so the range is fixed; were one to happen all the
    # same, its samples are to be NaN and not an interpolation.
    "js110": Model(
        name="JS110",
        every=1,
        inputs=2,
        range_topic="s/i/range/select",
        ranges=(
            (18e-6, "18 µA"),
            (180e-6, "180 µA"),
            (1.8e-3, "1.8 mA"),
            (18e-3, "18 mA"),
            (0.18, "180 mA"),
            (2.0, "2 A"),
            (10.0, "10 A"),
        ),
        settings=(("h/fs", 2_000_000), ("s/v/range/select", "15 V"), ("s/i/range/mode", "nan")),
    ),
}


class StreamBuffer:
    """One signal's messages until they are laid on the common axis of sample ids.

    Called by the library's thread; ``array`` is for the driver's.
    """

    def __init__(self, packed: bool) -> None:
        self._packed = packed
        self._lock = threading.Lock()
        self._parts: list[tuple[int, int, np.ndarray]] = []  # id, decimation, samples
        self.next_id = 0  # behind the last sample; 0 before the first

    def __call__(self, topic: str, message: Message) -> None:
        """Keep a message; the library owns its data, so it is copied."""
        data = np.array(message["data"])
        samples = np.unpackbits(data, bitorder="little") if self._packed else data
        with self._lock:
            start, step = int(message["sample_id"]), int(message["decimate_factor"])
            self._parts.append((start, step, samples))
            self.next_id = start + step * len(samples)

    def array(self, first_id: int, step: int, count: int) -> np.ndarray:
        """float32 samples at ids first_id, first_id + step, ...; NaN where none came."""
        out = np.full(count, np.nan, np.float32)
        with self._lock:
            parts = list(self._parts)
        for start, every, samples in parts:
            # Later messages win: the last byte of packed bits may be filled up with zeros.
            ids = start + every * np.arange(len(samples), dtype=np.int64) - first_id
            fits = (ids >= 0) & (ids < count * step) & (ids % step == 0)
            out[ids[fits] // step] = samples[fits]
        return out


class Joulescope:
    """The instrument at ``resource``: ``js220/001234``, or ``js220`` for the only one attached.

    ``library`` makes the library's driver object and ``origin`` says what its samples are; both
    are for simulations.
    """

    def __init__(
        self,
        resource: str,
        timeout_s: float,
        slowdown: float,
        options: JoulescopeOptions,
        library: Callable[[], Library] = open_library,
        origin: Origin = Origin.MEASURED,
    ) -> None:
        self.resource = resource
        self.options = options
        self.identity = ""
        self.sample_interval_s = math.nan
        self.range_a = math.nan
        self.origin = origin
        self._make_library = library
        self._timeout_s = timeout_s
        self._slowdown = slowdown
        self._asked: tuple[float, float] | None = None  # sample rate, range
        self._library: Library | None = None
        self._path = ""
        self._streams: dict[str, StreamBuffer] = {}
        self._first_id = 0
        self._points = 0
        self._group = 1  # currents that make a sample
        self._connect()

    # -- hil.rig.meter.Meter ----------------------------------------------------------------

    def identify(self) -> str:
        if self._library is None:
            self._connect()
        return self.identity

    def configure(self, sample_rate_hz: float, range_a: float) -> None:
        library, model = self._connected(), self._model
        group = model.rate_hz / sample_rate_hz
        fitting = [entry for entry in model.ranges if entry[0] >= range_a]
        if group < 0.999 or not fitting:
            raise InstrumentError(
                f"{self.resource}: a {model.name} takes {model.rate_hz:g} samples a second up to "
                f"{model.ranges[-1][0]:g} A, {sample_rate_hz:g} and {range_a:g} A were asked for; "
                "correct [meter] sample_rate_hz or range_a"
            )
        full_scale_a, setting = fitting[0]
        for topic, value in (*model.settings, (model.range_topic, setting), self._io_setting()):
            with self._talking(f"{topic} = {value}"):
                library.publish(f"{self._path}/{topic}", value)
        self._group = max(1, round(group))
        self.sample_interval_s = self._group / model.rate_hz
        self.range_a = full_scale_a
        self._asked = (sample_rate_hz, range_a)

    def arm(self, duration_s: float) -> None:
        if self._asked is None:
            raise InstrumentError(f"{self.resource}: armed before it was configured")
        if self._library is None:
            self.configure(*self._asked)
        self._end_streams()
        self._points = math.ceil(duration_s / self.sample_interval_s - 1e-6)
        library = self._connected()
        marker = f"s/gpi/{self.options.marker}"
        for signal in ("s/i", "s/v", marker):
            stream = StreamBuffer(packed=signal == marker)
            self._streams[signal] = stream
            with self._talking(f"{signal} on"):
                library.subscribe(f"{self._path}/{signal}/!data", "pub", stream)
                library.publish(f"{self._path}/{signal}/ctrl", 1)
        self._wait("no data", lambda s: s.next_id > 0, self._timeout_s)
        # Messages come some 50 ms late: what has come by now was sampled before the work begins.
        latest = max(stream.next_id for stream in self._streams.values())
        self._first_id = -(-latest // self._model.every) * self._model.every

    def read(self) -> Waveform:
        if not self._streams:
            raise InstrumentError(f"{self.resource}: read before it was armed")
        first_id, every = self._first_id, self._model.every
        span = self._points * self._group * every  # ids
        limit_s = self._timeout_s + span / ID_RATE_HZ * self._slowdown
        self._wait("incomplete", lambda s: s.next_id >= first_id + span, limit_s)
        signals = tuple(self._streams.values())
        current, voltage = (s.array(first_id, every, span // every) for s in signals[:2])
        marker = signals[2].array(first_id, 1, span)
        self._end_streams()
        return self._waveform(current, voltage, marker)

    def abort(self) -> None:
        if self._library is not None:
            self._end_streams()

    def close(self) -> None:
        if self._library is not None:
            with suppress(InstrumentError):  # what fails now can only be a device that is gone
                self._end_streams()
            self._disconnect()

    def acquisition(self, busy_s: float) -> AbstractContextManager[Acquisition]:
        return acquire(self, busy_s)

    # -- samples ----------------------------------------------------------------------------

    def _waveform(self, current: np.ndarray, voltage: np.ndarray, marker: np.ndarray) -> Waveform:
        shape = (self._points, self._group)
        amperes, volts, watts = (
            values.reshape(shape).mean(axis=1, dtype=np.float64)
            for values in (current, voltage, current.astype(np.float64) * voltage)
        )
        levels = marker.reshape(self._points, -1)
        levels = levels[:, levels.shape[1] // 2]  # at the middle of each interval
        good = np.isfinite(amperes) & np.isfinite(levels)
        clipped = np.clip(amperes[good], -self.range_a, self.range_a)
        supply = fit_supply(amperes[good], volts[good], watts[good])
        with self._talking("samples"):
            return Waveform(
                t0_s=0.0,  # sample ids count from the start of the streams
                sample_interval_s=self.sample_interval_s,
                current_a=clipped.astype(np.float32),
                marker=levels[good] > 0.5,
                supply_v=supply.open_v,
                source_ohms=supply.ohms,
                range_a=self.range_a,
                overload=bool((np.abs(amperes[good]) >= self.range_a).any()),
                lost_samples=int(np.count_nonzero(~good)),
                meter=self.identity,
                origin=self.origin,
            )

    def _wait(self, what: str, done: Callable[[StreamBuffer], bool], limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while not all(done(stream) for stream in self._streams.values()):
            if time.monotonic() > deadline:
                late = ", ".join(name for name, s in self._streams.items() if not done(s))
                self._disconnect()
                raise InstrumentError(
                    f"{self.resource}: timed out: {what} from {late} after {limit_s:.1f} s"
                )
            time.sleep(POLL_S)

    def _end_streams(self) -> None:
        streams, self._streams = self._streams, {}
        for signal, stream in streams.items():
            with self._talking(f"{signal} off"):
                self._connected().publish(f"{self._path}/{signal}/ctrl", 0)
                self._connected().unsubscribe(f"{self._path}/{signal}/!data", stream)

    # -- the library ------------------------------------------------------------------------

    def _connect(self) -> None:
        self._library = self._make_library()
        with self._talking("opening"):
            self._path = path_of(self.resource, self._library.device_paths())
            _, model, serial = self._path.split("/")
            self._model = MODELS[model.lower()]
            if self.options.marker >= self._model.inputs:
                raise InstrumentError(
                    f"a {self._model.name} has inputs 0 to {self._model.inputs - 1}, not "
                    f"{self.options.marker}; correct marker in [meter.options]"
                )
            self._library.open(self._path, "defaults")
            version = "?"
            if self._model.name == "JS220":
                number = int(self._library.query(f"{self._path}/c/fw/version"))
                version = f"{number >> 24}.{number >> 16 & 0xFF}.{number & 0xFFFF}"
            self.identity = f"Jetperch,{self._model.name},{serial},{version}"

    def _io_setting(self) -> tuple[str, object]:
        level_v = self.options.io_v
        if self._model.name == "JS220":
            if level_v in (0.0, 3.3):
                return "c/gpio/vref", "3v3" if level_v else "external"
            choices = "3.3, or 0 for the level on its VREF pin"
        elif level_v in LEVELS_V:
            return "s/extio/voltage", round(level_v * 1000)
        else:
            choices = ", ".join(map(str, LEVELS_V))
        raise InstrumentError(
            f"{self.resource}: a {self._model.name} has no input level of {level_v:g} V; set io_v "
            f"in [meter.options] to {choices}"
        )

    def _connected(self) -> Library:
        if self._library is None:
            self._connect()
        assert self._library is not None
        return self._library

    def _disconnect(self) -> None:
        library, self._library = self._library, None
        self._streams = {}
        if library is not None:
            with suppress(RuntimeError, TimeoutError):
                if self._path:
                    library.close(self._path)
            with suppress(RuntimeError, TimeoutError):
                library.finalize()

    @contextmanager
    def _talking(self, what: str) -> Iterator[None]:
        """Errors of the block close the instrument and leave as InstrumentError that names it."""
        try:
            yield
        except InstrumentError as error:
            self._disconnect()
            raise type(error)(f"{self.resource}: {error}") from error
        except (RuntimeError, TimeoutError, DataError) as error:
            self._disconnect()
            raise InstrumentError(
                f"{self.resource}: {what}: {error}; check the cable and that no other program "
                "uses it"
            ) from error
