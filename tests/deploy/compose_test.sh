#!/usr/bin/env bash
# docker-compose.yml is valid, with and without its profile, and every file it mounts is there.
set -euo pipefail
cd "$1"
fail() { echo "FAILED: $*" >&2; exit 1; }
command -v docker-compose >/dev/null || { echo "skipped: no docker-compose"; exit 77; }
docker-compose config --quiet
docker-compose --profile edge config --quiet
services=$(docker-compose --profile edge config --services | sort | xargs)
[[ $services == "certs client coordinator edge-client grafana prometheus" ]] || fail "services: $services"
twenty=$(MUSTER_CLIENTS=20 docker-compose config)
[[ $twenty == *data.clients=20* && $twenty != *data.clients=10* ]] || fail "MUSTER_CLIENTS is not passed on"
docker-compose --profile edge config | sed -n "s|^ *- \($PWD/[^:]*\):.*|\1|p" | sort -u | while read -r mounted; do
  [[ -e $mounted ]] || fail "$mounted is mounted and not there"
done
# What the images copy is there, too.
sed -n 's/^COPY \(deploy[^/].*\|deploy\/.*\|examples\) .*/\1/p' deploy/Dockerfile | tr ' ' '\n' | while read -r copied; do
  [[ -e $copied ]] || fail "the Dockerfile copies $copied, which is not there"
done
echo passed
