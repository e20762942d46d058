"""Who may ask: requests must carry a token, where one is set."""

import hmac
import stat
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse

from parmtrain.errors import ConfigError, reason_of
from parmtrain.serving.protocol.listening import Certificate
from parmtrain.serving.settings import ServeSettings

OPEN = ("/v2/health/live", "/v2/health/ready", "/healthz")  # paths that load balancers ask without a token
SHORTEST = 16  # characters of a token
SENTENCE = "the request must carry the token of this service, Authorization: Bearer …"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


class Token:
    """The token of a service.

    Args:
        token: The token.

    Example:
        >>> Token("a-long-enough-one").admits("Bearer a-long-enough-one"), Token("another").admits("")
        (True, False)
    """

    def __init__(self, token: str) -> None:
        self._wanted = f"Bearer {token}".encode()

    def admits(self, authorization: str) -> bool:
        """Return whether the header of a request carries it."""
        return hmac.compare_digest(authorization.encode(errors="replace"), self._wanted)

    @classmethod
    def read(cls, path: str) -> "Token":
        """Read a token from a file that nobody else can read.

        Raises:
            ConfigError: If there is none.
        """
        try:
            token = Path(path).expanduser().read_text(encoding="utf-8").strip()
            mode = Path(path).expanduser().stat().st_mode
        except (OSError, ValueError) as fault:
            raise ConfigError([f"token_file={path} must be a text file, but: {reason_of(fault)}"]) from fault
        if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigError([f"token_file={path} must hold a token of {SHORTEST} printable characters or more"])
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            raise ConfigError([f"token_file={path} must not be readable by everybody; chmod 600 {path}"])
        return cls(token)


@dataclass(frozen=True)
class Entrance:
    """How clients come in.

    Args:
        token: What their requests must carry; None for nothing.
        certificate: With which they are spoken to over TLS; None for plain connections.
    """

    token: Token | None = None
    certificate: Certificate | None = None

    @classmethod
    def of(cls, settings: ServeSettings) -> "Entrance":
        """Return how clients come in by the settings of a service.

        Raises:
            ConfigError: If a file that is named holds no token, no certificate or no key.
        """
        return cls.read(settings.token_file, settings.tls_certificate, settings.tls_key)

    @classmethod
    def read(cls, token_file: str, chain: str, key: str) -> "Entrance":
        """Read what some files hold; empty names are left out.

        Raises:
            ConfigError: If a file is none of the kind.
        """
        certificate = Certificate(*(str(Path(one).expanduser()) for one in (chain, key))) if chain else None
        if certificate is not None:
            certificate.check()
        return cls(Token.read(token_file) if token_file else None, certificate)

    def before(self, app: Any) -> Any:
        """Return an ASGI application that answers only those who may ask."""
        return app if self.token is None else Admission(app, self.token)


class Admission:
    """An ASGI application that answers only requests with a token, and those for health.

    Args:
        app: The application.
        token: The token.
    """

    def __init__(self, app: Any, token: Token) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with status 401."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
            if len(given) != 1 or not self.token.admits(given[0]):
                refusal = JSONResponse({"error": SENTENCE}, 401, {"WWW-Authenticate": "Bearer"})
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)
