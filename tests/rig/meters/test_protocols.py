"""Byte by byte: what each driver sends and how it reads answers as the manuals print them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from expected_protocol import Pair, expected_protocol

from hil.core.errors import InstrumentError
from hil.core.provenance import Origin
from hil.rig.meter_options import (
    KeithleyDmm6500Options,
    KeysightN6705COptions,
    OscilloscopeOptions,
)
from hil.rig.meters.keithley_dmm6500 import KeithleyDmm6500
from hil.rig.meters.keysight_infiniivision import KeysightInfiniiVision
from hil.rig.meters.keysight_n6705c import KeysightN6705C
from hil.rig.meters.oscilloscope import Timing, one_two_five
from hil.rig.meters.rigol_ds1000z import RigolDs1000z
from hil.rig.meters.siglent_sds1000xe import SiglentSds1000xe

SCOPE = OscilloscopeOptions(shunt_ohms=0.5, supply_v=3.3)


def silent(*commands: str) -> list[Pair]:
    return [(command.encode(), None) for command in commands]


class TestHelper:
    def test_leftovers_and_surprises_fail(self) -> None:
        with (
            pytest.raises(AssertionError, match="1 pairs left over"),
            expected_protocol([(b"*IDN?", b"A,B,C,D"), (b"*CLS", None)]) as resource,
        ):
            self.connect_and_query(resource)
        with (
            pytest.raises(AssertionError, match=r"sent b'\*IDN\?\\n', expected b'\*CLS'"),
            expected_protocol([(b"*CLS", None)]) as resource,
            pytest.raises(InstrumentError),
        ):
            self.connect_and_query(resource)

    @staticmethod
    def connect_and_query(resource: str) -> None:
        from hil.rig.scpi import ScpiLink

        link = ScpiLink(resource, 0.5)
        link.query("*IDN?")
        link.close()


class TestKeysightN6705C:
    IDENTIFY: list[Pair] = [  # noqa: RUF012
        (b"*IDN?", b"Keysight Technologies,N6705C,MY59001234,E.02.07.3152"),
        (b"SYST:CHAN?", b"4"),
        (b"SYST:CHAN:MOD? (@2)", b"N6781A"),
    ]

    def test_a_whole_acquisition(self) -> None:
        current = np.array([0.01, 0.02, 9.9e37, 0.02], "<f4").tobytes()
        marker = np.array([0.0, 3.3, 3.3, 0.1], "<f4").tobytes()
        pairs = [
            *self.IDENTIFY,
            *silent("*CLS", "ABOR:ACQ (@2)", "FORM REAL", "FORM:BORD SWAP"),
            *silent("SENS:ELOG:FUNC:CURR OFF,(@1:4)", "SENS:ELOG:FUNC:VOLT OFF,(@1:4)"),
            *silent("SENS:DLOG:FUNC:CURR OFF,(@1:4)", "SENS:DLOG:FUNC:VOLT OFF,(@1:4)"),
            *silent("SENS:VOLT:INP MAIN,(@2)"),
            (b"MEAS:VOLT? (@2)", b"+1.800120E+00"),
            (b"OUTP? (@2)", b"1"),
            *silent("SENS:FUNC:CURR ON,(@2)", "SENS:FUNC:VOLT ON,(@2)", "SENS:VOLT:INP AUX,(@2)"),
            *silent("SENS:VOLT:RANG 20,(@2)", "SENS:CURR:RANG 0.1,(@2)", "SENS:WIND RECT,(@2)"),
            *silent("SENS:SWE:OFFS:POIN 0,(@2)", "TRIG:ACQ:SOUR BUS,(@2)"),
            *silent("SENS:SWE:TINT 1.03092784e-05,(@2)"),
            (b"SYST:ERR?", b'+0,"No error"'),
            (b"SENS:CURR:RANG? (@2)", b"+1.000000E-01"),
            (b"SENS:SWE:TINT? (@2)", b"+1.024000E-05"),  # rounded, UG p. 213
            (b"SYST:ERR?", b'+0,"No error"'),
            *silent("SENS:SWE:POIN 4,(@2)", "INIT:ACQ (@2)"),
            (b"STAT:OPER:COND? (@2)", b"+9"),  # CV and WTG-meas
            *silent("TRIG:ACQ (@2)"),
            (b"SYST:ERR?", b'+0,"No error"'),
            (b"STAT:OPER:COND? (@2)", b"+33"),  # CV and MEAS-active
            (b"FETC:ARR:CURR? (@2)", b"#216" + current + b"\n"),
            (b"FETC:ARR:VOLT? (@2)", b"#216" + marker + b"\n"),
            (b"SYST:ERR?", b'+0,"No error"'),
        ]
        with expected_protocol(pairs) as resource:
            options = KeysightN6705COptions(channel=2)
            meter = KeysightN6705C(resource, 10.0, 1.0, options)
            meter.configure(97_000, 0.1)
            meter.arm(4 * 10.24e-6)
            waveform = meter.read()
        assert waveform.current_a == pytest.approx([0.01, 0.02, 0.1, 0.02])
        assert waveform.marker.tolist() == [False, True, True, False]
        assert waveform.overload and waveform.supply_v == pytest.approx(1.80012)
        assert waveform.origin is Origin.MEASURED and waveform.series_ohms == 0

    def test_another_module_is_refused(self) -> None:
        pairs = [*self.IDENTIFY[:2], (b"SYST:CHAN:MOD? (@2)", b"N6731B")]
        with expected_protocol(pairs) as resource:
            meter = KeysightN6705C(resource, 10.0, 1.0, KeysightN6705COptions(channel=2))
            with pytest.raises(InstrumentError, match=r"channel 2 is a N6731B; only the N6781A"):
                meter.identify()


class TestKeithleyDmm6500:
    IDN = b"KEITHLEY INSTRUMENTS,MODEL DMM6500,04412345,1.7.12b"

    def test_another_command_language_is_refused(self) -> None:
        with (
            expected_protocol([(b"*IDN?", self.IDN), (b"*LANG?", b"TSP")]) as resource,
            pytest.raises(InstrumentError, match=r"listens to TSP; send \*LANG SCPI"),
        ):
            KeithleyDmm6500(resource, 10.0).identify()

    FINE = (b"SYST:ERR?", b'0,"No error;0;0 0"')
    FORMATS = ("FORM REAL", "FORM:BORD SWAP", "FORM:ASC:PREC 16")

    def prepared(self, range_a: str) -> list[Pair]:
        """What comes before the buffers are made."""
        return [
            *silent("*CLS", "ABOR", "*CLS", 'TRIG:LOAD "EMPTY"', 'DIG:FUNC "CURR"'),
            *silent(f"DIG:CURR:RANG {range_a}", "DIG:CURR:SRAT 100000", "DIG:CURR:APER AUTO"),
            *silent('TRAC:POIN 10,"defbuffer1"', 'TRAC:POIN 10,"defbuffer2"'),
            self.FINE,
            *silent('TRAC:DEL "hil"', 'TRAC:DEL "hil_low"', 'TRAC:DEL "hil_high"', "*CLS"),
        ]

    def test_two_buffers_that_the_marker_switches(self) -> None:
        """30 us after the last low reading comes the first high one, by their absolute times; at
        the end the model has been stopped by a person, who was late enough."""
        low = [(0.01 + 1e-4 * n, 1e-5 * n) for n in range(1500)]
        high = [(0.02, 1e-5 * n) for n in range(1500)]

        def block(table: list[tuple[float, float]]) -> bytes:
            return b"#0" + struct.pack(f"<{2 * len(table)}d", *sum(table, ())) + b"\n"

        pairs = [
            (b"*IDN?", self.IDN),
            (b"*LANG?", b"SCPI"),
            *self.prepared(range_a="0.1"),
            *silent('TRAC:MAKE "hil_low",10', 'TRAC:FILL:MODE ONCE,"hil_low"'),
            *silent('TRAC:MAKE "hil_high",10', 'TRAC:FILL:MODE ONCE,"hil_high"', *self.FORMATS),
            *silent("TRIG:EXT:IN:EDGE EITH", 'TRIG:BLOC:MDIG 1,"hil_low",INF'),
            *silent("TRIG:BLOC:WAIT 2,EXT,ENT", 'TRIG:BLOC:MDIG 3,"hil_high",INF'),
            *silent("TRIG:BLOC:WAIT 4,EXT,ENT", "TRIG:BLOC:BRAN:ALW 5,1"),
            self.FINE,
            (b"DIG:CURR:RANG?", b"0.1"),
            (b"DIG:CURR:SRAT?", b"100000"),
            self.FINE,
            *silent('TRAC:POIN 53000,"hil_low"', 'TRAC:CLE "hil_low"'),
            *silent('TRAC:POIN 53000,"hil_high"', 'TRAC:CLE "hil_high"', "TRIG:EXT:IN:CLE"),
            self.FINE,
            *silent("INIT"),
            (b'TRAC:ACT? "hil_low"', b"1500"),
            (b'TRAC:ACT? "hil_high"', b"1400"),
            (b"TRIG:STAT?", b"ABORTED;ABORTED;2"),
            (b'TRAC:ACT? "hil_low"', b"1500"),
            (b'TRAC:ACT? "hil_high"', b"1500"),
            self.FINE,
            *silent("ABOR", "*CLS"),
            (b'TRAC:ACT? "hil_low"', b"1500"),
            *silent("FORM ASC"),
            (b'TRAC:DATA? 1,1,"hil_low",SEC,FRAC', b"1764000000, 9.900000000000000E-01"),
            *silent("FORM REAL"),
            (b'TRAC:DATA? 1,1500,"hil_low",READ,REL', block(low)),
            (b'TRAC:ACT? "hil_high"', b"1500"),
            *silent("FORM ASC"),
            (b'TRAC:DATA? 1,1,"hil_high",SEC,FRAC', b"1764000001, 5.020000000000000E-03"),
            *silent("FORM REAL"),
            (b'TRAC:DATA? 1,1500,"hil_high",READ,REL', block(high)),
            self.FINE,
        ]
        with expected_protocol(pairs) as resource:
            options = KeithleyDmm6500Options(supply_v=3.3, marker_latency_us=0.0)
            meter = KeithleyDmm6500(resource, 10.0, 1.0, options)
            meter.configure(100_000, 0.1)
            meter.arm(0.01)
            waveform = meter.read()
        assert waveform.supply_v == 3.3 and waveform.origin is Origin.MEASURED
        # Samples 0 to 1499 are low; 1500 and 1501 are not there; the edge is at 1500 or 1501.
        assert len(waveform) == 3000 and waveform.lost_samples == 0
        assert np.flatnonzero(waveform.marker)[0] in (1500, 1501)
        assert waveform.current_a[1499:1503] == pytest.approx([0.1599, 0.1599, 0.02, 0.02])
        assert waveform.edge_gap_s == pytest.approx(2e-5)
        assert waveform.edge_uncertainty_s == pytest.approx(1.5e-5)

    @pytest.mark.parametrize("head", [b"#0", b"#3160"])
    def test_digitizing_from_a_rising_edge(self, head: bytes) -> None:
        table = struct.pack("<20d", *(value for n in range(10) for value in (1e-3 * n, 1e-5 * n)))
        pairs = [
            (b"*IDN?", self.IDN),
            (b"*LANG?", b"SCPI"),
            *self.prepared(range_a="0.01"),
            *silent('TRAC:MAKE "hil",10', 'TRAC:FILL:MODE ONCE,"hil"', *self.FORMATS),
            *silent('TRIG:BLOC:BUFF:CLE 1,"hil"', "TRIG:EXT:IN:CLE", "TRIG:EXT:IN:EDGE RIS"),
            *silent("TRIG:BLOC:WAIT 2,EXT", 'TRIG:BLOC:MDIG 3,"hil",10'),
            (b"SYST:ERR?", b'0,"No error;0;0 0"'),
            (b"DIG:CURR:RANG?", b"0.01"),
            (b"DIG:CURR:SRAT?", b"100000"),
            *silent("INIT"),
            (b"TRIG:STAT?", b"WAITING;WAITING;2"),
            (b"TRIG:STAT?", b"IDLE;IDLE;3"),
            (b'TRAC:ACT? "hil"', b"10"),
            (b'TRAC:DATA? 1,10,"hil",READ,REL', head + table + b"\n"),
            (b"SYST:ERR?", b'0,"No error;0;0 0"'),
        ]
        with expected_protocol(pairs) as resource:
            trace = KeithleyDmm6500(resource, 10.0).digitize(1e-4, 100_000, 0.01, "rising")
        assert trace.mean_a() == pytest.approx(4.5e-3)
        assert trace.lost_samples == 0 and trace.sample_interval_s == pytest.approx(1e-5)


class TestKeysightInfiniiVision:
    def test_preamble_holes_and_clipped_codes(self) -> None:
        # Programmer's guide, :WAVeform:PREamble: format, type, points, count, then x and y.
        preamble = b"+0,+0,+4,+1,+5.0E-06,-2.0E-03,+0,+1.25E-03,+3.0E-02,+128"
        pairs = [
            *silent(":WAV:SOUR CHAN1"),
            (b":WAV:PRE?", preamble),
            (b":WAV:DATA?", b"#800000004" + bytes([104, 0, 0xFF, 0x0A]) + b"\n"),
        ]
        with expected_protocol(pairs) as resource:
            trace = KeysightInfiniiVision(resource, 10.0, 1.0, SCOPE)._trace(1, 4)
        assert trace.volts[0] == pytest.approx(0.0)  # (104 - 128) * 1.25 mV + 30 mV
        assert trace.volts[3] == pytest.approx((10 - 128) * 1.25e-3 + 0.03)
        assert trace.is_hole.tolist() == [False, True, False, False] and trace.clipped
        assert (trace.interval_s, trace.start_s, trace.recorded) == (5e-6, -2e-3, 4)

    def test_time_base_and_forced_trigger(self) -> None:
        pairs = [
            *silent(":TIM:MODE MAIN", ":TIM:REF CENT", ":TIM:SCAL 0.01", ":TIM:POS 0.05"),
            *silent(":WAV:POIN 20000"),
            (b":TER?", b"+0"),
            *silent(":SING"),
            (b":AER?", b"+1"),
            *silent(":TRIG:FORC"),
            (b":TER?", b"+1"),
            (b":OPER:COND?", b"+8"),
            (b":OPER:COND?", b"+0"),
        ]
        with expected_protocol(pairs) as resource:
            meter = KeysightInfiniiVision(resource, 10.0, 1.0, SCOPE)
            meter._set_timing(Timing(0.01, 20_000, 5e-6))
            meter._single()
            assert meter._is_ready()
            meter._force()
            assert [meter._has_stopped(), meter._has_stopped()] == [False, True]


class TestRigolDs1000z:
    def test_the_guides_preamble_in_batches(self) -> None:
        # The example of the programming guide, p. 2-226.
        preamble = b"0,2,6000000,1,1.000000e-09,-3.000000e-03,0,4.132813e-01,0,122"
        first, second = bytes([122, 123]) * 125_000, bytes([0, 255])
        pairs = [
            *silent(":WAV:SOUR CHAN2", ":WAV:MODE RAW", ":WAV:FORM BYTE"),
            (b":WAV:PRE?", preamble),
            *silent(":WAV:STAR 1", ":WAV:STOP 250000"),
            (b":WAV:DATA?", b"#9000250000" + first + b"\n"),
            *silent(":WAV:STAR 250001", ":WAV:STOP 250002"),
            (b":WAV:DATA?", b"#9000000002" + second + b"\n"),
        ]
        with expected_protocol(pairs) as resource:
            trace = RigolDs1000z(resource, 10.0, 1.0, SCOPE)._trace(2, 250_002)
        assert len(trace.codes) == 250_002 and trace.recorded == 6_000_000
        assert trace.volts[:2] == pytest.approx([0.0, 0.4132813])
        assert trace.volts[-1] == pytest.approx(133 * 0.4132813) and trace.clipped
        assert (trace.interval_s, trace.start_s) == (1e-9, -3e-3)

    def test_a_depth_that_is_not_taken(self) -> None:
        pairs = [
            *silent(":RUN", ":TIM:MODE MAIN", ":TIM:MAIN:SCAL 0.005", ":TIM:MAIN:OFFS 0.03"),
            *silent(":ACQ:MDEP 60000"),
            (b":ACQ:MDEP?", b"AUTO"),
        ]
        with expected_protocol(pairs) as resource:
            meter = RigolDs1000z(resource, 10.0, 1.0, SCOPE)
            with pytest.raises(InstrumentError, match="depth is AUTO, 60000 were asked for"):
                meter._set_timing(Timing(0.005, 60_000, 1e-6))


class TestSiglentSds1000xe:
    def test_the_guides_example_of_a_voltage(self) -> None:
        # Programming guide p. 142: VDIV 0.5 V, OFST -0.5 V, code 2 is 0.54 V; 0xFC is negative.
        pairs = [
            (b"C1:VDIV?", b"5.00E-01"),
            (b"C1:OFST?", b"-5.00E-01"),
            (b"SARA?", b"1.00GSa/s"),
            (b"TRDL?", b"7.00E-04"),
            (b"TDIV?", b"1.00E-04S"),
            (b"SANU? C1", b"7Mpts"),
            *silent("WFSU SP,1,NP,3,FP,0"),
            (b"C1:WF? DAT2", b"DAT2,#9000000003\x02\xfc\x7f\n\n"),
        ]
        with expected_protocol(pairs) as resource:
            trace = SiglentSds1000xe(resource, 10.0, 1.0, SCOPE)._trace(1, 3)
        assert trace.volts == pytest.approx([0.54, 0.5 - 4 * 0.02, 0.5 + 127 * 0.02])
        assert trace.clipped and trace.recorded == 7e6
        assert trace.interval_s == pytest.approx(1e-9) and trace.start_s == pytest.approx(0.0)

    def test_the_error_register(self) -> None:
        with expected_protocol([(b"CMR?", b"11")]) as resource:
            meter = SiglentSds1000xe(resource, 10.0, 1.0, SCOPE)
            with pytest.raises(InstrumentError, match=r"VDIV: .*CMR 11, invalid parameter"):
                meter._check_errors("VDIV")


@pytest.mark.parametrize(
    ("value", "step"), [(1.0, 1.0), (1.01, 2.0), (0.03, 0.05), (6.2e-3, 0.01), (2e-9, 2e-9)]
)
def test_one_two_five(value: float, step: float) -> None:
    assert one_two_five(value) == step
