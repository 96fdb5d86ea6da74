"""Run a program of ``node_modules`` with a Node that is new enough: ``python scripts/node.py typescript/bin/tsc``."""

import sys
from pathlib import Path

from bootstrap import NODE_MODULES, exec_program, find_node

if __name__ == "__main__":
    program, *arguments = sys.argv[1:]
    exec_program(Path(find_node(Path(sys.executable))), str(NODE_MODULES / program), *arguments)
