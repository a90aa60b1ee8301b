#!/usr/bin/env bash
# The federation of docker-compose, on loopback: it ends in the simulator's bits, and SIGTERM ends it cleanly with whole
# rounds committed and nobody left behind.
set -euo pipefail
root=$1
export MUSTER=$2
[[ -e /usr/share/datasets/fashion-mnist ]] || { echo "skipped: no dataset-fashion-mnist"; exit 77; }
work=$(mktemp -d)
pid=''
trap '[[ -z $pid ]] || kill -TERM "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; tail -n 5 "$work"/*/logs/*.log "$work"/*.log >&2 || true; exit 1; }
config=$root/examples/edge.yaml
field() { sed -n "s/.*\"$2\": *\"\{0,1\}\([^\",}]*\).*/\1/p" "$1/summary.json" | head -1; }

short=(--set federation.rounds=2 --set data.train_limit=1000)
MUSTER_OUT=$work/three "$root/scripts/loopback" 3 "$config" "${short[@]}" >"$work/three.log" 2>&1 || fail "loopback of three"
"$MUSTER" simulate "$config" "${short[@]}" --set data.clients=3 --quiet --out "$work/simulated" >"$work/simulated.log" 2>&1 \
  || fail "simulate"
[[ -n $(field "$work/simulated" model_sha256) ]] || fail "no model_sha256"
[[ $(field "$work/three/run" model_sha256) == $(field "$work/simulated" model_sha256) ]] || fail "other bits than the simulator's"

MUSTER_OUT=$work/ten "$root/scripts/loopback" 10 "$config" --set federation.rounds=100000 --set data.train_limit=2000 \
  >"$work/ten.log" 2>&1 &
pid=$!
until [[ -s $work/ten/run/rounds.jsonl ]]; do
  kill -0 "$pid" 2>/dev/null || fail "loopback of ten ended by itself"
  read -r -t 0.2 <> <(:) || true
done
kill -TERM "$pid"
wait "$pid" || fail "SIGTERM: exit code $?"
pid=''
rounds=$(wc -l <"$work/ten/run/rounds.jsonl")
[[ $(field "$work/ten/run" rounds) == "$rounds" ]] || fail "summary.json and rounds.jsonl differ"
grep -q '"accepted": *10' "$work/ten/run/rounds.jsonl" || fail "not all ten clients took part"
if pgrep -f "$work/ten" >/dev/null; then fail "processes were left behind"; fi

# Clients that all fail at once do not leave a coordinator that waits for them.
printf '#!/bin/sh\n[ "$1" != client ] || set -- "$@" --set training.batch_size=0\nexec "%s" "$@"\n' "$MUSTER" >"$work/failing"
chmod +x "$work/failing"
if MUSTER=$work/failing MUSTER_OUT=$work/none timeout 60 "$root/scripts/loopback" 2 "$config" "${short[@]}" \
  >"$work/none.log" 2>&1; then fail "loopback without clients succeeds"; fi
[[ $(grep -c 'client-.*batch_size: 0 is out of range' "$work/none.log") == 2 ]] || fail "loopback does not say why"
echo "passed: $rounds rounds committed"
