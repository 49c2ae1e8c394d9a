"""How the session test drives a client in a process of its own: requests and answers in JSON, a line each.

A request is `[method, argument...]`; the answer `{"value": ...}`, or `{"error": "..."}` with the server's
reason where it refused. Anything else that goes wrong ends the process with a traceback.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any


def serve(client: object, refusal: type[Exception], reason: Callable[[Any], str]) -> None:
    """Call methods of CLIENT as standard input asks. REFUSAL is what it raises at a server's error."""
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            answer = {"value": getattr(client, method)(*arguments)}
        except refusal as error:
            answer = {"error": reason(error)}
        print(json.dumps(answer), flush=True)
