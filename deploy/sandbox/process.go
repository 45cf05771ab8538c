package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// proc is a process beyond doubt: a pid alone may have been given to somebody else since.
type proc struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, field 22 of /proc/PID/stat
}

// stat reads what /proc says of a pid.
func stat(pid int) (p proc, comm string, state byte, parent int, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return proc{}, "", 0, 0, false
	}
	// The name stands in brackets and may hold brackets and blanks itself.
	text := string(data)
	open, shut := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || shut < open {
		return proc{}, "", 0, 0, false
	}
	fields := strings.Fields(text[shut+1:])
	if len(fields) < 20 {
		return proc{}, "", 0, 0, false
	}
	parent, _ = strconv.Atoi(fields[1])
	start, _ := strconv.ParseUint(fields[19], 10, 64)
	return proc{PID: pid, Start: start}, text[open+1 : shut], fields[0][0], parent, true
}

// procOf returns the process that has a pid now; the zero proc where there is none.
func procOf(pid int) proc {
	p, _, state, _, ok := stat(pid)
	if !ok || ended(pid, state) {
		return proc{}
	}
	return p
}

// ended says whether a process that still has a number holds nothing any more, no port and no lock. A zombie does, as long as other
// threads of it have not ended: Redis, killed, is one for a moment.
func ended(pid int, state byte) bool {
	if state != 'Z' {
		return state == 'X'
	}
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)) // none to be read: it has just been buried
	return len(threads) <= 1
}

// alive says whether this very process runs. A zombie does not: in a container nobody may ever reap it.
func (p proc) alive() bool { return p.PID > 0 && procOf(p.PID) == p }

// signal sends a signal to this very process; one that is gone is no error.
func (p proc) signal(sig syscall.Signal) error {
	if !p.alive() {
		return nil
	}
	if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %s to process %d: %w", sig, p.PID, err)
	}
	return nil
}

// pids lists every process of the machine.
func pids() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// descendants returns the living children of p, their children and so on.
func descendants(p proc) []proc {
	children := map[int][]proc{}
	for _, pid := range pids() {
		if c, _, state, parent, ok := stat(pid); ok && !ended(pid, state) {
			children[parent] = append(children[parent], c)
		}
	}
	var out []proc
	for todo := []int{p.PID}; len(todo) > 0; todo = todo[1:] {
		for _, c := range children[todo[0]] {
			out = append(out, c)
			todo = append(todo, c.PID)
		}
	}
	return out
}

// programs are what a sandbox or a driver on its behalf may start; a shell or an editor that stands in its folder is none of them.
var programs = []string{"postgres", "pg_ctl", "initdb", "pg_basebackup", "pg_rewind", "pg_controldata", "haproxy", "sshd", "redis-server", "redis-sentinel",
	"valkey-server", "valkey-sentinel"}

// inFolder returns the processes of the sandbox's programs that work in dir or were started with a path below it.
// That finds servers which a driver restarted since, whatever pids were written down.
func inFolder(dir string) []proc {
	var out []proc
	for _, pid := range pids() {
		p, comm, state, _, ok := stat(pid)
		if !ok || ended(pid, state) || !slices.Contains(programs, comm) {
			continue
		}
		if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil && within(dir, cwd) {
			out = append(out, p)
			continue
		}
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		for arg := range strings.SplitSeq(string(cmdline), "\x00") {
			if within(dir, arg) {
				out = append(out, p)
				break
			}
		}
	}
	return out
}

func within(dir, path string) bool {
	path = strings.TrimSuffix(path, " (deleted)")
	return path == dir || strings.HasPrefix(path, dir+string(filepath.Separator))
}

// awaitGone waits until none of the processes lives.
func awaitGone(ctx context.Context, procs []proc, most time.Duration) error {
	left := func() (out []int) {
		for _, p := range procs {
			if p.alive() {
				out = append(out, p.PID)
			}
		}
		return out
	}
	return await(ctx, most, func() error {
		if pids := left(); len(pids) > 0 {
			return fmt.Errorf("processes %v are still there", pids)
		}
		return nil
	})
}

// await asks until ask has no error, and returns its last error when the time is over.
func await(ctx context.Context, most time.Duration, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("after %s: %w", most, err)
			}
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}
