"""The versions from which updates are tested: every release, and commits that could be rendered before the first."""

import re
import tomllib

from packaging.version import Version

from tests.harness import ROOT

# Full commit hash and why it is here, oldest first. The oldest is named in UPGRADING.md.
EARLIER = {
    "78fbc11b3c026120733a1d816fc4b3665105a1d8": "the first that could be deployed; no CI, no .env.example yet",
    "3d2ea34d1df9a98f78860b8e5ade3681b63f6940": "the first with all of the team's files; no version yet",
    "2786ede493949bd3ad019b75326e65a1f21bb7c7": "the first with a version; make update is still Copier alone",
}
RELEASES: dict[str, str] = tomllib.loads((ROOT / "releases.toml").read_text())["releases"]

# The sentence that `make update` reads.
_sentence = re.search(
    r"^Updates are supported from version (\S+) on",
    (ROOT / "UPGRADING.md").read_text(),
    re.MULTILINE,
)
assert _sentence
SUPPORTED = Version(_sentence[1])
_releases = sorted(RELEASES, key=Version)
VERSIONS = [*EARLIER, *(RELEASES[name] for name in _releases if Version(name) >= SUPPORTED)]
