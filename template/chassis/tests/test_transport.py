"""Head and body leave together, a head alone does not wait, and nothing is written out of order or too late."""

import asyncio
from collections.abc import Iterable
from typing import cast

import pytest

from chassis.transport import JoiningTransport


class Transport:
    """Writes down what it is told to do."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, ...] | str] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.calls.append((data,))

    def writelines(self, lines: Iterable[bytes]) -> None:
        self.calls.append(tuple(lines))

    def close(self) -> None:
        self.calls.append("close")
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.calls.append("pause_reading")


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
async def joining(transport: Transport) -> JoiningTransport:
    return JoiningTransport(cast("asyncio.Transport", transport), asyncio.get_running_loop())


async def test_head_and_body_are_one_write(transport: Transport, joining: JoiningTransport) -> None:
    for _ in range(2):
        joining.write(b"head")
        joining.write(b"body")
        await asyncio.sleep(0)
    assert transport.calls == [(b"head", b"body"), (b"head", b"body")]


async def test_a_head_alone_leaves_with_the_iteration(
    transport: Transport, joining: JoiningTransport
) -> None:
    joining.write(b"head")
    assert transport.calls == []
    await asyncio.sleep(0)
    assert transport.calls == [(b"head",)]
    joining.write(b"event")
    await asyncio.sleep(0)
    assert transport.calls == [(b"head",), (b"event",)]


async def test_what_follows_leaves_at_once(transport: Transport, joining: JoiningTransport) -> None:
    """Who writes a lot without a pause hears from the transport when it is full."""
    for chunk in (b"head", b"1", b"2", b"3"):
        joining.write(chunk)
    assert transport.calls == [(b"head", b"1"), (b"2",), (b"3",)]
    await asyncio.sleep(0)
    assert len(transport.calls) == 3


async def test_closing_writes_what_was_held_back(
    transport: Transport, joining: JoiningTransport
) -> None:
    joining.write(b"head")
    joining.close()
    await asyncio.sleep(0)
    assert transport.calls == [(b"head",), "close"]


async def test_a_closed_transport_is_not_written_to(
    transport: Transport, joining: JoiningTransport
) -> None:
    """The client left between the write and the end of the iteration."""
    joining.write(b"head")
    transport.closing = True
    await asyncio.sleep(0)
    assert transport.calls == []


def test_everything_else_is_the_transports(transport: Transport) -> None:
    loop = cast("asyncio.AbstractEventLoop", None)
    joining = cast(
        "asyncio.Transport", JoiningTransport(cast("asyncio.Transport", transport), loop)
    )
    joining.pause_reading()
    assert not joining.is_closing()
    assert transport.calls == ["pause_reading"]
