#!/bin/sh
# Runs examples/edge-application, built from the installed package, as three clients of an installed coordinator.
#   edge_application.sh PREFIX VALVE_CLIENT EXAMPLE SCRATCH
set -eu
prefix=$1 client=$2 example=$3 scratch=$4
rm -rf "$scratch"
mkdir -p "$scratch"
cd "$scratch"
if ldd "$client" | grep -q torch; then
  echo "an edge application links LibTorch" >&2
  exit 1
fi
"$prefix/bin/muster" coordinator "$example/federation.yaml" --insecure --listen 127.0.0.1:0 --quiet --out run &
coordinator=$!
trap 'kill "$coordinator" 2>/dev/null || true' EXIT
until [ -s run/address ]; do
  kill -0 "$coordinator"
  sleep 0.1
done
for k in 0 1 2; do
  "$client" "$(cat run/address)" "$example/site-$k.csv" "site-$k" &
  clients="${clients:-} $!"
done
wait "$coordinator"
for pid in $clients; do wait "$pid"; done
grep -q '"client_trainings": *60' run/summary.json || { cat run/summary.json >&2; exit 1; }
grep -o '"accuracy": *[0-9.]*' run/summary.json | tail -1
