"""Base images for an engine that can pull none: Debian's packages under the real images' names.

They prove that a Dockerfile builds and that what it builds runs. They are not the real images:
`python` is Debian's, `apt-get` finds everything installed, and PostgreSQL is Debian's version.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.tools import output, tool

SUITE = "bookworm"
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "default-timeout")
SYSTEM = (
    *("base-files", "base-passwd", "bash", "ca-certificates", "coreutils", "dash", "findutils"),
    *("grep", "libc-bin", "login", "passwd", "sed", "tar", "util-linux"),
)
# Nothing that is run here needs them, and every import copies them.
NEEDLESS = ("usr/share/doc", "usr/share/locale", "usr/share/man", "usr/lib/*/libLLVM*")
SERVER = """#!/bin/sh
# The few things that the official images do for compose.yaml.
set -e
# Redis comes without protected mode.
[ "$1" != redis-server ] || exec "$@" --protected-mode no
PATH=/usr/lib/postgresql/15/bin:$PATH
data=/var/lib/postgresql/data
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
chown postgres $data
if [ ! -e $data/PG_VERSION ]; then
    echo "$POSTGRES_PASSWORD" > /tmp/password
    chown postgres /tmp/password
    as_postgres initdb --auth=scram-sha-256 --username="$POSTGRES_USER" --pwfile=/tmp/password $data
    echo "host all all all scram-sha-256" >> $data/pg_hba.conf
    echo "CREATE DATABASE $POSTGRES_DB" | as_postgres postgres --single -D $data postgres
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups \\
    postgres -D $data -c listen_addresses=* -c unix_socket_directories=/tmp
"""


@dataclass(frozen=True, slots=True)
class StandIn:
    """One image: what is installed, which files are added, how it starts."""

    packages: Sequence[str]
    scripts: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    changes: Sequence[str] = ()


PYTHON = StandIn(
    packages=("binutils", "python3", "python3-venv"),
    # binutils is there: that is all the Dockerfile installs.
    scripts={"usr/bin/apt-get": "#!/bin/sh\n"},
    links={"usr/bin/python": "python3"},
)
# One image under two names, since importing takes time.
SERVERS = StandIn(
    packages=("adduser", "postgresql-15", "redis-server"),
    scripts={"entrypoint": SERVER},
    links={"usr/bin/pg_isready": "/usr/lib/postgresql/15/bin/pg_isready"},
    changes=('ENTRYPOINT ["/entrypoint"]', 'CMD ["postgres"]'),
)


def make(name: str, standin: StandIn, cache: Path, environment: Mapping[str, str]) -> None:
    """Import `standin` into the engine as image `name`; the packages are fetched once per cache."""
    packages = sorted({*SYSTEM, *standin.packages})
    content = hashlib.sha256(" ".join([*packages, *NEEDLESS]).encode()).hexdigest()
    archive = cache / f"{SUITE}-{content[:12]}.tar"
    if not archive.exists():
        bootstrap(archive, packages)
    root = cache / f"root-{os.getpid()}"
    root.mkdir()
    try:
        output("tar", "--extract", f"--directory={root}", f"--file={archive}")
        prepare(root, standin)
        changes = [f"--change={change}" for change in standin.changes]
        tar = ["tar", "--create", f"--directory={root}", "."]
        with subprocess.Popen(tar, stdout=subprocess.PIPE) as packing:
            subprocess.run(
                [tool("docker"), "import", *changes, "-", name],
                env={**os.environ, **environment},
                stdin=packing.stdout,
                stdout=subprocess.DEVNULL,
                check=True,
            )
    finally:
        shutil.rmtree(root)


def bootstrap(archive: Path, packages: Sequence[str]) -> None:
    """Unpack Debian packages into an archive. Nothing is configured, which takes most of the time."""
    remove = "cd $1 && rm -rf " + " ".join(NEEDLESS)
    partial = archive.with_suffix(".partial.tar")
    output(
        *(tool("mmdebstrap"), "--quiet", "--mode=root", "--variant=extract"),
        *(f"--include={','.join(packages)}", f"--customize-hook={remove}", SUITE, partial),
    )
    partial.rename(archive)


def prepare(root: Path, standin: StandIn) -> None:
    """Do what unconfigured packages lack, and let the build reach what this machine reaches."""
    for file in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{file}.master", root / f"etc/{file}")
    if "postgresql-15" in standin.packages:
        with (root / "etc/passwd").open("a") as passwd, (root / "etc/group").open("a") as group:
            passwd.write("postgres:x:101:101::/var/lib/postgresql:/bin/sh\n")
            group.write("postgres:x:101:\n")
        (root / "var/lib/postgresql/data").mkdir(parents=True)
    for path, text in standin.scripts.items():
        (root / path).write_text(text)
        (root / path).chmod(0o755)
    for path, target in standin.links.items():
        (root / path).unlink(missing_ok=True)
        (root / path).symlink_to(target)
    output("chroot", root, "ldconfig")
    (root / CERTIFICATES).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("/" / CERTIFICATES, root / CERTIFICATES)
    (root / "etc/pip.conf").write_text(pip_configuration())


def pip_configuration() -> str:
    """Let pip in the image trust this machine's certificates and use its index, if it has its own."""
    variables = {option: f"PIP_{option.upper().replace('-', '_')}" for option in PIP_OPTIONS}
    given = {o: os.environ[v] for o, v in variables.items() if os.environ.get(v)}
    lines = [f"{option} = {value}" for option, value in given.items()]
    return "\n".join(["[global]", f"cert = /{CERTIFICATES}", *lines, ""])
