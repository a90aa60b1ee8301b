#!/usr/bin/env bash
# Every part of a federation gets its own certificates and nobody else's keys.
set -euo pipefail
root=$1
export MUSTER=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
certs() { "$root/deploy/certs-entrypoint" "$work/authority" "$work/coordinator" "$work/clients" "$@" >/dev/null; }

certs --clients 2
[[ $(cd "$work/coordinator" && echo *) == "ca.pem coordinator.key coordinator.pem operator.key operator.pem" ]] \
  || fail "coordinator: $(ls "$work/coordinator")"
[[ $(cd "$work/clients" && echo *) == "ca.pem client-0.key client-0.pem client-1.key client-1.pem" ]] \
  || fail "clients: $(ls "$work/clients")"
[[ $(stat -c %a "$work/clients/client-1.key") == 600 ]] || fail "a key is readable by others"
before=$(sha256sum "$work/clients/client-0.pem")

certs --clients 3
[[ -e $work/clients/client-2.pem && $before == $(sha256sum "$work/clients/client-0.pem") ]] || fail "adding a client"
certs --revoke client-1
grep -q client-1 "$work/coordinator/revoked.txt" || fail "the coordinator does not learn of a revocation"
echo passed
