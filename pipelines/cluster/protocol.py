"""What the supervisor and those who start it agree on."""

from pipelines.cluster.ssh import FOLDER

SUPERVISOR = "pipelines.cluster.supervisor"
DETACHED_FLAG = "--detached"
DETACH = "detach"
STATE = FOLDER / "state.json"
