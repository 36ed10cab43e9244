"""``hil energyrunner``, and ``hil generate --protocol energyrunner``: MLPerf Tiny's protocol."""

from __future__ import annotations

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hil.core.firmware import Firmware
    from hil.core.network import Network

NOT_BY_THE_RULES = "not by MLPerf's rules: the windows are shorter than 10 s"
EXAMPLE = "Example: hil energyrunner --rig virtual-stm32f746 --test accuracy --images 10"


class Protocol(StrEnum):
    """What a firmware speaks on its console."""

    FRAMES = "frames"
    ENERGYRUNNER = "energyrunner"
    ENERGYRUNNER_ENERGY = "energyrunner-energy"


class Test(StrEnum):
    """The tests of MLPerf Tiny."""

    PERFORMANCE = "performance"
    ACCURACY = "accuracy"
    ENERGY = "energy"


def energyrunner_firmware(
    network: Network, board: str, protocol: Protocol, out: Path, toolchain: str
) -> Firmware:
    """The image that `hil generate` makes for one of the EnergyRunner protocols."""
    from hil.core.energyrunner import Image, Mode
    from hil.loop.energyrunner import build_image

    energy = protocol is Protocol.ENERGYRUNNER_ENERGY
    image = Image(Mode.ENERGY if energy else Mode.PERFORMANCE)
    return build_image(network, board, image, out, toolchain)


def energyrunner(
    rig: Annotated[str, typer.Option(help="Rig of one board: name or TOML file.")],
    test: Annotated[Test, typer.Option(help="What to measure.")] = Test.PERFORMANCE,
    images: Annotated[
        int | None, typer.Option(min=1, help="Images of the accuracy test (default: all).")
    ] = None,
    min_seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Shortest window (default: 10 on a board; a virtual one runs 10 inferences).",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the results.")] = None,
    model_id: Annotated[str, typer.Option(help="ic01 or vww01.")] = "ic01",
    model: Annotated[
        str | None, typer.Option(help="As for hil measure (default: shipped).")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Labelled images.")] = None,
    toolchain: Annotated[str, typer.Option(help="auto, gcc or zig.")] = "auto",
) -> None:
    """Run one of MLPerf Tiny's tests on a rig, over the EnergyRunner protocol.

    Every answer is compared with the integer reference, bit for bit. Energies are of the rig's
    own meter.
    """
    from hil.rig.attached import refuse_missing
    from hil.rig.rigfile import load_rig

    bench = load_rig(rig)
    refuse_missing([bench])

    from hil.core.energyrunner import Image, Mode
    from hil.loop.energyrunner import (  # loads torch, which takes seconds
        Result,
        build_image,
        measure_accuracy,
        measure_performance,
        open_device,
        save,
    )
    from hil.loop.energyrunner_energy import measure_energy
    from hil.loop.subject import Subject

    subject = Subject.load(model, data)
    mode = Mode.ENERGY if test is Test.ENERGY else Mode.PERFORMANCE
    with tempfile.TemporaryDirectory() as folder:
        image = Image(mode, model_id)
        firmware = build_image(subject.network, bench.board, image, Path(folder), toolchain)
        opened = open_device(bench, subject.network, subject.images, firmware, _say, mode=mode)
        with opened as device:
            result: Result
            if test is Test.ENERGY:
                result = energy = measure_energy(device, min_seconds, _say)
                said = [
                    f"Median energy cost is {energy.energy_uj.median:5.4f} uJ/inf.",
                    f"Median throughput is {energy.throughput.median:10.3f} inf./sec.",
                    "" if energy.by_the_rules else NOT_BY_THE_RULES,
                ]
            elif test is Test.PERFORMANCE:
                result = performance = measure_performance(device, min_seconds, _say)
                said = [
                    f"Median throughput is {performance.throughput.median:10.3f} inf./sec.",
                    "" if performance.by_the_rules else NOT_BY_THE_RULES,
                ]
            else:
                result = accuracy = measure_accuracy(device, images, _say)
                said = [f"top-1 {accuracy.accuracy}"]
            origin = device.provenance
            energies = f"energies {origin.energies}, " if origin.energies else ""
            said.append(f"{origin.board}: times {origin.times}, {energies}{origin.timing_model}")
            for line in filter(None, said):
                _say(line)
            if out is not None:  # last: a file that cannot be written loses no result
                save(result, out)


def register_energyrunner(app: typer.Typer) -> None:
    """Add the verb to ``hil``."""
    app.command("energyrunner", epilog=EXAMPLE)(energyrunner)


def _say(text: str) -> None:
    print(text, flush=True)
