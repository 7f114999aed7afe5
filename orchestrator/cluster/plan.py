"""What a cluster file comes to: which machines, at what price, and what is wrong with its doors. Asks nobody."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.cluster.prices import PriceTable, knows_disks, price_table
from orchestrator.cluster.security import Finding, findings
from orchestrator.config.cluster import AwsProvider, ClusterFile, NodeType
from orchestrator.config.yaml_source import YamlSource
from orchestrator.telemetry.growth import Growth


@dataclass(frozen=True, kw_only=True, slots=True)
class NodePlan:
    """Machines of one kind; of the head's, the head is one of them."""

    name: str
    fewest: int
    most: int
    instance_type: str
    spot: bool
    resources: Mapping[str, int]
    """Of each; empty where neither the file nor the price table says them."""
    least_usd: float | None
    """An hour of one, its disks included; None where the table has no price."""
    most_usd: float | None
    """The same at most: spot counts at the on-demand price."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """List prices, in USD; traffic and S3 are not in them. A sum that a machine without a price enters is None."""

    least_per_hour: float | None
    """While nothing runs: head, and the fewest workers."""
    most_per_hour: float | None
    """With as many workers as there may be, the dearest kinds first."""
    until_idle: float | None
    """From the end of the last trial until the idle timeout has ended the workers, at most."""
    until_ttl: float | None
    """From launch until the time to live has ended all machines, at most; None without one, too."""
    prices_as_of: str
    prices_of_region: str
    without_price: tuple[str, ...]
    """Instance types of machines that there may be, and that have no price."""
    dearer_disks: tuple[str, ...]
    """Kinds of machines that there may be, and whose disks may cost more than is in the sums."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What launching a file would do."""

    cluster_name: str
    provider: str
    region: str | None
    nodes: tuple[NodePlan, ...]
    """The head first; none where the machines are there already."""
    max_workers: int
    idle_timeout_minutes: float
    ttl_hours: float | None
    store: str | None
    cost: Cost | None
    """None where the machines are there already."""
    findings: tuple[Finding, ...]
    """About safety and limits, in the order of the file."""

    @property
    def is_refused(self) -> bool:
        """Whether the cluster would be open to others."""
        return any(finding.refused for finding in self.findings)

    @property
    def without_price(self) -> tuple[str, ...]:
        """Instance types without whose price nobody knows what the cluster costs at most."""
        return self.cost.without_price if self.cost else ()

    def as_data(self) -> dict[str, Any]:
        """Return the plan as JSON has it."""
        return asdict(self)


def plan_cluster(cluster: ClusterFile, source: YamlSource) -> Plan:
    """Work out what launching a cluster file would do."""
    provider, options = cluster.provider, cluster.orchestrator
    nodes: tuple[NodePlan, ...] = ()
    cost = None
    if isinstance(provider, AwsProvider):
        table = price_table().priced(options.prices)
        head_first = sorted(cluster.available_node_types, key=lambda n: n != cluster.head_node_type)
        nodes = tuple(_node_plan(name, cluster, table) for name in head_first)
        cost = _cost(nodes, cluster, table)
    return Plan(
        cluster_name=cluster.cluster_name,
        provider=provider.type,
        region=provider.region if isinstance(provider, AwsProvider) else None,
        nodes=nodes,
        max_workers=cluster.max_workers,
        idle_timeout_minutes=cluster.idle_timeout_minutes,
        ttl_hours=options.ttl_hours,
        store=options.store,
        cost=cost,
        findings=tuple(findings(cluster, source)),
    )


def growth_of(cluster: ClusterFile) -> Growth | None:
    """Return what the autoscaler may bring a cluster to; None where the machines are there already."""
    if not isinstance(cluster.provider, AwsProvider) or cluster.head is None:
        return None
    instances = price_table().instances

    def has(kind: NodeType, what: str) -> float:
        # As Ray does: what the file says, and what the instance type has besides.
        instance = instances.get(kind.node_config["InstanceType"])
        unknown = math.inf if instance is None else instance.resources.get(what, 0)
        return float(kind.resources.get(what, unknown))

    total, largest = {}, {}
    for what in ("CPU", "GPU"):
        workers = [
            has(kind, what)
            for name, kind in cluster.available_node_types.items()
            for _ in range(cluster.most(name))
        ]
        together = sorted(workers, reverse=True)[: cluster.max_workers]
        total[what] = has(cluster.head, what) + sum(together)
        largest[what] = max([has(cluster.head, what), *together])
    return Growth(total=total, largest=largest)


def _node_plan(name: str, cluster: ClusterFile, table: PriceTable) -> NodePlan:
    kind = cluster.available_node_types[name]
    config = kind.node_config
    spot = config.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    instance = table.instances.get(config["InstanceType"])
    most_usd = table.most_usd(config)
    n_heads = int(name == cluster.head_node_type)
    return NodePlan(
        name=name,
        fewest=n_heads + cluster.fewest(name),
        most=n_heads + cluster.most(name),
        instance_type=config["InstanceType"],
        spot=spot,
        resources={**(instance.resources if instance else {}), **kind.resources},
        least_usd=most_usd - (1 - table.least_share_of_spot) * instance.usd
        if spot and instance is not None and most_usd is not None
        else most_usd,
        most_usd=most_usd,
    )


def _cost(nodes: tuple[NodePlan, ...], cluster: ClusterFile, table: PriceTable) -> Cost:
    # A price that nobody knows counts as infinite, which leaves no sum that it enters finite.
    head = nodes[0]
    workers = [_or_inf(n.most_usd) for n in nodes for _ in range(n.most - (n is head))]
    least = sum(_or_inf(n.least_usd) for n in nodes for _ in range(n.fewest))
    most = _or_inf(head.most_usd) + sum(sorted(workers, reverse=True)[: cluster.max_workers])
    ttl_hours = cluster.orchestrator.ttl_hours
    return Cost(
        least_per_hour=_or_none(least),
        most_per_hour=_or_none(most),
        until_idle=_or_none(most * _idle_hours(cluster)),
        until_ttl=None if ttl_hours is None else _or_none(most * ttl_hours),
        prices_as_of=table.as_of,
        prices_of_region=table.region,
        without_price=tuple(
            sorted({n.instance_type for n in nodes if n.most and n.most_usd is None})
        ),
        dearer_disks=tuple(
            node.name
            for node in nodes
            if node.most and not knows_disks(cluster.available_node_types[node.name].node_config)
        ),
    )


def _or_inf(usd: float | None) -> float:
    return math.inf if usd is None else usd


def _or_none(usd: float) -> float | None:
    return usd if math.isfinite(usd) else None


def _idle_hours(cluster: ClusterFile) -> float:
    """Return how long an idle worker stays at most: a kind may have a timeout of its own."""
    timeouts = [
        60 * cluster.idle_timeout_minutes if kind.idle_timeout_s is None else kind.idle_timeout_s
        for name, kind in cluster.available_node_types.items()
        if cluster.most(name)
    ]
    return max(timeouts, default=60 * cluster.idle_timeout_minutes) / 3600


def plan_text(plan: Plan) -> str:
    """Return a plan as a person reads it."""
    where = f" in {plan.region}" if plan.region else ""
    lines = [f"cluster    {plan.cluster_name}: provider {plan.provider}{where}"]
    lines += _columns(plan.nodes)
    if plan.nodes:
        lines.append(
            f"limits     {plan.max_workers} workers; one that is idle ends after {plan.idle_timeout_minutes:g} min; "
            + (f"all end after {plan.ttl_hours:g} h" if plan.ttl_hours else "no time to live")
        )
    if plan.cost:
        lines += _cost_lines(plan.cost, plan)
    if plan.store:
        lines.append(f"store      {plan.store}")
    for finding in plan.findings:
        lines.append(
            f"{'refused' if finding.refused else 'note':<10} {finding.where}: {finding.problem}"
        )
    return "\n".join(lines)


def _columns(nodes: Iterable[NodePlan]) -> list[str]:
    rows = []
    for node in nodes:
        count = f"{node.most}" if node.fewest == node.most else f"{node.fewest} to {node.most}"
        market = "spot" if node.spot else "on demand"
        has = ", ".join(f"{n} {name}" for name, n in node.resources.items())
        if node.least_usd is None or node.most_usd is None:
            price = "price unknown"
        elif node.spot:
            price = f"${node.least_usd:.2f} to ${node.most_usd:.2f}/h each"
        else:
            price = f"${node.most_usd:.2f}/h"
        rows.append((node.name, count, node.instance_type, market, has, price))
    widths = [max(len(row[i]) for row in rows) for i in range(6)] if rows else []
    return [
        "machines   "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cost_lines(cost: Cost, plan: Plan) -> list[str]:
    bound = "at most" if plan.region == cost.prices_of_region else "about"

    def said(usd: float | None, per: str = "") -> str:
        return "unknown" if usd is None else f"{bound} ${usd:.2f}{per}"

    least = "unknown" if cost.least_per_hour is None else f"${cost.least_per_hour:.2f}/h"
    lines = [
        f"cost       {least} while nothing runs, {said(cost.most_per_hour, '/h')} with "
        f"{plan.max_workers} workers; {said(cost.until_idle)} from the last trial to the idle timeout"
    ]
    if plan.ttl_hours is not None:
        lines.append(
            f"           {said(cost.until_ttl)} until the time to live of {plan.ttl_hours:g} h ends it"
        )
    lines.append(
        f"           list prices of {cost.prices_as_of} in {cost.prices_of_region}, spot at most at the on-demand "
        "price; without traffic and S3"
    )
    if plan.region != cost.prices_of_region:
        lines.append(f"           {plan.region} has other prices: in Europe up to a third more")
    if cost.dearer_disks:
        lines.append(
            f"           disks of {', '.join(cost.dearer_disks)} may cost more: all are counted as gp3, and those "
            "without a size as small ones"
        )
    if cost.without_price:
        lines += [
            "           no price is known of some machines; give what an hour of them costs in the cluster file:",
            "             orchestrator:",
            "               prices:",
            *(f"                 {name}: USD_PER_HOUR" for name in cost.without_price),
            "           or launch with --accept-unknown-cost",
        ]
    return lines
