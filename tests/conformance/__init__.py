"""The black-box conformance suite: proves the service contract on any running service.

It starts a service as a process, drives it over HTTP, reads its stdout, scrapes it, receives its spans and breaks its
database, cache, collector and dependencies. It knows nothing of the language inside. See docs/conformance.md.
"""
