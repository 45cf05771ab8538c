package postgres

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// freshBytes of WAL since the last checkpoint are written again in well under a second by the one that ends a fast shutdown.
const freshBytes = 16 << 20

var _ activities.Preparer = (*Driver)(nil)

// Prepare has the primary at m.From write a checkpoint while clients still work: the one that ends a fast shutdown, when they
// are cut off, has then little left to write (manual, section 30.5). It takes as long as the disks need; a server that does not answer
// has nothing to prepare. Safe to repeat.
func (d *Driver) Prepare(m activities.Move) activities.Action {
	return activities.Action{
		Look: func(ctx context.Context) (activities.Look, error) {
			from, err := d.member(m.Target, m.From)
			if err != nil {
				return activities.Look{}, err
			}
			since, err := d.sinceCheckpoint(ctx, from)
			if activities.TypeOf(err) == activities.ErrUnreachable { // an earlier run has fenced it, and was aborted
				return activities.Look{Met: true, Facts: journal.Facts{"bytes_since_checkpoint": "unknown: it does not answer"}}, nil
			}
			if err != nil {
				return activities.Look{}, err
			}
			return activities.Look{
				Met:   since <= freshBytes,
				Why:   fmt.Sprintf("%d bytes of WAL since the last checkpoint", since),
				Facts: journal.Facts{"bytes_since_checkpoint": strconv.FormatInt(since, 10)},
			}, nil
		},
		Act: func(ctx context.Context, _ string) error {
			from, err := d.member(m.Target, m.From)
			if err != nil {
				return err
			}
			return d.checkpoint(ctx, from)
		},
	}
}

// sinceCheckpoint is 0 on a standby, which has nothing to prepare.
func (d *Driver) sinceCheckpoint(ctx context.Context, m member) (bytes int64, err error) {
	err = d.conns.use(ctx, adminLogin(m.pg, m.addr), func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT CASE WHEN pg_is_in_recovery() THEN 0
			ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), redo_lsn)::bigint END FROM pg_control_checkpoint()`).Scan(&bytes)
	})
	return bytes, mapError(m.op("measure WAL since the last checkpoint of"), err)
}
