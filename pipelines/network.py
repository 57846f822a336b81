"""Whether something answers at a URL, learnt within seconds."""

import http.client
import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit


def unreachable(url: str, timeout_seconds: float) -> str | None:
    """Ask for the head of `url` (proxies honoured); return what went wrong in a few words, or None.

    Any answer of a server will do, but for "not found" and its own failures (404 and 500 upwards). Name
    look-up knows no timeout of its own and may hang for minutes, so a thread asks and is left behind then.
    """
    outcome: list[str | None] = []
    thread = threading.Thread(target=lambda: outcome.append(_ask(url, timeout_seconds)), daemon=True)
    thread.start()
    thread.join(timeout_seconds + 2)
    return outcome[0] if outcome else f"no answer within {timeout_seconds:g} seconds"


def _ask(url: str, timeout_seconds: float) -> str | None:
    if urlsplit(url).scheme not in ("http", "https"):
        return "only http and https addresses can be asked"
    try:
        request = urllib.request.Request(url, method="HEAD")
        # The schemes are checked above.
        urllib.request.urlopen(request, timeout=timeout_seconds).close()  # nosec B310
    except urllib.error.HTTPError as error:
        return f"HTTP status {error.code}" if error.code == 404 or error.code >= 500 else None
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error))
    return None
