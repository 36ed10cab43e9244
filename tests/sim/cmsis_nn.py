"""The CIFAR-10 network of the CMSIS-NN paper: its weights here, its answers by numpy, its firmware.

The network is that of table 1 (arXiv:1801.06601); the kernels are CMSIS-NN's, from a checkout of
ARM-software/CMSIS_5 whose folder NN still has the q7 functions; 5.4.0 is of the paper's year.
Weights are random bytes: the paper's are not published, and only the poolings' branches depend on
values.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CHECKOUT = "HIL_CMSIS_NN"
FIRMWARE = Path(__file__).parent / "firmware" / "cmsis_nn"
BOARDS = Path(__file__).parents[2] / "boards"
BOARD_SOURCES = ("startup.c", "clock.c", "counters.c", "console_uart.c")
KERNELS = (
    "arm_convolve_HWC_q7_RGB.c", "arm_convolve_HWC_q7_fast.c", "arm_nn_mat_mult_kernel_q7_q15.c",
    "arm_nn_mat_mult_kernel_q7_q15_reordered.c", "arm_q7_to_q15_reordered_no_shift.c",
    "arm_relu_q7.c", "arm_pool_q7_HWC.c", "arm_fully_connected_q7_opt.c",
)  # fmt: skip
INCLUDES = ("CMSIS/NN/Include", "CMSIS/DSP/Include", "CMSIS/Core/Include")
# The kernel of the last layer has inline assembly that GCC 12 cannot place; this is its C.
DEFINES = ("-DARM_MATH_CM7", "-D__FPU_PRESENT=1", "-DUSE_INTRINSIC")
PLAIN = ("-std=gnu11", "-O2", "-ffunction-sections", "-ffreestanding", "-nostdlib", "-g0", "-w")
COMPILERS = {
    "gcc": ("arm-none-eabi-gcc", "-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard",
            "-mfpu=fpv5-sp-d16", "-Wl,--no-warn-rwx-segments"),
    "clang": (sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabihf",
              "-mcpu=cortex_m7+fp_armv8d16sp", "-rtlib=compiler-rt", "-fno-sanitize=undefined"),
}  # fmt: skip

Q7 = NDArray[np.int8]


@dataclass(frozen=True)
class Layer:
    """Weights [outputs, kernel y, kernel x, inputs] (last layer: [outputs, inputs]), and shifts."""

    weights: Q7
    bias: Q7
    out_shift: int

    def requantized(self, sums: NDArray[np.int64]) -> Q7:
        """As the kernels do it: bias, half of the last place, shift, saturation."""
        rounded = (sums + self.bias + (1 << (self.out_shift - 1))) >> self.out_shift
        return np.clip(rounded, -128, 127).astype(np.int8)


@dataclass(frozen=True)
class Network:
    """The three convolutions and the last layer, and the image [y, x, channel] they see."""

    image: Q7
    convs: tuple[Layer, Layer, Layer]
    last: Layer

    def outputs(self) -> dict[str, Q7]:
        """Every layer's output by numpy, under the names that the firmware prints."""
        results: dict[str, Q7] = {}
        values = self.image
        for number, layer in enumerate(self.convs, 1):
            values = results[f"conv{number}"] = np.maximum(_convolved(values, layer), 0)
            values = results[f"pool{number}"] = _pooled(values)
        sums = self.last.weights.astype(np.int64) @ values.ravel()
        results["fc"] = self.last.requantized(sums)
        return results


def random_network(seed: int) -> Network:
    """The shapes of table 1 with random weights; the shifts keep most values off saturation."""
    rng = np.random.default_rng(seed)

    def values(*shape: int) -> Q7:
        return rng.integers(-128, 128, shape, dtype=np.int8)

    def layer(out_shift: int, *shape: int) -> Layer:
        return Layer(values(*shape), values(shape[0]), out_shift)

    convs = (layer(10, 32, 5, 5, 3), layer(11, 32, 5, 5, 32), layer(11, 64, 5, 5, 32))
    return Network(values(32, 32, 3), convs, layer(12, 10, 4 * 4 * 64))


def _convolved(image: Q7, layer: Layer) -> Q7:
    """5x5, stride 1, two rows and columns of zeros around."""
    padded = np.pad(image.astype(np.int64), ((2, 2), (2, 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(0, 1))
    sums = np.einsum("yxcij,oijc->yxo", windows, layer.weights.astype(np.int64), optimize=True)
    return layer.requantized(sums)


def _pooled(image: Q7) -> Q7:
    """Maximum over 3x3, stride 2, no padding; the last windows end with the image."""
    size = image.shape[0] // 2
    rows = [image[2 * y : 2 * y + 3].max(axis=0) for y in range(size)]
    return np.array([[row[2 * x : 2 * x + 3].max(axis=0) for x in range(size)] for row in rows])


def fnv1a(data: Q7) -> int:
    """The hash that the firmware prints of a layer's output."""
    value = 2166136261
    for byte in data.tobytes():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def interleaved(weights: Q7) -> Q7:
    """Rows in the order of arm_fully_connected_q7_opt: four at a time, left-over rows as they are.

    Of four rows and four columns each, the order is that of the table in its source.
    """
    fours = weights[: len(weights) // 4 * 4]
    blocks = fours.reshape(-1, 2, 2, weights.shape[1] // 4, 2, 2)
    # [four rows, pair of rows, row of it, four columns, pair of columns, column of it]
    ordered = blocks.transpose(0, 3, 5, 1, 4, 2)
    return np.concatenate([ordered.ravel(), weights[len(fours) :].ravel()])


def _sources(network: Network, place: str) -> tuple[str, str]:
    """weights.h and weights.c; ``place`` is "flash" (constants) or "ram" (copied at the start)."""
    arrays = {"image": network.image, "fc_bias": network.last.bias}
    arrays["fc_weights"] = interleaved(network.last.weights)
    header = [f"#define FC_SHIFT {network.last.out_shift}u"]
    for number, layer in enumerate(network.convs, 1):
        arrays |= {f"conv{number}_weights": layer.weights, f"conv{number}_bias": layer.bias}
        header.append(f"#define CONV{number}_SHIFT {layer.out_shift}u")
    kind = {"flash": "const q7_t", "ram": "q7_t"}[place]
    body = ['#include "arm_nnfunctions.h"', '#include "weights.h"']
    for name, values in arrays.items():
        declared = f"{'q7_t' if name == 'image' else kind} {name}[{values.size}]"
        header.append(f"extern {declared};")
        aligned = f"__attribute__((aligned(4))) {declared}"
        body.append(f"{aligned} = {{{','.join(map(str, values.ravel().tolist()))}}};")
    return "\n".join(header) + "\n", "\n".join(body) + "\n"


def newlib_include() -> Path | None:
    """The C library headers that CMSIS includes, with Debian's libnewlib-arm-none-eabi."""
    found = Path("/usr/lib/arm-none-eabi/include")
    return found if (found / "string.h").exists() else None


def missing(compiler: str) -> str:
    """What a build lacks here, as a reason to skip; empty when it can go."""
    checkout = os.environ.get(CHECKOUT)
    if not checkout:
        return (
            f"{CHECKOUT} names no checkout of CMSIS with its q7 kernels: git clone --branch 5.4.0 "
            f"https://github.com/ARM-software/CMSIS_5, then {CHECKOUT}=.../CMSIS_5"
        )
    if shutil.which(COMPILERS[compiler][0]) is None or newlib_include() is None:
        return "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi"
    return ""


def build(folder: Path, network: Network, compiler: str, place: str) -> Path:
    """The firmware as an ELF in ``folder``; FileNotFoundError names a kernel the checkout lacks."""
    checkout = Path(os.environ[CHECKOUT])
    kernels = [_kernel(checkout, name) for name in KERNELS]
    header, body = _sources(network, place)
    (folder / "weights.h").write_text(header)
    (folder / "weights.c").write_text(body)
    (folder / "console_link.h").write_text("#define CONSOLE_BAUD 1000000u\n")
    # Some revisions of CMSIS-NN include the C++ header from C.
    (folder / "cstring").write_text("#include <string.h>\n")
    base = [*COMPILERS[compiler], *PLAIN, *DEFINES]
    foreign = [f"-I{checkout / name}" for name in INCLUDES]
    foreign += [f"-I{folder}", f"-isystem{newlib_include()}"]
    ours = [f"-I{folder}", f"-I{BOARDS / 'stm32f7'}", f"-I{BOARDS / 'common'}"]
    sources = {
        **dict.fromkeys(kernels, foreign),
        folder / "weights.c": foreign,
        FIRMWARE / "main.c": [*ours, *foreign],
        **{BOARDS / "stm32f7" / name: ours for name in BOARD_SOURCES},
        BOARDS / "common" / "freestanding.c": ours,
    }
    objects = []
    for source, includes in sources.items():
        objects.append(str(folder / f"{source.stem}.o"))
        subprocess.run([*base, *includes, "-c", str(source), "-o", objects[-1]], check=True)
    elf = folder / "cifar10.elf"
    link = ["-T", str(FIRMWARE / "nucleo.ld"), "-Wl,-e,Reset_Handler", "-Wl,--gc-sections"]
    subprocess.run([*base, *link, *objects, "-o", str(elf)], check=True)
    return elf


def _kernel(checkout: Path, name: str) -> Path:
    for path in sorted((checkout / "CMSIS" / "NN" / "Source").rglob(name)):
        return path
    raise FileNotFoundError(f"{checkout}: no CMSIS/NN/Source/**/{name}; 5.4.0 has it")
