# A planned move of Redis by its own command alone, and of the clients behind HAProxy where there is a route: what muster is measured against.
cli() { port=$1; shift; redis-cli --user "$REDIS_USER" -h 127.0.0.1 -p "$port" "$@"; }

if [ -n "$SENTINEL_PORT" ]; then
  # Refused for a while after the last one.
  until [ "$(REDISCLI_AUTH= redis-cli -h 127.0.0.1 -p "$SENTINEL_PORT" SENTINEL FAILOVER "$MASTER_NAME")" = OK ]; do sleep 0.1; done
else
  [ "$(cli "$FROM_PORT" FAILOVER TO 127.0.0.1 "$TO_PORT" TIMEOUT 10000)" = OK ]
fi
until [ "$(cli "$TO_PORT" ROLE | head -n 1)" = master ]; do sleep 0.01; done
if [ -n "$BACKEND" ]; then
  haproxy "set server $BACKEND/$FROM state maint"
  haproxy "shutdown sessions server $BACKEND/$FROM"
  haproxy "set server $BACKEND/$TO state ready"
fi
