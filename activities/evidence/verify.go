package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/musterhq/muster/internal/journal"
)

// MaxFile is the largest evidence file that VerifyFile reads, in bytes.
const MaxFile = 256 << 20

// ErrOtherVersion is of evidence that another version of muster wrote: this one can neither prove nor disprove it.
var ErrOtherVersion = errors.New("written by another version of muster: verify it with that version")

// Report is what VerifyFile proved of a file. Whoever rewrites file and chain together is found out by comparing Digest with
// the run's own result (journal_digest), which the engine keeps.
type Report struct {
	JSON    string          `json:"json"`
	HTML    string          `json:"html,omitempty"` // empty: there is no page beside it
	Run     journal.Header  `json:"run"`
	Verdict journal.Verdict `json:"verdict"`
	Entries int             `json:"journal_entries"`
	Digest  string          `json:"journal_digest"`
	SHA256  string          `json:"sha256"` // of the JSON file
}

// VerifyFile recomputes the evidence at path from its own journal and compares every byte. path is the JSON file, or the HTML
// page with the JSON file beside it; the other of the two is verified too where it is there. It changes nothing.
func VerifyFile(path string) (Report, error) {
	base, isPage := strings.CutSuffix(path, ".html")
	if !isPage {
		base = strings.TrimSuffix(path, ".json")
	}
	r := Report{JSON: base + ".json"}
	if !isPage {
		r.JSON = path
	}
	text, err := readLimited(r.JSON)
	if err != nil {
		return Report{}, fmt.Errorf("verify evidence: %w", err)
	}
	ev, err := verifyJSON(text)
	if err != nil {
		return Report{}, fmt.Errorf("verify evidence %s: %w", r.JSON, err)
	}
	r.Run, r.Verdict, r.Entries, r.Digest, r.SHA256 = ev.Run, ev.Verdict, len(ev.Journal), ev.Digest, sha256Hex(text)

	page, err := readLimited(base + ".html")
	if errors.Is(err, os.ErrNotExist) && !isPage {
		return r, nil
	}
	if err != nil {
		return Report{}, fmt.Errorf("verify evidence: %w", err)
	}
	r.HTML = base + ".html"
	if err := verifyPage(page, ev, r.SHA256); err != nil {
		return Report{}, fmt.Errorf("verify evidence %s: %w", r.HTML, err)
	}
	return r, nil
}

func verifyJSON(text []byte) (Evidence, error) {
	var file struct {
		Version int             `json:"version"`
		Journal []journal.Entry `json:"journal"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return Evidence{}, fmt.Errorf("it is not the JSON that muster wrote%s: %w", where(text, err), err)
	}
	if file.Version != Version {
		return Evidence{}, fmt.Errorf("it has version %d, this muster writes version %d: %w", file.Version, Version, ErrOtherVersion)
	}
	ev, err := Build(file.Journal)
	if err != nil {
		return Evidence{}, err
	}
	again, err := encode(ev)
	if err != nil {
		return Evidence{}, err
	}
	return ev, same(text, again)
}

func verifyPage(page []byte, ev Evidence, digest string) error {
	var again bytes.Buffer
	if err := writePage(&again, ev, digest); err != nil {
		return err
	}
	if !bytes.Contains(page, []byte(generator)) {
		return fmt.Errorf("it is not a page of layout %d: %w", layoutVersion, ErrOtherVersion)
	}
	return same(page, again.Bytes())
}

// where finds the line of a JSON error.
func where(text []byte, err error) string {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	offset := int64(-1)
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &wrong):
		offset = wrong.Offset
	}
	if offset < 0 || offset > int64(len(text)) {
		return ""
	}
	return fmt.Sprintf(" (line %d)", bytes.Count(text[:offset], []byte("\n"))+1)
}

// same says where two texts differ first.
func same(got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	line := bytes.Count(got[:at], []byte("\n")) + 1
	return fmt.Errorf("it was changed at byte %d, line %d: it says %q, its journal makes %q", at, line, around(got, at), around(want, at))
}

func around(text []byte, at int) string {
	if at >= len(text) {
		return "(the end)"
	}
	from := at
	for from > 0 && at-from < 40 && text[from-1] != '\n' {
		from--
	}
	to := at
	for to < len(text) && to-at < 40 && text[to] != '\n' {
		to++
	}
	return string(text[from:to])
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	text, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxFile {
		return nil, fmt.Errorf("%s is larger than %d MiB: muster writes no such file", path, MaxFile>>20)
	}
	return text, nil
}
