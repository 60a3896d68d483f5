"""`python -m app {serve,migrate,config}`."""

import os
import sys

# FastAPI looks at it while it is imported, when nothing can be reported yet: `cli.main` checks it with the rest.
propagators = os.environ.pop("OTEL_PROPAGATORS", "")

from chassis import cli  # noqa: E402  # after that line

if __name__ == "__main__":
    os.environ["OTEL_PROPAGATORS"] = propagators
    sys.exit(cli.main("app.settings:Settings", "app.main:create_app"))
