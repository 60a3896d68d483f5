"""`python -m app {serve,migrate,config}`."""

import sys

from chassis import cli

if __name__ == "__main__":
    sys.exit(cli.main("app.settings:Settings", "app.main:create_app"))
