package starter

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"

	"golang.org/x/term"
)

// isTerminal reports whether a stream is a terminal that a person looks at.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// live reports whether the output may be redrawn and coloured.
func (a *app) live() bool {
	return isTerminal(a.out) && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb" && !a.json()
}

func (a *app) json() bool { return a.options.output == "json" }

// size returns the terminal's width and height, 100 by 30 where it does not tell.
func (a *app) size() (int, int) {
	if f, ok := a.out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 20 && h > 5 {
			return w, h
		}
	}
	return 100, 30
}

const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (a *app) paint(style, text string) string {
	if !a.live() {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// say prints for people: to stdout, and to stderr where stdout carries JSON.
func (a *app) say(format string, values ...any) { fmt.Fprintf(a.people(), format, values...) }

func (a *app) people() io.Writer {
	if a.json() {
		return a.err
	}
	return a.out
}

// print writes v as JSON with --output json, else what text writes.
func (a *app) print(v any, text func(w io.Writer)) error {
	if !a.json() {
		text(a.out)
		return nil
	}
	encoder := json.NewEncoder(a.out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// table writes rows in columns; the first row is the head.
func table(w io.Writer, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
		}
		fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	_ = t.Flush() // the streams of a command line: nobody is left to tell
}

// printable makes a text that others sent safe to show in a terminal, on one line.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// printableLines is printable for a text of several lines.
func printableLines(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// line returns the next line of stdin, without blocking ctx; false at its end.
func (a *app) line(ctx context.Context) (string, bool) {
	if a.lines == nil {
		a.lines = make(chan string)
		go func() {
			defer close(a.lines)
			for s := bufio.NewScanner(a.in); s.Scan(); {
				a.lines <- strings.TrimSpace(s.Text())
			}
		}()
	}
	select {
	case text, ok := <-a.lines:
		return text, ok
	case <-ctx.Done():
		return "", false
	}
}

// ask prints a question and returns the answer; false at the end of stdin or of ctx.
func (a *app) ask(ctx context.Context, question string) (string, bool) {
	a.say("%s ", question)
	return a.line(ctx)
}
