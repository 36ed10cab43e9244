"""What the oscilloscopes with a SCPI command tree share: ``CHANnel<n>`` settings."""

from __future__ import annotations

from hil.sim.instruments.oscilloscope import Channel, Oscilloscope
from hil.sim.instruments.scpi import Call, ScpiError, boolean, number
from hil.sim.instruments.scpi_front import ScpiFront


class ScpiOscilloscope(ScpiFront, Oscilloscope):
    """``OFFSET_V``: the largest offset of a channel."""

    OFFSET_V = 40.0

    def _channel(self, call: Call) -> Channel:
        if call.suffixes[0] not in self.channels:
            raise ScpiError(-114, "Header suffix out of range")
        return self.channels[call.suffixes[0]]

    def _set_offset(self, call: Call) -> None:
        call.count(1)
        self._channel(call).offset_v = number(call.arguments[0], -self.OFFSET_V, self.OFFSET_V)

    def _set_probe(self, call: Call) -> None:
        call.count(1)
        number(call.arguments[0], 1.0, 1.0)

    def _set_shown(self, call: Call) -> None:
        call.count(1)
        self._channel(call).shown = boolean(call.arguments[0])
