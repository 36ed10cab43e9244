"""The bytes of a firmware, for tools and protocols that do not read ELF files."""

from __future__ import annotations

import hashlib

from hil.core.elf import ElfImage, load_segments
from hil.core.errors import FirmwareError, FlashError
from hil.core.firmware import Firmware

MACHINES = {"stm32f746": "EM_ARM", "stm32f767": "EM_ARM", "gap8": "EM_RISCV"}
ERASED = b"\xff"


def read_image(firmware: Firmware) -> ElfImage:
    """The segments of ``firmware``; FlashError if its file is not the one that was built."""
    try:
        digest = hashlib.sha256(firmware.elf.read_bytes()).hexdigest()
        image = load_segments(firmware.elf, MACHINES.get(firmware.board))
    except OSError as error:
        raise FlashError(f"{firmware.elf}: cannot read: {error.strerror}") from error
    except FirmwareError as error:
        raise FlashError(str(error)) from error
    if digest != firmware.elf_sha256:
        raise FlashError(
            f"{firmware.elf} has digest {digest[:12]}, built was {firmware.elf_sha256[:12]}; the "
            "file has changed since the build, build again"
        )
    return image


def loaded_bytes(image: ElfImage) -> list[tuple[int, bytes]]:
    """(load address, bytes) of everything that has to be written, in order of address.

    Segments that touch are joined: a flash sector is erased once.
    """
    joined: list[tuple[int, bytes]] = []
    for address, data in sorted((s.address, s.data) for s in image.segments if s.data):
        if joined and joined[-1][0] + len(joined[-1][1]) == address:
            joined[-1] = (joined[-1][0], joined[-1][1] + data)
        else:
            joined.append((address, data))
    return joined


def flat_binary(image: ElfImage) -> tuple[int, bytes]:
    """One block from the first to the last byte, gaps as erased flash: (address, bytes)."""
    parts = loaded_bytes(image)
    start = parts[0][0]
    block = b""
    for address, data in parts:
        block += ERASED * (address - start - len(block)) + data
    return start, block
