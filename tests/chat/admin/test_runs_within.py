"""A run that has asked other agents, as staff see it: their steps stand within its own, numbered as theirs."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from chat.models import Run
from tests.chat import making
from tests.chat.exports.stock import begun, child_of, ended
from tests.chat.making import step

pytestmark = pytest.mark.django_db(transaction=True)


def ask(run: Run, number: int, call_id: str) -> Run:
    """A call of another agent, and the run that it has begun."""
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
    told = dict(cells)
    asking = next(number for number, kind in cells if kind == "tool_use")
    assert (told[f"{asking}.2"], told[f"{asking}.2.2"]) == ("tool_use", "thought")
    assert html.index("A thought two levels down.") < html.index("Written.") < html.index("Here it is.")
    for within in (child, grandchild):
        assert reverse("admin:chat_run_change", args=[within.pk]) in html
    alone = client.get(reverse("admin:chat_run_change", args=[grandchild.pk])).content.decode()
    assert "A thought two levels down." in alone
    assert "Written." not in alone
