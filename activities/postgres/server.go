package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// server is what a running server says of itself, in one round trip.
type server struct {
	InRecovery   bool        `json:"in_recovery"`
	Version      int         `json:"version"` // server_version_num
	SystemID     string      `json:"system_id"`
	ControlTLI   uint32      `json:"control_tli"`
	WALFile      string      `json:"wal_file"` // primary: its first eight digits are the timeline
	Write        string      `json:"write_lsn"`
	Receive      string      `json:"receive_lsn"`
	Replay       string      `json:"replay_lsn"`
	Paused       bool        `json:"paused"`
	ReplayAge    *float64    `json:"replay_age"` // seconds since the last replayed commit was made
	ReadOnly     string      `json:"read_only"`
	DataDir      string      `json:"data_dir"`
	Hints        string      `json:"hints"`
	Checksums    string      `json:"checksums"`
	FullPages    string      `json:"full_pages"`
	SyncNames    string      `json:"sync_names"`
	MaxSlots     int         `json:"max_slots"`
	Tablespaces  int         `json:"tablespaces"`
	ArchiveMode  string      `json:"archive_mode"`
	ArchiverLate bool        `json:"archiver_late"` // the last attempt to archive failed
	ArchiverWAL  string      `json:"archiver_wal"`
	Clients      int         `json:"clients"` // other clients' sessions
	Receiver     *receiver   `json:"receiver"`
	Slots        []slot      `json:"slots"`
	Standbys     []streaming `json:"standbys"`
}

type receiver struct {
	Status   string `json:"status"`
	Timeline uint32 `json:"received_tli"`
	Flushed  string `json:"flushed_lsn"`
	Slot     string `json:"slot_name"`
	Host     string `json:"sender_host"`
	Port     int    `json:"sender_port"`
}

type slot struct {
	Name      string `json:"slot_name"`
	Type      string `json:"slot_type"`
	Active    bool   `json:"active"`
	WALStatus string `json:"wal_status"`
	Restart   string `json:"restart_lsn"`
}

type streaming struct {
	Name      string `json:"application_name"`
	State     string `json:"state"`
	SyncState string `json:"sync_state"`
	Replay    string `json:"replay_lsn"`
	Flush     string `json:"flush_lsn"`
}

// serverSQL holds for PostgreSQL 13 to 18: the columns that it names are in all of them. conninfo is left out, it tells too much.
// Functions that fail in or out of recovery stand behind CASE.
const serverSQL = `SELECT row_to_json(s)::text FROM (SELECT
  r AS in_recovery,
  current_setting('server_version_num')::int AS version,
  (SELECT system_identifier::text FROM pg_control_system()) AS system_id,
  (SELECT timeline_id FROM pg_control_checkpoint()) AS control_tli,
  CASE WHEN r THEN NULL ELSE pg_walfile_name(pg_current_wal_lsn()) END AS wal_file,
  CASE WHEN r THEN NULL ELSE pg_current_wal_lsn()::text END AS write_lsn,
  pg_last_wal_receive_lsn()::text AS receive_lsn,
  pg_last_wal_replay_lsn()::text AS replay_lsn,
  CASE WHEN r THEN pg_is_wal_replay_paused() ELSE false END AS paused,
  CASE WHEN r THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END AS replay_age,
  current_setting('default_transaction_read_only') AS read_only,
  current_setting('data_directory') AS data_dir,
  current_setting('wal_log_hints') AS hints,
  current_setting('data_checksums') AS checksums,
  current_setting('full_page_writes') AS full_pages,
  current_setting('synchronous_standby_names') AS sync_names,
  current_setting('max_replication_slots')::int AS max_slots,
  (SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')) AS tablespaces,
  current_setting('archive_mode') AS archive_mode,
  (SELECT coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) FROM pg_stat_archiver) AS archiver_late,
  (SELECT last_failed_wal FROM pg_stat_archiver) AS archiver_wal,
  (SELECT count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name <> 'muster') AS clients,
  (SELECT row_to_json(x) FROM (SELECT status, received_tli, flushed_lsn::text, slot_name, sender_host, sender_port
    FROM pg_stat_wal_receiver LIMIT 1) x) AS receiver,
  (SELECT json_agg(x) FROM (SELECT slot_name, slot_type, active, wal_status, restart_lsn::text FROM pg_replication_slots ORDER BY 1) x) AS slots,
  (SELECT json_agg(x) FROM (SELECT application_name, state, sync_state, replay_lsn::text, flush_lsn::text
    FROM pg_stat_replication ORDER BY 1) x) AS standbys
FROM (SELECT pg_is_in_recovery() AS r OFFSET 0) recovery) s`

// ask asks a member's server. Its error is mapped.
func (d *Driver) ask(ctx context.Context, m member) (server, error) {
	var s server
	err := d.conns.use(ctx, adminLogin(m.pg, m.addr), func(ctx context.Context, conn *pgx.Conn) error {
		var text string
		err := conn.QueryRow(ctx, serverSQL).Scan(&text)
		if promotedMeanwhile(err) { // between two functions of the query
			err = conn.QueryRow(ctx, serverSQL).Scan(&text)
		}
		if err != nil {
			return err
		}
		s = server{}
		return json.Unmarshal([]byte(text), &s)
	})
	if err != nil {
		return server{}, mapError(m.op("ask"), err)
	}
	return s, nil
}

// promotedMeanwhile says whether a server that was a standby when it was last asked answers that it is none (object_not_in_prerequisite_state).
func promotedMeanwhile(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && said.Code == "55000"
}

// exec runs one statement on a member's server.
func (d *Driver) exec(ctx context.Context, m member, op, sql string) error {
	err := d.conns.use(ctx, adminLogin(m.pg, m.addr), func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
	return mapError(m.op(op), err)
}

// acceptsWrites is what the server would do with a client's plain INSERT.
func (s server) acceptsWrites() bool { return !s.InRecovery && s.ReadOnly != "on" }

// streams reports whether the server receives WAL from somebody.
func (s server) streams() bool {
	return s.InRecovery && s.Receiver != nil && s.Receiver.Status == "streaming"
}

// following is host:port of whom it streams from.
func (s server) following() string {
	if !s.streams() {
		return ""
	}
	return s.Receiver.Host + ":" + strconv.Itoa(s.Receiver.Port)
}

// timeline is the one that it writes or receives; the control file's, which may be old, where it does neither.
func (s server) timeline() uint32 {
	if len(s.WALFile) >= 8 {
		if v, err := strconv.ParseUint(s.WALFile[:8], 16, 32); err == nil {
			return uint32(v)
		}
	}
	if s.Receiver != nil && s.Receiver.Timeline > s.ControlTLI {
		return s.Receiver.Timeline
	}
	return s.ControlTLI
}

// received is up to where it has WAL. After a restart nothing was received yet in this life, but more was replayed.
func (s server) received() lsn {
	receive, _ := parseLSN(s.Receive)
	return max(receive, s.replayed())
}

func (s server) replayed() lsn {
	v, _ := parseLSN(s.Replay) // NULL where nothing was replayed: place 0
	return v
}

func (s server) written() lsn {
	v, _ := parseLSN(s.Write)
	return v
}

func (s server) slot(name string) (slot, bool) {
	for _, sl := range s.Slots {
		if sl.Name == name {
			return sl, true
		}
	}
	return slot{}, false
}

// history reads the forks behind a server's own timeline, the oldest first; none on timeline 1.
func (d *Driver) history(ctx context.Context, m member, timeline uint32) ([]fork, error) {
	if timeline <= 1 {
		return nil, nil
	}
	var text string
	err := d.conns.use(ctx, adminLogin(m.pg, m.addr), func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT pg_read_file("+quoteLiteral("pg_wal/"+historyFile(timeline))+")").Scan(&text)
	})
	if err != nil {
		return nil, mapError(m.op("read the timeline history of"), err)
	}
	forks, err := parseHistory(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.op("read the timeline history of"), err)
	}
	return forks, nil
}
