"""Begin a training's run whose store is away, log epochs, and die without a word; started by test_journals.py."""

import os
import signal
import sys

from pipelines.tracking import Role, TrackingConfig, open_run


def main() -> None:
    store, experiment, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    config = TrackingConfig(enabled=True, experiment=experiment, store=store, log_models=False)
    with open_run(config, "train", "m", {"seed": 1}, role=Role.MODEL, resumes=True) as tracker:
        for last in range(1, epochs + 1):
            tracker.log_history([{"epoch": e, "seconds": 2.0, "loss": 1 / e} for e in range(1, last + 1)])
        assert "mlflow" not in sys.modules, "a stage whose store is away waits for no import of MLflow"
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
