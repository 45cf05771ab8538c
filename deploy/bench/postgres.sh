# A failover of PostgreSQL behind HAProxy by hand, as muster does it: what it is measured against.
sql() { "$BIN/psql" -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$1" -c "$2"; }
until_true() { until [ "$(sql "$TO_PORT" "$1")" = t ]; do sleep 0.01; done; }

[ "$1" = unplanned ] || sql "$FROM_PORT" CHECKPOINT
haproxy "set server $BACKEND/$FROM state maint"
haproxy "shutdown sessions server $BACKEND/$FROM"
touch "$FROM_DATA/standby.signal"
if [ "$1" = planned ]; then
  "$BIN/pg_ctl" stop -s -m fast -D "$FROM_DATA"
  last=$("$BIN/pg_controldata" "$FROM_DATA" | sed -n 's/^Latest checkpoint location: *//p')
  until_true "SELECT pg_last_wal_replay_lsn() > '$last'"
else
  until_true "SELECT pg_last_wal_replay_lsn() >= coalesce(pg_last_wal_receive_lsn(), '0/0')"
fi
[ "$(sql "$TO_PORT" 'SELECT pg_promote()')" = t ]
haproxy "set server $BACKEND/$TO state ready"
