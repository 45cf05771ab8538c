package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/persistence/sql"
	"go.temporal.io/server/common/persistence/sql/sqlplugin"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/resolver"
	"go.temporal.io/server/schema/sqlite"
	"google.golang.org/protobuf/types/known/durationpb"
)

const databaseFile = "temporal.db"

// database is the SQLite file. The server's plugin keeps one connection to it for the life of the
// process, whoever opens or closes it.
type database struct {
	path string
	sql  *config.SQL
}

// openDatabase creates tables and namespace where they are missing.
func openDatabase(opts Options) (database, error) {
	if err := checkSchema(opts.Dir); err != nil {
		return database{}, err
	}
	path := filepath.Join(opts.Dir, databaseFile)
	db := database{path: path, sql: &config.SQL{
		PluginName:   sqliteplugin.PluginName,
		DatabaseName: strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path), // part of a URI
		MaxConns:     1,                                                                     // SQLite has one writer: a second connection only adds "database is locked"
		MaxIdleConns: 1,                                                                     // keeps that connection open between two statements
		ConnectAttributes: map[string]string{
			"mode":         "rwc",
			"journal_mode": "wal",  // one append per commit in place of two copies of every page
			"synchronous":  "full", // an acknowledged step survives a power cut, for about 1 ms a step
		},
	}}
	if err := createPrivate(path); err != nil {
		return database{}, folderError(opts.Dir, "cannot be written", err)
	}
	if err := db.prepare(opts); err != nil {
		return database{}, fmt.Errorf("database %s cannot be used: %w: check that it is a whole file on a local disk "+
			"with free space which user and mount may write, or give another folder", path, err)
	}
	return db, nil
}

// createPrivate makes an empty file for its owner alone, whatever the folder allows: histories tell
// a lot about an estate. SQLite would take 0644, and gives its other files the mode of this one.
func createPrivate(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return file.Close()
}

func (db database) admin() (sqlplugin.AdminDB, error) {
	return sql.NewSQLAdminDB(sqlplugin.DbKindUnknown, db.sql, resolver.NewNoopResolver(), log.NewNoopLogger(), metrics.NoopMetricsHandler)
}

func (db database) prepare(opts Options) error {
	if err := db.createTables(); err != nil {
		return err
	}
	ns, err := sqlite.NewNamespaceConfig(clusterName, opts.Namespace, false, nil)
	if err != nil {
		return err
	}
	ns.Detail.Config.Retention = durationpb.New(opts.Retention)
	return sqlite.CreateNamespaces(db.sql, ns)
}

// createTables makes all tables in one transaction, so that a kill leaves all or none of them. The
// empty transaction on an existing file proves early that it can be written.
func (db database) createTables() (err error) {
	admin, err := db.admin()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.Close()) }()
	if err := admin.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	tables, err := admin.ListTables(databaseFile)
	if err == nil && len(tables) == 0 {
		err = sqlite.SetupSchemaOnDB(admin)
	}
	if err != nil {
		return errors.Join(err, admin.Exec("ROLLBACK"))
	}
	return admin.Exec("COMMIT")
}

// checkpoint folds the write-ahead log into the file, so that after an orderly stop temporal.db
// alone is a whole copy.
func (db database) checkpoint() error {
	admin, err := db.admin()
	if err != nil {
		return err
	}
	return errors.Join(admin.Exec("PRAGMA wal_checkpoint(TRUNCATE)"), admin.Close())
}
