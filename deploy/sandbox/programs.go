package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/musterhq/muster/runbooks"
)

const (
	haproxyProgram = "/usr/sbin/haproxy"
	sshdProgram    = "/usr/sbin/sshd"
)

// postgresRoot is where Debian keeps PostgreSQL's programs, a folder for each major version.
const postgresRoot = "/usr/lib/postgresql"

// BinDirectories returns where PostgreSQL servers are installed, the newest version first.
func BinDirectories() []string {
	found, _ := filepath.Glob(postgresRoot + "/*/bin/initdb") // only a bad pattern is an error
	var out []string
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	for _, path := range found {
		dir := filepath.Dir(path)
		at := 0
		for at < len(out) && version(out[at]) > version(dir) {
			at++
		}
		out = append(out[:at], append([]string{dir}, out[at:]...)...)
	}
	return out
}

// findPrograms chooses the newest PostgreSQL where none is named, and checks that every program needed is there.
func (o *Options) findPrograms() error {
	if o.BinDirectory == "" {
		if found := BinDirectories(); len(found) > 0 {
			o.BinDirectory = found[0]
		} else {
			o.BinDirectory = postgresRoot + "/NN/bin"
		}
	}
	if o.RedisBin != "" {
		dir, err := filepath.Abs(o.RedisBin) // servers work in folders of their own
		if err != nil {
			return fmt.Errorf("find the programs of Redis: %w", err)
		}
		o.RedisBin = dir
	}
	needed := []string{}
	for _, name := range []string{"initdb", "postgres", "pg_ctl", "pg_basebackup", "pg_rewind", "pg_controldata"} {
		needed = append(needed, filepath.Join(o.BinDirectory, name))
	}
	if !o.NoRoute {
		needed = append(needed, haproxyProgram)
	}
	if o.SSH {
		needed = append(needed, sshdProgram)
	}
	if o.Redis != "" {
		needed = append(needed, redisProgram(o.RedisBin, "server"))
	}
	if o.Redis == runbooks.RedisSentinel {
		needed = append(needed, redisProgram(o.RedisBin, "sentinel"))
	}
	var missing []string
	for _, path := range needed {
		if info, err := os.Stat(path); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			missing = append(missing, path)
		}
	}
	if len(missing) > 0 {
		next := installLine([]string{"postgresql", "haproxy", "openssh-server", "redis-server", "redis-sentinel"})
		if o.RedisBin != "" && filepath.Dir(missing[0]) == o.RedisBin {
			next = "name the folder that has valkey-server or redis-server"
		}
		return fmt.Errorf("not installed: %s (next: %s)", strings.Join(missing, ", "), next)
	}
	return nil
}

// redisProgram is Redis' server or sentinel; in a folder that has Valkey's, that one.
func redisProgram(dir, role string) string {
	if dir == "" {
		return filepath.Join(debianBin, "redis-"+role)
	}
	if valkey := filepath.Join(dir, "valkey-"+role); exists(valkey) {
		return valkey
	}
	return filepath.Join(dir, "redis-"+role)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func installLine(packages []string) string {
	return "apt-get install -y --no-install-recommends " + strings.Join(packages, " ")
}
