package postgres

import (
	"fmt"
	"strconv"
	"strings"
)

// fork is where a timeline ended and the next one began.
type fork struct {
	Timeline uint32
	End      lsn
}

// parseHistory reads a timeline history file: lines of timeline, switch point and reason, the oldest first.
func parseHistory(text string) ([]fork, error) {
	var forks []fork
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return nil, fmt.Errorf("timeline history: line %.80q has no switch point", line)
		}
		timeline, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("timeline history: %w", err)
		}
		end, err := parseLSN(fields[1])
		if err != nil {
			return nil, fmt.Errorf("timeline history: %w", err)
		}
		forks = append(forks, fork{Timeline: uint32(timeline), End: end})
	}
	return forks, nil
}

// historyFile is the name of a timeline's history file in pg_wal.
func historyFile(timeline uint32) string { return fmt.Sprintf("%08X.history", timeline) }
