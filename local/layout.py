"""Where the local platform keeps its things, and the environments its programs get."""

import hashlib
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

REGION = "us-east-1"
STAGE = "local"
# The emulator's root key: with IAM enforced it may do everything, as an account's owner may.
_ROOT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
_DEPLOYED = (
    "app.py",
    "requirements.txt",
    "chalicelib/**/*",
    "infra/**/*",
    "local/layout.py",
    ".chalice/policies/*.json",
)


@dataclass(frozen=True)
class Layout:
    """A checkout, and the two ports it listens on."""

    project: Path
    api_port: int
    aws_port: int

    @property
    def home(self) -> Path:
        return self.project / ".local"

    @property
    def app(self) -> Path:
        """The copy of the application that is provisioned, deployed and served."""
        return self.home / "app"

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def scratch(self) -> Path:
        return self.home / "tmp"

    @property
    def env_file(self) -> Path:
        return self.home / "env"

    @property
    def fingerprint_file(self) -> Path:
        return self.home / "deployed"

    @property
    def deployed_file(self) -> Path:
        """Chalice's own record of what it deployed for the stage."""
        return self.app / ".chalice" / "deployed" / f"{STAGE}.json"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def aws_url(self) -> str:
        return f"http://127.0.0.1:{self.aws_port}"

    def aws_environ(self) -> dict[str, str]:
        """What makes an AWS SDK or the AWS CLI talk to the emulator as root."""
        return {"AWS_ENDPOINT_URL": self.aws_url, "AWS_DEFAULT_REGION": REGION, **_ROOT}

    def tool_environ(self) -> dict[str, str]:
        """The environment of this checkout's own programs: the shell's, with nothing of a real
        AWS account left in it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        nothing = os.devnull
        return {
            **kept,
            **self.aws_environ(),
            "AWS_CONFIG_FILE": nothing,
            "AWS_SHARED_CREDENTIALS_FILE": nothing,
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONUNBUFFERED": "1",
        }

    def emulator_environ(self) -> dict[str, str]:
        """The emulator's environment, all of which it hands on to every function it runs."""
        return {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
            "HOME": str(self.scratch),
            "TMPDIR": str(self.scratch),
            "LANG": "C.UTF-8",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.aws_port),
            "IOT_MTLS_ENABLED": "0",
            "AUTH": "true",
            "LAMBDA_EXECUTOR": "local",
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self.state / "services"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self.state / "s3"),
        }

    def fingerprint(self) -> str:
        """Changes when anything does that a deployment is made from."""
        digest = hashlib.sha256(f"{sys.version_info[:2]} {self.aws_port}".encode())
        # Of the configuration, what provisioning made of it.
        for path in [*self.sources(_DEPLOYED), *self.sources([".chalice/config.json"], self.app)]:
            digest.update(f"{path.relative_to(self.project)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def code_version(self) -> int:
        """Changes when a file does that `app` is made of."""
        files = self.sources(["app.py", "chalicelib/**/*.py", ".chalice/config.json"])
        return hash(tuple((path, path.stat().st_mtime_ns) for path in files))

    def sources(self, patterns: Iterable[str], below: Path | None = None) -> list[Path]:
        """The files of the checkout, or `below` a folder, that match; sorted, without Python's
        caches."""
        folder = below or self.project
        found = {path for pattern in patterns for path in folder.glob(pattern)}
        return sorted(p for p in found if p.is_file() and "__pycache__" not in p.parts)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, so that no reader ever sees half of it."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def render_env(values: Mapping[str, str]) -> str:
    """Shell lines that export `values`."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def parse_env(text: str) -> dict[str, str]:
    """What `render_env` wrote, as a mapping."""
    words = [word for line in text.splitlines() for word in shlex.split(line)]
    return dict(word.split("=", 1) for word in words if "=" in word)
