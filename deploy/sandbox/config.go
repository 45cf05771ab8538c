package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// settings are the same for both members and travel with the data directory, as pg_rewind and pg_basebackup copy it.
// What one member has of its own stands in ../member.conf, beside its data directory, so that a copy does not overwrite it.
const settings = `
# muster sandbox
include '../member.conf'
listen_addresses = '127.0.0.1'
max_connections = 60
shared_buffers = 16MB
wal_level = replica
wal_log_hints = on
hot_standby = on
max_wal_senders = 10
max_replication_slots = 10
wal_keep_size = 256MB
max_slot_wal_keep_size = 1GB
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 200ms	# the default of 5s is what a standby waits before it looks again
wal_sender_timeout = 10s
wal_receiver_timeout = 10s
# The collector writes the log whoever started the server, and lets go of the starter's output.
logging_collector = on
log_directory = '../log'
log_filename = 'postgresql.log'
log_line_prefix = '%m [%p] '
log_checkpoints = off
`

const hba = `# muster sandbox
local all         all                scram-sha-256
local replication all                scram-sha-256
host  all         all   127.0.0.1/32 scram-sha-256
host  replication all   127.0.0.1/32 scram-sha-256
`

// prepareMember writes what a member has of its own, beside its data directory.
func (s *Sandbox) prepareMember(system, site string) error {
	own, dir := s.state.Owner, s.memberDir(system, site)
	for _, d := range []string{filepath.Dir(filepath.Dir(dir)), filepath.Dir(dir), dir} {
		if err := own.mkdir(d, 0o755); err != nil {
			return err
		}
	}
	return own.write(filepath.Join(dir, "member.conf"), fmt.Sprintf("port = %d\nunix_socket_directories = '%s'\ncluster_name = '%s-%s'\n",
		s.Port(memberName(system, site)), s.runDir(), system, site), 0o644)
}

// configure appends the sandbox's settings to what initdb wrote at east; the standby gets them with the data.
// Where configuration is kept outside, nothing of it stays with the data and each member gets its own.
func (s *Sandbox) configure(system string) error {
	own, data := s.state.Owner, s.DataDirectory(system, East)
	text, err := os.ReadFile(filepath.Join(data, "postgresql.conf"))
	if err != nil {
		return err
	}
	conf := string(text) + settings
	if !s.state.ConfigOutside {
		return errors.Join(
			own.write(filepath.Join(data, "postgresql.conf"), conf, 0o600),
			own.write(filepath.Join(data, "pg_hba.conf"), hba, 0o600))
	}
	for _, name := range []string{"postgresql.conf", "pg_hba.conf", "pg_ident.conf"} {
		if err := os.Remove(filepath.Join(data, name)); err != nil {
			return err
		}
	}
	for _, site := range sites {
		file := s.configFile(system, site)
		dir := filepath.Dir(file)
		if err := own.mkdir(dir, 0o755); err != nil {
			return err
		}
		where := fmt.Sprintf("data_directory = '%s'\nhba_file = '%s'\nident_file = '%s'\n", s.DataDirectory(system, site), filepath.Join(dir, "pg_hba.conf"), filepath.Join(dir, "pg_ident.conf"))
		err := errors.Join(
			own.write(file, conf+where, 0o600),
			own.write(filepath.Join(dir, "pg_hba.conf"), hba, 0o600),
			own.write(filepath.Join(dir, "pg_ident.conf"), "", 0o600))
		if err != nil {
			return err
		}
	}
	return nil
}
