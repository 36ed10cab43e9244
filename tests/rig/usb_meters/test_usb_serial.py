"""Finding a meter's port among what is attached, and what a port can do to its reader."""

from __future__ import annotations

import pytest
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.rig.meters.ppk2 import Ppk2
from hil.rig.meters.usb_serial import SerialLink, UsbPort, find_port


def attached(device: str, usb: str, serial: str, location: str, product: str) -> ListPortInfo:
    info = ListPortInfo(device)
    info.vid, info.pid = (int(part, 16) for part in usb.split(":"))
    info.serial_number, info.location, info.product = serial, location, product
    return info


@pytest.fixture(autouse=True)
def ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two kits with two ports each (the data port is the second one of the first kit)."""
    found = [
        attached("/dev/ttyACM0", "1915:c00a", "F5BC3E7B1122", "1-2:1.3", "PPK2"),
        attached("/dev/ttyACM1", "1915:c00a", "F5BC3E7B1122", "1-2:1.1", "PPK2"),
        attached("/dev/ttyACM2", "1915:c00a", "A0000001", "1-3:1.1", "PPK2"),
        attached("/dev/ttyACM3", "1915:c00a", "A0000001", "1-3:1.3", "PPK2"),
        attached("/dev/ttyACM4", "0483:374b", "066AFF", "1-4:1.2", "STLink"),
    ]
    monkeypatch.setattr(list_ports, "comports", lambda: found)


def test_the_serial_number_chooses_kit_and_data_port() -> None:
    # The number printed on the kit is the first half of the USB one.
    port = find_port("usb:f5bc3e7b", Ppk2.model)
    assert (port.path, port.serial, port.origin) == (
        "/dev/ttyACM1",
        "F5BC3E7B1122",
        Origin.MEASURED,
    )


@pytest.mark.parametrize("resource", ["usb:", "usb:1234"])
def test_none_or_several_fit(resource: str) -> None:
    with pytest.raises(InstrumentError, match=r"F5BC3E7B1122 \(/dev/ttyACM1\), A0000001 \(/dev/t"):
        find_port(resource, Ppk2.model)


def test_a_path_must_be_the_right_device() -> None:
    assert find_port("/dev/ttyACM2", Ppk2.model).serial == "A0000001"
    with pytest.raises(InstrumentError, match=r"ttyACM4 is a STLink \(USB 0483:374b\), not a PPK2"):
        find_port("/dev/ttyACM4", Ppk2.model)


def test_a_pseudo_terminal_is_no_measurement() -> None:
    assert find_port("/dev/pts/7", Ppk2.model).origin is Origin.MODELLED


def test_a_port_that_is_not_there() -> None:
    with pytest.raises(InstrumentError, match=r"usb:X: serial port /no.* correct \[meter\] resou"):
        SerialLink(UsbPort("/nowhere/tty", "", False), 9600, "usb:X")
