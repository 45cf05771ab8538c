package runbooks

import (
	"fmt"

	"github.com/goccy/go-yaml/token"
)

// place is where a key or a value stands in its file.
type place struct{ line, column int }

// document is one file while it is read and checked: what stands where, and what is wrong.
type document struct {
	file     string
	estate   *Estate  // one of the two,
	runbook  *Runbook // or none where the file could not be read as either
	at       map[string]place
	bad      map[string]bool // paths whose value was refused: no second problem is made of it
	problems Problems
}

func newDocument(file string) *document {
	return &document{file: file, at: map[string]place{}, bad: map[string]bool{}}
}

// full says that no further problem is worth looking for.
func (d *document) full() bool { return len(d.problems) > MaxProblems }

// problem records what is wrong at path, or at the nearest key around it that the file has.
func (d *document) problem(path, next, message string, args ...any) {
	d.bad[path] = true
	if d.full() {
		return
	}
	p := d.at[path]
	for around := path; p.line == 0 && around != ""; p = d.at[around] {
		around = parent(around)
	}
	d.problems = append(d.problems, Problem{File: d.file, Line: p.line, Column: p.column, Key: path, Message: fmt.Sprintf(message, args...), Next: next})
}

// problemAt records what is wrong at a token, where there is no path to it.
func (d *document) problemAt(at *token.Token, next, message string, args ...any) {
	problem := Problem{File: d.file, Message: fmt.Sprintf(message, args...), Next: next}
	if at != nil && at.Position != nil {
		problem.Line, problem.Column = max(at.Position.Line, 1), max(at.Position.Column, 1)
	}
	if !d.full() {
		d.problems = append(d.problems, problem)
	}
}

// unknown records that the value at path names nothing that exists.
func (d *document) unknown(path, what, word string, words []string) {
	if d.full() {
		return
	}
	d.problem(path, didYouMean(word, words), "unknown %s %s; %s", what, shown(word), oneOf(words))
}

// has says that the file sets path, and that its value was not refused.
func (d *document) has(path string) bool {
	_, set := d.at[path]
	return set && !d.bad[path]
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func item(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func parent(path string) string {
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '.' || path[i] == '[' {
			return path[:i]
		}
	}
	return ""
}
