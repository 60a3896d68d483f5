"""The image's HEALTHCHECK: exit 0 when the service in this container says that it is alive.

Runs every few seconds, so it imports nothing that takes time.
"""

import os
import socket
import sys

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
ALIVE = b"HTTP/1.1 200 "

with socket.create_connection(("localhost", int(os.environ["PORT"])), timeout=2) as connection:
    connection.sendall(REQUEST)
    sys.exit(0 if connection.recv(len(ALIVE)) == ALIVE else 1)
