"""What a process holds, for tests that look whether it grows: the product's addresses, and one more that tells.

``tests.faults.settings`` puts it in place. It is no part of the product, so it may look where nobody else does.
"""

import asyncio
import gc
from collections import Counter

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_safe

from agents import AgentRun
from chat import background, carrying, drafts, feeds, sockets, supervisor
from chat.transports import DaphneSocket, UvicornSocket
from config.urls import urlpatterns as addresses


@require_safe
async def inside(_request: HttpRequest) -> JsonResponse:
    """The tasks of the serving loop, by what they run, and what the product keeps about sessions, sockets and runs."""
    tasks = Counter(
        getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks(supervisor.serving_loop())
    )
    kept = {
        "background": len(background._tasks),
        "carried": len(carrying._carried),
        "early stops": len(carrying._early_stops),
        "drafts": len(drafts._cells) + len(drafts._watchers),
        "sockets": len(sockets._open),
        # What nobody needs any more is freed by itself: the collector, which would find it too, comes every few minutes.
        "objects": sum(type(each) in (AgentRun, DaphneSocket, UvicornSocket) for each in gc.get_objects()),
        **feeds.stats(),
    }
    return JsonResponse({"tasks": tasks, "kept": kept})


urlpatterns = [*addresses, path("inside", inside)]
