"""Where every number comes from, what the boards were, and what did not count."""

from __future__ import annotations

from hil.core.provenance import Origin
from reports import text
from reports.model import BoardReport, NumberSource, ReportData
from reports.views.parts import (
    Cell,
    Column,
    Row,
    Section,
    Table,
    columns,
    number,
    slug,
    whole,
    word,
)

MEANING = {
    Origin.MEASURED: "read from hardware",
    Origin.SIMULATED: "counted by a simulator that ran the very firmware",
    Origin.MODELLED: "computed by a formula from published figures",
}


def banner(data: ReportData) -> tuple[Origin, str]:
    """The one line that nobody must miss, and its kind: what the numbers are."""
    cycles = {board.provenance.cycles_origin for board in data.boards}
    energies = {board.provenance.energy_origin for board in data.boards}
    if cycles | energies == {Origin.MEASURED}:
        return Origin.MEASURED, "All cycles and energies of this report were measured on hardware."
    says = [
        f"{board.title}: cycles {board.provenance.cycles_origin}, energy "
        f"{board.provenance.energy_origin}"
        for board in data.boards
    ]
    if Origin.MEASURED in cycles | energies:
        return Origin.MODELLED, f"Not all numbers are measured. {'; '.join(says)}."
    return (
        Origin.MODELLED,
        f"No board was attached: nothing here is a measurement on silicon. {'; '.join(says)}.",
    )


def sources(data: ReportData) -> tuple[NumberSource, ...]:
    """The boards' numbers from their provenance, then what the run adds."""
    found = []
    for board in data.boards:
        origin = board.provenance
        how = f"{origin.timing_model}, {text.si(origin.clock_hz, 'Hz', 6)}"
        found.append(NumberSource(f"cycles, {board.title}", origin.cycles_origin, how))
        found.append(NumberSource(f"energy, {board.title}", origin.energy_origin, origin.meter))
    return (*found, *data.sources)


def section(data: ReportData) -> Section:
    void = sum(len(board.voided) for board in data.boards)
    good = sum(board.good_trials for board in data.boards)
    lead = (
        f"{text.plural(good, 'trial')} counted, {void} voided. A trial counts only if every output "
        "was the integer reference's, bit for bit."
    )
    tables = [_sources_table(data), _boards_table(data), _run_table(data)]
    tables += [_memory_table(board) for board in data.boards if board.memory]
    tables += [_void_table(data), _events_table(data)]
    return Section(
        id="provenance",
        title="Provenance",
        lead=(lead,),
        tables=tuple(tables),
        template="provenance.html.j2",
    )


def _sources_table(data: ReportData) -> Table:
    rows = tuple(
        Row(
            (
                word(source.quantity),
                Cell(source.origin, source.origin, MEANING[source.origin], f"is-{source.origin}"),
                word(source.how),
            )
        )
        for source in sources(data)
    )
    names = ("number", "origin", "how")
    return Table("t-sources", "Origin of every number", columns(*names, words=names), rows)


def _boards_table(data: ReportData) -> Table:
    cols = (Column("", False), *(Column(board.title, False) for board in data.boards))
    facts = [_facts(board) for board in data.boards]
    rows = []
    for label in facts[0]:
        rows.append(Row((word(label), *(word(fact[label]) for fact in facts))))
    return Table("t-boards", "Boards, firmware and rigs", cols, tuple(rows))


def _facts(board: BoardReport) -> dict[str, str]:
    origin = board.provenance
    return {
        "board": origin.board,
        "chip id": origin.chip_id,
        "compute clock": f"{origin.clock_hz:,} Hz",
        "toolchain": origin.toolchain,
        "build id": origin.build_id,
        "ELF SHA-256": board.elf_sha256,
        "network": origin.network,
        "network digest": origin.network_digest,
        "timing model": origin.timing_model,
        "meter": origin.meter,
        "rig": origin.rig,
        "console protocol": str(origin.protocol),
        "trials": f"{board.good_trials} good, {len(board.voided)} voided",
        "whole network": _network(board),
    }


def _network(board: BoardReport) -> str:
    found = []
    if board.network_cycles is not None:
        median = board.network_cycles.median
        found.append(f"{text.count(median)} cycles, {text.seconds(board.seconds(median), 4)}")
    if board.network_energy_uj is not None:
        found.append(text.energy(board.network_energy_uj.median, 4))
    return ", ".join(found) or text.NOT_MEASURED


def _run_table(data: ReportData) -> Table:
    run = data.run
    facts = {
        "run": run.name,
        "status": f"{run.status}: {run.reason}" if run.reason else run.status,
        "started": text.moment(run.started),
        "stopped": text.moment(run.stopped) if run.stopped else "not stopped",
        "trials planned": str(run.planned),
        "trials finished": str(run.finished),
        **run.environment,
    }
    rows = tuple(Row((word(name), word(value))) for name, value in facts.items())
    names = ("fact", "value")
    return Table("t-run", "Run and host", columns(*names, words=names), rows)


def _memory_table(board: BoardReport) -> Table:
    rows = tuple(
        Row(
            (
                word(use.memory),
                whole(use.used_bytes),
                whole(use.size_bytes),
                whole(use.size_bytes - use.used_bytes),
                number(
                    use.used_bytes / use.size_bytes if use.size_bytes else None,
                    text.percent(use.used_bytes / use.size_bytes) if use.size_bytes else None,
                ),
            ),
            {"fill": f"{use.used_bytes / use.size_bytes:.4f}" if use.size_bytes else "0"},
        )
        for use in board.memory
    )
    names = columns("memory", "used B", "size B", "free B", "used", words=("memory",))
    caption = f"Firmware memory map, {board.title}"
    return Table(f"t-memory-{slug(board.name)}", caption, names, rows)


def _void_table(data: ReportData) -> Table:
    rows = tuple(
        Row(
            (
                word(text.moment(void.time)),
                word(board.title),
                word(void.label),
                Cell(void.who, void.who, tone="warn"),
                word(void.reason),
            )
        )
        for board in data.boards
        for void in board.voided
    )
    names = ("time", "board", "trial", "who failed", "reason")
    return Table("t-voided", "Voided trials", columns(*names, words=names), rows)


def _events_table(data: ReportData) -> Table:
    tagged = [("bench", event) for event in data.events]
    tagged += [(board.title, event) for board in data.boards for event in board.events]
    rows = tuple(
        Row((word(text.moment(event.time)), word(place), word(event.what), word(event.detail)))
        for place, event in sorted(tagged, key=lambda pair: pair[1].time)
    )
    names = ("time", "where", "event", "detail")
    caption = "Retries, recoveries and other events"
    return Table("t-events", caption, columns(*names, words=names), rows)
