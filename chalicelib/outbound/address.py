"""Which URLs and addresses may be called: public ones only.

`url_fault` looks at a URL as it is written, before anything is called. That alone proves nothing,
since a name may point anywhere and change at any time: `is_public` decides again for each address
that a socket is about to connect to (`connect`). Sources: IANA IPv4 and IPv6 Special-Purpose
Address Registries; RFC 4291, section 2.5.5 (IPv4-mapped), RFC 3056 (6to4), RFC 6052 (NAT64); OWASP,
"Server-Side Request Forgery Prevention Cheat Sheet".
"""

import ipaddress
import re
from functools import cache
from urllib.parse import SplitResult, urlsplit

MAX_URL = 2048
_MAX_HOST = 253
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = rf"{_LABEL}(?:\.{_LABEL})+"
_PRINTABLE = r"[!-~]+"
# What `inet_aton` reads as an IPv4 address: one to four numbers, decimal, octal or hexadecimal.
_NUMBERS = r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}\.?"
_OWN_SUFFIXES = ("localhost", "local", "internal", "localdomain", "home.arpa", "test", "invalid")
_TLS_PORT, _FIRST_FREE_PORT = 443, 1024
_NOT_PUBLIC_4 = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
    *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
)
_PUBLIC_6 = "2000::/3"
"""All that IANA has given out for global unicast. So loopback, IPv4-mapped and -compatible
addresses, NAT64 (64:ff9b::/96), unique local, link-local, site-local and multicast ones are out."""
_NOT_PUBLIC_6 = ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
"""Of those: protocol assignments with Teredo and ORCHID, documentation, 6to4, AS112."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(text: str, *, loopback: bool = False) -> bool:
    """Whether a numeric address, as a socket has it, may be connected to. `loopback` allows this
    machine's own too, for the stage `local`. Anything that is no address is refused."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if loopback and address.is_loopback:
        return True
    public_6, not_public = _networks()
    if isinstance(address, ipaddress.IPv6Address) and (
        address.scope_id is not None or address not in public_6
    ):
        return False
    return not any(
        address in network for network in not_public if network.version == address.version
    )


def url_fault(url: str, *, loopback: bool = False) -> str | None:
    """What is wrong with a URL that shall be called, in words; None when nothing is. `loopback`
    allows http and https to this machine, for the stage `local`."""
    if len(url) > MAX_URL or not re.fullmatch(_PRINTABLE, url) or "\\" in url:
        return f"must be a URL of at most {MAX_URL} printable ASCII characters"
    try:
        parts = urlsplit(url)
        port = _TLS_PORT if parts.port is None else parts.port
    except ValueError:
        return "must be a URL"
    host = parts.hostname or ""
    if "@" in parts.netloc:
        return "must have no user and no password"
    if "#" in url:
        return "must have no fragment"
    if loopback and parts.scheme in ("http", "https") and _is_loopback(host) and port:
        return None
    return _scheme_fault(parts.scheme, port) or _host_fault(host, parts)


def _scheme_fault(scheme: str, port: int) -> str | None:
    if scheme != "https":
        return "must be an https URL"
    if port < _FIRST_FREE_PORT and port != _TLS_PORT:
        return f"must have the port {_TLS_PORT}, or one from {_FIRST_FREE_PORT} up"
    return None


def _host_fault(host: str, parts: SplitResult) -> str | None:
    if "[" in parts.netloc:
        return None if is_public(host) else "must have a public address"
    if re.fullmatch(_NUMBERS, host):
        return None if is_public(host) else "must have a public address, in its usual form"
    is_own = any(host == name or host.endswith(f".{name}") for name in _OWN_SUFFIXES)
    last = host.rpartition(".")[2]
    if is_own or len(host) > _MAX_HOST or not re.fullmatch(_NAME, host) or last.isdecimal():
        return "must have a public host name"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@cache
def _networks() -> tuple[
    ipaddress.IPv6Network, tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
]:
    """(the public IPv6 space, what is not public), made at first use."""
    refused = tuple(map(ipaddress.ip_network, (*_NOT_PUBLIC_4, *_NOT_PUBLIC_6)))
    return ipaddress.IPv6Network(_PUBLIC_6), refused
