"""docs/virtual-bench.md says what the code does: its files, commands and energies."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner

from hil.cli import app
from hil.sim.cores.cortex_m7 import costs
from hil.sim.socs.gap8 import energy
from hil.sim.socs.gap8 import layout as L
from hil.sim.socs.gap8.devices.absent import ABSENT
from hil.sim.socs.stm32f7 import power

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/virtual-bench.md").read_text()


def test_files_and_options_exist() -> None:
    places = re.findall(r"(?:tests|benchmarks|hil|docs)/[\w/-]+(?:\.\w+)?", PAGE)
    assert len(places) > 8
    assert [place for place in places if not (ROOT / place).exists()] == []
    shown = CliRunner().invoke(app, ["sim", "run", "--help"], env={"COLUMNS": "200"}).stdout
    for option in set(re.findall(r"--(?:trace|max|profile|core)[\w-]*", PAGE)):
        assert option in shown


def test_what_is_refused_is_named() -> None:
    """Every device that is absent from the model, by the page's shorter name."""
    shorter = {
        "LVDS": "LVDS", "SPI": "SPI", "I2C": "I2C", "copier": "copier", "I2S": "I2S",
        "camera": "camera", "event routing": "event routing", "advanced timer": "advanced timer",
        "real-time clock": "RTC", "eFuses": "eFuses", "boot ROM": "boot ROM",
    }  # fmt: skip
    refused = PAGE[PAGE.index("Not modelled, and refused by name") :].split(".", 1)[0]
    for _, _, name in ABSENT:
        known = [word for part, word in shorter.items() if part in name]
        if not name.startswith("the rest of") and "private" not in name:
            assert known and known[0] in refused, name


def test_energies_are_those_of_the_tables() -> None:
    joule = {row.term: row.joules for row in energy.COEFFICIENTS}
    picojoules = [
        [L.E_PE_CYCLES, L.E_FC_CYCLES], [L.E_PACKED, L.E_MULTIPLY],
        [L.E_L1, L.E_L2, L.E_DMA_BYTES], [L.E_IMISS], [L.E_HYPERBUS_BYTES, L.E_HWCE_MACS],
    ]  # fmt: skip
    for terms in picojoules:
        cells = "; ".join(f"{joule[term] * 1e12:g}" for term in terms)
        assert f"| {cells} |" in PAGE
    milliwatts = (joule[L.E_SECONDS] * 1e3, joule[L.E_CLUSTER_SECONDS] * 1e3)
    assert "| {:g}; {:g} |".format(*milliwatts) in PAGE
    assert f"{power.RUN_BASE.static_a * 1e3:g} mA and" in PAGE
    assert f"{power.RUN_BASE.a_per_hz * 1e9:g} mA/MHz, its sleep" in PAGE
    assert f"{power.SLEEP.a_per_hz * 1e9:g} mA/MHz" in PAGE
    assert f"{power.FLASH_LINE_J * 1e9:g} nJ" in PAGE
    assert f"{power.SRAM_LINE_J * 1e9:g} nJ for a line" in PAGE
    assert f"{power.SRAM_ACCESS_J * 1e9:g} nJ for" in PAGE


def test_parameters_of_the_cortex_m7_are_listed() -> None:
    """Every number of the cost table that is one cycle count, and where it is said what it is."""
    names = {name for name in vars(costs) if name.endswith(("_CYCLES", "_STALL", "_DRAIN"))}
    derived = {"STORE_BUFFER_CYCLES", "WORD_STORE_DRAIN"}  # of others; one cycle
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    missing = {n for n in names - derived if not any(f"`{n}`" in row for row in rows)}
    assert missing == set()
