"""A gateway before a model that is loaded when it is asked for."""

from __future__ import annotations

import asyncio

import pytest

from penstock import errors

from .conftest import AVAILABLE, END, LOADING, SERVING, World, ask, model, request


async def test_a_request_has_its_model_loaded_and_is_answered(world: World) -> None:
    world.registry.publish(models=[model(state=END, on_demand=True)])
    gateway = await world.gateway()
    await gateway.until(SERVING)  # it would be answered
    answer = asyncio.ensure_future(ask(gateway.predict()))
    use = await world.registry.uses.get()
    assert (use.name, use.version, use.waiting) == ("digits", 1, True)
    world.registry.publish(models=[model(state=LOADING, on_demand=True)])
    await world.worker()
    world.registry.publish(models=[model(state=AVAILABLE, on_demand=True)])
    assert await answer == request()
    use = await world.registry.uses.get()
    while use.waiting:
        use = await world.registry.uses.get()
    assert 0 <= use.ago.ToMilliseconds() / 1000 < 20


async def test_who_has_too_little_time_is_told_to_come_back(world: World) -> None:
    world.registry.publish(models=[model(state=END, on_demand=True)])
    gateway = await world.gateway()
    await gateway.until(SERVING)
    with pytest.raises(errors.ModelLoading) as refused:
        await ask(gateway.predict(timeout=0.5))
    assert refused.value.retry_after == 1.0
    assert (await world.registry.uses.get()).waiting


async def test_uses_of_other_models_are_not_reported(world: World) -> None:
    gateway, _ = await world.served()
    world.registry.publish(models=[model("lazy", state=END, on_demand=True)])
    await ask(gateway.predict())
    with pytest.raises(errors.ModelLoading):
        await ask(gateway.predict(request("lazy"), timeout=2.5))
    seen = set()
    while not world.registry.uses.empty():
        seen.add(world.registry.uses.get_nowait().name)
    assert seen == {"lazy"}
