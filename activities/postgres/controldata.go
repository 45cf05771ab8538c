package postgres

import (
	"fmt"
	"strconv"
	"strings"
)

// The cluster states that pg_controldata prints with LC_ALL=C; the same in PostgreSQL 13 to 18.
const (
	stateShutDown           = "shut down"
	stateShutDownInRecovery = "shut down in recovery"
	stateInProduction       = "in production"       // a running primary, or one that was killed
	stateArchiveRecovery    = "in archive recovery" // a running standby, or one that was killed
)

// control is what pg_controldata says of a data directory.
type control struct {
	SystemID      string
	State         string
	Checkpoint    lsn // start of the latest checkpoint's record
	Redo          lsn
	Timeline      uint32
	MinRecovery   lsn // 0 where recovery was never needed
	Checksums     bool
	WALLogHints   bool
	FullPageWrite bool
	Page          uint64
	Segment       uint64
}

// clean reports whether the server stopped in order.
func (c control) clean() bool {
	return c.State == stateShutDown || c.State == stateShutDownInRecovery
}

// rewindable reports whether pg_rewind can work on this data directory.
func (c control) rewindable() bool { return (c.Checksums || c.WALLogHints) && c.FullPageWrite }

// parseControl reads pg_controldata's output. Lines that it does not know are left out: later versions print more.
func parseControl(text string) (control, error) {
	lines := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			lines[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	c := control{
		SystemID:      lines["Database system identifier"],
		State:         lines["Database cluster state"],
		WALLogHints:   lines["wal_log_hints setting"] == "on",
		FullPageWrite: lines["Latest checkpoint's full_page_writes"] == "on",
	}
	if c.SystemID == "" || c.State == "" {
		return control{}, fmt.Errorf("pg_controldata printed no system identifier or state: %.80q", text)
	}
	// 0: off; 1: on; versions to come may have other algorithms.
	c.Checksums = lines["Data page checksum version"] != "" && lines["Data page checksum version"] != "0"
	var err error
	for name, to := range map[string]*lsn{
		"Latest checkpoint location":        &c.Checkpoint,
		"Latest checkpoint's REDO location": &c.Redo,
		"Minimum recovery ending location":  &c.MinRecovery,
	} {
		if *to, err = parseLSN(lines[name]); err != nil {
			return control{}, fmt.Errorf("pg_controldata, %s: %w", name, err)
		}
	}
	for name, to := range map[string]*uint64{"WAL block size": &c.Page, "Bytes per WAL segment": &c.Segment} {
		if *to, err = strconv.ParseUint(lines[name], 10, 64); err != nil {
			return control{}, fmt.Errorf("pg_controldata, %s: %w", name, err)
		}
	}
	timeline, err := strconv.ParseUint(lines["Latest checkpoint's TimeLineID"], 10, 32)
	if err != nil {
		return control{}, fmt.Errorf("pg_controldata, timeline: %w", err)
	}
	c.Timeline = uint32(timeline)
	return c, nil
}
