"""One more address of the product that shows what its process holds, for tests that check whether that grows.

``tests.faults.settings`` installs it. It is no part of the product, so it may read private names.
"""

import asyncio
import gc
from collections import Counter

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_safe

from agents import AgentRun
from chat.live import connections
from chat.live import registry as feed_registry
from chat.runs import registry as run_registry
from chat.runtime import background
from chat.serving import supervisor
from chat.serving.daphne import DaphneSocket
from chat.store import drafts
from config.urls import urlpatterns as addresses

_FREED_AT_ONCE = (AgentRun, DaphneSocket)


@require_safe
async def inside(_request: HttpRequest) -> JsonResponse:
    """The tasks of the serving loop by what they run, what is kept about sessions, sockets and runs, and how many of these there are."""
    tasks = Counter(
        getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks(supervisor.serving_loop())
    )
    kept = {
        "background": len(background.tasks),
        "executing": len(run_registry.running),
        "early stops": len(run_registry.early_stops),
        "drafts": len(drafts.cells) + len(drafts.watchers),
        "sockets": len(connections.open_here),
        **feed_registry.feed_stats(),
    }
    # What nobody needs any more must be freed at once; the garbage collector would free it too, but only runs every few minutes.
    objects = Counter(type(each).__name__ for each in gc.get_objects() if type(each) in _FREED_AT_ONCE)
    return JsonResponse({"tasks": tasks, "kept": kept, "objects": objects})


urlpatterns = [*addresses, path("inside", inside)]
