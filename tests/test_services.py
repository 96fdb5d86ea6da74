"""The servers that other tests use are real, reachable and separate."""

import psycopg
import redis
from playwright.async_api import Page


def test_redis_answers_and_is_empty_each_time(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        assert client.set("key", "value") is True


def test_redis_is_empty_again(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_each_test_has_a_postgres_database_of_its_own(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE only_here (id integer)")
        row = connection.execute("SELECT current_database(), version()").fetchone()
        assert row is not None
        assert postgres_url.endswith(f"/{row[0]}")
        assert row[1].startswith("PostgreSQL 18")


async def test_the_browser_opens_a_page(page: Page) -> None:
    await page.goto("data:text/html,<h1>ready</h1>")
    assert await page.inner_text("h1") == "ready"
