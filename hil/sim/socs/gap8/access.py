"""Accesses that are not plain L1 or L2 words: other views of memory, event unit, MCHAN, devices.

``load`` and ``store`` return DONE (chip[VALUE], chip[LATENCY] hold the result), ASLEEP (p.elw),
RETRY (MCHAN stalls the core), DEVICE (left to Python through the chip[ACCESS_*] words) or FAULT.
"""

from __future__ import annotations

import numba

from hil.sim.cores.xpulp.compiled import inner
from hil.sim.socs.gap8 import events, mchan, timing
from hil.sim.socs.gap8 import layout as L

DONE, ASLEEP, RETRY, DEVICE, FAULT = 0, 1, 2, 3, 4

CLUSTER_PERIPHERALS = 0x10200000
FC_PERIPHERALS = 0x1B200000
DEMUX, DEMUX_DMA, DEMUX_END = 0x4000, 0x4400, 0x4800
EVENT_UNIT, EVENT_UNIT_END = 0x0800, 0x1000
CLUSTER_DMA, CLUSTER_DMA_END = 0x1800, 0x1C00


@inner
def fault(core, chip, c, reason, address):
    """Records a fault of core ``c`` and returns FAULT."""
    chip[L.FAULT_REASON] = reason
    chip[L.FAULT_CORE] = c
    chip[L.FAULT_PC] = core[c * L.CORE_SPAN + L.PC]
    chip[L.FAULT_ADDRESS] = address
    return FAULT


@inner
def global_address(c, address):
    """Resolves the private aliases: peripherals at 0x00200000, memory at 0."""
    if address >= 0x00200000 and address < 0x00300000:
        base = FC_PERIPHERALS if c == L.FC else CLUSTER_PERIPHERALS
        return base + (address - 0x00200000)
    if c == L.FC and address < L.FC_TCDM_BYTES:
        return L.FC_TCDM_BASE + address
    if c != L.FC and address < L.L1_BYTES:
        return L.L1_BASE + address
    return address


@inner
def memory_word(c, address, size):
    """Word index of a byte address in ``mem``, -1 when it (or its last byte) is not memory."""
    last = address + size - 1
    if address >= L.L2_BASE and last < L.L2_BASE + L.L2_BYTES:
        return L.L2_WORD + ((address - L.L2_BASE) >> 2)
    if address >= L.L1_BASE and last < L.L1_BASE + L.L1_BYTES:
        return L.L1_WORD + ((address - L.L1_BASE) >> 2)
    if address >= L.FC_TCDM_BASE and last < L.FC_TCDM_BASE + L.FC_TCDM_BYTES:
        return L.FC_TCDM_WORD + ((address - L.FC_TCDM_BASE) >> 2)
    return -1


@inner
def _memory_latency(c, address):
    if address >= L.L2_BASE:
        return timing.L2_FROM_FC if c == L.FC else timing.L2_FROM_CLUSTER
    if address >= L.FC_TCDM_BASE:
        return timing.FC_TCDM if c == L.FC else timing.ACROSS_DOMAINS
    return timing.ACROSS_DOMAINS if c == L.FC else timing.L1


@inner
def peripheral_latency(c, address):
    """Cycles of an access to a register."""
    if address >= 0x1A000000 and address < L.FC_TCDM_BASE:
        return timing.SOC_PERIPHERAL_FC if c == L.FC else timing.SOC_PERIPHERAL_PE
    if c == L.FC:
        own = address >= L.FC_TCDM_BASE
        return timing.FC_PERIPHERAL if own else timing.ACROSS_DOMAINS
    return timing.CLUSTER_PERIPHERAL if address < L.FC_TCDM_BASE else timing.ACROSS_DOMAINS


@inner
def _needs_cluster(address):
    return address >= L.L1_BASE and address < 0x10400000


@inner
def _bad_size(address):
    """The fault of a narrow or misaligned access that is no memory."""
    cluster = address >= CLUSTER_PERIPHERALS and address < CLUSTER_PERIPHERALS + 0x100000
    fc = address >= FC_PERIPHERALS and address < FC_PERIPHERALS + 0x100000
    soc = address >= 0x1A000000 and address < 0x1A120000
    return L.F_MISALIGNED if cluster or fc or soc else L.F_UNMAPPED


@inner
def read_value(mem, word, address, size):
    """``size`` bytes at a byte address whose word index is ``word``, little-endian, unsigned."""
    shift = 8 * (address & 3)
    value = numba.int64(mem[word]) >> shift
    if shift + 8 * size > 32:
        value |= numba.int64(mem[word + 1]) << (32 - shift)
    return value & ((1 << (8 * size)) - 1)


@inner
def write_value(mem, word, address, size, value):
    """Stores ``size`` bytes of ``value``."""
    shift = 8 * (address & 3)
    mask = (1 << (8 * size)) - 1
    value = (value & mask) << shift
    mask = mask << shift
    mem[word] = (numba.int64(mem[word]) & ~mask) | (value & 0xFFFFFFFF)
    if mask >> 32 != 0:
        mem[word + 1] = (numba.int64(mem[word + 1]) & ~(mask >> 32)) | (value >> 32)


@inner
def forget_code(code, address, size):
    """A store to L2: the decoded instructions it overlaps are decoded again when fetched."""
    first = (address - L.L2_BASE) >> 1
    last = (address + size - 1 - L.L2_BASE) >> 1
    for half in range(max(first - 1, 0), last + 1):
        code[half] = 0


@inner
def _device(core, chip, c, address, size, rd, value, is_store):
    """Leaves the access to Python."""
    chip[L.ACCESS_CORE] = c
    chip[L.ACCESS_ADDRESS] = address
    chip[L.ACCESS_SIZE] = size
    chip[L.ACCESS_STORE] = is_store
    chip[L.ACCESS_VALUE] = value
    chip[L.ACCESS_RD] = rd
    chip[L.ACCESS_PC] = core[c * L.CORE_SPAN + L.PC]
    chip[L.LATENCY] = peripheral_latency(c, address)
    return DEVICE


@inner
def _is_demux(c, address, low, high):
    base = FC_PERIPHERALS if c == L.FC else CLUSTER_PERIPHERALS
    return address >= base + low and address < base + high


@inner
def _load_registers(eu, dma, core, chip, c, address, rd):
    """Registers handled here; everything else is a device."""
    offset = address & 0xFFFF
    if _is_demux(c, address, DEMUX, DEMUX_DMA):
        value = events.read_private(eu, c, offset - DEMUX)
        if value < 0:
            return fault(core, chip, c, L.F_EVENT_UNIT, address)
        chip[L.VALUE] = value
        return DONE
    is_dma = _is_demux(c, address, DEMUX_DMA, DEMUX_END) and c != L.FC
    if is_dma or _in_cluster(address, CLUSTER_DMA, CLUSTER_DMA_END):
        if offset & 0x3FF == 4:
            chip[L.VALUE] = mchan.status(dma)
            return DONE
        if offset & 0x3FF != 0:
            return fault(core, chip, c, L.F_DMA, address)
        number = mchan.allocate(dma, c)
        chip[L.VALUE] = number
        return DONE if number >= 0 else RETRY
    if _in_cluster(address, EVENT_UNIT, EVENT_UNIT + 0x200):
        value = events.read_core_register(eu, (offset - EVENT_UNIT) >> 6, offset & 0x3F)
        if value < 0:
            return fault(core, chip, c, L.F_EVENT_UNIT, address)
        chip[L.VALUE] = value
        return DONE
    return _device(core, chip, c, address, 4, rd, 0, 0)


@inner
def _in_cluster(address, low, high):
    return address >= CLUSTER_PERIPHERALS + low and address < CLUSTER_PERIPHERALS + high


@inner
def load(mem, regs, core, eu, dma, chip, c, address, size, rd, is_elw):
    """A load of core ``c``; chip[NOW_*] must be set."""
    where = global_address(c, address)
    if c == L.FC and _needs_cluster(where) and chip[L.CLUSTER_BARRED] != 0:
        return fault(core, chip, c, chip[L.CLUSTER_BARRED], address)
    if is_elw:
        if not _is_demux(c, where, DEMUX, DEMUX_DMA):
            return fault(core, chip, c, L.F_ELW, address)
        result = events.elw(regs, core, eu, chip, c, (where & 0xFFFF) - DEMUX, rd)
        if result == events.REFUSED:
            return fault(core, chip, c, L.F_ELW, address)
        return DONE if result == events.DONE else ASLEEP
    word = memory_word(c, where, size)
    if word >= 0:
        chip[L.VALUE] = read_value(mem, word, where, size)
        chip[L.LATENCY] = _memory_latency(c, where)
        return DONE
    if where >= L.TEST_AND_SET and where < L.TEST_AND_SET + L.L1_BYTES:
        if size != 4 or where & 3:
            return fault(core, chip, c, L.F_MISALIGNED, address)
        word = memory_word(c, where - L.TEST_AND_SET + L.L1_BASE, 4)
        chip[L.VALUE] = numba.int64(mem[word])
        mem[word] = 0xFFFFFFFF
        chip[L.LATENCY] = _memory_latency(c, L.L1_BASE)
        return DONE
    if size != 4 or where & 3:
        return fault(core, chip, c, _bad_size(where), address)
    chip[L.LATENCY] = peripheral_latency(c, where)
    return _load_registers(eu, dma, core, chip, c, where, rd)


@inner
def _store_registers(regs, core, eu, dma, chip, c, address, value):
    offset = address & 0xFFFF
    reason = 0
    if _is_demux(c, address, DEMUX, DEMUX_DMA):
        reason = events.write_private(regs, core, eu, chip, c, offset - DEMUX, value)
    elif (_is_demux(c, address, DEMUX_DMA, DEMUX_END) and c != L.FC) or _in_cluster(
        address, CLUSTER_DMA, CLUSTER_DMA_END
    ):
        if offset & 0x3FF == 4:
            mchan.free(dma, value)
        elif c == L.FC:
            reason = L.F_DMA  # the FC's clock would need a crossing that no firmware here uses
        else:
            reason = mchan.write_command(dma, chip, c, value)
            if reason == mchan.QUEUE_FULL:
                return RETRY
    elif _in_cluster(address, EVENT_UNIT, EVENT_UNIT + 0x200):
        target = (offset - EVENT_UNIT) >> 6
        if not events.write_core_register(regs, core, eu, chip, target, offset & 0x3F, value):
            reason = L.F_EVENT_UNIT
    elif _in_cluster(address, EVENT_UNIT + 0x600, EVENT_UNIT + 0x620):
        number = (offset - EVENT_UNIT - 0x600) >> 2
        events.software_event(regs, core, eu, chip, number, value, False)
    elif address >= FC_PERIPHERALS + EVENT_UNIT + 0x600 and address < (
        FC_PERIPHERALS + EVENT_UNIT + 0x620
    ):
        number = (offset - EVENT_UNIT - 0x600) >> 2
        events.software_event(regs, core, eu, chip, number, value, True)
    else:
        return _device(core, chip, c, address, 4, 0, value, 1)
    return DONE if reason == 0 else fault(core, chip, c, reason, address)


@inner
def store(mem, code, regs, core, eu, dma, chip, c, address, size, value):
    """A store of core ``c``; chip[NOW_*] must be set."""
    where = global_address(c, address)
    if c == L.FC and _needs_cluster(where) and chip[L.CLUSTER_BARRED] != 0:
        return fault(core, chip, c, chip[L.CLUSTER_BARRED], address)
    word = memory_word(c, where, size)
    if word >= 0:
        write_value(mem, word, where, size, value)
        if where >= L.L2_BASE:
            forget_code(code, where, size)
        chip[L.LATENCY] = _memory_latency(c, where)
        return DONE
    if where >= L.TEST_AND_SET and where < L.TEST_AND_SET + L.L1_BYTES:
        if where & (size - 1):
            return fault(core, chip, c, L.F_MISALIGNED, address)
        word = memory_word(c, where - L.TEST_AND_SET + L.L1_BASE, size)
        write_value(mem, word, where, size, value)
        chip[L.LATENCY] = _memory_latency(c, L.L1_BASE)
        return DONE
    if where >= STDOUT and where < STDOUT + 0x1000:
        return _device(core, chip, c, where, size, 0, value, 1)
    if size != 4 or where & 3:
        return fault(core, chip, c, _bad_size(where), address)
    chip[L.LATENCY] = peripheral_latency(c, where)
    return _store_registers(regs, core, eu, dma, chip, c, where, value)


STDOUT = 0x1A110000  # simulator-only character output; byte stores
