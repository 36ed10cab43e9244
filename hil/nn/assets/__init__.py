"""The network and images that ship with the package; see README.md beside this file."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from hil.core.network import Network
from hil.nn.capture import capture
from hil.nn.checkpoint import Checkpoint, load_checkpoint
from hil.nn.data.images import ImageSet, load_images
from hil.nn.evaluate import SplitAccuracy, load_split_accuracy
from hil.nn.float_graph import FloatGraph
from hil.nn.network_file import load_network

FOLDER = Path(__file__).parent
DEFAULT_NAME = "mobilenetv2-0.35-cifar10"
SAMPLES = "cifar10-samples.npz"
CALIBRATION = "cifar10-calibration.npz"


def sample_images() -> ImageSet:
    """24 real test images with labels, about two a class."""
    return load_images(FOLDER / SAMPLES)


def calibration_images() -> ImageSet:
    """100 real training images, ten a class."""
    return load_images(FOLDER / CALIBRATION)


def default_checkpoint() -> Checkpoint:
    """Trained weights of the sample network and where they came from."""
    return load_checkpoint(FOLDER / f"{DEFAULT_NAME}.npz")


def default_model() -> nn.Module:
    """The trained sample network, in evaluation mode."""
    return default_checkpoint().model()


def default_graph() -> FloatGraph:
    """The sample network captured, BatchNorm folded."""
    checkpoint = default_checkpoint()
    return capture(checkpoint.model(), checkpoint.spec.image, checkpoint.name)


def default_network() -> Network:
    """The sample network quantised."""
    return load_network(FOLDER / f"{DEFAULT_NAME}.int8.npz")


def default_split_accuracy() -> SplitAccuracy:
    """Top-1 of every split of the sample network."""
    return load_split_accuracy(FOLDER / f"{DEFAULT_NAME}.split_accuracy.json")
