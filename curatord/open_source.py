"""From the name of a topic or folder to its source; each needs packages of its own, which are imported here only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from curatord.archived import ArchivedTopic
from curatord.errors import StreamError, install_with
from curatord.output_folder import open_folder
from curatord.source import Source

if TYPE_CHECKING:
    from curatord.folder import FolderSource


def open_source(url: str, client_options: Mapping[str, Any], archive: str = "") -> Source:
    """The topic or folder of this name, or a topic with its archive.

    Raises `StreamError` if there is none, `BrokerUnavailable`, `StoreUnavailable`.
    """
    if not url.startswith("kafka://"):
        if archive:
            raise StreamError(f"{url} is no topic, so it has no archive: give the archive itself as the url")
        return _folder(url)
    try:
        from curatord.topic import TopicSource
    except ModuleNotFoundError as error:
        raise StreamError(f"a topic needs {error.name}. {install_with('kafka')}") from error
    older = _folder(archive) if archive else None
    topic = TopicSource(*kafka_place(url), client_options)
    return topic if older is None else ArchivedTopic(topic, older)


def _folder(name: str) -> FolderSource:
    try:
        from curatord.folder import FolderSource

        return FolderSource(open_folder(name))
    except ModuleNotFoundError as error:
        raise StreamError(f"a folder needs {error.name}. {install_with('files')}") from error


def kafka_place(url: str) -> tuple[str, str]:
    """Servers and topic."""
    parts = urlsplit(url)
    topic = parts.path.strip("/")
    if parts.scheme != "kafka" or not parts.netloc or not topic or "/" in topic or parts.query:
        raise StreamError(
            f"{url} names no topic: give kafka://host:9092,host:9092/topic; other options are given as client_options"
        )
    return parts.netloc, topic
