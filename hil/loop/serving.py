"""The cloud's end for a subject: every slice's tail, and the codecs of coded ones."""

from __future__ import annotations

from hil.clio.slicing.artifact import SlicedArtifact
from hil.cloud.server import TailService
from hil.coding.bits import GRID_BITS
from hil.coding.slice_codec import Coding, SliceCodec
from hil.core.errors import DataError
from hil.loop.subject import Subject


def range_codec(artifact: SlicedArtifact, cut: str, bits: int = GRID_BITS) -> SliceCodec:
    """The range codec of a cut, from the statistics that the artifact brings."""
    if (cut, bits) not in artifact.statistics:
        known = ", ".join(f"{name} with {b}" for name, b in artifact.statistics)
        raise DataError(
            f"{artifact.name}: no statistics of cut {cut!r} with {bits} bits a value; has {known}"
        )
    tensor = artifact.network.tensors[artifact.network.cut(cut).layers]
    return SliceCodec(tensor, Coding.RANGE, bits, artifact.statistics[cut, bits])


def tail_service(subject: Subject, bits: int = GRID_BITS) -> TailService:
    """Answers every slice of the subject, sent raw, or range-coded where it was trained."""
    network, artifact = subject.network, subject.artifact
    tails = {
        (network.cut(cut).layers, channels): subject.tail(cut, channels)
        for cut, channels in subject.slices
    }
    cuts = [one.cut for one in artifact.slices] if artifact else []
    codecs = {network.cut(cut).layers: range_codec(artifact, cut, bits) for cut in cuts if artifact}
    return TailService(network, tails, codecs)
