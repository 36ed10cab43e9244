"""What it takes to send bytes: time and the transmitter's energy.

The paper's radios (Clio, MobiCom 2020, section 5.5) are a bandwidth and a power; section 5.7
adds the connection latency of a sleeping radio and the packets of BLE. The energy is transmit
power times time on air; the paper counts neither listening nor the answer of the cloud, and
neither do these formulas. Bandwidth is in kbit/s with 1 kbit = 1000 bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hil.core.errors import DataError


@dataclass(frozen=True)
class Radio:
    """A link of ``bandwidth_kbps`` drawing ``tx_power_w`` while it sends.

    ``connection_latency_s`` passes between waking the radio and the first byte, and costs no
    energy here. With ``packet_payload_bytes`` every started packet adds
    ``packet_overhead_bytes`` to what is sent.
    """

    name: str
    bandwidth_kbps: float
    tx_power_w: float
    connection_latency_s: float = 0.0
    packet_payload_bytes: int | None = None
    packet_overhead_bytes: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        if not self.bandwidth_kbps > 0 or not self.tx_power_w >= 0:
            raise DataError(
                f"radio {self.name}: {self.bandwidth_kbps} kbit/s at {self.tx_power_w} W is no "
                "radio; bandwidth must be positive, power must not be negative"
            )
        if self.connection_latency_s < 0 or self.packet_overhead_bytes < 0:
            raise DataError(f"radio {self.name}: latency and overhead must not be negative")
        if self.packet_payload_bytes is not None and self.packet_payload_bytes < 1:
            raise DataError(f"radio {self.name}: a packet carries at least one byte")

    def at(self, bandwidth_kbps: float) -> Radio:
        """The same radio at another bandwidth."""
        return replace(self, bandwidth_kbps=bandwidth_kbps)

    def sent_bytes(self, payload_bytes: int) -> int:
        """Bytes on air for a payload, packet overhead included."""
        if self.packet_payload_bytes is None or not payload_bytes:
            return payload_bytes
        packets = -(-payload_bytes // self.packet_payload_bytes)
        return payload_bytes + packets * self.packet_overhead_bytes

    def airtime_s(self, payload_bytes: int) -> float:
        """Seconds of sending."""
        return self.sent_bytes(payload_bytes) * 8 / (self.bandwidth_kbps * 1000.0)

    def latency_s(self, payload_bytes: int, awake_s: float = 0.0) -> float:
        """Seconds until the last byte has left, from when the payload is ready.

        ``awake_s`` is how long ago the radio was woken: computing meanwhile hides the
        connection latency (section 5.7). Nothing to send takes no time.
        """
        if not payload_bytes:
            return 0.0
        return max(0.0, self.connection_latency_s - awake_s) + self.airtime_s(payload_bytes)

    def energy_uj(self, payload_bytes: int) -> float:
        """Microjoules that the transmitter draws for a payload."""
        return self.airtime_s(payload_bytes) * self.tx_power_w * 1e6


_PAPER = "Clio (MobiCom 2020), section 5.5"

LORA = Radio("LoRa", 50.0, 0.060, source=_PAPER)
ZIGBEE = Radio("ZigBee", 200.0, 0.060, source=_PAPER)
# The paper's rate is what the UART to its BLE shield carries (section 4.2).
BLE = Radio("BLE", 250.0, 0.015, source=_PAPER)
WIFI_AX = Radio("WiFi ax", 1000.0, 0.100, source=_PAPER)
RADIOS = {
    "lora": LORA,
    "zigbee": ZIGBEE,
    "ble": BLE,
    "wifi": WIFI_AX,
}


def radio(name: str) -> Radio:
    """One of the paper's radios by its short name; DataError lists them."""
    try:
        return RADIOS[name.lower()]
    except KeyError:
        raise DataError(f"unknown radio {name!r}; known: {', '.join(RADIOS)}") from None
