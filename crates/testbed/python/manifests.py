"""Checks Kubernetes manifests (YAML on stdin) against Kubernetes' own schemas, strictly, and prints the
objects as JSON. Objects of other APIs (monitoring.coreos.com) are only read.

manifests.py VERSION
"""

import json
import sys

import kubernetes_validate
import yaml

objects = [it for it in yaml.safe_load_all(sys.stdin) if it]
for it in objects:
    if "coreos.com" in it["apiVersion"]:
        continue
    try:
        kubernetes_validate.validate(it, sys.argv[1], strict=True)
    except kubernetes_validate.ValidationError as why:
        sys.exit(f"{it['kind']} {it['metadata']['name']}: {'.'.join(map(str, why.path))}: {why.message}")
print(json.dumps(objects))
