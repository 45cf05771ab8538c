package writer

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// knownMissing reads which numbers an earlier measurement found missing, and when. A loss is counted for the run that it
// happened in: a failback a minute later looks at the same writes and must not count them again.
func (f folder) knownMissing() (map[int64]time.Time, error) {
	known := map[int64]time.Time{}
	file, err := os.Open(f.missing())
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was found missing before: %w", err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var seq, at int64
		if n, _ := fmt.Sscanf(lines.Text(), "%d %d", &seq, &at); n != 2 {
			continue // torn by a kill: that measurement was not returned, and is made again
		}
		if _, found := known[seq]; !found {
			known[seq] = time.Unix(0, at)
		}
	}
	return known, lines.Err()
}

func (f folder) addMissing(seqs []int64, at time.Time) error {
	if len(seqs) == 0 {
		return nil
	}
	var text strings.Builder
	text.WriteByte('\n') // ends a line that a kill tore
	for _, seq := range seqs {
		fmt.Fprintf(&text, "%d %d\n", seq, at.UnixNano())
	}
	file, err := os.OpenFile(f.missing(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("record what is missing: %w", err)
	}
	_, err = file.WriteString(text.String())
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("record what is missing: %w", err)
	}
	return nil
}
