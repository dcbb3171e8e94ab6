"""Files to deploy with, tested as data: the metrics, commands and pages that they name exist."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import promql_parser
import pytest
import yaml

from curatord import errors
from daemon.cli import cli
from daemon.config import load_config, parse_config
from ops.catalogue import Metric
from ops.health import READY_STATUSES, Status
from ops.server import MetricsConfig
from tools.write_docs import METRICS_PAGE, metrics_page

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
PAGE = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
BOARDS = sorted((OPS / "grafana").glob("*.json"))
YAML_FILES = sorted([*OPS.rglob("*.yaml"), *OPS.rglob("*.yml")])
TOML_FILES = sorted(OPS.rglob("*.toml"))


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def exported() -> dict[str, tuple[str, ...]]:
    """Names that a scrape of one process holds, and their labels."""
    names: dict[str, tuple[str, ...]] = {}
    for metric in Metric:
        suffixes = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        for suffix in suffixes:
            names[metric.full_name + suffix] = (*metric.labels, *(("le",) if suffix == "_bucket" else ()))
    # Of the process, of Python, of Prometheus itself.
    return names | {
        "process_start_time_seconds": (),
        "process_resident_memory_bytes": (),
        "process_cpu_seconds_total": (),
        "up": (),
    }


TARGET_LABELS = {"job", "instance"}


def selectors(expression: str) -> Iterator[Any]:
    """Every selector of an expression. Raises ValueError if it is no PromQL."""
    tree = promql_parser.parse(expression.replace("$__rate_interval", "5m"))
    found: list[Any] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(tree, visit)
    yield from found


def check_expression(expression: str) -> None:
    names = exported()
    found = list(selectors(expression))
    assert found, expression
    for selector in found:
        assert selector.name in names, f"{selector.name} is not in the catalogue"
        for matcher in selector.matchers.matchers:
            known = {*names[selector.name], *TARGET_LABELS}
            assert matcher.name in known, f"{selector.name} has no label {matcher.name}"
    grouped = {label for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.split(r",\s*", group)}
    known = TARGET_LABELS.union(*(names[selector.name] for selector in found))
    assert grouped <= known, expression


def panels() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{path.stem}: {panel['title']}", panel)
        for path in BOARDS
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
    ]


def rules() -> list[dict[str, Any]]:
    return [rule for group in read_yaml(OPS / "prometheus" / "rules.yml")["groups"] for rule in group["rules"]]


def test_there_are_four_boards_with_one_question_each() -> None:
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in BOARDS]

    assert len(boards) == 4
    assert all(board["title"].endswith("?") for board in boards)
    assert len({board["uid"] for board in boards}) == 4


@pytest.mark.parametrize(("name", "panel"), panels(), ids=[name for name, _ in panels()])
def test_a_panel_asks_for_metrics_that_there_are(name: str, panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        check_expression(target["expr"])
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        kept = {*TARGET_LABELS, *re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", target["expr"])))}
        aggregates = re.search(r"\b(sum|max|min|topk|bottomk|quantile)\b", target["expr"])
        assert not shown or not aggregates or shown <= kept, f"{shown} is aggregated away"


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_panels_of_a_board_neither_overlap_nor_leave_it(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells


def test_every_metric_of_the_catalogue_is_on_a_board_or_in_a_rule() -> None:
    used = {
        re.sub("_(bucket|sum|count)$", "", selector.name)
        for expression in [target["expr"] for _, panel in panels() for target in panel["targets"]]
        + [rule["expr"] for rule in rules()]
        for selector in selectors(expression)
    }
    # Who looks for them knows where: in a table of targets, or beside another number.
    unseen = {"curatord_config_info", "curatord_flushes_total", "curatord_journal_cuts_total"}
    unseen |= {
        "curatord_read_bytes_total",
        "curatord_restores_total",
        "curatord_snapshots_total",
        "curatord_epochs_total",
    }

    assert {metric.full_name for metric in Metric} - used == unseen


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_metrics_that_there_are_and_has_a_runbook(rule: dict[str, Any]) -> None:
    check_expression(rule["expr"])
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"]
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "docs/operating.md"
    assert anchor in anchors()


def anchors() -> set[str]:
    return set(re.findall(r'<a id="([a-z0-9-]+)"></a>', PAGE))


def test_every_alert_is_described_and_nothing_else_is() -> None:
    assert set(re.findall(r"\bCuratord[A-Z]\w+", PAGE)) == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize(
    "folder", ["consumers", "curation", "daemon", "kernels", "ops", "packing", "state", "curatord"]
)
def test_messages_name_sections_of_the_runbook_that_there_are(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for anchor in re.findall(r"operating\.md#([a-z0-9-]+)", path.read_text(encoding="utf-8")):
            assert anchor in anchors(), f"{path.name} names #{anchor}"


def test_the_page_links_to_sections_that_there_are() -> None:
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", PAGE)) <= anchors()


def test_the_page_knows_every_exit_code_and_every_readiness() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {value.exit_code for value in classes if issubclass(value, errors.CuratordError)}
    for code in codes:
        assert re.search(rf"^\| {code} \|", PAGE, re.MULTILINE), f"exit code {code}"
    for status in Status:
        answer = 200 if status in READY_STATUSES else 503
        assert re.search(rf"^\| `{status.value}` \| {answer} \|", PAGE, re.MULTILINE), status


def test_the_page_tells_of_every_event_that_is_logged() -> None:
    code = (ROOT / "ops" / "events.py").read_text() + (ROOT / "ops" / "log.py").read_text()
    calls = r'(?:_log\.log\([\w "]+, |_log\.\w+\(|_often\([\w ]+, |levelno, logging\.WARNING\), )'
    logged = set(re.findall(calls + r'\s*"(\w+)"', code))
    _, _, table = PAGE.partition("| event | when |")
    described = {name for line in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"`(\w+)`", line)}

    assert len(logged) > 15
    assert logged == described


def test_the_page_of_metrics_is_the_one_that_the_catalogue_makes() -> None:
    assert METRICS_PAGE.read_text(encoding="utf-8") == metrics_page(), "run `make docs`"


def commands() -> list[tuple[str, list[str]]]:
    """Every `curatord` command line of the deployment files and of the page."""
    found: list[tuple[str, list[str]]] = []
    for unit in (OPS / "systemd").glob("*.service"):
        lines = re.findall(r"^Exec\w+=/opt/curatord/bin/curatord (.+)$", unit.read_text(encoding="utf-8"), re.M)
        found += [(unit.name, line.split()) for line in lines]
    dockerfile = (OPS / "docker" / "Dockerfile").read_text(encoding="utf-8")
    found += [("Dockerfile", json.loads(line)) for line in re.findall(r'^CMD (\["run".*\])$', dockerfile, re.M)]
    services = read_yaml(OPS / "docker" / "compose.yaml")["services"]
    found += [(name, service["command"]) for name, service in services.items() if "command" in service]
    pod = read_yaml(OPS / "kubernetes" / "statefulset.yaml")["spec"]["template"]["spec"]
    deployments = [read_yaml(path)["spec"]["template"]["spec"] for path in OPS.glob("kubernetes-*/deployment.yaml")]
    assert len(deployments) == 2
    workers = [container for deployment in deployments for container in deployment["containers"]]
    containers = [*pod["initContainers"], *pod["containers"], *workers]
    found += [(each["name"], each["args"]) for each in containers]
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S):
        for line in re.findall(r"^(?:sudo -u curatord )?curatord (.+)$", block, re.M):
            found.append(("page", line.split("  #")[0].split()))
    text = re.sub(r"^```.*?^```", "", PAGE, flags=re.M | re.S)
    found += [("page", line.split()) for line in re.findall(r"`curatord ([^`]+)`", text)]
    return found


@pytest.mark.parametrize(("where", "words"), commands(), ids=lambda value: " ".join(value))
def test_command_lines_are_of_commands_and_options_that_there_are(where: str, words: list[str]) -> None:
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest:
        name = rest.pop(0)
        assert name in command.commands, f"{where}: there is no `curatord {' '.join(words)}`"
        command = command.commands[name]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in rest if word.startswith("-")} <= known, f"{where}: {words}"


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_yaml_can_be_read(path: Path) -> None:
    assert list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", TOML_FILES, ids=lambda path: str(path.relative_to(OPS)))
def test_configurations_that_are_shipped_can_be_used(path: Path) -> None:
    config = load_config(path)

    assert config.metrics.address == ("0.0.0.0", 9464), "the port that probes, Prometheus and the image know"
    assert config.state.dir.startswith("/var/lib/curatord/")
    assert config.state.snapshot_dir == "/var/snapshots/curatord"


def test_the_page_shows_configuration_that_can_be_used() -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", PAGE, re.M | re.S)

    assert blocks
    for block in blocks:
        parse_config(tomllib.loads(block), "docs/operating.md")


def test_composed_services_depend_on_each_other_and_mount_what_there_is() -> None:
    composed = read_yaml(OPS / "docker" / "compose.yaml")
    services, volumes = composed["services"], composed["volumes"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= services.keys(), name
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (OPS / "docker" / source).exists() if source.startswith(".") else source in volumes, mount
    targets = read_yaml(OPS / "prometheus" / "prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert {target.split(":")[0] for target in targets} <= services.keys()
    assert {target.split(":")[1] for target in targets} == {"9464"}
    bootstrap = load_config(OPS / "docker" / "curatord.toml").kafka.bootstrap_servers
    assert f"INSIDE://{bootstrap}" in services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    states = [services[name]["volumes"][1] for name in ("curatord-a", "curatord-b")]
    assert len(set(states)) == 2, "each process has a state of its own"


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    dockerfile = (OPS / "docker" / "Dockerfile").read_text(encoding="utf-8")
    kept = (OPS / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    copied = [source for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.M) for source in line.split()[:-1]]

    assert {"curatord", "ops", "requirements.lock"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}\n" in kept


def test_the_pods_are_an_owner_and_a_standby_that_are_probed_where_they_answer() -> None:
    stateful = read_yaml(OPS / "kubernetes" / "statefulset.yaml")
    pod = stateful["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"] for each in [*pod["initContainers"], container] for mount in each["volumeMounts"]}
    volumes = {volume["name"] for volume in pod["volumes"]}
    claims = {claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]}

    assert stateful["spec"]["replicas"] == 2
    assert [container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")] == [
        "/readyz",
        "/livez",
        "/readyz",
    ]
    assert container["ports"] == [{"name": "http", "containerPort": 9464}]
    assert mounts == volumes | claims
    assert read_yaml(OPS / "kubernetes" / "disruption.yaml")["spec"]["maxUnavailable"] == 1
    listed = read_yaml(OPS / "kubernetes" / "kustomization.yaml")["resources"]
    files = {path.name for path in (OPS / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == files


def test_workers_are_pods_of_their_own_whose_number_follows_what_waits_for_them() -> None:
    deployment, scaling = (read_yaml(OPS / "kubernetes-workers" / f"{name}.yaml") for name in ("deployment", "scaling"))
    lane = load_config(OPS / "kubernetes" / "curatord.toml")
    kustomization = read_yaml(OPS / "kubernetes-workers" / "kustomization.yaml")
    of_lane = read_yaml(OPS / "kubernetes" / "kustomization.yaml")["labels"][0]["pairs"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (trigger,) = scaling["spec"]["triggers"]

    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    # The lane's service, its budget of disruptions and its StatefulSet would else count workers as their own.
    assert not of_lane.items() <= deployment["spec"]["selector"]["matchLabels"].items()
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert scaling["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert trigger["metadata"]["consumerGroup"] == lane.kafka.workers
    assert trigger["metadata"]["topic"] == lane.topics.documents
    assert trigger["metadata"]["bootstrapServers"] == lane.kafka.bootstrap_servers
    assert set(kustomization["resources"]) == {"../kubernetes", "deployment.yaml", "scaling.yaml"}


def test_scorers_are_pods_of_their_own_that_see_checkpoints_and_reference() -> None:
    deployment = read_yaml(OPS / "kubernetes-scorers" / "deployment.yaml")
    of_lane = read_yaml(OPS / "kubernetes" / "kustomization.yaml")["labels"][0]["pairs"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}

    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert not of_lane.items() <= deployment["spec"]["selector"]["matchLabels"].items()
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    assert mounts["checkpoints"] in container["args"]
    assert any(argument.startswith(mounts["reference"] + "/") for argument in container["args"])
    # Without a checkpoint it waits, which is no reason to start it again.
    assert container["startupProbe"]["httpGet"]["path"] == container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert pod["terminationGracePeriodSeconds"] > parse_config({}, "defaults").daemon.drain_timeout_s


def test_supervisors_wait_longer_than_a_drain_may_take_and_restart_what_does_not_move() -> None:
    drain_timeout_s = parse_config({}, "defaults").daemon.drain_timeout_s
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((OPS / "systemd" / "curatord.service").read_text(encoding="utf-8"))
    service = unit["Service"]
    pod = read_yaml(OPS / "kubernetes" / "statefulset.yaml")["spec"]["template"]["spec"]
    composed = read_yaml(OPS / "docker" / "compose.yaml")["services"]["curatord-a"]

    assert int(service["TimeoutStopSec"]) > drain_timeout_s
    assert pod["terminationGracePeriodSeconds"] > drain_timeout_s
    assert int(composed["stop_grace_period"].removesuffix("s")) > drain_timeout_s
    assert float(service["WatchdogSec"]) == MetricsConfig().max_batch_s
    assert service["Type"] == "notify"
    assert service["Restart"] == "on-failure"
    assert {int(code) for code in service["RestartPreventExitStatus"].split()} == {
        errors.StateError.exit_code,
        errors.ConfigError.exit_code,
    }


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", ["curatord.service", "curatord-prepare@.service", "curatord-score@.service"])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, name: str) -> None:
    unit = (OPS / "systemd" / name).read_text(encoding="utf-8")
    path = tmp_path / name.replace("@", "@1")
    path.write_text(unit.replace("/opt/curatord/bin/curatord", "/bin/true"))

    result = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True)

    assert (result.returncode, [line for line in result.stderr.splitlines() if "curatord" in line]) == (0, [])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_the_rules_fire_when_they_should() -> None:
    folder = OPS / "prometheus"

    subprocess.run(["promtool", "test", "rules", "rules_test.yml"], cwd=folder, check=True, capture_output=True)
