package sandbox

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// The users of every system.
const (
	User            = "muster"     // superuser
	ReplicationUser = "replicator" // may stream
)

func (s *Sandbox) memberDir(system, site string) string {
	return filepath.Join(s.state.Dir, "systems", system, site)
}

// DataDirectory returns where a member's data is.
func (s *Sandbox) DataDirectory(system, site string) string {
	return filepath.Join(s.memberDir(system, site), "data")
}

// configFile returns where a member's postgresql.conf is if that is not the data directory.
func (s *Sandbox) configFile(system, site string) string {
	if !s.state.ConfigOutside {
		return ""
	}
	return filepath.Join(s.memberDir(system, site), "etc", "postgresql.conf")
}

// database is the name of a system's database: its own.
func database(system string) string { return system }

// secretFile returns the file that holds a user's password.
func (s *Sandbox) secretFile(user string) string {
	return filepath.Join(s.state.Dir, "secrets", user+".password")
}

func (s *Sandbox) writeSecrets() error {
	own := s.state.Owner
	for _, dir := range []string{s.runDir(), filepath.Join(s.state.Dir, "secrets")} {
		if err := own.mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	for _, user := range []string{User, ReplicationUser} {
		if err := own.write(s.secretFile(user), rand.Text()+"\n", 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Password reads a user's password from its file.
func (s *Sandbox) Password(user string) (string, error) {
	data, err := os.ReadFile(s.secretFile(user))
	if err != nil {
		return "", fmt.Errorf("read the password of %s: %w", user, err)
	}
	return strings.TrimSpace(string(data)), nil
}

// URL returns a connection URL with the password in it: to the member at a site, or through the route where site is "".
func (s *Sandbox) URL(system, site string) (string, error) {
	password, err := s.Password(User)
	if err != nil {
		return "", err
	}
	port := s.Port(routeName(system))
	if site != "" {
		port = s.Port(memberName(system, site))
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(User, password), Host: loopback(port), Path: "/" + database(system),
		RawQuery: "sslmode=disable&connect_timeout=5&application_name=sandbox"}
	return u.String(), nil
}

// Connect opens a connection as URL says.
func (s *Sandbox) Connect(ctx context.Context, system, site string) (*pgx.Conn, error) {
	u, err := s.URL(system, site)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("connect to %s %s: %w", system, site, err)
	}
	return conn, nil
}

// buildSystem makes and starts the primary at east and the standby at west, and waits until that streams.
func (s *Sandbox) buildSystem(ctx context.Context, system string) error {
	if err := s.buildPrimary(ctx, system); err != nil {
		return fmt.Errorf("system %s: primary at east: %w", system, err)
	}
	if err := s.buildStandby(ctx, system); err != nil {
		return fmt.Errorf("system %s: standby at west: %w", system, err)
	}
	return nil
}

func (s *Sandbox) buildPrimary(ctx context.Context, system string) error {
	own, data := s.state.Owner, s.DataDirectory(system, East)
	for _, site := range sites {
		if err := s.prepareMember(system, site); err != nil {
			return err
		}
	}
	_, err := own.run(ctx, s.memberDir(system, East), nil, s.bin("initdb"), "-D", data, "--no-sync", "--data-checksums", "--no-instructions",
		"-U", User, "-A", "scram-sha-256", "--pwfile", s.secretFile(User), "-E", "UTF8", "--locale=C")
	if err != nil {
		return err
	}
	if err := s.configure(system); err != nil {
		return err
	}
	if err := s.startPostgres(ctx, system, East); err != nil {
		return err
	}
	return s.createUsers(ctx, system)
}

func (s *Sandbox) createUsers(ctx context.Context, system string) error {
	u, err := s.URL(system, East)
	if err != nil {
		return err
	}
	u = strings.Replace(u, "/"+database(system)+"?", "/postgres?", 1) // its own does not exist yet
	conn, err := pgx.Connect(ctx, u)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	password, err := s.Password(ReplicationUser)
	if err != nil {
		return err
	}
	for _, sql := range []string{
		// rand.Text has only letters and digits: nothing to quote.
		fmt.Sprintf("CREATE ROLE %s LOGIN REPLICATION PASSWORD '%s'", ReplicationUser, password),
		"CREATE DATABASE " + pgx.Identifier{database(system)}.Sanitize(),
		fmt.Sprintf("SELECT pg_create_physical_replication_slot('%s', true)", slotName(system, West)),
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(strings.Fields(sql)[:2], " "), err)
		}
	}
	return nil
}

func (s *Sandbox) buildStandby(ctx context.Context, system string) error {
	password, err := s.Password(ReplicationUser)
	if err != nil {
		return err
	}
	conninfo := fmt.Sprintf("host=127.0.0.1 port=%d user=%s application_name=%s sslmode=disable", s.Port(memberName(system, East)), ReplicationUser, West)
	// -R writes postgresql.auto.conf, with the password, into the data directory, which only the servers' user can read.
	_, err = s.state.Owner.run(ctx, s.memberDir(system, West), []string{"PGPASSWORD=" + password}, s.bin("pg_basebackup"),
		"-D", s.DataDirectory(system, West), "-d", conninfo, "-R", "-S", slotName(system, West), "-X", "stream", "--checkpoint=fast", "--no-sync")
	if err != nil {
		return err
	}
	if err := s.startPostgres(ctx, system, West); err != nil {
		return err
	}
	return s.awaitStreaming(ctx, system)
}

// awaitStreaming waits until the primary at east says that west streams and has applied all that there is.
func (s *Sandbox) awaitStreaming(ctx context.Context, system string) error {
	conn, err := s.Connect(ctx, system, East)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return await(ctx, 30*time.Second, func() error {
		var streams bool
		err := conn.QueryRow(ctx, `SELECT count(*) = 1 FROM pg_stat_replication
			WHERE application_name = $1 AND state = 'streaming' AND replay_lsn >= pg_current_wal_flush_lsn()`, West).Scan(&streams)
		if err == nil && !streams {
			err = fmt.Errorf("the standby does not stream: %s", s.tail(system, West))
		}
		return err
	})
}

// startPostgres starts a member's server, in a session of its own, and returns when it accepts connections.
func (s *Sandbox) startPostgres(ctx context.Context, system, site string) error {
	if p := s.postmaster(system, site); p.alive() {
		return nil
	}
	dir := s.memberDir(system, site)
	args := []string{s.bin("pg_ctl"), "start", "-w", "-t", "60", "-s", "-D", s.DataDirectory(system, site), "-l", filepath.Join(dir, "start.log")}
	if conf := s.configFile(system, site); conf != "" {
		args = append(args, "-o", "-c config_file="+conf)
	}
	if _, err := s.state.Owner.run(ctx, dir, nil, args...); err != nil {
		return fmt.Errorf("start PostgreSQL: %w; its log: %s", err, s.tail(system, site))
	}
	return nil
}

// postmaster returns the member's server process as its data directory names it, whoever started it; the zero proc where none runs.
func (s *Sandbox) postmaster(system, site string) proc {
	data := s.DataDirectory(system, site)
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return proc{}
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return proc{}
	}
	// The file outlives a crash and its pid may be somebody else's by now: a postmaster works in its data directory.
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || cwd != data {
		return proc{}
	}
	return procOf(pid)
}

// PID returns the process of the member's server, 0 where none runs.
func (s *Sandbox) PID(system, site string) int { return s.postmaster(system, site).PID }

// stopPostgres stops a member's server: cleanly, or at once without a checkpoint.
func (s *Sandbox) stopPostgres(ctx context.Context, system, site string, now bool) error {
	p := s.postmaster(system, site)
	if !p.alive() {
		return nil
	}
	procs := append(descendants(p), p)
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL}
	if now {
		signals = signals[1:]
	}
	var err error
	for _, sig := range signals {
		targets := []proc{p}
		if sig == syscall.SIGKILL {
			targets = procs
		}
		for _, target := range targets {
			if err := target.signal(sig); err != nil {
				return fmt.Errorf("stop %s: %w", memberName(system, site), err)
			}
		}
		if err = awaitGone(ctx, procs, 8*time.Second); err == nil {
			return nil
		}
	}
	return fmt.Errorf("stop %s: %w", memberName(system, site), err)
}

// tail returns the last lines of a member's log, for errors.
func (s *Sandbox) tail(system, site string) string {
	for _, name := range []string{"log/postgresql.log", "start.log"} {
		if data, err := os.ReadFile(filepath.Join(s.memberDir(system, site), name)); err == nil && len(data) > 0 {
			return lastLines(string(data), 4)
		}
	}
	return "(empty)"
}
