"""Where the registry is: one process, or several over one store, any of which answers.

Who calls goes on with the one that answered last, and with the next one when that fails.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc
import grpc.aio

from ..errors import RegistryUnavailable
from .channel import connect
from .forwarding import UNREACHABLE

ANSWER_S = 2.0
"""Seconds after which a registry that does not even take a connection counts as gone."""


class Registries:
    """Channels to all of them, of which one is the present one. Whoever makes it closes it.

    Args:
        addresses: HOST:PORT, several with commas between them.

    Raises:
        ValueError: there is none.
    """

    def __init__(self, addresses: str) -> None:
        self._addresses = [address for part in addresses.split(",") if (address := part.strip())]
        if not self._addresses:
            raise ValueError("no registry is named; write HOST:PORT, several with commas between them")
        self._channels: dict[int, grpc.aio.Channel] = {}
        self._present = 0

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def channel(self) -> grpc.aio.Channel:
        """To the present one."""
        return self._channel(self._present)

    def _channel(self, number: int) -> grpc.aio.Channel:
        channel = self._channels.get(number)
        if channel is None:
            channel = self._channels[number] = connect(self._addresses[number])
        return channel

    def failed(self, channel: grpc.aio.Channel) -> None:
        """A call on this one failed, and another registry might do better: go on with the next, if there is one."""
        if channel is self.channel:
            self._present = (self._present + 1) % len(self._addresses)

    async def connected(self) -> grpc.aio.Channel:
        """The present one, once it is connected.

        Raises:
            RegistryUnavailable: it does not take a connection; the next one is the present one now.
        """
        channel = self.channel
        state = channel.get_state(try_to_connect=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                while state not in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE):
                    await channel.wait_for_state_change(state)
                    state = channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            return channel
        self.failed(channel)
        raise RegistryUnavailable(UNREACHABLE)

    async def pause(self, seconds: float) -> None:
        """Wait before trying again: so long, or until a registry that could not be reached takes a connection."""
        back = [asyncio.create_task(self._back(number)) for number in range(len(self._addresses))]
        try:
            done, _ = await asyncio.wait(back, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in back:
                task.cancel()
            await asyncio.gather(*back, return_exceptions=True)
        if done:
            self._present = done.pop().result()

    async def _back(self, number: int) -> int:
        """Wait until it is connected that was not; one that is connected and yet fails is not waited for."""
        channel = self._channel(number)
        state = channel.get_state(try_to_connect=True)
        while state is grpc.ChannelConnectivity.READY:
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)
        return number

    async def close(self) -> None:
        """End all connections."""
        for channel in self._channels.values():
            with suppress(grpc.RpcError):
                await channel.close()

    def __str__(self) -> str:
        return self._addresses[self._present]
