package writer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	segmentBytes = 8 << 20 // at 50 writes a second, some forty minutes
	segmentsKept = 4
)

// ledger appends to the log: text segments named by their first number, one line for each attempt, each line one write(2),
// so that a kill loses at most the line being written.
type ledger struct {
	dir   string
	limit int64 // bytes of a segment
	file  *os.File
	size  int64
	head  note // what a new segment begins with
}

// openLedger continues the log in dir for a process that just started, and returns what its last segment holds. A torn last
// line is cut off. The next number is higher than any that an earlier process can have used, the one that was in flight
// when it was killed included. name is for a log that does not exist yet: numbers belong to a name, so a new log has a new one.
func openLedger(dir string, limit int64, name string, every time.Duration) (*ledger, []entry, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("open the writer's log: %w", err)
	}
	l := &ledger{dir: dir, limit: limit, head: note{Next: 1, Writer: name}}
	names, err := segments(dir)
	if err != nil {
		return nil, nil, err
	}
	var entries []entry
	for len(names) > 0 && len(entries) == 0 {
		path := filepath.Join(dir, names[len(names)-1])
		names = names[:len(names)-1]
		if entries, err = l.resume(path); err != nil {
			return nil, nil, err
		}
	}
	for _, e := range entries {
		used := e.attempt.seq + 1 // the next one may have been in flight
		if n := e.note; n != nil {
			used = n.Next
			l.head.Forgot = max(l.head.Forgot, n.Forgot)
			if n.Writer != "" {
				l.head.Writer = n.Writer
			}
		}
		l.head.Next = max(l.head.Next, used+1)
	}
	l.head.Every = every
	return l, entries, nil
}

// resume opens a segment to append to it. One without a whole line is removed.
func (l *ledger) resume(path string) ([]entry, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("open the writer's log: %w", err)
	}
	whole := bytes.LastIndexByte(content, '\n') + 1
	if whole == 0 {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove a torn segment: %w", err)
		}
		return nil, nil
	}
	entries, err := parse(path, string(content[:whole]))
	if err != nil {
		return nil, err
	}
	if err := os.Truncate(path, int64(whole)); err != nil {
		return nil, fmt.Errorf("cut the torn last line: %w", err)
	}
	l.size = int64(whole)
	if l.file, err = os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, fmt.Errorf("open the writer's log: %w", err)
	}
	return entries, nil
}

// note appends n.
func (l *ledger) note(n note) error {
	text, err := n.line()
	if err != nil {
		return err
	}
	return l.append(text)
}

// attempt appends a, in a new segment where the present one is full.
func (l *ledger) attempt(a attempt) error {
	l.head.Next = max(l.head.Next, a.seq)
	if l.file != nil && l.size >= l.limit {
		if err := l.roll(); err != nil {
			return err
		}
	}
	return l.append(a.line())
}

func (l *ledger) append(line string) error {
	if l.file == nil {
		if err := l.roll(); err != nil {
			return err
		}
	}
	n, err := l.file.WriteString(line)
	l.size += int64(n)
	if err != nil {
		return fmt.Errorf("append to the writer's log: %w", err)
	}
	return nil
}

func (l *ledger) roll() error {
	l.close()
	path := filepath.Join(l.dir, fmt.Sprintf("%020d.log", l.head.Next))
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("begin a segment of the writer's log: %w", err)
	}
	l.file, l.size = file, 0
	text, err := l.head.line()
	if err != nil {
		return err
	}
	n, err := file.WriteString(text)
	l.size += int64(n)
	if err != nil {
		return fmt.Errorf("begin a segment of the writer's log: %w", err)
	}
	all, err := segments(l.dir)
	if err != nil {
		return err
	}
	for _, old := range all[:max(0, len(all)-segmentsKept)] {
		if err := os.Remove(filepath.Join(l.dir, old)); err != nil {
			return fmt.Errorf("remove an old segment of the writer's log: %w", err)
		}
	}
	return nil
}

func (l *ledger) close() {
	if l.file != nil {
		_ = l.file.Close()
	}
}

// segments lists the log's files, oldest first; none where there is no folder.
func segments(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the writer's log: %w", err)
	}
	var names []string
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".log") {
			names = append(names, f.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func parse(path, text string) ([]entry, error) {
	entries := make([]entry, 0, len(text)/60+1)
	for number := 1; text != ""; number++ {
		line, rest, _ := strings.Cut(text, "\n")
		e, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		entries = append(entries, e)
		text = rest
	}
	return entries, nil
}

// fromLast returns a reader that begins with the last segment.
func fromLast(dir string) (*reader, error) {
	names, err := segments(dir)
	if err != nil || len(names) == 0 {
		return &reader{dir: dir}, err
	}
	return &reader{dir: dir, segment: names[len(names)-1]}, nil
}

// reader follows the log from its beginning, while a writer may append to it.
type reader struct {
	dir     string
	segment string
	offset  int64
}

// next returns the whole lines that were appended since the last call. A torn or unfinished last line is left for later.
func (r *reader) next() ([]entry, error) {
	names, err := segments(r.dir)
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, name := range names {
		if name < r.segment {
			continue
		}
		if name > r.segment {
			r.segment, r.offset = name, 0
		}
		path := filepath.Join(r.dir, name)
		text, err := from(path, r.offset)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the oldest was removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read the writer's log: %w", err)
		}
		text = text[:strings.LastIndexByte(text, '\n')+1]
		entries, err := parse(path, text)
		if err != nil {
			return nil, err
		}
		r.offset += int64(len(text))
		all = append(all, entries...)
	}
	return all, nil
}

func from(path string, offset int64) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	size := info.Size() - offset
	if size <= 0 {
		return "", nil
	}
	text := make([]byte, size)
	n, err := file.ReadAt(text, offset)
	if n < len(text) && err != nil {
		text = text[:n] // the torn line was cut meanwhile
	}
	return string(text), nil
}
