"""The image's HEALTHCHECK: exit 0 when the service in this container says that it is alive.

The path of another probe may be its argument. Runs every few seconds, so it imports nothing that takes time.
"""

import os
import socket
import sys

PATH = sys.argv[1] if len(sys.argv) > 1 else "/health/live"
REQUEST = f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
OK = b"HTTP/1.1 200 "

with socket.create_connection(("localhost", int(os.environ["PORT"])), timeout=2) as connection:
    connection.sendall(REQUEST)
    sys.exit(0 if connection.recv(len(OK)) == OK else 1)
