package postgres

import (
	"fmt"
	"regexp"
	"strconv"
)

// walRecord is where a record starts and how many bytes it has, without the headers of pages that it crosses.
type walRecord struct {
	Start  lsn
	Length uint64
}

// The same in PostgreSQL 13 to 18:
// rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/03000028, prev 0/02000110, desc: CHECKPOINT_SHUTDOWN ...
var walLine = regexp.MustCompile(`^rmgr: \S+\s+len \(rec/tot\):\s*\d+/\s*(\d+), tx:\s*\d+, lsn: ([0-9A-F]{1,8}/[0-9A-F]{1,8}), `)

// parseWALRecord reads one line of pg_waldump.
func parseWALRecord(line string) (walRecord, error) {
	m := walLine.FindStringSubmatch(line)
	if m == nil {
		return walRecord{}, fmt.Errorf("not a record as pg_waldump prints it: %.80q", line)
	}
	length, err := strconv.ParseUint(m[1], 10, 32)
	if err != nil {
		return walRecord{}, fmt.Errorf("length of a WAL record: %w", err)
	}
	start, err := parseLSN(m[2])
	if err != nil {
		return walRecord{}, err
	}
	return walRecord{Start: start, Length: length}, nil
}
