"""How a stage's command line begins and ends: no stray options, user errors and interrupts in one line each."""

import argparse
import sys
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from pipelines.errors import UserError

EXIT_USER_ERROR = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, the shell's convention
INTERRUPTED = "interrupted: checkpoints and finished stages are kept; the same command goes on from there"
# The plugin's own text lists every parameter and knows no recipe; the flat strategies say the same.
NON_FINITE = "a gradient is not finite on at least one worker; lower recipe.learning_rate or check the data"


def take_no_arguments(stage: str, description: str | None) -> None:
    """Read the command line of a stage that has no options: `--help` explains it, all else ends in status 2."""
    argparse.ArgumentParser(prog=f"python -m stages.{stage}", description=description).parse_args()


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's `main` and leave the process with its exit status.

    A UserError, and the plugin's error about a gradient that is not finite, are printed as one line on stderr
    (status 1), Ctrl-C as one line that says how to go on (status 130). Any other exception is a defect of ours and
    keeps its traceback.
    """
    # torch warns about its own internals (dynamo, profiler); users can do nothing about those lines.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\..*")
    try:
        main()
    except UserError as error:
        _exit_with(str(error))
    except ValueError as error:
        if not _is_non_finite_gradient(error):
            raise
        _exit_with(NON_FINITE)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr, flush=True)
        sys.exit(EXIT_INTERRUPTED)


def _exit_with(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(EXIT_USER_ERROR)


def _is_non_finite_gradient(error: ValueError) -> bool:
    """Tell whether horovod_gq raised it about a gradient; looked up, not imported: most stages need no horovod_gq."""
    plugin = sys.modules.get("horovod_gq.compression")
    return plugin is not None and isinstance(error, plugin.NonFiniteGradientError)


def hide_interrupt_traceback() -> None:
    """Make Ctrl-C print one line also while a stage still imports, which takes seconds; sets sys.excepthook."""
    default = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print(INTERRUPTED, file=sys.stderr, flush=True)
        else:
            default(kind, error, traceback)

    sys.excepthook = hook
