"""One tree of errors, split by who failed, so that a night's log says whom to mend.

Every message names the thing, the place, the value seen and the way out.
"""

from __future__ import annotations

from hil.core.secrets import masked


class HilError(Exception):
    """Base of all errors this bench raises on purpose; the CLI prints them as one line.

    Its text never holds a secret of a rig file.
    """

    def __str__(self) -> str:
        return masked(super().__str__())


class ModelError(HilError):
    """The network cannot be captured, quantised or cut as asked."""


class UnsupportedOperatorError(ModelError):
    """An operator of the model has no layer here."""


class DataError(HilError):
    """A data set, checkpoint, trace or report input is missing or damaged."""


class PlanError(HilError):
    """A partition cannot be laid out on the board (memory, operator or shape)."""


class BuildError(HilError):
    """The compiler is missing or refused the generated C."""


class FirmwareError(HilError):
    """A firmware's ELF cannot be read or is for another chip."""


class RigError(HilError):
    """A rig file is wrong or a part of the bench cannot be found or is busy."""


class PortLostError(RigError):
    """A serial port that was open has gone away; it may come back, perhaps by another name."""


class FlashError(HilError):
    """The flasher failed to bring the firmware onto the board."""


class TargetError(HilError):
    """The board ran but reported a fault or never answered."""


class ProtocolError(HilError):
    """Bytes on the console do not follow the protocol."""


class InstrumentError(HilError):
    """The meter failed, timed out or delivered an unusable waveform."""


class InstrumentLostError(InstrumentError):
    """The meter is not there or cannot be opened; it may come back."""


class WrongOutputError(HilError):
    """The board's output differs from the integer reference: the trial is void."""


class JournalError(HilError):
    """The run's journal cannot be read or written."""


class UnexpectedError(HilError):
    """A failure that nobody has thought of, of one board of several; its text tells what it was."""


class SimulationError(HilError):
    """The simulated chip met something it does not model."""
