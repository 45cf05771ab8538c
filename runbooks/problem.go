package runbooks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxProblems is how many problems one Load reports; the rest is left for the next run.
const MaxProblems = 50

// Problem is one thing that is wrong in a file, where it is, and what to do about it.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`   // from 1; 0 where the problem has no line
	Column  int    `json:"column,omitempty"` // from 1
	Key     string `json:"key,omitempty"`    // the path to it, such as systems.orders.members.east.address
	Message string `json:"message"`          // what is wrong, and what was expected
	Next    string `json:"next,omitempty"`   // what to do; the nearest valid word where there is one
}

// String writes p on one line, as file:line:column: key: what; next.
func (p Problem) String() string {
	var text strings.Builder
	text.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&text, ":%d:%d", p.Line, p.Column)
	}
	if p.Key != "" {
		text.WriteString(": " + p.Key)
	}
	text.WriteString(": " + p.Message)
	if p.Next != "" {
		text.WriteString("; " + p.Next)
	}
	return text.String()
}

// Problems is the error of Load and Resolve, ordered by file and line. It is never empty.
type Problems []Problem

// Error writes one problem on each line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// err returns ps as an error, cut at MaxProblems, and nil where there are none.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	if more := len(ps) - MaxProblems; more > 0 {
		last := ps[MaxProblems-1]
		ps = append(ps[:MaxProblems:MaxProblems], Problem{File: last.File, Message: "there are more problems than the " +
			fmt.Sprint(MaxProblems) + " above", Next: "mend these and check again"})
	}
	return ps
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Key, b.Key))
	})
}

// nearest returns the word that was probably meant, or nothing where none is near.
func nearest(word string, words []string) string {
	best, at := "", min(len(word)/3+2, len(word))
	for _, w := range words {
		if d := distance(strings.ToLower(word), strings.ToLower(w), at); d < at {
			best, at = w, d
		}
	}
	return best
}

func didYouMean(word string, words []string) string {
	if best := nearest(word, words); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return ""
}

// distance counts the insertions, deletions, changes and swaps of neighbours from a to b, and gives up at limit.
func distance(a, b string, limit int) int {
	if len(a) > 64 || len(b) > 64 || max(len(a)-len(b), len(b)-len(a)) >= limit {
		return limit
	}
	before, previous := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := previous[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, previous[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, previous = previous, row
	}
	return previous[len(b)]
}

// oneOf lists words as an expectation, the first twelve of them.
func oneOf(words []string) string {
	switch {
	case len(words) == 0:
		return "there is none yet"
	case len(words) == 1:
		return "expected " + words[0]
	case len(words) > 12:
		return fmt.Sprintf("expected one of %s and %d more", strings.Join(words[:12], ", "), len(words)-12)
	}
	return "expected one of " + strings.Join(words, ", ")
}

// shown quotes a value for a message where it cannot be a secret that strayed: short, one word, no credentials of a URL.
func shown(value string) string {
	if len(value) > 63 || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == '@' || r == 0x7f }) {
		return "this value"
	}
	return fmt.Sprintf("%q", value)
}
