#!/usr/bin/env bash
# Clients that are all started alike take different numbers, and a number that became free is taken again.
set -euo pipefail
root=$1
work=$(mktemp -d)
trap 'exec 8>&- ; wait; rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

mkdir "$work/certs"
touch "$work/certs/ca.pem" "$work"/certs/client-{0,1,2,3}.pem
mkfifo "$work/numbers" "$work/alive"
# Stands for muster: says its number, then lives until nobody holds the other end of `alive`.
cat >"$work/muster" <<'STUB'
#!/usr/bin/env bash
[[ $1 == client && $2 == fed.yaml && $3 == --client && $9 == --insecure ]] || exit 9
echo "$4 $$" >&7
read -r <&6 || true
STUB
chmod +x "$work/muster"
exec 8<>"$work/alive" 7<>"$work/numbers"
start() {
  MUSTER=$work/muster MUSTER_CERTS=$work/certs MUSTER_STATE=$work/state \
    "$root/deploy/client-entrypoint" fed.yaml --insecure 6<"$work/alive" 8>&- &
}
for _ in 1 2 3 4; do start; done
declare -A pids=()
for _ in 1 2 3 4; do
  read -r -t 60 number pid <&7 || fail "fewer than four clients started"
  [[ -z ${pids[$number]:-} ]] || fail "two clients took number $number"
  pids[$number]=$pid
done
[[ "$(printf '%s\n' "${!pids[@]}" | sort | xargs)" == "0 1 2 3" ]] || fail "numbers: ${!pids[*]}"

start
if wait $!; then fail "a fifth client found a number although there are four certificates"; fi

kill -KILL "${pids[2]}"
while kill -0 "${pids[2]}" 2>/dev/null; do wait "${pids[2]}" || true; done
start
read -r -t 60 number pid <&7 || fail "no client started"
[[ $number == 2 ]] || fail "the free number is 2, and $number was taken"

# Links go round by number; a line that is not a link is refused.
shaped() { MUSTER_TC="echo" "$root/deploy/netem/shape" "$@"; }
links=$(grep -cvE '^[[:space:]]*(#|$)' "$root/deploy/netem/links.txt")
for ((i = 0; i < links; ++i)); do
  shaped "$root/deploy/netem/links.txt" "$i" | grep -q 'netem delay [0-9.]*ms [0-9.]*ms distribution normal loss [0-9.]*% rate' \
    || fail "link $i"
done
[[ $(shaped "$root/deploy/netem/links.txt" "$links" | tail -1) == $(shaped "$root/deploy/netem/links.txt" 0 | tail -1) ]] \
  || fail "links do not go round"
echo 'lte 45ms; reboot' >"$work/links.txt"
if shaped "$work/links.txt" 0 2>/dev/null; then fail "a malformed link was taken"; fi
echo passed
