package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is one line of what ps shows.
type process struct {
	pid  int
	args string
}

// processes lists those whose arguments name dir, this test's own process left out.
func processes(dir string) []process {
	return slices.DeleteFunc(ps(), func(p process) bool { return p.pid == os.Getpid() || !strings.Contains(p.args, dir) })
}

func ps() []process {
	entries, _ := os.ReadDir("/proc")
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		args, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(args) == 0 {
			continue // gone, or a zombie
		}
		all = append(all, process{pid, strings.ReplaceAll(strings.TrimRight(string(args), "\x00"), "\x00", " ")})
	}
	return all
}

// spyOnProcesses keeps every command line that is seen until the test ends.
func spyOnProcesses(t *testing.T) func() []string {
	var mu sync.Mutex
	seen := map[string]bool{}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(15 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				mu.Lock()
				for _, p := range ps() {
					seen[p.args] = true
				}
				mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		close(done)
		<-gone
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		lines := make([]string, 0, len(seen))
		for args := range seen {
			lines = append(lines, args)
		}
		return lines
	}
}

// awaited asks until ask returns true, and fails the test with the last answer where it takes too long.
func awaited[T any](t *testing.T, what string, most time.Duration, ask func() (T, bool)) T {
	t.Helper()
	deadline := time.Now().Add(most)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, ok := ask()
		if ok {
			return answer
		}
		if time.Now().After(deadline) {
			require.FailNow(t, "waited "+most.String()+" for "+what, "last: %+v", answer)
		}
		<-tick.C
	}
}
