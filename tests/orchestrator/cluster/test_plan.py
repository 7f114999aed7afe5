"""Plans of cluster files: machines, money, doors."""

from pathlib import Path

import pytest

from orchestrator.cluster.plan import Plan, plan_cluster, plan_text
from orchestrator.cluster.prices import price_table
from orchestrator.config.cluster import load_cluster

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
    path.write_text(text)
    return plan_cluster(*load_cluster(path))


def test_the_shipped_file_costs_what_it_costs_by_hand(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    cost = plan.cost
    assert cost is not None
    assert cost.least_per_hour == pytest.approx(HEAD)
    # Four at most: two of the dearer kind, which has no more, and two of the other.
    assert cost.most_per_hour == pytest.approx(HEAD + 2 * A10G + 2 * T4)
    assert cost.until_ttl == pytest.approx(12 * cost.most_per_hour)
    assert cost.until_idle == pytest.approx(cost.most_per_hour / 6)
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


def test_an_unknown_price_is_said_and_not_summed(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ("g5.xlarge", "g6.xlarge"))
    assert plan.cost is not None
    assert plan.cost.without_price == ("g6.xlarge",)
    assert plan.cost.most_per_hour == pytest.approx(HEAD + 4 * T4)
    text = plan_text(plan)
    assert "not in the sums: g6.xlarge, whose price is unknown" in text
    assert "price unknown" in text


def test_the_text_dates_its_prices_and_names_their_region(tmp_path: Path) -> None:
    text = plan_text(plan_of(tmp_path, ("us-east-1", "eu-central-1")))
    table = price_table()
    assert f"list prices of {table.as_of} in us-east-1" in text
    assert "eu-central-1 has other prices" in text
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
        "auth: {ssh_user: sleep}\nworker_start_ray_commands: [ray stop, ray start --address=x]\n"
    )
    plan = plan_cluster(*load_cluster(path))
    assert (plan.nodes, plan.cost) == ((), None)
    (finding,) = plan.findings
    assert finding.refused
    assert finding.where == f"{path}:4:29"
    assert "ends every Ray on that machine" in finding.problem
