"""Lists of addresses: documents from those that are blocked are dropped, but for those that are allowed.

A list is a text file with an entry a line, or a folder with the files `domains` and `urls`, as the categories of the
lists of the University of Toulouse are. An entry is

- `example.org`: the host and all below it, also as `*.example.org`, `0.0.0.0 example.org` or `http://example.org/`;
- `example.org/shop`: addresses that begin so;
- `*.example.org/*/print`, or any other with a `*`: addresses that match as a whole, * for any characters.

Case, scheme, port, `www.` and a fragment make no difference; `#` begins a comment. Lists are read once a process, and
known by their digest: which address is blocked hangs on the address and the lists alone.

Cost: a look for each dot of the host, for lists of any length; patterns are tried one after another.
"""

from __future__ import annotations

import fnmatch
import re
import socket
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from curatord.errors import ConfigError

MAX_PATTERNS = 1000  # each is tried for every document
IN_FOLDERS = ("domains", "urls")
_BARE_HOST = re.compile(r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+(?::\d{1,5})?(?:/|\Z)")
_NUMBERS = re.compile(r"(?:0x[0-9a-f]*|\d+)(?:\.(?:0x[0-9a-f]*|\d+)){0,3}")  # an IPv4 address, as browsers read it
_EMPTY_STEPS = re.compile(r"/(?:\.?/)+")
_ADDRESS_OF_HOSTS = re.compile(r"(?:0\.0\.0\.0|127\.0\.0\.1|::1?)\s+(?=\S)")


class UrlsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[urls]: documents by their address; those without one pass."""

    block: tuple[str, ...] = ()
    """Files with hosts, addresses and patterns, or folders of a category: documents from there are dropped."""
    allow: tuple[str, ...] = ()
    """Files of the same kind: documents from there stay, also if they are blocked."""


class UrlList:
    """Entries of some files, as sets."""

    def __init__(self, entries: Iterable[str]) -> None:
        hosts, beginnings, patterns = set[str](), dict[str, set[str]](), set[str]()
        for entry in entries:
            host, slash, path = entry.partition("/")
            host = host.removeprefix("*.")
            if "*" in host or "*" in path:
                patterns.add(entry if slash else f"{entry}/*")
            elif path:
                beginnings.setdefault(host, set()).add(f"/{path}")
            else:
                hosts.add(host)
        self._hosts = frozenset(hosts)
        self._beginnings = {host: tuple(sorted(paths)) for host, paths in beginnings.items()}
        self.num_patterns = len(patterns)
        self._patterns = [re.compile(fnmatch.translate(pattern.replace("[", "[[]"))) for pattern in sorted(patterns)]

    def has(self, host: str, path: str) -> bool:
        """Whether an entry is of this address, as `host_and_path` gives it."""
        below = host
        while below:
            if below in self._hosts or path.startswith(self._beginnings.get(below, ())):
                return True
            below = below.partition(".")[2]
        return any(pattern.match(f"{host}{path}") for pattern in self._patterns)


class UrlLists:
    """The addresses that are blocked and those that are allowed, and the digest of both."""

    def __init__(self, blocked: UrlList, allowed: UrlList, digest: str) -> None:
        self._blocked = blocked
        self._allowed = allowed
        self.digest = digest  # "" without lists

    def blocked(self, urls: Sequence[str]) -> NDArray[np.bool_]:
        """Which of these addresses are blocked and not allowed."""
        blocked_B = np.zeros(len(urls), np.bool_)
        for b, url in enumerate(urls if self.digest else ()):
            host, path = host_and_path(url)
            blocked_B[b] = bool(host) and self._blocked.has(host, path) and not self._allowed.has(host, path)
        return blocked_B


def host_and_path(url: str) -> tuple[str, str]:
    """Host and path with query of an address, as lists have them; "" for what is none.

    >>> host_and_path("HTTPS://www.Example.org:443/A?b#c"), host_and_path("n/a")
    (('example.org', '/a?b'), ('', ''))
    """
    url = url.strip().replace("\\", "/")  # as browsers read it
    if _BARE_HOST.match(url):
        url = f"http://{url}"
    elif url.startswith("//"):
        url = f"http:{url}"
    try:
        parts = urlsplit(url if "://" in url else "")
        host = _host(parts.hostname or "")
    except ValueError:
        return "", ""
    if not host:
        return "", ""
    return host, f"{_path(parts.path) or '/'}{'?' if parts.query else ''}{parts.query}".lower()


def open_urls(config: UrlsConfig) -> UrlLists:
    """The lists that a configuration names, as they are when a process asks first. Raises `ConfigError`."""
    return _opened(config.block, config.allow)


@lru_cache(maxsize=4)
def _opened(block: tuple[str, ...], allow: tuple[str, ...]) -> UrlLists:
    blocked = set[str]().union(*(_entries(name, "urls.block") for name in block))
    allowed = set[str]().union(*(_entries(name, "urls.allow") for name in allow))
    lists = UrlList(blocked), UrlList(allowed)
    if sum(part.num_patterns for part in lists) > MAX_PATTERNS:
        raise ConfigError(f"[urls]: more than {MAX_PATTERNS:,} entries with * within; others are unlimited")
    written = "\0".join("\n".join(sorted(entries)) for entries in (blocked, allowed))
    return UrlLists(*lists, xxhash.xxh3_64_hexdigest(written.encode("utf-8", "replace")) if block or allow else "")


def _entries(name: str, option: str) -> set[str]:
    """The entries of a file or folder. Raises `ConfigError`."""
    path = Path(name).expanduser()
    files = [path / part for part in IN_FOLDERS if (path / part).is_file()] if path.is_dir() else [path]
    if not name or not files:
        raise ConfigError(f"{option}: {name!r} is neither a file nor a folder with a file {' or '.join(IN_FOLDERS)}")
    found = set[str]()
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        except OSError as error:
            raise ConfigError(f"{option}: cannot read {file}: {error.strerror}") from None
        found.update(entry for line in lines if (entry := _entry(line)))
    return found


def _entry(line: str) -> str:
    """The entry of a line, "" for none."""
    line = _ADDRESS_OF_HOSTS.sub("", line.partition("#")[0].strip(), count=1).strip()
    if not line:
        return ""
    scheme, separator, rest = line.partition("://")
    address = (rest if separator and scheme else line).lower()
    host, slash, path = address.partition("/")
    host = host.rpartition("@")[2]
    is_version_6 = host.count(":") > 1
    host = _host(host.partition("]")[0].removeprefix("[") if is_version_6 else host.partition(":")[0])
    return f"{host}{slash if path else ''}{_path(slash + path)[1:]}" if host else ""


def _path(path: str) -> str:
    """A path without quoted characters and empty steps.

    >>> _path("/%73hop//./a/")
    '/shop/a/'
    """
    return _EMPTY_STEPS.sub("/", unquote(path))


def _host(host: str) -> str:
    """A host as the name system has it, or an address of the internet as it is usually written.

    >>> _host("WWW.b%C3%BCcher.de."), _host("3232235783"), _host("2001:0db8:0:0::1")
    ('xn--bcher-kva.de', '192.168.1.7', '2001:db8::1')
    """
    host = unquote(host).lower().strip(".").removeprefix("www.")
    if ":" in host:
        try:
            return ip_address(host).compressed
        except ValueError:
            return host
    if _NUMBERS.fullmatch(host):
        try:
            return socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            return host
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host
