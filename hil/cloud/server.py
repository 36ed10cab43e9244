"""The cloud's end of a partition: takes slices over TCP, runs the model's tail, answers logits.

One connection may carry many slices, one after the other. A frame that breaks the protocol is
refused with its reason and the connection is closed, since nobody knows where the next frame
begins. A request for a tail that is not loaded is refused and the connection stays.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from types import TracebackType

import numpy as np
import torch

from hil.cloud.stream import Deadline, receive, send
from hil.cloud.wire import (
    SLICE_HEADER_BYTES,
    SliceHeader,
    decode_slice,
    encode_logits,
    encode_refusal,
    read_slice_header,
)
from hil.coding.slice_codec import Coding, SliceCodec
from hil.core.errors import ModelError, ProtocolError, RigError
from hil.core.network import Network

_log = logging.getLogger(__name__)

# Slice (1, channels, height, width) of real values -> logits (1, classes).
Tail = Callable[[torch.Tensor], torch.Tensor]


class TailService:
    """Runs tails by (layers on the device, channels sent). Knows no sockets.

    ``codecs``, by layers on the device, decode slices that are not raw; raw ones always pass.
    ModelError for a codec of another tensor than the network has there.
    """

    def __init__(
        self,
        network: Network,
        tails: Mapping[tuple[int, int], Tail],
        codecs: Mapping[int, SliceCodec] | None = None,
    ) -> None:
        self._network = network
        self._tails = dict(tails)
        self._codecs = dict(codecs or {})
        for layers, codec in self._codecs.items():
            if not 0 <= layers < len(network.tensors) or codec.tensor != network.tensors[layers]:
                raise ModelError(
                    f"codec for {codec.tensor} does not fit {network.name} after {layers} layers"
                )
        # One inference at a time: torch already uses all cores for it.
        self._lock = threading.Lock()

    def tail(self, header: SliceHeader) -> Tail:
        """The tail that a slice asks for; ModelError says why it cannot be served."""
        if not header.is_of(self._network.digest):
            raise ModelError(
                f"slice of network {header.digest.hex()}, this serves {self._network.name} "
                f"{self._network.digest[:16]}; deploy the same network on both ends"
            )
        tail = self._tails.get((header.layers, header.channels))
        if tail is None:
            known = ", ".join(f"{layers}/{channels}" for layers, channels in sorted(self._tails))
            raise ModelError(
                f"no tail for {header.layers} layers and {header.channels} channels; "
                f"loaded (layers/channels): {known or 'none'}"
            )
        return tail

    def codec(self, header: SliceHeader) -> SliceCodec:
        """What decodes a slice whose tail is loaded; ModelError says why nothing does."""
        if header.coding is Coding.RAW:
            return SliceCodec(self._network.tensors[header.layers])
        codec = self._codecs.get(header.layers)
        if codec is None or codec.coding is not header.coding:
            has = f"a {codec.coding.name.lower()} codec" if codec else "no codec"
            raise ModelError(
                f"{header.coding.name.lower()} slice after {header.layers} layers, where this has "
                f"{has}; send it raw or load its codec"
            )
        return codec

    def answer(self, header: SliceHeader, payload: bytes) -> np.ndarray:
        """Logits (classes,) of a slice."""
        tail, codec = self.tail(header), self.codec(header)
        tensor = self._network.tensors[header.layers]
        values = decode_slice(header, payload, codec)
        real = torch.from_numpy(values.astype(np.float32) * np.float32(tensor.scale))
        with self._lock, torch.inference_mode():
            return tail(real.unsqueeze(0))[0].numpy()


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        try:
            while self._serve_one():
                pass
        except (OSError, ProtocolError) as error:
            # A client that went away or fell silent is its own affair; the server goes on.
            _log.warning("connection from %s ended: %s", self.client_address, error)

    def _serve_one(self) -> bool:
        """Serve one slice; False when the connection is to be closed."""
        first = receive(self.request, 1, Deadline(self.server.idle_s))
        if not first:
            return False
        deadline = Deadline(self.server.deadline_s)
        try:
            reply = self._reply(first, deadline)
        except ProtocolError as error:
            send(self.request, encode_refusal(str(error)), deadline)
            return False
        send(self.request, reply, deadline)
        return True

    def _reply(self, first: bytes, deadline: Deadline) -> bytes:
        header = read_slice_header(first + receive(self.request, SLICE_HEADER_BYTES - 1, deadline))
        payload = receive(self.request, header.payload_bytes, deadline)
        try:
            return encode_logits(self.server.service.answer(header, payload))
        except (ModelError, RuntimeError) as error:  # RuntimeError: torch refuses the tail's input
            _log.warning("slice from %s refused: %s", self.client_address, error)
            return encode_refusal(str(error))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], service: TailService, deadline_s: float, idle_s: float
    ) -> None:
        self.service = service
        self.deadline_s = deadline_s
        self.idle_s = idle_s
        super().__init__(address, _Handler)


class TailServer:
    """A tail service on a TCP port, in a thread of its own. Use it in a with statement.

    ``deadline_s`` bounds one request from its first byte to the answer, ``idle_s`` the silence
    between two requests. Port 0 takes a free one; ``address`` tells which.
    """

    def __init__(
        self,
        service: TailService,
        host: str = "127.0.0.1",
        port: int = 0,
        deadline_s: float = 5.0,
        idle_s: float = 60.0,
    ) -> None:
        try:
            self._server = _Server((host, port), service, deadline_s, idle_s)
        except OSError as error:
            raise RigError(
                f"cloud server: cannot listen on {host}:{port}: {error.strerror}; choose another "
                "port, 0 takes a free one"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that clients connect to."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def __enter__(self) -> TailServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
