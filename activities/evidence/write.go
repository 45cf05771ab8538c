package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/journal"
)

// WriteJSON writes the canonical encoding: two spaces of indentation, a line feed at the end.
func WriteJSON(w io.Writer, ev Evidence) error {
	text, err := encode(ev)
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("write evidence of %s: %w", ev.Run.WorkflowID, err)
	}
	return nil
}

func encode(ev Evidence) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(ev); err != nil {
		return nil, fmt.Errorf("encode evidence of %s: %w", ev.Run.WorkflowID, err)
	}
	return b.Bytes(), nil
}

// Write builds the evidence and writes it to <dir>/<FileName>.json and .html, each whole or not at all.
// It is safe to repeat: the same journal makes the same bytes.
func Write(dir string, entries []journal.Entry) (activities.EvidenceResult, error) {
	ev, err := Build(entries)
	if err != nil {
		return activities.EvidenceResult{}, err
	}
	text, err := encode(ev)
	if err != nil {
		return activities.EvidenceResult{}, err
	}
	digest := sha256Hex(text)
	var page bytes.Buffer
	if err := writePage(&page, ev, digest); err != nil {
		return activities.EvidenceResult{}, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return activities.EvidenceResult{}, fmt.Errorf("write evidence: make its folder: %w", err)
	}
	base := filepath.Join(dir, FileName(ev.Run.WorkflowID, ev.Run.RunID))
	result := activities.EvidenceResult{JSON: base + ".json", HTML: base + ".html", Digest: digest}
	if err := writeFile(result.JSON, text); err != nil {
		return activities.EvidenceResult{}, err
	}
	if err := writeFile(result.HTML, page.Bytes()); err != nil {
		return activities.EvidenceResult{}, err
	}
	return result, nil
}

// FileName is the name of a run's evidence without its ending. It takes 13 characters of the run ID: the engine's run IDs are
// UUIDv7, whose first 8 stay the same for a minute, so that they would not tell two quick runs of one workflow ID apart.
func FileName(workflowID, runID string) string {
	return safeName(workflowID, 100) + "-" + safeName(runID, 13)
}

func safeName(id string, longest int) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}, id)
	safe = strings.Trim(safe[:min(len(safe), longest)], ".-")
	if safe == "" {
		return "run"
	}
	return safe
}

// writeFile replaces path in one step: a reader, and a kill at any instant, sees the old file or the new one.
func writeFile(path string, text []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write evidence %s: %w", path, err)
		}
	}()
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".evidence-*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil // the file is there; only its name's place on disk is not forced
	}
	return errors.Join(d.Sync(), d.Close())
}

func sha256Hex(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
