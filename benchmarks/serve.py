"""Serve one of the applications the way its users would.

python -m benchmarks.serve APP PORT
"""

import importlib
import sys

import uvicorn


def main(app: str, port: int) -> int:
    module = importlib.import_module(f"benchmarks.apps.{app}")
    if hasattr(module, "serve"):
        code: int = module.serve()
        return code
    uvicorn.run(
        module.create(),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
