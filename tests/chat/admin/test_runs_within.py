"""Runs within a run in the admin: their steps are shown within its own, numbered like them."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from chat.admin import runs
from chat.models import Run
from tests.chat import making
from tests.chat.exports.stock import begun, child_of, ended
from tests.chat.making import step

pytestmark = pytest.mark.django_db(transaction=True)


def ask(run: Run, number: int, call_id: str) -> Run:
    """A call of another agent, and the run that it has started."""
    asked = {"message": "Write it."}
    making.append(run, step("tool_use", step=number, tool_call_id=call_id, tool_name="ask_writer", arguments=asked))
    within = child_of(run, call_id, "Write it.")
    begun(within)
    return within


def test_steps_of_runs_within_a_run_stand_below_the_call_that_asked(client: Client) -> None:
    client.force_login(making.staff("chat.view_run"))
    root = making.run(making.session(making.user("ada")))
    begun(root)
    child = ask(root, 1, "c1")
    grandchild = ask(child, 1, "c1")
    making.append(grandchild, making.thought("A thought two levels down."))
    ended(grandchild)
    making.append(child, step("final_answer", "Written.", step=3))
    ended(child)
    making.append(root, step("final_answer", "Here it is.", step=3))
    ended(root)

    html = client.get(reverse("admin:chat_run_change", args=[root.pk])).content.decode()
    cells = re.findall(r'<td><a href="[^"]*/step/\d+/change/">([\d.]+)</a></td>\s*<td>\s*([a-z_]+)', html)
    types = dict(cells)
    asking = next(number for number, kind in cells if kind == "tool_use")
    assert (types[f"{asking}.2"], types[f"{asking}.2.2"]) == ("tool_use", "thought")
    assert html.index("A thought two levels down.") < html.index("Written.") < html.index("Here it is.")
    for within in (child, grandchild):
        assert reverse("admin:chat_run_change", args=[within.pk]) in html
    alone = client.get(reverse("admin:chat_run_change", args=[grandchild.pk])).content.decode()
    assert "A thought two levels down." in alone
    assert "Written." not in alone


def test_a_long_run_within_a_run_leads_to_the_rest_of_its_steps(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_RUN_STEPS", 4)
    client.force_login(making.staff("chat.view_run"))
    root = making.run(making.session(making.user("ada")))
    child = ask(root, 1, "c1")
    making.append(child, *(making.thought(f"Thought {n}.", n) for n in range(1, 6)))
    html = client.get(reverse("admin:chat_run_change", args=[root.pk])).content.decode()
    assert "Thought 3." in html
    assert "Thought 4." not in html
    (rest,) = re.findall(r'href="([^"]+)">Later steps<', html)
    shown = client.get(rest.removesuffix("#steps")).content.decode()
    assert "Thought 3." not in shown
    assert "Thought 4." in shown
    assert "Thought 5." in shown
