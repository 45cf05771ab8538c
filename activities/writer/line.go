package writer

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// attempt is one line of the log: one write that was tried. Its times are on a clock that does not jump: the wall clock as
// it stood when the process started, plus the monotonic time since. skew is the wall clock minus that clock at the end.
type attempt struct {
	seq     int64
	sent    int64 // Unix nanoseconds
	done    int64
	skew    int64
	outcome string // "ack", or the type of the error
}

const ack = "ack"

var outcomes = regexp.MustCompile(`^[A-Za-z]+$`)

func (a attempt) acked() bool       { return a.outcome == ack }
func (a attempt) wallSent() int64   { return a.sent + a.skew }
func (a attempt) wallDone() int64   { return a.done + a.skew }
func (a attempt) doneAt() time.Time { return time.Unix(0, a.wallDone()).UTC() }
func (a attempt) line() string {
	return fmt.Sprintf("%d %d %d %d %s\n", a.seq, a.sent, a.done, a.skew, a.outcome)
}

// note is a line of the log that is no attempt: a process started, a segment began, marks were forgotten.
type note struct {
	Start  bool          `json:"start,omitempty"` // a process started: its clock is a new one
	Next   int64         `json:"next,omitempty"`  // the number that comes next
	Every  time.Duration `json:"every_ns,omitempty"`
	Writer string        `json:"writer,omitempty"` // the name its marks carry
	PID    int           `json:"pid,omitempty"`
	Forgot int64         `json:"forgot,omitempty"` // marks below are, or soon will be, gone by intent
}

func (n note) line() (string, error) {
	text, err := json.Marshal(n)
	if err != nil {
		return "", fmt.Errorf("write a note to the log: %w", err)
	}
	return "#" + string(text) + "\n", nil
}

// entry is a line: a note, or an attempt.
type entry struct {
	note    *note
	attempt attempt
}

// parseLine reads a whole line without its end. It is strict: what it does not know is an error.
func parseLine(line string) (entry, error) {
	if text, found := strings.CutPrefix(line, "#"); found {
		var n note
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&n); err != nil {
			return entry{}, fmt.Errorf("not a note: %w", err)
		}
		if decoder.More() {
			return entry{}, fmt.Errorf("not a note: more follows it")
		}
		if n.Next < 0 || n.Every < 0 || n.Forgot < 0 {
			return entry{}, fmt.Errorf("not a note: a negative number")
		}
		return entry{note: &n}, nil
	}
	var a attempt
	rest := line
	for _, into := range []*int64{&a.seq, &a.sent, &a.done, &a.skew} {
		field, after, found := strings.Cut(rest, " ")
		if !found {
			return entry{}, fmt.Errorf("not an attempt: too few fields")
		}
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return entry{}, fmt.Errorf("not an attempt: %q is not a number", field)
		}
		*into, rest = n, after
	}
	a.outcome = rest
	if a.seq < 1 || a.sent < 0 || a.done < a.sent || !outcomes.MatchString(a.outcome) {
		return entry{}, fmt.Errorf("not an attempt: number, times or outcome make no sense")
	}
	return entry{attempt: a}, nil
}
