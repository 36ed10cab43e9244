"""USB devices as Linux lists them in /sys: instantly, without opening or disturbing one."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

SYSFS = Path("/sys/bus/usb/devices")


@dataclass(frozen=True)
class UsbDevice:
    """``place`` is bus-port.port, as in ``1-1.4``; ``node`` is what a program opens."""

    vendor: int
    product: int
    serial: str
    name: str
    place: str
    node: str

    def __str__(self) -> str:
        number = f", serial {self.serial}" if self.serial else ""
        return f"{self.name or 'a device'} ({self.vendor:04x}:{self.product:04x}{number})"


def usb_devices(folder: Path = SYSFS) -> list[UsbDevice] | None:
    """What is attached, hubs included; None where the system keeps no such list (not Linux).

    A Linux without the folder has no USB at all.
    """
    if not folder.is_dir():
        return [] if sys.platform == "linux" else None
    devices = []
    for entry in sorted(folder.iterdir()):
        try:
            vendor, product = (int(_read(entry / name), 16) for name in ("idVendor", "idProduct"))
            bus, number = (int(_read(entry / name)) for name in ("busnum", "devnum"))
        except (OSError, ValueError):  # an interface of a device, or one just being unplugged
            continue
        words = [_read_if(entry / "manufacturer"), _read_if(entry / "product")]
        devices.append(
            UsbDevice(
                vendor, product, _read_if(entry / "serial"), " ".join(filter(None, words)),
                entry.name, f"/dev/bus/usb/{bus:03d}/{number:03d}",
            )
        )  # fmt: skip
    return devices


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


def _read_if(path: Path) -> str:
    try:
        return _read(path)
    except OSError:
        return ""
