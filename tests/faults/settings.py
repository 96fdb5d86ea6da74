"""The product's settings with a faulty channel layer, see ``tests.faults.layers``."""

import os

from config.settings import *  # noqa: F403
from config.settings import CHANNEL_LAYERS, REDIS_URL

_capacity = {"capacity": int(os.environ["LAYER_CAPACITY"])} if "LAYER_CAPACITY" in os.environ else {}
_default = CHANNEL_LAYERS["default"]
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": f"tests.faults.layers.{'FaultyRedisLayer' if REDIS_URL else 'FaultyProcessLayer'}",
        "CONFIG": {**_default["CONFIG"], **({} if REDIS_URL else _capacity)},
    }
}
