"""Serve MLflow's own server at a port; started and killed by MlflowServer, see server.py.

Reads lines: `start` forks a server and prints its process id. So the imports, which take most of the time, are made
once for all restarts.
"""

import os
import sys

import uvicorn
from mlflow.server.fastapi_app import app


def main() -> None:
    port = int(sys.argv[1])
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical")
            os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)  # the next line is read when it was killed


if __name__ == "__main__":
    main()
