"""Rights: what the cluster's authorizer must allow a lane, and the commands that grant what is missing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
)

from consumers.kafka.connection import KafkaConfig
from consumers.kafka.topics import TopicsConfig
from curatord.access import acl_command
from curatord.errors import AccessRefused

ATTEMPTS: Final = 20  # a cluster that never had a group makes a topic for it first
WAIT_S: Final = 0.25


def worker_rights(topics: TopicsConfig) -> dict[str, tuple[str, ...]]:
    """The operations that a worker of `curatord prepare` needs on each topic."""
    return {topics.documents: ("Read",), topics.prepared: ("Write", "DescribeConfigs")}


def scorer_rights(topics: TopicsConfig) -> dict[str, tuple[str, ...]]:
    """The operations that a worker of `curatord score` needs on each topic."""
    return {topics.probes: ("Read",), topics.feedback: ("Write", "DescribeConfigs")}


def topic_rights(topics: TopicsConfig) -> dict[str, tuple[str, ...]]:
    """The operations that the service needs on each topic, as an authorizer names them."""
    rights = {
        topics.documents: ("Read",),
        topics.prepared: ("Read", "DescribeConfigs"),
        topics.feedback: ("Read",),
        topics.sequences: ("Write", "DescribeConfigs"),
        topics.verdicts: ("Write", "DescribeConfigs"),
        topics.probes: ("Write", "DescribeConfigs"),
        topics.dead_letters: ("Write", "DescribeConfigs"),
        topics.journal: ("Read", "Write"),
        topics.artifacts: ("Read", "Write"),
    }
    return {name: operations for name, operations in rights.items() if name}


def check_rights(admin: KafkaAdminClient, config: KafkaConfig, topics: TopicsConfig) -> None:
    """Raise `AccessRefused` naming everything that the lane may not do and must. Topics that are missing are passed.

    Raises KafkaError if the cluster does not say.
    """
    missing = _missing_of_topics(admin, topic_rights(topics))
    for kind, operation, refusal, ask in (
        ("group", "Read", GroupAuthorizationFailedError, admin.describe_groups),
        ("transactional-id", "Write", TransactionalIdAuthorizationFailedError, admin.describe_transactions),
    ):
        if _is_refused(ask, config.lane, refusal):
            missing.append((kind, config.lane, (operation,)))
    if missing:
        raise _refused(config, missing)


def check_rights_of_workers(admin: KafkaAdminClient, config: KafkaConfig, topics: TopicsConfig) -> None:
    """As `check_rights`, for those that prepare documents for the lane."""
    missing = _missing_of_topics(admin, worker_rights(topics))
    for group, operation in ((config.workers, "Read"), (config.lane, "Describe")):
        if _is_refused(admin.describe_groups, group, GroupAuthorizationFailedError):
            missing.append(("group", group, (operation,)))
    if missing:
        raise _refused(config, missing)


def check_rights_of_scorers(admin: KafkaAdminClient, config: KafkaConfig, topics: TopicsConfig) -> None:
    """As `check_rights`, for those that score documents for the lane."""
    missing = _missing_of_topics(admin, scorer_rights(topics))
    if _is_refused(admin.describe_groups, config.scorers, GroupAuthorizationFailedError):
        missing.append(("group", config.scorers, ("Read",)))
    if missing:
        raise _refused(config, missing)


def _missing_of_topics(
    admin: KafkaAdminClient, rights: Mapping[str, Sequence[str]]
) -> list[tuple[str, str, tuple[str, ...]]]:
    described = {topic["name"]: topic for topic in admin.describe_topics(list(rights))}
    return [*_missing(described, rights)]


def check_described(
    config: KafkaConfig, described: Mapping[str, Mapping[str, Any]], rights: Mapping[str, Sequence[str]]
) -> None:
    """Raise `AccessRefused` if topics, as an admin client described them, do not give these rights."""
    missing = [*_missing(described, rights)]
    if missing:
        raise _refused(config, missing)


def no_right(config: KafkaConfig, error: Exception, topic: str = "", operation: str = "Read") -> AccessRefused:
    """The error for a request that the authorizer did not allow."""
    if isinstance(error, GroupAuthorizationFailedError):
        return _refused(config, [("group", config.lane, ("Read",))])
    if isinstance(error, TransactionalIdAuthorizationFailedError):
        return _refused(config, [("transactional-id", config.lane, ("Write",))])
    if isinstance(error, ClusterAuthorizationFailedError):
        return _refused(config, [("cluster", "", ("IdempotentWrite",))])
    named = error.args[0] if error.args and isinstance(error, TopicAuthorizationFailedError) else ""
    names = sorted(map(str, named)) if isinstance(named, set | frozenset | list | tuple) else [topic or str(named)]
    return _refused(config, [("topic", name, (operation,)) for name in names])


def _missing(
    described: Mapping[str, Mapping[str, Any]], rights: Mapping[str, Sequence[str]]
) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    for name, operations in rights.items():
        topic = described.get(name, {})
        if topic.get("error_code") == TopicAuthorizationFailedError.errno:
            yield "topic", name, ("Describe", *(operation for operation in operations if operation != "Describe"))
        elif allowed := topic.get("authorized_operations"):  # old brokers do not say
            names = {str(operation).replace("_", "").lower() for operation in allowed}
            if lacking := tuple(operation for operation in operations if operation.lower() not in names):
                yield "topic", name, lacking


def _is_refused(ask: Any, name: str, refusal: type[KafkaError]) -> bool:
    for _ in range(ATTEMPTS):
        try:
            ask([name])
        except refusal:
            return True
        except KafkaError as error:
            if not error.retriable:
                return False  # it is not there yet, or the broker is too old to be asked
            time.sleep(WAIT_S)
        else:
            return False
    return False


def _refused(config: KafkaConfig, missing: Sequence[tuple[str, str, tuple[str, ...]]]) -> AccessRefused:
    own = config.username if config.security_protocol.startswith("SASL") and not config.oauth_token_file else ""
    rights = ", ".join(
        f"no right to {_listed(operations)} {kind.replace('-', ' ')}{f' {name}' if name else ''}"
        for kind, name, operations in missing
    )
    commands = "\n".join(
        "  " + acl_command(config.bootstrap_servers, own, operations, kind, name) for kind, name, operations in missing
    )
    whom = f"user {own}" if own else "this client (NAME: as the cluster calls it, of a certificate its subject)"
    return AccessRefused(f"the cluster gives {whom} {rights}. These grant them:\n{commands}")


def _listed(operations: Sequence[str]) -> str:
    words = {"Read": "read", "Write": "write", "Describe": "describe", "DescribeConfigs": "read the options of"}
    return " and ".join(words.get(operation, operation) for operation in operations)
