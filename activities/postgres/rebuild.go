package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/secret"
)

// The ways in which a stopped server's data directory becomes a standby's.
const (
	wayStart  = "start"  // it has nothing that the new primary has not: only the settings
	wayRewind = "rewind" // pg_rewind, and a base backup where that fails
	wayBackup = "backup" // pg_basebackup
)

// rebuildScript prepares a stopped server's data directory. It runs detached under a lock, so that neither a worker's death nor
// a cancelled run stops it halfway, and never twice at once.
// Arguments: data directory, bin directory, way, request, source of the rewind, source of the backup, slot, config file, "clean" or "crashed".
// Environment: MUSTER_CONNINFO and MUSTER_SLOT (lines for postgresql.auto.conf), MUSTER_REWIND and MUSTER_BACKUP (passwords).
//
// While pg_rewind works, the directory stands aside under another name: a server that somebody starts meanwhile finds nothing, where
// it would else come up as a second primary. It comes back under its name once it is marked as a standby. One that is found standing
// aside, with no job at work, was left halfway by a crash of the machine: only a base backup helps.
//
// pg_rewind and pg_basebackup copy the other member's configuration too; the member's own is kept beside the directory and put back.
// A crashed server recovers first, alone and without the network, as pg_rewind needs a clean end.
const rebuildScript = `
dir=$1 bin=$2 way=$3 request=$4 rewind=$5 backup=$6 slot=$7 config=$8 end=$9
aside=$dir.muster-rewind new=$dir.muster-new old=$dir.muster-old keep=$dir.muster-keep
umask 077
exec >"$dir.muster-job.log" 2>&1 </dev/null

finish() { echo "$request $1" >"$dir.muster-job.new" && mv "$dir.muster-job.new" "$dir.muster-job"; exit; }
fail() { finish "failed: $1: $(grep -v '^ *$' "$dir.muster-job.log" | tail -n 1)"; }

keep_config() {
  [ -d "$keep" ] && return
  rm -rf "$keep.new"; mkdir "$keep.new" || return 1
  for f in "$1"/*.conf "$1"/conf.d "$1"/*.crt "$1"/*.key "$1"/*.pem "$1"/*.crl; do
    if [ -e "$f" ]; then cp -a "$f" "$keep.new/" || return 1; fi
  done
  mv "$keep.new" "$keep"
}
mark() { # as a standby of the new primary
  if [ -d "$keep" ]; then cp -a "$keep/." "$1/" || return 1; fi
  { grep -Ev '^[[:space:]]*(primary_conninfo|primary_slot_name|default_transaction_read_only)[[:space:]]*=' "$1/postgresql.auto.conf" 2>/dev/null
    printf '%s\n' "$MUSTER_CONNINFO" "$MUSTER_SLOT"; } >"$1/postgresql.auto.conf.new" || return 1
  mv "$1/postgresql.auto.conf.new" "$1/postgresql.auto.conf" && : >"$1/standby.signal" && sync "$1/standby.signal" "$1/postgresql.auto.conf" "$1"
}

if [ "$way" = start ]; then
  rm -rf "$keep"
  mark "$dir" || fail "write the settings"
  finish "ok start"
fi

if [ "$way" = rewind ]; then
  rm -rf "$keep"
  keep_config "$dir" || fail "keep the configuration"
  mv "$dir" "$aside" || fail "set the data directory aside"
  rewound=yes
  if [ "$end" = crashed ]; then
    rm -f "$aside/standby.signal"
    set -- -c data_directory="$aside"
    [ -n "$config" ] && set -- "$@" -c config_file="$config"
    "$bin/postgres" --single -F -D "$aside" "$@" template1 || rewound=no
  fi
  if [ $rewound = yes ] && PGPASSWORD=$MUSTER_REWIND "$bin/pg_rewind" -D "$aside" --source-server="$rewind"; then
    mark "$aside" || fail "write the settings"
    mv "$aside" "$dir" || fail "put the data directory back"
    rm -rf "$keep"
    finish "ok rewind"
  fi
fi

if [ -d "$dir" ]; then keep_config "$dir"; elif [ -d "$aside" ]; then keep_config "$aside"; elif [ -d "$old" ]; then keep_config "$old"; fi || fail "keep the configuration"
rm -rf "$new"
set -- -D "$new" -d "$backup" -X stream -c fast -w
[ -n "$slot" ] && set -- "$@" -S "$slot"
PGPASSWORD=$MUSTER_BACKUP "$bin/pg_basebackup" "$@" || fail "pg_basebackup"
mark "$new" || fail "write the settings"
if [ -d "$dir" ]; then
  rm -rf "$old"; mv "$dir" "$old" || fail "set the old data directory aside"
elif [ -d "$aside" ]; then
  rm -rf "$old"; mv "$aside" "$old" || fail "set the old data directory aside"
fi
mv "$new" "$dir" || fail "put the base backup in place"
rm -rf "$keep"
finish "ok backup"
`

// rebuild runs rebuildScript and waits for its end. When ctx ends first, it goes on by itself.
func (d *Driver) rebuild(ctx context.Context, from, to member, machine machine, how, requestID string) error {
	op := fmt.Sprintf("%s (%s)", from.op("rebuild"), how)
	if how == wayRewind {
		// Up to PostgreSQL 15, pg_rewind goes by the control file's timeline, which is the old one until the first checkpoint after a promotion.
		if err := d.checkpoint(ctx, to); err != nil {
			return err
		}
	}
	if how != wayStart && (machine.Mount || !machine.Parent && machine.Dir) {
		return &activities.Error{
			Type: activities.ErrConfig, Op: op,
			Err:  fmt.Errorf("%s cannot be renamed: it is a mount point, or its parent cannot be written", from.own.DataDirectory),
			Next: "use a folder inside the mount as data directory",
		}
	}
	// Attempts of one step share its request ID; the job's result must be this attempt's own.
	job := fmt.Sprintf("%s/%s/%d", strings.Join(strings.Fields(requestID), "-"), how, time.Now().UnixNano())
	command, err := d.rebuildCommand(ctx, from, to, machine, how, job)
	if err != nil {
		return err
	}
	if _, err := d.run(ctx, from, command); err != nil {
		return mapError(op, err)
	}
	return d.awaitJob(ctx, from, op, job)
}

func (d *Driver) rebuildCommand(ctx context.Context, from, to member, machine machine, how, job string) (activities.Command, error) {
	host, port, err := net.SplitHostPort(to.streamAddress())
	if err != nil {
		return activities.Command{}, &activities.Error{Type: activities.ErrConfig, Op: to.op("find the address of"), Err: err}
	}
	admin, err := secret.Resolve(ctx, to.pg.Password)
	if err != nil {
		return activities.Command{}, &activities.Error{Type: activities.ErrConfig, Op: to.op("log in to"), Err: err}
	}
	replication, err := secret.Resolve(ctx, to.pg.ReplicationPassword)
	if err != nil {
		return activities.Command{}, &activities.Error{Type: activities.ErrConfig, Op: to.op("log in to"), Err: err}
	}
	base := []string{"host", host, "port", port, "sslmode", to.pg.SSLMode}
	rewind := conninfo(append(base[:len(base):len(base)], "user", to.pg.User, "dbname", database(to.pg))...)
	backup := conninfo(append(base[:len(base):len(base)], "user", to.pg.ReplicationUser)...)
	stream := conninfo(append(base[:len(base):len(base)], "user", to.pg.ReplicationUser, "password", replication)...)
	slot := "# no slot"
	if from.own.Slot != "" {
		slot = "primary_slot_name = " + quoteSetting(from.own.Slot)
	}
	end := "crashed"
	if machine.Control.clean() {
		end = "clean"
	}
	return activities.Command{
		Args: []string{
			"sh", "-c", rebuildScript, "rebuild", from.own.DataDirectory, from.own.BinDirectory, how, job,
			rewind, backup, from.own.Slot, from.own.ConfigFile, end,
		},
		Env: map[string]string{
			"LC_ALL": "C", "MUSTER_REWIND": admin, "MUSTER_BACKUP": replication,
			"MUSTER_CONNINFO": "primary_conninfo = " + quoteSetting(stream), "MUSTER_SLOT": slot,
		},
		Lock:   from.own.DataDirectory + ".muster.lock",
		Detach: true,
	}, nil
}

// awaitJob waits for the end of the job that was just started, and reads how it ended.
func (d *Driver) awaitJob(ctx context.Context, m member, op, request string) error {
	started := time.Now()
	for {
		// The data directory may be away for a moment: that is an error of the look, not of the job.
		machine, err := d.probe(ctx, m)
		gone := err != nil && activities.TypeOf(err) == activities.ErrConfig
		if err != nil && !gone {
			return err
		}
		id, outcome, _ := strings.Cut(machine.Job, " ")
		switch {
		case gone, machine.Busy:
			started = time.Now()
		case id == request && strings.HasPrefix(outcome, "ok "):
			return nil
		case id == request:
			return mapJob(op, outcome, m)
		case time.Since(started) > 20*time.Second:
			return &activities.Error{
				Type: activities.ErrUnknown, Op: op, Err: errors.New("the job ended without saying how"),
				Next: fmt.Sprintf("see %s.muster-job.log on host %s", m.own.DataDirectory, m.host),
			}
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// mapJob types a job's own words.
func mapJob(op, outcome string, m member) error {
	e := &activities.Error{
		Type: activities.ErrUnknown, Op: op, Err: errors.New(outcome),
		Next: fmt.Sprintf("see %s.muster-job.log on host %s", m.own.DataDirectory, m.host),
	}
	switch {
	case strings.Contains(outcome, "authentication failed"), strings.Contains(outcome, "no pg_hba.conf entry"):
		e.Type = activities.ErrAuth
	case strings.Contains(outcome, "No space left"):
		e.Type = activities.ErrRefused
	case strings.Contains(outcome, "Connection refused"), strings.Contains(outcome, "timeout"):
		e.Type = activities.ErrUnreachable
	}
	return e
}
