package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// wallClock is the wall clock of one running process, as a test sets it. A static Go binary asks no libc that could be
// preloaded, but it reads the time by a function that the kernel maps into it (vDSO): that function is replaced in this one process,
// by one that adds seconds to CLOCK_REALTIME. The monotonic clock, other processes and the machine stay as they are.
type wallClock struct {
	mem      *os.File
	entry    int64 // where __vdso_clock_gettime begins
	original []byte
	seconds  int64 // where the seconds to add are
}

// shiftedGettime does the plain system call clock_gettime and adds to its seconds where CLOCK_REALTIME was asked for. It
// clobbers what a system call clobbers anyway, which every caller must expect of a C function.
var shiftedGettime = []byte{
	0xb8, 0xe4, 0x00, 0x00, 0x00, // mov eax, 228
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi
	0x75, 0x0a, // jne to ret
	0x48, 0x8b, 0x0d, 0x06, 0x00, 0x00, 0x00, // mov rcx, [rip+6], the seconds
	0x48, 0x01, 0x0e, // add [rsi], rcx
	0xc3,       // ret
	0x90, 0x90, // the seconds follow, eight bytes
}

// takeWallClock gives the test the wall clock of a process; it runs true until it is told otherwise. The clock is given back
// when the test ends.
func takeWallClock(t *testing.T, pid int) *wallClock {
	t.Helper()
	require.Equal(t, "amd64", runtime.GOARCH, "the clock of a running process is changed by machine code, which is written for amd64 only")
	from, to := vdso(t, pid)
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	require.NoError(t, err, "writing into the worker's memory takes its own user, or root, and the right to trace it")
	c := &wallClock{mem: mem}
	image := make([]byte, to-from)
	_, err = mem.ReadAt(image, from)
	require.NoError(t, err)
	// The mapping is whole pages; behind the image there is room.
	room := (len(bytes.TrimRight(image, "\x00")) + 64) &^ 15
	require.Less(t, room+len(shiftedGettime)+8, len(image), "no room in the vDSO for a function of one's own")
	c.entry = from + gettimeIn(t, image)
	c.seconds = from + int64(room+len(shiftedGettime))
	c.original = image[c.entry-from:][:5]
	c.write(t, from+int64(room), append(bytes.Clone(shiftedGettime), make([]byte, 8)...))
	jump := binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(int32(from+int64(room)-c.entry-5)))
	c.swap(t, pid, jump)
	t.Cleanup(func() {
		if _, err := mem.ReadAt(make([]byte, 1), c.entry); err == nil { // else the process is gone, and its clock with it
			c.swap(t, pid, c.original)
		}
		_ = mem.Close()
	})
	return c
}

// set makes the clock differ from the machine's by so much, at once.
func (c *wallClock) set(t *testing.T, by time.Duration) {
	t.Helper()
	c.write(t, c.seconds, binary.LittleEndian.AppendUint64(nil, uint64(by/time.Second)))
}

func (c *wallClock) write(t *testing.T, at int64, bytes []byte) {
	t.Helper()
	_, err := c.mem.WriteAt(bytes, at)
	require.NoError(t, err)
}

// swap exchanges the first bytes of clock_gettime while the process stands still and no thread is between them.
func (c *wallClock) swap(t *testing.T, pid int, bytes []byte) {
	t.Helper()
	awaited(t, "no thread to be at the beginning of clock_gettime", 10*time.Second, func() ([]string, bool) {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
		defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
		at, still := threads(pid)
		for i := range at {
			still = still && (at[i] <= uint64(c.entry) || at[i] >= uint64(c.entry)+uint64(len(bytes)))
		}
		if still {
			c.write(t, c.entry, bytes)
		}
		return nil, still
	})
}

// threads returns at which address each thread of a stopped process is; false where one still runs.
func threads(pid int) (at []uint64, still bool) {
	for range 200 {
		paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid)) // only a bad pattern is an error
		at = at[:0]
		for _, path := range paths {
			text, err := os.ReadFile(path)
			fields := strings.Fields(string(text))
			if err != nil || len(fields) < 3 { // it is "running"
				break
			}
			var pc uint64
			if _, err := fmt.Sscanf(fields[len(fields)-1], "0x%x", &pc); err != nil {
				break
			}
			at = append(at, pc)
		}
		if len(at) == len(paths) && len(at) > 0 {
			return at, true
		}
		time.Sleep(time.Millisecond)
	}
	return nil, false
}

// vdso returns where the kernel's page of functions is in a process.
func vdso(t *testing.T, pid int) (from, to int64) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			_, err := fmt.Sscanf(line, "%x-%x", &from, &to)
			require.NoError(t, err, line)
			return from, to
		}
	}
	require.FailNow(t, "the kernel maps no vDSO: this process reads its clock in a way that the test cannot change")
	return 0, 0
}

func gettimeIn(t *testing.T, image []byte) int64 {
	t.Helper()
	file, err := elf.NewFile(bytes.NewReader(image))
	require.NoError(t, err)
	symbols, err := file.DynamicSymbols()
	require.NoError(t, err)
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			return int64(s.Value)
		}
	}
	require.FailNow(t, "the vDSO has no __vdso_clock_gettime")
	return 0
}
