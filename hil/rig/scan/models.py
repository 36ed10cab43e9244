"""USB ids by which boards, probes and meters are known, and what they are.

Sources: OpenOCD's contrib/60-openocd.rules and interface/*.cfg for probes, the drivers in
hil.rig.meters for meters.
"""

from __future__ import annotations

from hil.rig.meters.lpm01a import Lpm01a
from hil.rig.meters.ppk2 import Ppk2

ST = 0x0483
STLINKS = {
    (ST, 0x3748): "ST-LINK/V2",
    (ST, 0x374B): "ST-LINK/V2-1",
    (ST, 0x3752): "ST-LINK/V2-1",
    (ST, 0x374E): "STLINK-V3E",
    (ST, 0x374F): "STLINK-V3",
    (ST, 0x3753): "STLINK-V3",
    (ST, 0x3754): "STLINK-V3",
}
GAPUINO = (0x0403, 0x6010)  # FT2232 of the board: channel A is JTAG, channel B the console
OLIMEX = {(0x15BA, 0x002A): "ARM-USB-TINY-H", (0x15BA, 0x002B): "ARM-USB-OCD-H"}
PROBES = {**STLINKS, GAPUINO: "FT2232", **OLIMEX}
# Adapters behind which an AI-deck's UART may be.
UARTS = {(0x0403, 0x6001), (0x0403, 0x6015), (0x10C4, 0xEA60), (0x1A86, 0x7523), (0x067B, 0x2303)}
METERS = {"ppk2": Ppk2.model, "lpm01a": Lpm01a.model}
