"""The simulated instruments by themselves: SCPI's rules, their makers' limits, their faults."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.core.errors import SimulationError
from hil.sim.chip import EnergyBins, MarkerEdge
from hil.sim.instruments import INSTRUMENTS, make_instrument
from hil.sim.instruments.instrument import Instrument
from hil.sim.instruments.keysight_n6705c import KeysightN6705C
from hil.sim.instruments.oscilloscope import one_two_five
from hil.sim.instruments.scpi import (
    Command,
    CommandTable,
    Dispatcher,
    ErrorQueue,
    ScpiError,
    block,
    channels,
    header_pattern,
    number,
    split_outside,
)
from hil.sim.wires_lines import Wait

SUPPLY_V = 3.3
SCPI = [kind for kind in INSTRUMENTS if kind != "siglent_sds1000xe"]


def error(instrument: Instrument) -> str:
    return (instrument.execute("SYST:ERR?") or b"").decode().strip()


def feed(instrument: Instrument, duration_s: float, power_w: float = 0.1, first: int = 0) -> int:
    """Let time pass at constant power; the number of the next bin."""
    bins = round(duration_s / 1e-5)
    energy_j = np.full(bins, power_w * 1e-5)
    instrument.feed((first + bins) * 1e-5, EnergyBins(first, 1e-5, energy_j), [])
    return first + bins


class TestScpi:
    @pytest.mark.parametrize(
        "spelled",
        ["SENS:SWE:TINT", "sense:sweep:tinterval", ":SWE:TINT", "Sens:Sweep:TINTerval"],
    )
    def test_spellings(self, spelled: str) -> None:
        assert header_pattern("[SENSe:]SWEep:TINTerval").fullmatch(spelled)

    @pytest.mark.parametrize("spelled", ["SENS:SWEE:TINT", "SWE", "SENS:SWE:TINT:X", "TINT"])
    def test_misspellings(self, spelled: str) -> None:
        assert not header_pattern("[SENSe:]SWEep:TINTerval").fullmatch(spelled)

    def test_suffixes(self) -> None:
        table = CommandTable([Command("CHANnel<n>:SCALe", lambda _: None)])
        assert [table.find(text)[1] for text in ("CHAN2:SCAL", ":CHANNEL:SCALE")] == [(2,), (1,)]  # type: ignore[index]

    def test_chains_keep_their_level(self) -> None:
        seen: list[str] = []
        commands = [
            Command("A:B:C", lambda _: seen.append("c")),
            Command("A:B:D", query=lambda _: b"d"),
            Command("E", query=lambda _: b"e"),
            Command("*X", query=lambda _: b"x"),
        ]
        refused: list[ScpiError] = []
        dispatcher = Dispatcher(CommandTable(commands), refused.append)
        assert dispatcher.execute("A:B:C;D?;*X?;D?;:E?") == b"d;x;d;e\n"
        assert seen == ["c"] and not refused
        assert dispatcher.execute("E?;D?") == b"e\n"  # no way from the root to D
        assert [one.code for one in refused] == [-113]

    def test_a_chain_that_waits_goes_on_where_it_stopped(self) -> None:
        done: list[str] = []
        ready = False

        def query(_: object) -> bytes:
            if not ready:
                raise Wait
            return b"ready"

        commands = [Command("A:SET", lambda _: done.append("set")), Command("A:GET", query=query)]
        dispatcher = Dispatcher(CommandTable(commands), lambda _: None)
        for _ in range(3):
            with pytest.raises(Wait):
                dispatcher.execute("A:SET;GET?")
        ready = True
        assert dispatcher.execute("A:SET;GET?") == b"ready\n" and done == ["set"]

    def test_marks_in_quotes_and_parentheses_divide_nothing(self) -> None:
        assert split_outside("1,(@1,2),\"a,b\",'c;d'", ",") == ["1", "(@1,2)", '"a,b"', "'c;d'"]

    def test_queue_overflow(self) -> None:
        queue = ErrorQueue(2)
        for code in (-1, -2, -3):
            queue.push(ScpiError(code, "x"))
        assert [queue.pop()[0] for _ in range(3)] == [-1, -350, 0]

    @pytest.mark.parametrize(
        ("text", "code"), [("x", -104), ("11", -222), ("nan", -222), ("-1", -222)]
    )
    def test_numbers(self, text: str, code: int) -> None:
        with pytest.raises(ScpiError) as caught:
            number(text, 0.0, 10.0)
        assert caught.value.code == code
        assert number("MAX", 0.0, 10.0) == 10.0

    def test_channel_lists(self) -> None:
        assert channels("(@1,3:4)", 4) == (1, 3, 4)
        for text in ("(@5)", "(@)", "1", "(@a)", "(@0)"):
            with pytest.raises(ScpiError):
                channels(text, 4)

    @settings(deadline=None)
    @given(st.binary(max_size=300), st.sampled_from([None, 8, 9]))
    def test_blocks(self, data: bytes, digits: int | None) -> None:
        made = block(data, digits)
        places = int(made[1:2])
        assert digits is None or places == digits
        assert int(made[2 : 2 + places]) == len(data) and made[2 + places :] == data


class TestEveryInstrument:
    @pytest.mark.parametrize("kind", INSTRUMENTS)
    def test_its_serial_number_says_that_it_is_simulated(self, kind: str) -> None:
        instrument = make_instrument(kind, SUPPLY_V, 12)
        answer = (instrument.execute("*IDN?") or b"").decode()
        assert answer.split(",")[2] == "HILSIM0012"

    @pytest.mark.parametrize("kind", SCPI)
    @pytest.mark.parametrize(
        ("line", "code"), [("FOO:BAR 1", -113), ("*IDN", -113), ("FORM:BORD UP", None)]
    )
    def test_refusals_go_to_the_queue(self, kind: str, line: str, code: int | None) -> None:
        instrument = make_instrument(kind, SUPPLY_V)
        assert instrument.execute(line) is None
        found = int(error(instrument).split(",")[0])
        assert found == code if code else found in (-224, -113)
        assert error(instrument).lstrip("+").startswith("0,")

    def test_siglents_register_keeps_the_last_refusal(self) -> None:
        scope = make_instrument("siglent_sds1000xe", SUPPLY_V)
        scope.execute("CHDR OFF")
        for line, code in (
            ("FOO", 1), ("C1:VDIV", 4), ("C1:VDIV 1X", 11), ("C7:VDIV?", 1), ("SARA 3", 10),
            ("C1:WF? DAT2", 7), ("MSIZ 7M", 11),
        ):  # fmt: skip
            scope.execute(line)
            assert scope.execute("CMR?") == f"{code}\n".encode(), line
            assert scope.execute("CMR?") == b"0\n"

    def test_no_such_kind(self) -> None:
        with pytest.raises(SimulationError, match="no simulated 'vpm2'; there are: keysight"):
            make_instrument("vpm2", SUPPLY_V)

    @pytest.mark.parametrize("kind", INSTRUMENTS)
    def test_a_dead_chip_ends_what_is_under_way(self, kind: str) -> None:
        instrument = make_instrument(kind, SUPPLY_V)
        instrument.halt("the chip halted")
        assert instrument.recording is None and instrument.needed_until_s is None


class TestN6705C:
    @pytest.mark.parametrize(
        ("asked_us", "used_us"),
        # UG p. 213, for one parameter: 5.12, else multiples of 10.24 up to 20.48, then of 20.48
        [(5.12, 5.12), (10.0, 10.24), (14, 10.24), (20, 20.48), (29, 20.48), (35, 40.96)],
    )
    def test_intervals_are_rounded(self, asked_us: float, used_us: float) -> None:
        meter = KeysightN6705C(SUPPLY_V)
        meter.execute(f"SENS:SWE:TINT {asked_us}e-6,(@1)")
        answer = float((meter.execute("SENS:SWE:TINT? (@1)") or b"nan").decode())
        assert answer == pytest.approx(used_us * 1e-6)

    @pytest.mark.parametrize(("logs", "fastest_us"), [(False, 10.24), (True, 20.48)])
    def test_every_parameter_slows_it_down(self, logs: bool, fastest_us: float) -> None:
        meter = KeysightN6705C(SUPPLY_V)
        if logs:
            meter.leave_log_on(2)
        meter.execute("SENS:FUNC:CURR ON,(@1);:SENS:SWE:TINT MIN,(@1)")
        answer = float((meter.execute("SENS:SWE:TINT? (@1)") or b"nan").decode())
        assert answer == pytest.approx(fastest_us * 1e-6)

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            ("SENS:SWE:POIN 524289,(@1)", -222),
            ("SENS:SWE:POIN 10", -109),
            ("SENS:SWE:POIN 10,(@3)", -222),
            ("SENS:CURR:RANG 4,(@1)", -222),
            ("SENS:VOLT:INP AUX,(@2)", -241),
            ("TRIG:ACQ (@1)", -211),
            ("FETC:ARR:CURR? (@1)", -230),
        ],
    )
    def test_what_it_refuses(self, line: str, code: int) -> None:
        meter = KeysightN6705C(SUPPLY_V)
        assert meter.execute(line) is None
        assert error(meter).startswith(f"{code},")

    def test_settings_are_locked_while_it_measures(self) -> None:
        meter = KeysightN6705C(SUPPLY_V)
        meter.execute("INIT:ACQ (@1)")
        for line, code in (("INIT:ACQ (@1)", -213), ("SENS:SWE:POIN 5,(@1)", -221)):
            meter.execute(line)
            assert error(meter).startswith(str(code))
        meter.execute("ABOR:ACQ (@1)")
        meter.execute("SENS:SWE:POIN 5,(@1)")
        assert error(meter).startswith("+0")

    def test_a_module_with_one_converter_measures_one_quantity(self) -> None:
        meter = KeysightN6705C(SUPPLY_V)
        meter.execute("SENS:FUNC:CURR ON,(@2)")
        assert meter.execute("SENS:FUNC:VOLT? (@2);CURR? (@2)") == b"0;1\n"


class TestTime:
    def test_a_client_that_waits_says_until_when(self) -> None:
        meter = KeysightN6705C(SUPPLY_V)
        for line in ("FORM REAL", "SENS:FUNC:CURR ON,(@1)", "SENS:SWE:TINT 20.48e-6,(@1)",
                     "SENS:SWE:POIN 100,(@1)", "INIT:ACQ (@1)", "TRIG:ACQ (@1)"):  # fmt: skip
            meter.execute(line)
        assert meter.needed_until_s is None
        with pytest.raises(Wait):
            meter.execute("FETC:ARR:CURR? (@1)")
        assert meter.needed_until_s == pytest.approx(100 * 20.48e-6, abs=21e-6)
        feed(meter, 3e-3)
        answer = meter.execute("FETC:ARR:CURR? (@1)") or b""
        assert answer.startswith(b"#3400") and meter.needed_until_s is None

    def test_polling_lets_time_pass_once_nothing_else_does(self) -> None:
        scope = make_instrument("rigol_ds1000z", SUPPLY_V)
        for line in (":CHAN2:DISP ON", ":TIM:SCAL 1e-3", ":TIM:OFFS 6e-3", ":SING"):
            scope.execute(line)
        assert scope.execute(":TRIG:STAT?") == b"WAIT\n"
        scope.execute(":TFOR")
        assert scope.execute(":TRIG:STAT?") == b"TD\n"
        with pytest.raises(Wait):
            scope.execute(":TRIG:STAT?")
        feed(scope, 0.012)
        assert scope.execute(":TRIG:STAT?") == b"STOP\n"

    def test_a_pre_trigger_part_fills_first(self) -> None:
        scope = make_instrument("keysight_infiniivision", SUPPLY_V)
        scope.execute(":TIM:SCAL 1e-3")  # trigger in the middle: 5 ms before it
        scope.execute(":SING")
        assert scope.execute(":AER?") == b"+0\n"
        scope.execute(":TRIG:FORC")
        assert scope.execute(":TER?") == b"+0\n"  # ignored: not ready
        following = feed(scope, 0.006)
        assert scope.execute(":AER?") == b"+1\n" and scope.execute(":AER?") == b"+0\n"
        scope.execute(":TRIG:FORC")
        assert scope.execute(":TER?") == b"+1\n"
        feed(scope, 0.006, first=following)
        preamble = (scope.execute(":WAV:PRE?") or b"").decode().split(",")
        assert float(preamble[5]) == pytest.approx(-0.005)

    def test_the_dmm_starts_at_the_edge(self) -> None:
        meter = make_instrument("keithley_dmm6500", SUPPLY_V)
        for line in ('DIG:FUNC "CURR"', "DIG:CURR:SRAT 1000", 'TRIG:LOAD "EMPTY"',
                     "TRIG:BLOC:WAIT 1,EXT", 'TRIG:BLOC:MDIG 2,"defbuffer1",10',
                     "TRIG:EXT:IN:EDGE RIS", "INIT"):  # fmt: skip
            meter.execute(line)
        assert meter.execute("TRIG:STAT?") == b"WAITING;WAITING;0\n"
        bins = EnergyBins(0, 1e-5, np.zeros(200))
        meter.feed(2e-3, bins, [MarkerEdge(5e-4, False), MarkerEdge(1.5e-3, True)])
        assert meter.execute('TRAC:ACT? "defbuffer1"') == b"0\n"
        meter.feed(2e-2, EnergyBins(200, 1e-5, np.full(1800, 1e-6)), [])
        assert meter.execute("TRIG:STAT?") == b"IDLE;IDLE;0\n"
        assert meter.execute('TRAC:ACT? "defbuffer1"') == b"10\n"
        answer = meter.execute('TRAC:DATA? 1,10,"defbuffer1",SEC,FRAC')
        first_s = sum(map(float, (answer or b"").decode().split(",")[:2])) % 1.0
        # The edge, what it takes to be noticed, and up to a sample.
        assert 1.5e-3 + 8e-6 <= first_s <= 1.5e-3 + 8e-6 + 1e-3 + 1e-6

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            ('TRIG:BLOC:MDIG 1,"nobody",INF', -224),
            ('TRIG:BLOC:MDIG 64,"defbuffer1",INF', -222),
            ("TRIG:BLOC:WAIT 2,NOISE", -224),
            ("TRIG:BLOC:WAIT 2,EXT,SOMETIMES", -224),
            ("TRIG:BLOC:BRAN:ALW 2", -109),
            ("INIT", -221),  # no block digitizes
        ],
    )
    def test_the_dmm_refuses_wrong_blocks(self, line: str, code: int) -> None:
        meter = make_instrument("keithley_dmm6500", SUPPLY_V)
        meter.execute('DIG:FUNC "CURR"')
        meter.execute(line)
        assert error(meter).startswith(f"{code},")

    @pytest.mark.parametrize(("mode", "first", "errors"), [("ONCE", 0, True), ("CONT", 5, False)])
    def test_a_full_buffer_of_the_dmm(self, mode: str, first: int, errors: bool) -> None:
        meter = make_instrument("keithley_dmm6500", SUPPLY_V)
        for line in ('DIG:FUNC "CURR"', "DIG:CURR:SRAT 1000", 'TRAC:MAKE "few",10',
                     f'TRAC:FILL:MODE {mode},"few"', 'TRIG:LOAD "EMPTY"',
                     'TRIG:BLOC:MDIG 1,"few",15', "INIT"):  # fmt: skip
            meter.execute(line)
        # Each millisecond draws one milliwatt more.
        meter.feed(0.02, EnergyBins(0, 1e-3, np.arange(20) * 1e-6), [])
        assert meter.execute('TRAC:ACT? "few"') == b"10\n"
        assert error(meter).startswith("4915,") == errors
        meter.execute("FORM:ASC:PREC 10")
        read = (meter.execute('TRAC:DATA? 1,10,"few"') or b"").decode().split(",")
        assert float(read[0]) == pytest.approx(first * 1e-3 / SUPPLY_V, abs=1e-3 / SUPPLY_V)

    def test_the_dmm_keeps_absolute_times_out_of_binary_blocks(self) -> None:
        meter = make_instrument("keithley_dmm6500", SUPPLY_V)
        for line in ('DIG:FUNC "CURR"', 'TRIG:BLOC:MDIG 1,"defbuffer1",10', "FORM REAL", "INIT"):
            meter.execute(line)
        meter.feed(0.01, EnergyBins(0, 1e-3, np.zeros(10)), [])
        assert meter.execute('TRAC:DATA? 1,1,"defbuffer1",SEC') is None
        assert error(meter).startswith("1133,")


@settings(deadline=None)
@given(st.floats(1e-9, 50.0))
def test_one_two_five_is_the_next_step(value: float) -> None:
    step = one_two_five(value, 1e-9, 50.0)
    assert value <= step * 1.0011 and step <= value * 2.51
    assert round(step / 10 ** np.floor(np.log10(step) + 1e-9), 6) in (1, 2, 5)
