"""What is put in comes out in order, and nobody waits for longer than was said."""

from __future__ import annotations

import random
import threading
import time

from dagger.core.mailbox import Mailbox


def test_a_time_out_that_is_over_at_once():
    """Not even just after something was taken without waiting: `queue.SimpleQueue` waits for ever then, on 3.10."""
    box: Mailbox[int] = Mailbox()
    rescue = threading.Timer(20, box.put, (-1,))
    rescue.daemon = True
    rescue.start()
    for number in range(20_000):
        box.put(number)
        assert box.take() == number
        box.wait(0.0)
        assert box.take() is None
    rescue.cancel()


def test_many_threads():
    """All of it comes, what each has put in its order; who waits is woken."""
    box: Mailbox[tuple[int, int]] = Mailbox()

    def tell(who: int) -> None:
        for number in range(2000):
            box.put((who, number))

    threads = [threading.Thread(target=tell, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    heard: dict[int, list[int]] = {who: [] for who in range(4)}
    while sum(map(len, heard.values())) < 8000:
        box.wait()
        while (said := box.take()) is not None:
            heard[said[0]].append(said[1])
    assert all(numbers == list(range(2000)) for numbers in heard.values())
    for thread in threads:
        thread.join()


def test_who_waits_for_enough_is_woken_when_there_is_enough():
    """However much that is, and whatever has come while it was taking what there was."""
    box: Mailbox[int] = Mailbox()
    total = 4 * 5000

    def tell() -> None:
        for number in range(5000):
            box.put(number)
            if number % 100 == 0:
                time.sleep(0)  # so that the others come in between

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    chance = random.Random(1)
    left = total
    while left:
        box.wait(enough=min(chance.choice((1, 2, 50, 1000)), left))  # for ever, if it is not woken
        while box.take() is not None:
            left -= 1
    for thread in threads:
        thread.join()


def test_what_is_urgent_wakes_who_waits_for_more():
    """Nothing else does before there is enough, or the time is over."""
    box: Mailbox[str] = Mailbox()
    box.put("one")
    box.wait(enough=3)  # once it may return for what has come before
    before = time.monotonic()
    box.wait(0.2, enough=3)
    assert time.monotonic() - before >= 0.19
    later = threading.Timer(0.2, box.put, ("failed",), {"urgent": True})
    later.start()
    box.wait(enough=3)  # for ever, if it is not woken
    later.join()
    assert [box.take(), box.take(), box.take()] == ["one", "failed", None]


def test_it_waits_as_long_as_was_said():
    """No less where nothing comes, but for one look that finds what has been taken."""
    box: Mailbox[int] = Mailbox()
    before = time.monotonic()
    box.wait(0.2)
    assert time.monotonic() - before >= 0.19
