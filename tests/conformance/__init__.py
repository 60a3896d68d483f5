"""The black-box conformance suite: proves the service contract on any running service.

It starts a service as a process, drives it over HTTP, reads its stdout, scrapes it, receives its spans and breaks its
database, cache, collector and dependencies. It knows nothing of the language inside. See docs/conformance.md.
"""

import os

# The suite starts many processes while its collector runs: gRPC's fork handlers would only complain about each.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
