#!/usr/bin/env bash
# Prometheus takes the configuration and the rules, and the rules do what their tests say.
set -euo pipefail
command -v promtool >/dev/null || { echo "skipped: no promtool"; exit 77; }
cd "$1/deploy/prometheus"
promtool check config prometheus.yml
promtool check config compose.yml
promtool check rules rules/*.yml
promtool test rules tests/*.yml
