"""The store in etcd: where it is, what it does when answers are lost, and who may write."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import grpc
import grpc.aio
import pytest

from penstock import errors
from penstock.etcd.v3 import etcd_pb2 as pb
from penstock.registry import rules
from penstock.registry.rules import MAX_CHANGES
from penstock.registry.state import AliasChange, Key, LoadReport, Model, Placement, State
from penstock.registry.stores.etcd import operations as ops
from penstock.registry.stores.etcd import store as store_module
from penstock.registry.stores.etcd.address import Credentials, EtcdAddress, parse
from penstock.registry.stores.etcd.client import EtcdClient
from penstock.registry.stores.etcd.keys import FORMAT, Keys
from penstock.registry.stores.etcd.store import EtcdStore
from penstock.registry.stores.etcd.term import Term, campaign
from penstock.testing.etcd import WHERE, etcd, has_etcd

from .conftest import draft, worker
from .test_store import SIGNATURE

# Where it is


@pytest.mark.parametrize(
    ("url", "endpoints", "prefix", "tls"),
    [
        ("etcd://h1", ("h1:2379",), "penstock", False),
        ("etcd://h1:1,h2:2/", ("h1:1", "h2:2"), "penstock", False),
        ("etcds://h1:1, h1:1 ,[::1]:3/a/b-c_.d", ("h1:1", "[::1]:3"), "a/b-c_.d", True),
    ],
)
def test_an_address_names_hosts_and_a_prefix(url: str, endpoints: tuple[str, ...], prefix: str, tls: bool) -> None:
    assert parse(url) == EtcdAddress(endpoints, prefix, tls)


@pytest.mark.parametrize(
    "url",
    ["", "h1:2379", "http://h1", "etcd://", "etcd://h1,", "etcd://h:0", "etcd://h:70000", "etcd://h:x", "etcd://h 1",
     "etcd://h/a b", "etcd://h/a//b", "etcd://u:secret@h", "etcd://h?x=1", "etcd://h#x"],
)  # fmt: skip
def test_another_address_is_refused_and_a_password_in_it_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="etcd") as refused:
        parse(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "insecure", "good"),
    [
        ("etcd://127.0.0.1,localhost,[::1]/x", False, True),
        ("etcd://127.0.0.1,10.0.0.1/x", False, False),
        ("etcd://etcd.example/x", False, False),
        ("etcd://etcd.example/x", True, True),
        ("etcds://etcd.example/x", False, True),
    ],
)
def test_plain_text_to_another_machine_must_be_asked_for(url: str, insecure: bool, good: bool) -> None:
    if good:
        parse(url).check(insecure=insecure)
    else:
        with pytest.raises(ValueError, match="--etcd-insecure"):
            parse(url).check(insecure=insecure)


@pytest.mark.parametrize("prefix", [b"/a/", b"/a/b0", b"\x00"])
def test_all_keys_of_a_prefix_are_before_its_end_and_no_others(prefix: bytes) -> None:
    end = ops.end_of(prefix)
    assert prefix < prefix + b"\xff" * 9 < end
    assert end > prefix + b"\xff\xff"
    assert prefix[:-1] + bytes([prefix[-1] + 1]) == end


# With a real etcd


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], EtcdAddress]]:
    """An address with a prefix of its own, each time."""
    if not has_etcd():
        pytest.skip(WHERE)
    numbers = count()
    with etcd(tmp_path_factory.mktemp("etcd")) as made:
        yield lambda: parse(made.url(f"p{next(numbers)}"))


class LosingClient(EtcdClient):
    """Loses the answers of so many of the next transactions, which are made all the same; or never sends them."""

    lost = 0
    sends = True
    last: tuple[Sequence[pb.Compare], Sequence[pb.RequestOp]]

    async def txn(
        self, compare: Sequence[pb.Compare], success: Sequence[pb.RequestOp], failure: Sequence[pb.RequestOp] = ()
    ) -> pb.TxnResponse:
        self.last = compare, success
        while self.lost:
            self.lost -= 1
            if self.sends:
                await super().txn(compare, success, failure)
            if not self.lost and not self.sends:
                raise errors.RegistryUnavailable("no answer")
        return await super().txn(compare, success, failure)


@asynccontextmanager
async def connected(address: EtcdAddress) -> AsyncIterator[LosingClient]:
    client = LosingClient(address)
    try:
        yield client
    finally:
        await client.close()


async def lead(client: EtcdClient, address: EtcdAddress, name: str = "here:1") -> Term:
    term = await campaign(client, address.prefix, name, time.monotonic)
    assert isinstance(term, Term)
    return term


async def started(client: EtcdClient, address: EtcdAddress, term: Term) -> EtcdStore:
    store = EtcdStore(client, address.prefix, term)
    await store.begin_run()
    return store


async def test_everything_is_there_again(fresh: Callable[[], EtcdAddress], monkeypatch: pytest.MonkeyPatch) -> None:
    address = fresh()
    monkeypatch.setattr(store_module, "PAGE", 2)
    first = rules.publish(None, draft(labels={"note": "x/y"}), 12.3456789, "ann").model
    second = rules.publish(first, draft(instances=3, device="cuda:1", aliases=("canary",)), 13.1, "bob").model
    third = rules.with_version(second, replace(second.versions[0], signature=SIGNATURE, placement=Placement.PINNED))
    key = Key("ab" * 8, "ci", ("admin", "predict:*"), b"\x01" * 32, 1_700_000_000.1234567)
    async with connected(address) as client:
        store = await started(client, address, await lead(client, address))
        await store.save_model(None, first, first.changes)
        await store.save_model(first, second, second.changes[1:])
        await store.save_model(second, third, ())
        leased = await store.grant(worker(report=LoadReport(1, 2, 3, 4, 0.5), max_batch_size=8, pid=99))
        draining = replace(leased, state=State.UNLOADING)
        await store.save_worker(draining)
        await store.save_key(key)
        found = await store.load()
    assert (found.models, found.workers, found.keys) == ((third,), (draining,), (key,))


async def test_a_store_of_a_newer_release_is_refused(fresh: Callable[[], EtcdAddress]) -> None:
    address = fresh()
    async with connected(address) as client:
        await client.txn([], [ops.put(Keys(address.prefix).format, str(FORMAT + 1).encode())])
        with pytest.raises(ValueError, match="start the newer penstock that wrote it"):
            await started(client, address, await lead(client, address))


async def test_of_an_aliass_history_no_more_is_kept_than_is_remembered(fresh: Callable[[], EtcdAddress]) -> None:
    address = fresh()
    model = rules.publish(None, draft(), 0.0, "ann").model
    async with connected(address) as client:
        store = await started(client, address, await lead(client, address))
        await store.save_model(None, model, model.changes)
        for start in range(1, MAX_CHANGES + 200, 50):
            new = tuple(AliasChange("canary", 1, 0, float(n), "ann") for n in range(start, start + 50))
            after = replace(model, changes=rules.remembered((*model.changes, *new)))
            await store.save_model(model, after, new)
            model = after
        prefix = Keys(address.prefix)("changes", "")
        request = pb.RangeRequest(key=prefix, range_end=ops.end_of(prefix), limit=1)
        assert len((await store.load()).models[0].changes) == MAX_CHANGES + 1
        pairs = (await client.range(pb.RangeRequest(key=prefix, range_end=ops.end_of(prefix)))).kvs
        assert len(pairs) <= MAX_CHANGES + 51
        assert (await client.range(request)).more


async def test_what_became_of_a_worker_whose_lease_is_gone_is_not_kept(fresh: Callable[[], EtcdAddress]) -> None:
    address = fresh()
    async with connected(address) as client:
        store = await started(client, address, await lead(client, address))
        old = await store.grant(worker())
        new = await store.grant(worker())
        await store.save_worker(replace(old, state=State.UNLOADING))
        assert (await store.load()).workers == (new,)
        await store.drop_workers(["w1"])
        await store.save_worker(replace(new, state=State.UNLOADING))
        assert (await store.load()).workers == ()
        assert not (await client.range(pb.RangeRequest(key=Keys(address.prefix)("workers", "w1")))).kvs


async def test_a_write_whose_answer_is_lost_is_sent_again_and_made_once(fresh: Callable[[], EtcdAddress]) -> None:
    address = fresh()
    model = rules.publish(None, draft(), 1.0, "ann").model
    async with connected(address) as client:
        store = await started(client, address, await lead(client, address))
        client.lost = 2
        await store.save_model(None, model, model.changes)
        client.lost = 1
        first = await store.grant(worker())
        second = await store.grant(worker("w2"))
        assert second.epoch > first.epoch
        found = await store.load()
    assert found.models == (model,)
    assert found.workers == (first, second)


async def test_a_write_that_arrives_a_second_time_when_more_has_been_written_changes_nothing(
    fresh: Callable[[], EtcdAddress],
) -> None:
    address = fresh()
    async with connected(address) as client:
        store = await started(client, address, await lead(client, address))
        await store.grant(worker())
        late = client.last
        newer = await store.grant(worker(pid=2))
        assert not (await client.txn(*late)).succeeded
        assert (await store.load()).workers == (newer,)


async def test_after_a_write_without_any_answer_nothing_is_written_before_all_is_read_anew(
    fresh: Callable[[], EtcdAddress],
) -> None:
    address = fresh()
    async with connected(address) as client:
        term = await lead(client, address)
        store = await started(client, address, term)
        client.lost, client.sends = 1, False
        with pytest.raises(errors.RegistryUnavailable):
            await store.grant(worker())
        assert term.lost.is_set()
        with pytest.raises(errors.RegistryUnavailable):
            await store.grant(worker())
        await term.resign()
        again = await started(client, address, await lead(client, address))
        assert (await again.load()).workers == ()


async def test_who_has_lost_the_lead_writes_nothing_and_learns_it(fresh: Callable[[], EtcdAddress]) -> None:
    address = fresh()
    async with connected(address) as client:
        paused = await lead(client, address)
        store = await started(client, address, paused)
        await client.revoke(paused.lease)  # as etcd does when its time is over
        other = await started(client, address, await lead(client, address, "there:1"))
        kept = await other.grant(worker())
        held = [paused.holds]
        with pytest.raises(errors.RegistryUnavailable, match="another registry leads"):
            await store.grant(worker())
        held.append(paused.holds)
        assert held == [True, False]
        assert (await other.load()).workers == (kept,)


async def test_each_term_is_later_and_knows_of_the_writes_of_the_ones_before(fresh: Callable[[], EtcdAddress]) -> None:
    address = fresh()
    revisions, runs, models = [], [], Model("digits")
    async with connected(address) as client:
        for number in range(3):
            term = await lead(client, address, f"here:{number}")
            assert await campaign(client, address.prefix, "there:1", time.monotonic) == f"here:{number}"
            store = EtcdStore(client, address.prefix, term)
            runs.append(await store.begin_run())
            revisions.append(term.revision)
            before, models = models, rules.publish(models, draft(), float(number), "ann").model
            await store.save_model(before, models, models.changes[len(before.changes) :])
            await term.resign()
            assert not term.holds
    assert runs == [1, 2, 3]
    assert revisions == sorted(set(revisions))


async def test_a_term_is_prolonged_until_its_lease_is_gone(fresh: Callable[[], EtcdAddress]) -> None:
    address = fresh()
    async with connected(address) as client:
        term = await lead(client, address)
        assert await client.keep_alive(term.lease) > 0
        keeping = asyncio.create_task(term.keep())
        await client.revoke(term.lease)
        assert await client.keep_alive(term.lease) == 0
        await asyncio.wait_for(keeping, 20)
        assert not term.holds


async def test_a_lead_that_was_given_up_while_etcd_was_deaf_can_be_taken_again_at_once(
    fresh: Callable[[], EtcdAddress], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(*_: object, **__: object) -> None:
        raise errors.RegistryUnavailable("no answer")

    address = fresh()
    async with connected(address) as client, connected(address) as other:
        term = await lead(client, address)
        with monkeypatch.context() as without:
            without.setattr(client, "_call", deaf)
            await term.resign()
        assert await campaign(other, address.prefix, "there:1", time.monotonic) == "here:1"
        again = await lead(client, address)
        assert again.revision > term.revision
        await started(client, address, again)


async def test_two_that_begin_at_once_do_not_both_lead(fresh: Callable[[], EtcdAddress]) -> None:
    address = fresh()
    async with connected(address) as client:
        attempts = [campaign(client, address.prefix, f"n:{number}", time.monotonic) for number in range(1, 9)]
        outcomes = await asyncio.gather(*attempts)
        terms = [outcome for outcome in outcomes if isinstance(outcome, Term)]
        assert len(terms) == 1
        leader = outcomes.index(terms[0]) + 1
        assert {outcome for outcome in outcomes if isinstance(outcome, str)} == {f"n:{leader}"}


async def test_a_key_that_was_made_without_an_answer_is_ones_own(fresh: Callable[[], EtcdAddress]) -> None:
    address = fresh()
    async with connected(address) as client:
        client.lost = 1
        term = await lead(client, address)
        await started(client, address, term)


async def test_without_any_member_calls_end_soon_and_say_so() -> None:
    async with connected(parse("etcd://127.0.0.1:1,127.0.0.1:2")) as client:
        with pytest.raises(errors.RegistryUnavailable):
            await asyncio.wait_for(client.range(pb.RangeRequest(key=b"x")), 20)


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        ([(grpc.StatusCode.RESOURCE_EXHAUSTED, "mvcc: database space exceeded")], errors.StorageFull),
        ([(grpc.StatusCode.INVALID_ARGUMENT, "request is too large")], errors.InvalidArgument),
        ([(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")], errors.RegistryUnavailable),
        ([(grpc.StatusCode.PERMISSION_DENIED, "of /secret/path")], errors.RegistryUnavailable),
        (
            [(grpc.StatusCode.DEADLINE_EXCEEDED, ""), (grpc.StatusCode.RESOURCE_EXHAUSTED, "space exceeded")],
            errors.RegistryUnavailable,  # the first one may have been done
        ),
    ],
)
async def test_what_etcd_refuses_is_said_in_words_of_our_own(
    said: list[tuple[grpc.StatusCode, str]], failure: type[errors.PenstockError], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = iter([*said, *[said[-1]] * 9])

    async def attempt(*_: object, **__: object) -> None:
        code, text = next(outcomes)
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), text)

    async with connected(parse("etcd://127.0.0.1:1")) as client:
        monkeypatch.setattr(client, "_attempt", attempt)
        with pytest.raises(failure) as refused:
            await client.txn([], [])
        assert type(refused.value) is failure
        assert "secret" not in refused.value.message


async def _fill(client: EtcdClient) -> None:
    for number in range(100):
        await client.txn([], [ops.put(b"junk/%d" % number, bytes(100_000))])


async def test_an_etcd_without_room_refuses_changes_and_ends_no_lead(tmp_path: Path) -> None:
    if not has_etcd():
        pytest.skip(WHERE)
    with etcd(tmp_path, flags=("--quota-backend-bytes=1000000",)) as made:
        (member,) = made.members
        address = parse(made.url())
        async with connected(address) as client:
            term = await lead(client, address)
            store = await started(client, address, term)
            with pytest.raises(errors.StorageFull):
                await _fill(client)
            with pytest.raises(errors.StorageFull):
                await store.grant(worker())
            assert await client.keep_alive(term.lease) > 0
            assert term.holds
            assert (await store.load()).workers == ()
            await client.txn([], [ops.delete(b"junk/%d" % number) for number in range(100)])
            await asyncio.to_thread(made.compact)
            await asyncio.to_thread(member.ask, "maintenance/defragment")
            [alarm] = member.ask("maintenance/alarm", action="GET")["alarms"]
            await asyncio.to_thread(member.ask, "maintenance/alarm", action="DEACTIVATE", **alarm)
            granted = await store.grant(worker())
            assert (await store.load()).workers == (granted,)


async def test_a_member_that_is_gone_is_passed_over(fresh: Callable[[], EtcdAddress]) -> None:
    address = fresh()
    both = replace(address, endpoints=("127.0.0.1:1", *address.endpoints))
    async with connected(both) as client:
        await started(client, both, await lead(client, both))


async def test_etcd_may_ask_for_a_user_and_a_password(tmp_path: Path) -> None:
    if not has_etcd():
        pytest.skip(WHERE)
    with etcd(tmp_path) as made:
        (member,) = made.members
        member.ask("auth/user/add", name="root", password="geheim")
        member.ask("auth/role/add", name="root")
        member.ask("auth/user/grant", user="root", role="root")
        member.ask("auth/enable")
        address = parse(made.url())
        client = EtcdClient(address, Credentials("root", "geheim"))
        await started(client, address, await lead(client, address))
        client._token = "of-yesterday.1"  # tokens end
        await client.range(pb.RangeRequest(key=b"x"))
        await client.close()
        for wrong in (Credentials(), Credentials("root", "falsch")):
            client = EtcdClient(address, wrong)
            with pytest.raises(errors.RegistryUnavailable):
                await client.range(pb.RangeRequest(key=b"x"))
            await client.close()


def _certificates(folder: Path) -> Path:
    """An authority, and what it says of 127.0.0.1."""
    folder.mkdir()
    steps = (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=etcd -keyout key.pem -out request.pem",
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem",
    )
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for step in steps:
        subprocess.run(["openssl", *step.split()], cwd=folder, check=True, capture_output=True)
    return folder


async def test_etcd_may_be_spoken_to_over_tls_and_must_be_the_right_one(tmp_path: Path) -> None:
    if not has_etcd():
        pytest.skip(WHERE)
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, which makes the certificates")
    tls = _certificates(tmp_path / "tls")
    with etcd(tmp_path / "etcd", tls=tls) as made:
        address = parse(made.url().replace("etcd://", "etcds://"))
        client = EtcdClient(address, Credentials(ca=tls / "ca.pem"))
        await started(client, address, await lead(client, address))
        await client.close()
        other = _certificates(tmp_path / "other")
        for credentials in (Credentials(), Credentials(ca=other / "ca.pem")):
            client = EtcdClient(address, credentials)
            with pytest.raises(errors.RegistryUnavailable):
                await client.range(pb.RangeRequest(key=b"x"))
            await client.close()
