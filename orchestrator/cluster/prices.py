"""What machines cost, from a table with a date: a plan is made without asking anyone."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

HOURS_PER_MONTH = 730
"""As Amazon counts them."""

USD_PER_HOUR = "sleep-orchestrator/usd-per-hour"
"""Label of each node that is billed: what an hour of it costs at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """One hour of an instance type, on demand."""

    usd: float
    """List price of an hour, without its disk."""
    resources: Mapping[str, int]
    """CPUs and GPUs, under the names that Ray has for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceTable:
    """List prices of one region."""

    as_of: str
    """Month of the prices, ``YYYY-MM``."""
    region: str
    """Others differ: by up to a third in the regions of Europe."""
    gp3_usd_per_gb_month: float
    """Of a disk."""
    least_share_of_spot: float
    """Spot costs at least this share of the on-demand price, and hardly ever more than all of it."""
    instances: Mapping[str, Instance]
    """By instance type; others have no known price."""

    def disk_usd(self, gigabytes: float) -> float:
        """Return what an hour of a disk costs.

        >>> round(price_table().disk_usd(100), 5)
        0.01096
        """
        return gigabytes * self.gp3_usd_per_gb_month / HOURS_PER_MONTH

    def priced(self, prices: Mapping[str, float]) -> "PriceTable":
        """Return a table with other prices for some instance types."""
        given = {
            name: Instance(
                usd=usd, resources=self.instances[name].resources if name in self.instances else {}
            )
            for name, usd in prices.items()
        }
        return replace(self, instances={**self.instances, **given})

    def most_usd(self, node_config: Mapping[str, Any]) -> float | None:
        """Return what an hour of a machine costs at most, disks included; spot counts at the on-demand price.

        Parameters
        ----------
        node_config : mapping
            As a cluster file has it.

        Returns
        -------
        float or None
            None where the instance type has no known price.
        """
        instance = self.instances.get(node_config["InstanceType"])
        if instance is None:
            return None
        return instance.usd + self.disk_usd(
            sum(disk.get("VolumeSize", 8) for disk in _disks(node_config))
        )


def knows_disks(node_config: Mapping[str, Any]) -> bool:
    """Tell whether all disks of a machine are of the kind that the table prices: gp3 of a given size, without extras.

    A machine whose file names no disk has that of its image, whose size only Amazon knows.

    >>> knows_disks({"BlockDeviceMappings": [{"Ebs": {"VolumeType": "gp3", "VolumeSize": 100}}]})
    True
    >>> knows_disks({"BlockDeviceMappings": [{"Ebs": {"VolumeType": "io2", "VolumeSize": 100}}]})
    False
    >>> knows_disks({})
    False
    """
    disks = _disks(node_config)
    return bool(disks) and all(
        disk.get("VolumeType") == "gp3"
        and "VolumeSize" in disk
        and not disk.keys() & {"Iops", "Throughput"}
        for disk in disks
    )


def _disks(node_config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return those that are billed apart from the machine."""
    return [item["Ebs"] for item in node_config.get("BlockDeviceMappings", ()) if "Ebs" in item]


@functools.cache
def price_table() -> PriceTable:
    """Return the table that comes with this program."""
    data = json.loads((files("orchestrator.cluster") / "prices.json").read_text(encoding="utf-8"))
    instances = {
        name: Instance(
            usd=entry["usd"], resources={key: n for key, n in entry.items() if key != "usd"}
        )
        for name, entry in data["instances"].items()
    }
    return PriceTable(
        as_of=data["as_of"],
        region=data["region"],
        gp3_usd_per_gb_month=data["gp3_usd_per_gb_month"],
        least_share_of_spot=data["least_share_of_spot"],
        instances=instances,
    )
