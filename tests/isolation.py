"""Keeps the suite away from this machine's own settings. Loaded before Django reads any, see ``pyproject.toml``.

Every variable that the product reads is emptied, which wins over a ``.env`` file too; the servers that tests start inherit that.
Each process of a parallel run gets a data folder of its own.
"""

import atexit
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parent.parent / "config" / "environment.py"
VARIABLES = re.findall(r"^    ([A-Z_]+): ", ENVIRONMENT.read_text("utf-8"), re.MULTILINE)

os.environ.update(dict.fromkeys(VARIABLES, ""))
# Hundreds of processes are started, each of which would compile the whole product again on machines that store no bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ["SECRET_KEY"] = "the secret of tests, known to everyone, and long enough to please"
os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="thinkaloud-tests-")
# No collected static files, so that pages use their plain names.
(Path(os.environ["DATA_DIR"]) / "static").mkdir()
atexit.register(shutil.rmtree, os.environ["DATA_DIR"], ignore_errors=True)
# What takes seconds to make is made once for all processes of a parallel run, which inherit this variable.
if "TESTS_SHARED" not in os.environ:
    os.environ["TESTS_SHARED"] = tempfile.mkdtemp(prefix="thinkaloud-tests-shared-")
    atexit.register(shutil.rmtree, os.environ["TESTS_SHARED"], ignore_errors=True)
