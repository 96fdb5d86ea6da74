"""A cache of one process: up to a number of bytes, the least recently used entries are dropped first."""

from concurrent.futures import ThreadPoolExecutor

from chat.runtime.kept import Kept, text_size


def test_a_cached_value_is_found() -> None:
    kept: Kept[str, str] = Kept(10_000)
    kept.keep("a", "one", 3)
    kept.keep("a", "two", 3)
    assert (kept.get("a"), kept.get("b")) == ("two", None)


def test_a_cache_takes_no_more_bytes_than_it_may() -> None:
    kept: Kept[int, str] = Kept(10_000)
    for number in range(100):
        kept.keep(number, "x" * 1_000, 1_000)
    here = [number for number in range(100) if kept.get(number) is not None]
    # Each entry counts some bytes beside its text.
    assert 5 <= len(here) < 10
    assert here == list(range(100 - len(here), 100))


def test_a_recently_used_value_stays() -> None:
    kept: Kept[int, str] = Kept(10_000)
    for number in range(100):
        kept.keep(number, "x" * 1_000, 1_000)
        assert kept.get(0) is not None


def test_a_value_larger_than_the_cache_is_not_kept() -> None:
    kept: Kept[str, str] = Kept(10_000)
    kept.keep("small", "x", 1)
    kept.keep("large", "x" * 20_000, 20_000)
    assert kept.get("large") is None


def test_threads_do_not_get_in_each_others_way() -> None:
    kept: Kept[int, int] = Kept(5_000)

    def use(start: int) -> None:
        for number in range(start, start + 2_000):
            kept.keep(number % 50, number, 100)
            kept.get((number + 25) % 50)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert 0 < sum(kept.get(number) is not None for number in range(50)) <= 5_000 // 400


def test_a_text_counts_what_it_may_take() -> None:
    assert [text_size(text) for text in ("", "abc", "ab水")] == [0, 3, 12]
