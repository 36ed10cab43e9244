"""Rows and sentences of the report, without HTML."""

from dataclasses import replace

import numpy as np
import pytest

from hil.core.cost import Interval
from hil.core.errors import DataError
from hil.core.provenance import Origin
from hil.measure.reconcile import reconcile
from reports.model import (
    BandwidthCurve,
    BestRange,
    DecisionRow,
    EpochRow,
    EpochTop1,
    LayerRow,
    LinkCost,
    PartitionRow,
    RadioInfo,
    SliceRow,
    SlicingReport,
    Split,
    Target,
)
from reports.page import lead_radio_first, page, short_titles
from reports.text import NBSP
from reports.views import (
    breakdown,
    checks,
    decision,
    layers,
    origins,
    partitions,
    slices,
    waveform,
)
from tests.reports.factory import RADIOS, report_data

RAW = Split("input", 0, 3, 3, 3072)
MIDDLE = Split("block 4", 14, 4, 16, 1024)
DEVICE = Split("device", 65, 10, 10, 0)


def exact(value):
    return Interval.exact(value)


def plain(sentence):
    return sentence.replace(NBSP, " ")


@pytest.fixture(scope="module")
def data():
    return report_data()


def decided(**changes):
    row = DecisionRow(
        "gap8",
        "BLE",
        250.0,
        Target.LATENCY,
        MIDDLE,
        latency_s=exact(0.0285),
        energy_uj=exact(1160.0),
        accuracy=Interval(0.81, 0.8, 0.82, 100, 0.95),
    )
    return replace(row, **changes)


def layer(index, compute, copy, other, macs=100, op="conv2d", block="b0", cycles=None):
    total = exact(float(compute + copy + other)) if cycles is None else cycles
    return LayerRow(index, f"l{index}", op, block, macs, total, compute, copy, other, None)


def with_layers(data, *rows):
    """The first board alone with these layers, at 1 MHz."""
    board = data.boards[0]
    origin = replace(board.provenance, clock_hz=1_000_000)
    board = replace(board, provenance=origin, layers=rows, waveform=None)
    return replace(data, boards=(board,), decisions=(), ranges=(), curves=(), options=())


# Decision


def test_decision_in_one_sentence():
    says = decision.sentence(decided(limits="at least 80 % accuracy"), "GAP8", 65)
    assert plain(says) == (
        "Over BLE at 250 kbit/s, the GAP8 answers soonest when it "
        "runs the first 14 of 65 layers (cut block 4) and sends 4 of 16 channels (1,024 B): "
        "28.5 ms and 1.16 mJ an image, 81.0 % of images right. "
        "Limit: at least 80 % accuracy."
    )


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (RAW, "computes nothing and sends the raw image (3,072 B)"),
        (DEVICE, "runs all 65 layers itself and sends nothing but the answer"),
    ],
)
def test_the_two_ends_read_as_what_they_are(split, words):
    assert words in plain(decision.sentence(decided(split=split), "GAP8", 65))


def test_no_decision_gives_the_reason():
    row = decided(split=None, why_none="no partition fits the board")
    assert plain(decision.sentence(row, "GAP8", 65)).endswith(
        "nothing can be recommended for the GAP8: no partition fits the board."
    )


def test_unknown_accuracy_is_said():
    assert "its accuracy is unknown" in decision.sentence(decided(accuracy=None), "GAP8", 65)


def test_uncertainty_names_the_rival_and_the_doubt():
    row = decided(rival=RAW, doubts=("latency may reach 0.031 s",))
    assert decision.certainty(row) == (
        "Not settled: send the raw image may be as good and latency may reach 0.031 s"
    )
    assert not row.certain
    assert decision.certainty(decided()).startswith("Settled")


def test_envelope_follows_the_ranges_and_not_the_minimum():
    grid = (10.0, 100.0, 1000.0)
    curves = [
        BandwidthCurve("gap8", "BLE", Target.LATENCY, DEVICE, grid, (5.0, 5.0, 5.0)),
        BandwidthCurve("gap8", "BLE", Target.LATENCY, RAW, grid, (9.0, 4.0, 1.0)),
    ]
    # A limit forbids the raw image below 500 kbit/s although it is cheaper from 100 on.
    ranges = [
        BestRange("gap8", "BLE", Target.LATENCY, 10.0, 500.0, DEVICE),
        BestRange("gap8", "BLE", Target.LATENCY, 500.0, 1000.0, RAW),
    ]
    points = decision.envelope(curves, ranges)
    assert points == [(10.0, 5.0, DEVICE), (100.0, 5.0, DEVICE), (1000.0, 1.0, RAW)]


def test_envelope_breaks_where_a_curve_is_missing():
    grid = (10.0, 1000.0)
    curves = [BandwidthCurve("gap8", "BLE", Target.LATENCY, RAW, grid, (9.0, 1.0))]
    ranges = [
        BestRange("gap8", "BLE", Target.LATENCY, 10.0, 50.0, RAW),
        BestRange("gap8", "BLE", Target.LATENCY, 50.0, 500.0, MIDDLE),
        BestRange("gap8", "BLE", Target.LATENCY, 500.0, 1000.0, RAW),
    ]
    assert decision.envelope(curves, ranges) == [
        (10.0, 9.0, RAW),
        (50.0, None, MIDDLE),
        (1000.0, 1.0, RAW),
    ]


def test_letters_go_on_after_z():
    ranges = [BestRange("gap8", "BLE", Target.LATENCY, 1.0, 2.0, None)] * 28
    assert decision.letters(ranges)[-3:] == ["Z", "AA", "AB"]


# Layers


def test_every_layer_has_a_row_with_each_boards_costs(data):
    table = layers.section(data).tables[0]
    assert len(table.rows) == len(data.boards[0].layers) == 65
    assert [group for group, _ in table.groups] == ["", "STM32F746", "GAP8"]
    row = data.boards[1].layers[8]
    cells = table.rows[8].cells
    assert cells[1].text == row.name
    assert cells[10].sort == row.cycles.median
    assert cells[12].sort == pytest.approx(row.cycles.median / 149_995_520 * 1e3)
    assert cells[13].sort == pytest.approx(row.macs / row.cycles.median)
    assert cells[14].sort == row.energy_uj.median


def test_additions_have_no_mac_per_cycle(data):
    made = with_layers(data, layer(0, 90, 5, 5, op="add"), layer(1, 50, 25, 25))
    cells = [row.cells[7] for row in layers.section(made).tables[0].rows]
    assert [cell.text for cell in cells] == ["–", "1.00"]
    spec = next(f for f in layers.section(made).figures if f.id == "f-efficiency").panels[0].spec
    assert [row["layer"] for row in spec["datasets"]["layers"]] == [1]


def test_bars_carry_the_intervals_and_energy_is_left_out_where_unmeasured(data):
    cycles = Interval(2000.0, 1900.0, 2300.0, 7, 0.98)
    made = with_layers(data, layer(0, 1, 1, 1, cycles=cycles))
    figures = {f.id: f for f in layers.section(made).figures}
    row = figures["f-cycles"].panels[0].spec["datasets"]["layers"][0]
    assert (row["v"], row["lo"], row["hi"]) == (2.0, 1.9, 2.3)
    assert "f-energy" not in figures


def test_the_sentence_names_the_slowest_layer(data):
    made = with_layers(data, layer(0, 100, 0, 0), layer(1, 300, 0, 0))
    figure = layers.section(made).figures[0]
    assert "layer 1 (l1) costs most, 300 cycles or 75.0 % of the sum" in plain(figure.sentence)


def test_runs_of_two_networks_do_not_share_a_report(data):
    other = replace(data.boards[1], layers=(layer(0, 1, 1, 1),))
    with pytest.raises(DataError, match="layer 0 is 'stem' on one board and 'l0' on gap8"):
        layers.layer_names(replace(data, boards=(data.boards[0], other)))


def test_a_run_without_layers_says_so(data):
    assert "No layer was measured" in layers.section(with_layers(data)).lead[0]
    assert "No layer was measured" in breakdown.section(with_layers(data)).lead[0]


# Breakdown


def test_blocks_add_up_their_layers_in_order(data):
    made = with_layers(
        data,
        layer(0, 100, 20, 5, block="stem"),
        layer(1, 10, 1, 2, block="b1"),
        layer(2, 30, 3, 4, block="b1"),
    )
    assert breakdown.blocks(made.boards[0]) == {
        "stem": breakdown.Parts(100, 20, 5),
        "b1": breakdown.Parts(40, 4, 6),
    }
    says = plain(breakdown.section(made).figures[0].sentence)
    assert says == "Of 175 µs on the STM32F746: compute 80.0 %, copy 13.7 % and other 6.3 %."


def test_shares_add_up_to_one(data):
    for board in data.boards:
        parts = breakdown.whole(board)
        assert sum(parts.share(p) for p in breakdown.PARTS) == pytest.approx(1.0)


# Partitions


def option(split, total_ms, rejected: str | None = "", refused=""):
    total = exact(total_ms / 1e3)
    link = LinkCost("BLE", 0.001, 15.0, total, exact(total_ms * 10), rejected)
    return PartitionRow(
        "gap8", split, exact(0.001), exact(5.0), exact(0.002), None, (link,), refused
    )


BLE = (RadioInfo("BLE", 250.0, 0.015),)


def test_winner_is_the_cheapest_that_is_allowed_and_runs():
    options = [
        option(RAW, 50.0),
        option(MIDDLE, 20.0),
        option(Split("x", 3, 1, 8, 10), 5.0, rejected="accuracy unknown"),
        option(DEVICE, 1.0, refused="needs 9 B of l2, 8 B are there"),
    ]
    best = {w.target: w.key for w in partitions.winners(options, BLE)}
    assert best == {Target.LATENCY: MIDDLE.key, Target.ENERGY: MIDDLE.key}
    notes = [
        partitions.radio_cells(o, "BLE", partitions.winners(options, BLE))["note"] for o in options
    ]
    assert [plain(n.text) for n in notes] == [
        "",
        "★ fastest and least energy",
        "accuracy unknown",
        "cannot run: needs 9 B of l2, 8 B are there",
    ]
    by_note = sorted((n for n in notes if n.sort is not None), key=lambda n: n.sort)
    assert [n.tone for n in by_note] == ["best", "muted", "bad"]


def test_nothing_is_called_allowed_when_nobody_looked(data):
    unseen = [option(RAW, 50.0, rejected=None), option(MIDDLE, 20.0, rejected=None)]
    assert not partitions.limits_known(unseen)
    best = partitions.winners(unseen, BLE)
    note = partitions.radio_cells(unseen[1], "BLE", best)["note"].text
    assert note == "★ fastest and least energy, limits aside"
    made = partitions.section(replace(data, options=tuple(unseen), radios=RADIOS))
    assert "limits not applied" in made.figures[0].sentence
    assert "that the limits allow" in partitions.section(data).figures[0].sentence


def test_thinning_keeps_ends_winners_and_the_chosen_and_one_line_of_a_refused_cut():
    wide = [option(Split("a", 2, n, 40, n), 10.0 + n) for n in range(1, 41)]
    refused = [option(Split("b", 9, n, 40, n), 1.0, refused="too big") for n in range(1, 41)]
    best = (partitions.Winner("gap8", "BLE", Target.LATENCY, (2, 7)),)
    rows = partitions.shown([*wide, *refused], best, {("gap8", 2, 9)})
    assert [r.split.channels for r in rows if not r.refused] == [1, 7, 9, 14, 27, 40]
    assert len([r for r in rows if r.refused]) == 1


def test_fastest_by_cut_leaves_out_refused_and_forbidden():
    options = [
        option(Split("a", 2, 1, 8, 10), 9.0, rejected="not accurate enough"),
        option(Split("a", 2, 4, 8, 40), 12.0),
        option(Split("a", 2, 8, 8, 80), 15.0),
        option(Split("b", 5, 1, 8, 10), 3.0, refused="too big"),
    ]
    found = partitions.fastest_by_cut(options, "gap8", "BLE")
    assert [(o.split.cut, o.split.channels) for o in found] == [("a", 4)]


def test_live_cells_match_the_table_for_the_first_radio(data):
    made = partitions.section(data)
    table, live = made.tables[0], made.extra["live"]
    places = [i for i, column in enumerate(table.columns) if column.live]
    assert [table.columns[i].live for i in places] == list(partitions.LIVE)
    assert set(live) == {radio.name for radio in RADIOS}
    for row, texts in zip(table.rows, live["BLE"], strict=True):
        shown = [row.cells[i].text for i in places]
        assert shown[:-1] == texts[:-1]
        assert shown[-1] == (texts[-1][0] if texts[-1] else "")


def test_lead_counts_what_cannot_run(data):
    says = plain(partitions.section(data).lead[0])
    assert says.startswith(
        "2,020 splits were priced: 21 cuts on the STM32F746 (all fit) and 21 cuts on the GAP8 "
        "(3 cannot run)."
    )


# Slices


def sliced(cut, channels, bits, top1, raw, ranged):
    spread = Interval(top1, top1 - 0.02, top1 + 0.02, 1000, 0.95)
    return SliceRow(cut, channels, 8, bits, spread, raw, raw * bits // 8, ranged)


TWO_CUTS = (
    sliced("a", 2, 8, 0.80, 2048, 1500.0),
    sliced("a", 4, 8, 0.895, 4096, 3000.0),
    sliced("a", 8, 8, 0.90, 8192, 6000.0),
    sliced("a", 4, 6, 0.88, 4096, 2000.5),
    sliced("a", 8, 6, 0.90, 8192, 4000.0),
    sliced("b", 8, 8, 0.85, 512, 400.0),
    sliced("b", 8, 6, 0.85, 512, 250.0),
)


def test_the_sentence_names_the_fewest_channels_that_are_nearly_as_good():
    says = slices.section(with_slicing(TWO_CUTS)).figures[0].sentence
    assert plain(says) == (
        "To stay within 1 percentage point of the best slice (90.0 % of images right), a needs "
        "4 of 8 channels, 4,096 B raw or 4,000 B range-coded with 6 bits (8 channels); b gets "
        "there with no slice."
    )


def with_slicing(rows, epochs=()):
    return replace(report_data(), slicing=SlicingReport(tuple(rows), tuple(epochs), {"k": "v"}))


def test_a_line_a_cut_and_coding_with_intervals():
    (panel,) = slices.section(with_slicing(TWO_CUTS)).figures[0].panels
    points = panel.spec["datasets"]["slices"]
    found = {(p["cut"], p["coding"], p["bytes"]): (p["top1"], p["lo"], p["hi"]) for p in points}
    assert len(found) == len(TWO_CUTS)
    assert found["a", "raw, 8 bits", 2048.0] == (0.8, 0.78, 0.82)
    assert found["a", "range-coded, 6 bits", 2000.5] == (0.88, 0.86, 0.9)
    x = panel.spec["layer"][0]["encoding"]["x"]
    assert x["scale"]["type"] == "log"
    scale = panel.spec["layer"][1]["encoding"]["color"]["scale"]
    assert scale["domain"] == ["a", "b"] and len(set(scale["range"])) == 2


def test_the_coded_line_takes_the_bits_there_are():
    assert slices.coded_bits(SlicingReport(TWO_CUTS)) == 6
    assert slices.coded_bits(SlicingReport(TWO_CUTS[:3])) == 8
    assert slices.coded_bits(SlicingReport((sliced("a", 1, 4, 0.5, 10, 4.0),))) == 4


def test_the_table_has_every_bits_and_coding(data):
    table = slices.section(data).figures[0].table
    assert len(table.rows) == len(data.slicing.slices) == 22 * 4
    row, cells = data.slicing.slices[1], table.rows[1].cells
    assert [cell.text for cell in cells[:6]] == ["block3", "1/8", "6", "1,024", "768", "576.0"]
    assert cells[6].sort == row.accuracy.median and cells[9].text == "10,000"


def test_training_is_drawn_by_cut_and_tabled_by_epoch():
    epochs = [
        EpochRow(1, 2.0, (EpochTop1("a", 2, 0.3), EpochTop1("all", 0, 0.5))),
        EpochRow(2, 1.0),  # not evaluated after every epoch
        EpochRow(3, 0.5, (EpochTop1("a", 2, 0.7), EpochTop1("all", 0, 0.9))),
    ]
    figure = slices.section(with_slicing(TWO_CUTS, epochs)).figures[1]
    assert plain(figure.sentence) == (
        "Loss 2.00 in the first of 3 epochs and 0.500 in the last. Top-1 at the end: a with 2 "
        "channels 70.0 % to the whole network 90.0 %."
    )
    assert [panel.id for panel in figure.panels] == ["c-slice-loss", "c-slice-top1-a"]
    top1 = figure.panels[1].spec["datasets"]["epochs"]
    assert top1 == [
        {"epoch": 1, "channels": 2, "top1": 0.3},
        {"epoch": 3, "channels": 2, "top1": 0.7},
    ]
    assert figure.table.groups == (("", 2), ("a", 1), ("network", 1))
    assert [plain(c.text) for c in figure.table.rows[1].cells] == ["2", "1.0000", "–", "–"]


def test_ends_of_lines_are_labelled_where_there_is_room():
    tops = {1: 0.2, 2: 0.6, 3: 0.895, 4: 0.90}
    epochs = [
        EpochRow(1, 2.0, tuple(EpochTop1("a", n, 0.1) for n in tops)),
        EpochRow(2, 1.0, tuple(EpochTop1("a", n, top1) for n, top1 in tops.items())),
    ]
    panel = slices.section(with_slicing(TWO_CUTS, epochs)).figures[1].panels[1]
    labels = panel.spec["datasets"]["labels"]
    assert [(one["epoch"], one["channels"]) for one in labels] == [(2, 4), (2, 2), (2, 1)]


def test_a_network_without_slices_says_so(data):
    made = slices.section(replace(data, slicing=None))
    assert not made.figures and "not trained for slices" in made.lead[0]
    assert len(slices.section(with_slicing(TWO_CUTS)).figures) == 1  # no log, no training figure


# The whole page


def test_titles_are_short_where_that_tells_the_boards_apart(data):
    first, second = data.boards
    long = replace(
        data,
        boards=(replace(first, title="NUCLEO (M7)"), replace(second, title="GAPuino (GAP8)")),
    )
    assert [b.title for b in short_titles(long).boards] == ["NUCLEO", "GAPuino"]
    same = replace(
        data,
        boards=(replace(first, title="NUCLEO (left)"), replace(second, title="NUCLEO (right)")),
    )
    assert [b.title for b in short_titles(same).boards] == ["NUCLEO (left)", "NUCLEO (right)"]


def test_figures_open_with_the_radio_of_the_headline(data):
    turned = replace(data, radios=tuple(reversed(data.radios)))
    assert data.decisions[0].radio == "BLE"
    assert lead_radio_first(turned).radios[0].name == "BLE"
    assert page(turned).radios[0] == "BLE"


# Waveform


def test_mean_power_of_a_window_and_none_over_a_gap(data):
    wave = data.boards[0].waveform
    window = wave.windows[0]
    flat = replace(wave, current_a=np.full(len(wave.current_a), 0.1))
    assert waveform.mean_power_w(flat, window) == pytest.approx(0.33)
    holed = flat.current_a.copy()
    holed[round((window.start_s + 0.001) * wave.sample_rate_hz)] = np.nan
    assert waveform.mean_power_w(replace(flat, current_a=holed), window) is None


def test_waveform_note_tells_rate_bucket_and_digest(data):
    note = plain(waveform.section(data).figures[0].note)
    assert "samples at 100 kHz from virtual SCPI meter 1.0" in note
    assert "smallest and largest of every" in note and "SHA-256 7d7d7d7d" in note


def test_missing_samples_are_told(data):
    wave = data.boards[0].waveform
    current = wave.current_a.copy()
    current[10:13] = np.nan
    board = replace(data.boards[0], waveform=replace(wave, current_a=current))
    figure = waveform.section(replace(data, boards=(board, data.boards[1]))).figures[0]
    assert "3 samples missing, drawn as gaps" in plain(figure.sentence)


# Checks and provenance


def test_reconciliation_is_said_with_its_verdict(data):
    check = reconcile(Interval(110.0, 109.0, 111.0, 7, 0.98), Interval(100.0, 99.0, 101.0, 7, 0.98))
    alone = with_layers(data)
    board = replace(alone.boards[0], cycles_check=check, energy_check=None)
    made = checks.section(replace(alone, boards=(board,)))
    assert plain(made.figures[0].sentence) == (
        "The network, measured in one piece, differs from the sum: cycles of the STM32F746 by "
        "−10.00 % (contradicts)."
    )
    assert made.figures[0].table.rows[0].cells[-1].text == "✗ contradicts"
    assert made.figures[0].panels[0].spec["datasets"]["checks"][0]["label"] == "−10.00"


def test_banner_never_calls_a_simulation_measured(data):
    kind, says = origins.banner(data)
    assert kind is Origin.MODELLED and says.startswith("No board was attached")
    kind, says = origins.banner(report_data(Origin.MEASURED))
    assert kind is Origin.MEASURED and "measured on hardware" in says
    mixed = replace(data, boards=(data.boards[0], report_data(Origin.MEASURED).boards[1]))
    kind, says = origins.banner(mixed)
    assert kind is not Origin.MEASURED and says.startswith("Not all numbers are measured")


def test_provenance_names_everything_a_number_depends_on(data):
    made = origins.section(data)
    tables = {table.id: table for table in made.tables}
    facts = {row.cells[0].text: row.cells[1].text for row in tables["t-boards"].rows}
    origin = data.boards[0].provenance
    assert facts["build id"] == origin.build_id
    assert facts["compute clock"] == "216,000,000 Hz"
    assert facts["chip id"] == origin.chip_id
    assert {row.cells[1].text for row in tables["t-sources"].rows} == {
        "measured",
        "simulated",
        "modelled",
    }
    (void,) = tables["t-voided"].rows
    assert void.cells[3].text == "instrument" and "212 samples lost" in void.cells[4].text
    assert [row.cells[2].text for row in tables["t-events"].rows] == ["start", "retry"]
