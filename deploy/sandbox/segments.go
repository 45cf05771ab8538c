package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// removeSegments frees the System V shared memory that a killed PostgreSQL leaves in the kernel until the next boot;
// its postmaster.pid, which a clean stop removes, names it on line 7 ("key id").
func (s *Sandbox) removeSegments() {
	for _, system := range s.state.Systems {
		for _, site := range sites {
			text, err := os.ReadFile(filepath.Join(s.DataDirectory(system, site), "postmaster.pid"))
			if lines := strings.Split(string(text), "\n"); err == nil && len(lines) > 6 {
				s.removeSegment(lines[6])
			}
		}
	}
}

func (s *Sandbox) removeSegment(line string) {
	var key uint32
	var id int
	if n, _ := fmt.Sscan(line, &key, &id); n != 2 {
		return
	}
	var d unix.SysvShmDesc
	// The number may be somebody else's by now: key, owner and the absence of users must fit.
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &d); err != nil || uint32(d.Perm.Key) != key || d.Perm.Uid != s.state.Owner.UID || d.Nattch > 0 {
		return
	}
	_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) // 56 bytes: not worth an error
}
