"""Apache Kafka from Maven Central as subprocesses: one node in KRaft mode or several, no container engine needed."""

from __future__ import annotations

import atexit
import base64
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

KAFKA_VERSION = "4.1.1"
POM = Path(__file__).with_name("broker-pom.xml")
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
FETCH_TIMEOUT_S = 600  # 50 MB: 5 s on a good line
START_TIMEOUT_S = 60  # 3 s on an idle machine

JAVA = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
HEAP, HEAP_OF_THREE = ["-Xms256m", "-Xmx512m"], ["-Xms128m", "-Xmx320m"]

# Outside the range that the system takes ports of outgoing connections from (32768 and up on Linux): a client that
# keeps trying a port in that range while the broker is down can end up connected to itself, and hold the port.
PORTS = range(20_000, 32_000)

# The defaults for replicas are three, which one node never gathers; of several, two must have what is acknowledged.
# Timed-out transactions are looked for every second instead of every ten, a rebalance does not wait, and a broker
# that was killed may register again as soon as its former life counts as dead, 2 s instead of 9.
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id={node_id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxied_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={folder}/data
default.replication.factor={replicas}
min.insync.replicas={insync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=2
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={insync}
transaction.state.log.num.partitions=2
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={insync}
broker.session.timeout.ms={session_ms}
broker.heartbeat.interval.ms=400
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.backoff.ms=300
num.network.threads=2
num.io.threads=2
log.segment.bytes=67108864
"""

LOG4J2_PROPERTIES = """\
rootLogger.level=warn
rootLogger.appenderRef.o.ref=O
appender.o.type=Console
appender.o.name=O
appender.o.layout.type=PatternLayout
appender.o.layout.pattern=%d %p %c %m%n
"""

# The shell becomes java. What it leaves behind holds the other end of a pipe to this process, however this process
# ends: then it kills java and removes the folder. (A parent-death signal would do for kill -9 too, but it follows the
# thread that started the child, and tests restart brokers from threads.)
GUARDED = 'exec 3<&0; ( read -r _ <&3; kill -9 $$; sleep 0.5; rm -rf "$0" ) & exec "$@" 3<&- </dev/null'


SESSION_MS = 2000
KAFKAS_SESSION_MS = 9000  # as Kafka ships it


class NoBroker(Exception):
    """No broker can be had in this way; the message says why, and what to install."""


def new_cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Node:
    """A broker's place in its cluster: the only one, unless told otherwise."""

    number: int = 1
    controllers: tuple[int, ...] = field(default_factory=lambda: tuple(free_ports(1)))  # ports, node 1 first
    cluster_id: str = field(default_factory=new_cluster_id)
    session_ms: int = SESSION_MS

    def properties(self) -> dict[str, object]:
        """Settings that differ between nodes and clusters."""
        return {
            "node_id": self.number,
            "controller_port": self.controllers[self.number - 1],
            "voters": ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(self.controllers, 1)),
            "replicas": min(3, len(self.controllers)),
            "insync": min(2, len(self.controllers)),
            "session_ms": self.session_ms,
        }


class MavenBroker:
    """A broker that tests may kill and start again: same ports, same data.

    Clients that bootstrap from `proxied_bootstrap` are told of no other address: they need a proxy there, which passes
    on to `proxied_port` (`Proxy.before`).
    """

    def __init__(self, node: Node | None = None) -> None:
        """Starts it, if it is alone. Raises `NoBroker` if there is no java, or no jars and no way to get them."""
        self._jars = kafka_jars()
        self._process: subprocess.Popen[bytes] | None = None
        self.node = node or Node()
        self._heap = HEAP if len(self.node.controllers) == 1 else HEAP_OF_THREE
        self.folder = Path(tempfile.mkdtemp(prefix="curatord-kafka-"))
        atexit.register(self.close)
        try:
            self.port, self.proxied_port, self.proxy_port = free_ports(3)
            self.bootstrap = f"127.0.0.1:{self.port}"
            self.proxied_bootstrap = f"127.0.0.1:{self.proxy_port}"
            properties = SERVER_PROPERTIES.format(**vars(self), **self.node.properties())
            properties += self._more_properties(self.node.controllers[0])
            (self.folder / "server.properties").write_text(properties)
            (self.folder / "log4j2.properties").write_text(LOG4J2_PROPERTIES)
            self._format()
            if node is None:
                self.start()
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        """Lines that the broker printed, at level WARN."""
        path = self.folder / "broker.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Returns when it answers. Raises RuntimeError, with the end of its log, if it does not."""
        self.launch()
        self.await_answer()

    def launch(self) -> None:
        """Start it, and return at once: one of several answers only when more are there."""
        assert self._process is None, "the broker is running"
        command = self._java("kafka.Kafka", str(self.folder / "server.properties"))
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", GUARDED, str(self.folder), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which then close it
            )

    def await_answer(self) -> None:
        """Returns when it answers. Raises RuntimeError, with the end of its log, if it does not."""
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_tail = self.log[-3000:]
                self.stop()
                raise RuntimeError(f"the broker did not start:\n{log_tail}")
            time.sleep(0.1)

    def stop(self) -> None:
        """kill -9. Without effect if it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        process.stdin.close()

    def freeze(self) -> None:
        """It hangs: its connections stand, and nothing answers."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def wipe(self) -> None:
        """Its disk is replaced by an empty one. Only while it does not run."""
        assert self._process is None
        shutil.rmtree(self.folder / "data")
        self._format()

    def restart(self) -> None:
        """kill -9, and start again on the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """kill -9, and remove its folder. May be called twice."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def _more_properties(self, controller_port: int) -> str:
        """Of a special kind of broker; a property that is given twice counts as it is given last."""
        return ""

    def _format_arguments(self) -> list[str]:
        """Of a special kind of broker."""
        return []

    def _answers(self) -> bool:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        with KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=1000 * START_TIMEOUT_S) as admin:
            admin.describe_cluster()
        return True

    def _format(self) -> None:
        # With "=", because an id may begin with "-".
        arguments = ["format", f"--cluster-id={self.node.cluster_id}", "-c", str(self.folder / "server.properties")]
        arguments += self._format_arguments()
        command = self._java("kafka.tools.StorageTool", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the broker's storage could not be formatted:\n{done.stdout}{done.stderr}")

    def _java(self, main: str, *arguments: str) -> list[str]:
        folder = self.folder
        places = [
            f"-Djava.io.tmpdir={folder}",  # the compression libraries unpack themselves there
            f"-Dkafka.logs.dir={folder}",
            f"-Dlog4j2.configurationFile={folder}/log4j2.properties",
        ]
        return ["java", *self._heap, *JAVA, *places, "-cp", f"{self._jars}/*", main, *arguments]


class MavenCluster:
    """Several brokers, each a controller, too; three replicas of everything, two of which must acknowledge."""

    def __init__(self, count: int = 3, *, session_ms: int = SESSION_MS) -> None:
        """Starts them. Raises as `MavenBroker`."""
        controllers, cluster_id = tuple(free_ports(count)), new_cluster_id()
        self.brokers: list[MavenBroker] = []
        try:
            for number in range(1, count + 1):
                self.brokers.append(MavenBroker(Node(number, controllers, cluster_id, session_ms)))
            for broker in self.brokers:
                broker.launch()
            for broker in self.brokers:
                broker.await_answer()
        except BaseException:
            self.close()
            raise

    @property
    def bootstrap(self) -> str:
        """All addresses, also of those that are down."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    @property
    def running(self) -> str:
        """The addresses of those that run."""
        return ",".join(broker.bootstrap for broker in self.brokers if broker.is_running)

    def leader(self, topic: str, partition: int = 0) -> MavenBroker | None:
        """The leader of a partition, if it has one."""
        (described,) = self._ask(lambda admin: admin.describe_topics([topic]))
        leaders = {part["partition_index"]: part["leader_id"] for part in described["partitions"]}
        return self.brokers[leaders[partition] - 1] if leaders.get(partition, -1) > 0 else None

    def is_whole(self, topic: str) -> bool:
        """Whether all replicas of a topic are in sync."""
        (described,) = self._ask(lambda admin: admin.describe_topics([topic]))
        return all(len(part["isr_nodes"]) == len(part["replica_nodes"]) for part in described["partitions"])

    def controller(self) -> MavenBroker:
        """The leader of the quorum of controllers."""
        quorum = self._ask(lambda admin: admin.describe_metadata_quorum())
        return self.brokers[quorum["topics"][0]["partitions"][0]["leader_id"] - 1]

    def _ask(self, question: Callable[[KafkaAdminClient], Any]) -> Any:
        """An answer of any node that gives one: until a dead one is known to be, it may be asked."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                with KafkaAdminClient(bootstrap_servers=self.running.split(","), request_timeout_ms=2000) as admin:
                    return question(admin)
            except KafkaError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def close(self) -> None:
        """kill -9, and remove the folders."""
        for broker in self.brokers:
            broker.close()


def kafka_jars() -> Path:
    """The folder of jars, fetched by mvn the first time. Raises `NoBroker`."""
    if shutil.which("java") is None:
        raise NoBroker("a broker from Maven Central needs java 17 or newer: install a JRE")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "curatord"
    jars = cache / f"kafka-{KAFKA_VERSION}"
    if jars.is_dir():
        return jars
    if shutil.which("mvn") is None:
        raise NoBroker(f"a broker from Maven Central needs mvn, once, to fill {jars}: install maven")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kafka-", dir=cache, ignore_cleanup_errors=True) as unfinished:
        libs = Path(unfinished) / "libs"
        command = ["mvn", "-q", "-B", "-f", str(POM), f"-Dkafka.version={KAFKA_VERSION}", COPY_DEPENDENCIES]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={libs}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise NoBroker(f"mvn did not bring Kafka's jars within {FETCH_TIMEOUT_S} s") from error
        if done.returncode != 0 or not (libs / f"kafka_2.13-{KAFKA_VERSION}.jar").exists():
            raise NoBroker(f"mvn could not bring Kafka's jars:\n{(done.stdout + done.stderr)[-2000:]}")
        with contextlib.suppress(OSError):  # another run was faster: its jars are the same
            libs.rename(jars)
    return jars


def free_ports(count: int) -> list[int]:
    """Different ports that are free now, drawn at random: runs beside this one draw others."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            attempt = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                attempt.bind(("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise RuntimeError(f"no {count} free ports in {PORTS.start}-{PORTS.stop}")
