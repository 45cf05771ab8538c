package postgres

import (
	"fmt"
	"strconv"
	"strings"
)

// lsn is a place in PostgreSQL's write-ahead log: a byte.
type lsn uint64

// String writes "16/B374D848", as PostgreSQL does.
func (l lsn) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint32(l)) }

// parseLSN reads "16/B374D848". The empty text is no place, not place zero.
func parseLSN(text string) (lsn, error) {
	high, low, ok := strings.Cut(text, "/")
	if !ok || len(high) > 8 || len(low) > 8 {
		return 0, fmt.Errorf("not a WAL position: %q", text)
	}
	h, err := strconv.ParseUint(high, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("not a WAL position: %q", text)
	}
	l, err := strconv.ParseUint(low, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("not a WAL position: %q", text)
	}
	return lsn(h<<32 | l), nil
}

// beyond reports whether a standby that has replayed to the end of a record at "replayed" has replayed the record that holds the byte at
// position. Records end where the next one may begin, so a replay position that is greater than the start of a record covers all of it.
func beyond(replayed, position lsn) bool { return replayed > position }

// recordEnd returns where a record that starts at start and has length bytes ends, rounded up as PostgreSQL does. Every page that it
// crosses into has a header of its own, the first one of a segment a longer one.
func recordEnd(start lsn, length, page, segment uint64) lsn {
	const shortHeader, longHeader, align = 24, 40, 8
	if page == 0 || segment == 0 {
		return start + lsn(length)
	}
	at, left := uint64(start), length
	for {
		room := page - at%page
		if left <= room {
			return lsn((at + left + align - 1) / align * align)
		}
		left -= room
		at += room
		if at%segment == 0 {
			at += longHeader
		} else {
			at += shortHeader
		}
	}
}

// distance returns how many bytes to is ahead of from, 0 where it is not.
func distance(from, to lsn) int64 {
	if to <= from {
		return 0
	}
	return int64(to - from)
}
