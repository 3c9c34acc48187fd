"""A Ray cluster of two raylets with one CPU each on this machine; run as a program by the tests.

    python two_node_cluster.py DASHBOARD_PORT AGENT_PORT

Prints one line of JSON, {"address", "raylet"}: HOST:PORT, and the process id of the second node's
raylet. Lives until its standard input ends.
"""

import json
import os
import sys

from ray.cluster_utils import Cluster

QUICK_TO_NOTICE = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
}

if __name__ == "__main__":
    head = {
        "include_dashboard": True,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": int(sys.argv[1]),
        "dashboard_agent_listen_port": int(sys.argv[2]),
        "_system_config": QUICK_TO_NOTICE,
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    # A folder of its own, as on another machine: nodes unpack a job's working folder over and over.
    second = cluster.add_node(temp_dir=os.environ["RAY_TMPDIR"] + "/2")
    raylet = second.all_processes["raylet"][0].process.pid
    print(json.dumps({"address": cluster.address, "raylet": raylet}), flush=True)
    sys.stdin.read()
