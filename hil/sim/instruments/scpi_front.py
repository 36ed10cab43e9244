"""What the instruments with a SCPI command tree share: dispatch, error queue, set words."""

from __future__ import annotations

from hil.sim.instruments.scpi import (
    Call,
    Command,
    CommandTable,
    Dispatcher,
    ErrorQueue,
    ScpiError,
    Setter,
    word,
)


class ScpiFront:
    """Mixed into an Instrument. ``ERRORS``: places in its error queue."""

    ERRORS = 20

    def open_front(self, commands: list[Command]) -> None:
        """To be called once, before the first line."""
        self._errors = ErrorQueue(self.ERRORS)
        self._dispatcher = Dispatcher(CommandTable(commands), self._errors.push)

    def answer(self, line: str) -> bytes | None:
        """See ``Instrument.answer``."""
        return self._dispatcher.execute(line)

    def complain(self, code: int, text: str) -> None:
        """See ``Instrument.complain``."""
        self._errors.push(ScpiError(code, text))

    def _signed_error(self, _call: Call) -> bytes:
        """The answer to SYST:ERR? of products that write ``+0``."""
        code, text = self._errors.pop()
        return f'{code:+d},"{text}"'.encode("ascii", "replace")

    def _opc(self, _call: Call) -> bytes:
        """The answer to *OPC?, once nothing is under way."""
        self.until_recorded()  # type: ignore[attr-defined]  # the Instrument's
        return b"1"

    @staticmethod
    def _words(*known: str) -> Setter:
        """A setting of which only these values are modelled."""

        def set_word(call: Call) -> None:
            call.count(1)
            word(call.arguments[0], *known)

        return set_word
