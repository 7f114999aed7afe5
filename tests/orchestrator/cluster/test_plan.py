"""Plans of cluster files: machines, money, doors."""

import json
import re
import textwrap
from pathlib import Path

import pytest

from orchestrator.cluster.plan import Plan, plan_cluster, plan_text
from orchestrator.cluster.prices import price_table
from orchestrator.config.cluster import load_cluster
from orchestrator.errors import ConfigError

AWS = Path(__file__).parents[3] / "cluster" / "aws.yaml"

# A hand-made bill. A month of a 100-GB gp3 disk costs 8 USD and has 730 hours.
DISK = 100 * 0.08 / 730
HEAD = 0.096 + DISK
T4, A10G = 0.526 + DISK, 1.006 + DISK


def plan_of(folder: Path, *changes: tuple[str, str]) -> Plan:
    text = AWS.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return plan_cluster(*load_cluster(path))


def test_the_shipped_file_costs_what_it_costs_by_hand(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    cost = plan.cost
    assert cost is not None
    assert cost.least_per_hour == pytest.approx(HEAD)
    # Four at most: two of the dearer kind, which has no more, and two of the other.
    assert cost.most_per_hour == pytest.approx(HEAD + 2 * A10G + 2 * T4)
    assert cost.until_ttl == pytest.approx(12 * (HEAD + 2 * A10G + 2 * T4))
    assert cost.until_idle == pytest.approx((HEAD + 2 * A10G + 2 * T4) / 6)
    head, small, large = plan.nodes
    assert (head.fewest, head.most, head.spot, dict(head.resources)) == (1, 1, False, {"CPU": 0})
    assert (small.fewest, small.most, small.spot) == (0, 4, True)
    assert (large.most, dict(large.resources)) == (2, {"CPU": 4, "GPU": 1})
    # Amazon advertises up to 90 % off.
    assert (small.least_usd, small.most_usd) == pytest.approx((0.0526 + DISK, T4))
    assert plan.findings == ()


def test_workers_that_are_always_there_are_in_the_least(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ("    max_workers: 4\n", "    min_workers: 1\n"))
    assert plan.cost is not None
    assert plan.cost.least_per_hour == pytest.approx(HEAD + 0.0526 + DISK)


def test_a_sum_with_an_unknown_price_is_unknown(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ("g5.xlarge", "g6.xlarge"))
    cost = plan.cost
    assert cost is not None
    assert plan.without_price == ("g6.xlarge",)
    assert cost.least_per_hour == pytest.approx(HEAD)  # there is none of them while nothing runs
    assert (cost.most_per_hour, cost.until_idle, cost.until_ttl) == (None, None, None)
    data = json.loads(json.dumps(plan.as_data()))["cost"]
    assert [data[key] for key in ("most_per_hour", "until_idle", "until_ttl")] == [None] * 3
    text = plan_text(plan)
    assert "$0.11/h while nothing runs, unknown with 4 workers; unknown from the last" in text
    assert "unknown until the time to live of 12 h" in text
    assert "at most $" not in text
    assert "price unknown" in text


def test_a_head_or_a_worker_that_is_always_there_without_a_price(tmp_path: Path) -> None:
    for changes in (
        [("m6i.large", "m7i.large")],
        [("g5.xlarge", "m7i.large"), ("    max_workers: 2", "    min_workers: 1")],
    ):
        plan = plan_of(tmp_path, *changes)
        assert plan.cost is not None
        assert plan.cost.least_per_hour is None
        assert "unknown while nothing runs" in plan_text(plan)
        assert "$" not in plan_text(plan).partition("cost ")[2]


def test_the_lines_that_are_missing_can_be_copied(tmp_path: Path) -> None:
    """Not as they are: no price that nobody has looked up enters a sum."""
    unpriced = ("m6i.large", "m7i.large"), ("g5.xlarge", "g6.xlarge")
    _, _, advice = plan_text(plan_of(tmp_path, *unpriced)).partition("cluster file:\n")
    lines, _, otherwise = advice.partition("           or ")
    assert otherwise.startswith("launch with --accept-unknown-cost\n")
    section = textwrap.dedent(lines)
    assert section.startswith("orchestrator:\n  prices:\n")
    with pytest.raises(ConfigError, match=r'g6\.xlarge is "USD_PER_HOUR": must be a number'):
        plan_of(tmp_path, *unpriced, ("orchestrator:\n", section))
    section = section.replace("USD_PER_HOUR", "2.5")
    plan = plan_of(tmp_path, *unpriced, ("orchestrator:\n", section))
    assert plan.without_price == ()
    assert plan.cost is not None
    assert plan.cost.least_per_hour == pytest.approx(2.5 + DISK)
    assert plan.cost.most_per_hour == pytest.approx(3 * (2.5 + DISK) + 2 * T4)
    assert "unknown" not in plan_text(plan)


def test_a_kind_that_can_have_no_machine_needs_no_price(tmp_path: Path) -> None:
    kind = ("g5.xlarge", "g6.xlarge"), ("    max_workers: 2", "    max_workers: 0")
    plan = plan_of(tmp_path, *kind)
    assert plan.cost is not None
    assert plan.without_price == ()
    assert plan.cost.most_per_hour == pytest.approx(HEAD + 4 * T4)
    none_at_all = plan_of(tmp_path, kind[0], ("max_workers: 4 # at", "max_workers: 0 # at"))
    assert none_at_all.cost is not None
    assert none_at_all.cost.most_per_hour == pytest.approx(HEAD)


def test_machines_of_the_heads_kind_that_are_workers_cost_too(tmp_path: Path) -> None:
    """Ray counts the head among the fewest of its kind, and not among the most."""
    of_head = "resources: { CPU: 0 } # no trial runs there\n    "
    plan = plan_of(
        tmp_path,
        (of_head + "max_workers: 0", of_head + "min_workers: 2\n    max_workers: 3"),
        ("m6i.large", "m6i.4xlarge"),
    )
    head_usd = 0.768 + DISK
    assert (plan.nodes[0].fewest, plan.nodes[0].most) == (2, 4)
    assert plan.cost is not None
    assert plan.cost.least_per_hour == pytest.approx(2 * head_usd)
    # Four workers at most, the dearest first: two A10G, and two of the head's kind.
    assert plan.cost.most_per_hour == pytest.approx(3 * head_usd + 2 * A10G)
    assert "head       2 to 4  m6i.4xlarge" in plan_text(plan)


def test_a_kind_that_stays_for_longer_when_idle_costs_for_longer(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ("    max_workers: 2", "    idle_timeout_s: 7200\n    max_workers: 2"))
    assert plan.cost is not None
    assert plan.cost.most_per_hour is not None
    assert plan.cost.until_idle == pytest.approx(2 * plan.cost.most_per_hour)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("VolumeType: gp3", "VolumeType: io2, Iops: 4000"),
        ("VolumeType: gp3", "VolumeType: gp3, Throughput: 500"),
        (", VolumeType: gp3", ""),
        ("VolumeSize: 100, ", ""),
        ("Ebs: { VolumeSize: 100, VolumeType: gp3, Encrypted: true, DeleteOnTermination: true }", "NoDevice: ''"),
    ],
)  # fmt: skip
def test_disks_that_may_cost_more_are_said(old: str, new: str, tmp_path: Path) -> None:
    assert "may cost more" not in plan_text(plan_of(tmp_path))
    changed = plan_of(tmp_path, (old, new))
    assert changed.cost is not None
    assert changed.cost.dearer_disks == ("head", "small-gpu", "large-gpu")
    assert "disks of head, small-gpu, large-gpu may cost more" in plan_text(changed)


def test_the_text_dates_its_prices_and_names_their_region(tmp_path: Path) -> None:
    text = plan_text(plan_of(tmp_path, ("us-east-1", "eu-central-1")))
    table = price_table()
    assert f"list prices of {table.as_of} in us-east-1" in text
    assert "eu-central-1 has other prices" in text
    assert "at most $" not in text  # prices of another region are no bound
    assert re.search(r"about \$\d+\.\d\d/h with 4 workers", text)
    assert "at most $" in plan_text(plan_of(tmp_path))
    assert "$0.06 to $0.54/h each" in text


def test_known_prices_say_what_the_machines_have() -> None:
    for name, instance in price_table().instances.items():
        assert instance.usd > 0
        assert instance.resources["CPU"] >= 2
        assert ("GPU" in instance.resources) == name.startswith("g")


OPEN = """\
  security_group:
    GroupName: ours
    IpPermissions:
      - { FromPort: 8265, ToPort: 8265, IpProtocol: tcp, IpRanges: [{ CidrIp: 0.0.0.0/0 }] }
      - { FromPort: 22, ToPort: 22, IpProtocol: tcp, IpRanges: [{ CidrIp: 198.51.100.7/32 }] }
      - { FromPort: 22, ToPort: 22, IpProtocol: tcp, Ipv6Ranges: [{ CidrIpv6: "::/0" }] }
"""
START = "head_start_ray_commands: [{!r}]\ncluster_name"


@pytest.mark.parametrize(
    ("old", "new", "refused", "problem"),
    [
        ("HttpTokens: required", "HttpTokens: optional", True, "HttpTokens is not 'required'"),
        ("auth:\n", OPEN + "auth:\n", True, "Ray makes this group with port 22 open to 0.0.0.0/0"),
        ("auth:\n", OPEN + "auth:\n", True, "opens ports 8265 to 8265 to the whole internet"),
        ("auth:\n", OPEN + "auth:\n", True, "opens ports 22 to 22 to the whole internet"),
        ("      IamInstanceProfile: { Name: sleep-orchestrator-head }", "", True, "Ray would give the head all of EC2"),
        ("      IamInstanceProfile: { Name: sleep-orchestrator-worker }", "", False, "cannot reach the store"),
        ("ssh_from: caller", "ssh_from: 0.0.0.0/0", True, "ssh_from is 0.0.0.0/0, the whole internet"),
        ("cluster_name: sleep-gpu", "cluster_name: lab", True, "whose name begins with sleep-, so that idle workers"),
        ("SpotInstanceType: one-time", "SpotInstanceType: persistent", True, "Amazon starts another machine whenever"),
        ("Encrypted: true", "Encrypted: false", False, "a disk is not Encrypted: true"),
        ("DeleteOnTermination: true", "DeleteOnTermination: false", False, "is billed when the machine is gone"),
        ("  ttl_hours: 12", "", False, "a forgotten head is billed until someone ends it"),
        ("idle_timeout_minutes: 10", "", False, "no idle_timeout_minutes: 5 is taken"),
        ("  store: s3://my-laboratory/sleep", "", False, "no store in section orchestrator"),
        ("  type: aws\n", "  type: aws\n  cache_stopped_nodes: true\n", False, "their disks stay billed"),
        ("cluster_name", START.format("ray start --head --dashboard-host=0.0.0.0 --autoscaling-config=x"), True,
         "--dashboard-host=0.0.0.0 publishes the job server"),
        ("cluster_name", START.format("ray start --head --autoscaling-config=x"), True, "Ray's default is 0.0.0.0"),
        ("cluster_name", START.format("ray start --head --dashboard-host=127.0.0.1"), True, "no worker is ever launch"),
        ("cluster_name", START.format("echo"), True, "never runs 'ray start'"),
    ],
)  # fmt: skip
def test_a_careless_file_is_remarked_on(
    old: str, new: str, refused: bool, problem: str, tmp_path: Path
) -> None:
    plan = plan_of(tmp_path, (old, new))
    found = [finding for finding in plan.findings if problem in finding.problem]
    assert found, plan.findings
    assert {finding.refused for finding in found} == {refused}
    assert plan.is_refused or not refused
    assert found[0].where.startswith(f"{tmp_path}/c.yaml:")
    assert problem in plan_text(plan)


def test_a_rule_for_one_address_is_not_remarked_on(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ("auth:\n", OPEN + "auth:\n"))
    assert sum("whole internet" in finding.problem for finding in plan.findings) == 2


def test_on_premises_a_stop_of_everything_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "cluster_name: lab\nprovider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2]}\n"
        "auth: {ssh_user: sleep}\nworker_start_ray_commands: [ray stop, ray start --address=x]\n",
        encoding="utf-8",
    )
    plan = plan_cluster(*load_cluster(path))
    assert (plan.nodes, plan.cost) == ((), None)
    (finding,) = plan.findings
    assert finding.refused
    assert finding.where == f"{path}:4:29"
    assert "ends every Ray on that machine" in finding.problem
