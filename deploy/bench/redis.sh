# A planned move of Redis by its own command alone, and of the clients behind HAProxy where there is a route: what muster is measured against.
cli() { port=$1; shift; redis-cli --user "$REDIS_USER" -h 127.0.0.1 -p "$port" "$@"; }

sentinel() { port=$1; shift; env -u REDISCLI_AUTH redis-cli -h 127.0.0.1 -p "$port" SENTINEL "$@"; }

first=${SENTINEL_PORTS%% *}
if [ -n "$first" ]; then
  # A Sentinel that last saw the replica as the master that it was before would undo the failover.
  for port in $SENTINEL_PORTS; do
    until sentinel "$port" REPLICAS "$MASTER_NAME" | grep -x -A 1 role-reported | grep -q -x slave; do sleep 0.1; done
  done
  # Refused for a while after the last one.
  until [ "$(sentinel "$first" FAILOVER "$MASTER_NAME")" = OK ]; do sleep 0.1; done
else
  [ "$(cli "$FROM_PORT" FAILOVER TO 127.0.0.1 "$TO_PORT" TIMEOUT 10000)" = OK ]
fi
until [ "$(cli "$TO_PORT" ROLE | head -n 1)" = master ]; do sleep 0.01; done
if [ -n "$first" ]; then
  # Clients are sent there once the Sentinel has seen the role too. Sentinels cut them off the old master only when they make a replica
  # of it, some ten seconds later: until then it takes writes, and loses them. Nobody's clients need wait so long for this measure.
  until [ "$(sentinel "$first" GET-MASTER-ADDR-BY-NAME "$MASTER_NAME" | tail -n 1)" = "$TO_PORT" ]; do sleep 0.01; done
  cli "$FROM_PORT" CLIENT KILL TYPE normal SKIPME yes >/dev/null
fi
if [ -n "$BACKEND" ]; then
  haproxy "set server $BACKEND/$FROM state maint"
  haproxy "shutdown sessions server $BACKEND/$FROM"
  haproxy "set server $BACKEND/$TO state ready"
fi
