"""The planner's account of memory against the linker's: never less, and not much more."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from chains import Step, chain
from elftools.elf.elffile import ELFFile

import boards
from codegen.budget import arena_regions, code_bytes, constant_bytes, occupied_bytes
from codegen.build import build
from codegen.generate import Sources, feasible_cuts, generate, largest_prefix, plan_layers
from codegen.memory_map import occupied_ranges
from hil.core.board import Board
from hil.core.errors import PlanError
from hil.core.firmware import Firmware
from hil.core.network import Cut, Network, Op
from hil.nn import assets
from hil.nn.capture import capture
from hil.nn.models.mobilenet_v2 import MobileNetV2
from hil.nn.quantise import quantise

# By how much the account may exceed the image: kernels that zig's linker drops, code that a
# compiler makes shorter than the bound of its template.
FIXED_SLACK_BYTES = 4096
LAYER_SLACK_BYTES = {"gap8": 16, "stm32f746": 1280, "stm32f767": 1280}
SAME = (1, 1, 1, 1)


@cache
def shipped() -> Network:
    return assets.default_network()


@cache
def big_images() -> Network:
    """MobileNetV2 0.2 at 64x64, random weights: few parameters, many tiles a layer on GAP8."""
    torch.manual_seed(0)
    graph = capture(MobileNetV2(width=0.2), 64, "mobilenetv2-0.2-64")
    noise = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8).numpy()
    return quantise(graph, noise, method="minmax")


@cache
def every_operator() -> Network:
    """All operators, odd sizes, one pixel at the end, where compilers unroll."""
    steps = [
        Step(Op.CONV, 8, (3, 3), (1, 1), SAME, signed_out=False),
        Step(Op.DEPTHWISE, 0, (3, 3), (1, 1), SAME),
        Step(Op.POINTWISE, 12),
        Step(Op.ADD),
        Step(Op.DEPTHWISE, 0, (3, 3), (2, 2), SAME, signed_out=False),
        Step(Op.MAXPOOL, 0, (3, 3), (1, 1), SAME),
        Step(Op.CONV, 5, (5, 3), (2, 2), (2, 1, 2, 1)),
        Step(Op.DEPTHWISE, 0, (5, 5), (1, 1), (2, 2, 2, 2)),
        Step(Op.POINTWISE, 24, stride=(2, 2)),
        Step(Op.POINTWISE, 60),
        Step(Op.AVGPOOL, 0, (2, 2), (2, 2)),
        Step(Op.POINTWISE, 33),
        Step(Op.LINEAR, 10),
    ]
    return chain("every_operator", (21, 17, 3), True, steps)


def many_tiles() -> Network:
    """Four layers of 64x64x16, which GAP8 cuts into many tiles."""
    steps = [Step(Op.POINTWISE, 16), Step(Op.DEPTHWISE, 0, (3, 3), (1, 1), SAME)] * 2
    return chain("many_tiles", (64, 64, 16), True, steps)


@dataclass(frozen=True)
class Image:
    """A network's image, planned and linked."""

    network: Network
    board: Board
    sources: Sources
    firmware: Firmware

    def planned_ends(self) -> dict[str, int]:
        """Bytes from each memory's start to the planned end of what is in it."""
        ends = occupied_bytes(self.network, self.board, self.sources.plans)
        return {
            name: end + self.sources.arena.used_bytes.get(name, 0) for name, end in ends.items()
        }

    def linked_ends(self) -> dict[str, int]:
        """The same in the ELF."""
        ends = {memory.name: 0 for memory in self.board.memories}
        for _, address, size in occupied_ranges(self.firmware.elf):
            for memory in self.board.memories:
                if memory.base <= address < memory.base + memory.size_bytes:
                    end = address + size - memory.base
                    ends[memory.name] = max(ends[memory.name], end)
        return ends


@cache
def deepest(make: Callable[[], Network], board_name: str) -> tuple[Network, Board, Sources]:
    """C of the deepest cut that the planner allows."""
    network, board = make(), boards.load_board(board_name)
    return network, board, generate(network, board, largest_prefix(network, board).layers)


def link(make: Callable[[], Network], board_name: str, toolchain: str, folder: Path) -> Image:
    """The image of that cut."""
    network, board, sources = deepest(make, board_name)
    if toolchain == "gcc" and not any(shutil.which(n) for n in board.toolchain.gcc_names):
        pytest.skip(f"none of {', '.join(board.toolchain.gcc_names)} is on PATH")
    return Image(network, board, sources, build(sources, board, folder, toolchain))


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("board_name", boards.BOARDS)
@pytest.mark.parametrize(
    "make",
    [shipped, every_operator, many_tiles, pytest.param(big_images, marks=pytest.mark.slow)],
    ids=lambda make: make.__name__,
)
def test_the_account_covers_the_linked_image(make, board_name, toolchain, tmp_path: Path) -> None:
    image = link(make, board_name, toolchain, tmp_path)
    planned, linked = image.planned_ends(), image.linked_ends()
    slack = FIXED_SLACK_BYTES + LAYER_SLACK_BYTES[board_name] * image.sources.layers
    for memory in image.board.memories:
        assert linked[memory.name] <= planned[memory.name] <= memory.size_bytes
        assert planned[memory.name] - linked[memory.name] <= slack


def layer_code(elf: Path) -> Counter[str]:
    """Bytes of machine code of each generated layer file, by its function's name."""
    code: Counter[str] = Counter()
    with elf.open("rb") as stream:
        file = ""
        for symbol in ELFFile(stream).get_section_by_name(".symtab").iter_symbols():
            kind = symbol["st_info"]["type"]
            if kind == "STT_FILE":
                file = symbol.name.removesuffix(".c")
            elif kind == "STT_FUNC":
                own = symbol["st_info"]["bind"] == "STB_LOCAL"
                code[file if own else symbol.name] += symbol["st_size"]
    return code


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("board_name", boards.BOARDS)
@pytest.mark.parametrize("make", [shipped, every_operator], ids=lambda make: make.__name__)
def test_no_layer_outgrows_its_own_bound(make, board_name, toolchain, tmp_path: Path) -> None:
    image = link(make, board_name, toolchain, tmp_path)
    code = layer_code(image.firmware.elf)
    for plan in image.sources.plans:
        assert 0 < code[plan.function] <= plan.code_bytes, plan.function


def test_the_shipped_network_fits_both_boards_whole() -> None:
    for name in boards.BOARDS:
        assert largest_prefix(shipped(), boards.load_board(name)).name == "all"


def filling(channels: int) -> Network:
    """Equal small layers with a cut behind each, more than a board has room for."""
    network = chain("filling", (4, 4, channels), True, [Step(Op.POINTWISE)] * 80)
    return replace(network, cuts=tuple(Cut(f"cut{i}", i) for i in range(81)))


def filling_gap8() -> Network:
    return filling(84)


def filling_stm32f746() -> Network:
    return filling(128)


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize(
    ("make", "board_name"), [(filling_gap8, "gap8"), (filling_stm32f746, "stm32f746")]
)
def test_the_deepest_cut_allowed_links_with_no_room_for_another_layer(
    make, board_name, toolchain, tmp_path: Path
) -> None:
    image = link(make, board_name, toolchain, tmp_path)
    layers = image.sources.layers
    assert 40 < layers < 80
    memory = image.board.memories_for("weights")[0]
    planned, linked = image.planned_ends()[memory.name], image.linked_ends()[memory.name]
    assert linked <= planned <= memory.size_bytes
    last = image.sources.plans[-1:]
    assert memory.size_bytes - planned < constant_bytes(last) + code_bytes(image.network, last)
    with pytest.raises(PlanError, match=f"{layers + 1} layers put .* memory {memory.name}"):
        generate(image.network, image.board, layers + 1)


def test_the_account_by_hand() -> None:
    network, board = many_tiles(), boards.load_board("gap8")
    plan = plan_layers(network, board, 1)[0]
    tiles = len(plan.context["steps"])
    assert tiles > 5
    # conv_shape_t, conv_step_t a tile, tiled_layer_t, the function
    assert plan.code_bytes == 20 + 56 * tiles + 20 + 24
    # layer_t and "pointwise0" with its zero, in words
    assert code_bytes(network, [plan]) == plan.code_bytes + 16 + 12
    # 4 biases, 4 x 4 words of weights, 4 multipliers, a word of shifts: 25 words, 4 records
    image = 0x8D00 + 400 + code_bytes(network, [plan])
    occupied = occupied_bytes(network, board, [plan])
    assert occupied["l2"] == -(-image // 32) * 32
    assert occupied["l2_low"] == 0
    regions = {region.name: region.size_bytes for region in arena_regions(network, board, [plan])}
    assert regions == {"l2_low": 0x10000, "l2": 0x70000 - occupied["l2"]}


def test_cuts_beyond_the_firmwares_tables_do_not_fit() -> None:
    network = chain("long", (1, 1, 1), True, [Step(Op.POINTWISE)] * 129)
    network = replace(network, cuts=(Cut("input", 0), Cut("most", 128), Cut("all", 129)))
    fits = feasible_cuts(network, boards.load_board("gap8"))
    assert [fit.fits for fit in fits] == [True, True, False]
    assert "129 layers, the firmware holds 128" in fits[2].reason


def test_code_that_leaves_no_room_names_memory_and_bytes() -> None:
    network, board = every_operator(), boards.load_board("stm32f746")
    memories = tuple(
        replace(m, size_bytes=16_384) if m.name == "flash" else m for m in board.memories
    )
    with pytest.raises(
        PlanError,
        match=r"14 layers put 9216 bytes .* into memory flash of 16384, .* 29088 too many",
    ):
        generate(network, replace(board, memories=memories))
