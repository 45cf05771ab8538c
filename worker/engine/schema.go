package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/schema"
	"go.temporal.io/server/schema/sqlite"
)

// versionFile lies beside the database, because Temporal records no schema version in a SQLite
// file and migrates none: it starts on any file, and an older one then half works.
const versionFile = "schema-version"

// schemaVersion identifies the tables of a database. The visibility tables have changed under an
// unchanged number before, hence the fingerprint of the statements themselves.
type schemaVersion struct {
	Schema      string `json:"schema"`
	Visibility  string `json:"visibility"`
	Fingerprint string `json:"fingerprint"`
	Server      string `json:"server"` // for the message only
}

func currentSchema() (schemaVersion, error) {
	hash := sha256.New()
	for _, name := range []string{"sqlite/v3/temporal/schema.sql", "sqlite/v3/visibility/schema.sql"} {
		text, err := fs.ReadFile(schema.Assets(), name)
		if err != nil {
			return schemaVersion{}, fmt.Errorf("schema of Temporal %s: %w", headers.ServerVersion, err)
		}
		hash.Write([]byte(bareSQL(string(text))))
	}
	return schemaVersion{
		Schema:      sqlite.Version,
		Visibility:  sqlite.VisibilityVersion,
		Fingerprint: hex.EncodeToString(hash.Sum(nil)),
		Server:      headers.ServerVersion,
	}, nil
}

var sqlComment = regexp.MustCompile(`--[^\n]*`)

// bareSQL drops what does not change a table: comments and white space.
func bareSQL(text string) string {
	return strings.Join(strings.Fields(sqlComment.ReplaceAllString(text, "")), " ")
}

// checkSchema refuses a folder whose database this build cannot use, and records the version of
// a folder that has none yet. The record comes before the database, so that a process killed in
// between leaves a folder that the next one completes.
func checkSchema(dir string) error {
	current, err := currentSchema()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, versionFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if info, err := os.Stat(filepath.Join(dir, databaseFile)); err == nil && info.Size() > 0 {
			return fmt.Errorf("state folder %s holds a %s without a %s file, so nobody can say who made it: "+
				"restore that file, or give another folder", dir, databaseFile, versionFile)
		}
		return writeSchemaVersion(path, current)
	}
	if err != nil {
		return folderError(dir, "cannot be read", err)
	}
	var found schemaVersion
	if err := json.Unmarshal(text, &found); err != nil || found.Schema == "" {
		return fmt.Errorf("%s is damaged: restore it from a copy, or give another folder", path)
	}
	return current.accept(dir, found)
}

func (current schemaVersion) accept(dir string, found schemaVersion) error {
	order := compareVersions(found.Schema, current.Schema)
	if order == 0 {
		order = compareVersions(found.Visibility, current.Visibility)
	}
	if order == 0 && found.Fingerprint == current.Fingerprint {
		return nil
	}
	if order == 0 {
		order = compareVersions(found.Server, current.Server)
	}
	what := fmt.Sprintf("state folder %s holds a database of schema %s (Temporal %s)", dir, found.Schema, found.Server)
	ours := fmt.Sprintf("schema %s (Temporal %s)", current.Schema, current.Server)
	if order > 0 {
		return fmt.Errorf("%s, newer than this program's %s: run the newer program, or give another folder", what, ours)
	}
	return fmt.Errorf("%s, which this program's %s cannot use and does not migrate: "+
		"finish its runs with the program that made it, then give a new folder", what, ours)
}

// writeSchemaVersion is atomic: a kill or a power cut leaves the whole file or none.
func writeSchemaVersion(path string, v schemaVersion) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, versionFile+".*")
	if err != nil {
		return folderError(dir, "cannot be written", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(append(text, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return folderError(dir, "cannot be written", err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return folderError(dir, "cannot be written", err)
	}
	return nil
}

// compareVersions orders dotted numbers; a part that is no number counts as zero.
func compareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if d := part(as, i) - part(bs, i); d != 0 {
			return d
		}
	}
	return 0
}

func part(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, _ := strconv.Atoi(parts[i])
	return n
}
