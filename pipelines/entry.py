"""How a stage's command line ends: user errors in one line, an interrupt without a traceback."""

import sys
import warnings
from collections.abc import Callable
from types import TracebackType

from pipelines.errors import UserError

EXIT_USER_ERROR = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, the shell's convention
INTERRUPTED = "interrupted: checkpoints and finished stages are kept; the same command goes on from there"


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's `main` and leave the process with its exit status.

    A UserError is printed as one line on stderr (status 1), Ctrl-C as one line that says how to go on
    (status 130). Any other exception is a defect of ours and keeps its traceback.
    """
    # torch warns about its own internals (dynamo, profiler); users can do nothing about those lines.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\..*")
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr, flush=True)
        sys.exit(EXIT_INTERRUPTED)


def hide_interrupt_traceback() -> None:
    """Make Ctrl-C print one line also while a stage still imports, which takes seconds; sets sys.excepthook."""
    default = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print(INTERRUPTED, file=sys.stderr, flush=True)
        else:
            default(kind, error, traceback)

    sys.excepthook = hook
