import asyncio

import pytest

from app.concurrency import outbox as outboxes
from app.concurrency.outbox import Outbox
from app.errors import EngineUnreachable
from tests.patience import until


class Ledger:
    """Accepts batches, after as many failures as it is given."""

    def __init__(self, failures: tuple[Exception, ...] = ()) -> None:
        self.failures = list(failures)
        self.batches: list[list[int]] = []
        self.upkeeps = 0

    async def deliver(self, batch: list[int]) -> None:
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop()
        self.batches.append(batch)

    async def upkeep(self) -> float | None:
        self.upkeeps += 1
        return None


def outbox_of(ledger: Ledger) -> Outbox[int]:
    return Outbox("test", ledger.deliver, ledger.upkeep, batching=0.0)


def away() -> Exception:
    return EngineUnreachable("the catalog is away", dependency="catalog")


@pytest.mark.parametrize("error", [away(), ValueError("a bug")])
async def test_a_failed_delivery_is_repeated_in_order(error, monkeypatch) -> None:
    monkeypatch.setattr(outboxes, "LONGEST_PAUSE", 0.01)
    ledger = Ledger((error, error))
    outbox = outbox_of(ledger)
    for number in range(3):
        outbox.add(str(number), number)
    outbox.open()
    await until(lambda: not len(outbox))
    await outbox.stop()
    assert ledger.batches == [[0, 1, 2]]
    assert ledger.upkeeps >= 1


async def test_items_are_delivered_in_batches_of_a_bounded_size(monkeypatch) -> None:
    monkeypatch.setattr(outboxes, "LARGEST_BATCH", 2)
    ledger = Ledger()
    outbox = outbox_of(ledger)
    for number in range(5):
        outbox.add(str(number), number)
    await outbox.flush(10)
    assert ledger.batches == [[0, 1], [2, 3], [4]]


async def test_an_item_that_cannot_be_delivered_stays() -> None:
    outbox = outbox_of(Ledger((away(),)))
    outbox.add("a", 1)
    await outbox.flush(10)
    assert dict(outbox.items) == {"a": 1}


async def test_an_item_that_arrives_while_nothing_waits_is_delivered() -> None:
    ledger = Ledger()
    outbox = outbox_of(ledger)
    outbox.open()
    await until(lambda: ledger.upkeeps)
    outbox.add("a", 1)
    await until(lambda: ledger.batches == [[1]])
    await outbox.stop()


async def test_the_age_of_the_oldest_item_starts_again_once_everything_is_delivered() -> None:
    outbox = outbox_of(Ledger())
    assert outbox.oldest_seconds == 0
    outbox.add("first", 1)
    await until(lambda: outbox.oldest_seconds > 0.05)
    outbox.add("second", 2)
    outbox.add("first", 3)
    assert outbox.oldest_seconds > 0.05
    await outbox.flush(10)
    assert outbox.oldest_seconds == 0
