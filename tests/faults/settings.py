"""The product's settings for a process whose state can be inspected, and whose channel layer may be faulty.

See ``tests.faults.inside``, and ``tests.faults.layers``, which is used when ``GROUP_MESSAGES`` is set.
"""

import os

from config.settings import *  # noqa: F403
from config.settings import CHANNEL_LAYERS, REDIS_URL

ROOT_URLCONF = "tests.faults.inside"
if "GROUP_MESSAGES" in os.environ:
    _capacity = {"capacity": int(os.environ["LAYER_CAPACITY"])} if "LAYER_CAPACITY" in os.environ else {}
    _default = CHANNEL_LAYERS["default"]
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": f"tests.faults.layers.{'FaultyRedisLayer' if REDIS_URL else 'FaultyProcessLayer'}",
            "CONFIG": {**_default["CONFIG"], **({} if REDIS_URL else _capacity)},
        }
    }
