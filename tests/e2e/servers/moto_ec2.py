"""An endpoint that speaks the interfaces of EC2, IAM and SSM: ``moto_ec2.py -H HOST -p PORT``.

moto starts as many machines as are the least asked for, EC2 as many as the most; Ray asks for one at the least. And
EC2 may have no machine to give: of the types that the file in ``NO_CAPACITY`` lists, this one has none.
"""

import os
import sys
from pathlib import Path
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses.instances import InstanceResponse
from moto.server import main

_get_param = InstanceResponse._get_param
_run_instances = InstanceResponse.run_instances


def as_many_as_possible(self: Any, name: str, *arguments: Any, **more: Any) -> Any:
    return _get_param(self, "MaxCount" if name == "MinCount" else name, *arguments, **more)


def run_instances(self: Any) -> Any:
    wanted = self._get_param("InstanceType")
    none = os.environ.get("NO_CAPACITY")
    if none and Path(none).exists() and wanted in Path(none).read_text().split():
        raise EC2ClientError(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {wanted} capacity in the zones with support for '{wanted}'.",
        )
    return _run_instances(self)


for patch in (as_many_as_possible, run_instances):
    name = "_get_param" if patch is as_many_as_possible else patch.__name__
    setattr(InstanceResponse, name, patch)

if __name__ == "__main__":
    main(sys.argv[1:])
