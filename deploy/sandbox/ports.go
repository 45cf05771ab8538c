package sandbox

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// reservePorts returns n ports of loopback on which nobody listens and which no other sandbox has, whether it listens there at the
// moment or not. They stay reserved as long as the folder exists. The file that lists them is one for each user.
func reservePorts(ctx context.Context, dir string, n int) ([]int, error) {
	folder := filepath.Join(os.TempDir(), fmt.Sprintf("muster-ports-of-%d", os.Geteuid()))
	if err := ownFolder(folder); err != nil {
		return nil, fmt.Errorf("reserve ports: %w", err)
	}
	path := filepath.Join(folder, "ports")
	lock := flock.New(path + ".lock")
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := lock.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		return nil, fmt.Errorf("reserve ports: lock %s: %w", lock.Path(), err)
	}
	defer func() { _ = lock.Unlock() }()
	taken, lines, err := reserved(path)
	if err != nil {
		return nil, fmt.Errorf("reserve ports: %w", err)
	}
	ports, err := freePorts(n, taken)
	if err != nil {
		return nil, err
	}
	for _, port := range ports {
		lines = append(lines, fmt.Sprintf("%d %s", port, dir))
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("reserve ports: %w", err)
	}
	return ports, nil
}

// ownFolder makes the folder where it is missing, and accepts nobody else's: everybody may write beside it.
func ownFolder(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if of, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(of.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not a folder of this user: remove it", path)
	}
	return nil
}

// reserved reads the reservations of sandboxes whose folders exist.
func reserved(path string) (taken map[int]bool, lines []string, err error) {
	taken = map[int]bool{}
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return taken, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = file.Close() }()
	for text := bufio.NewScanner(file); text.Scan(); err = text.Err() {
		number, dir, _ := strings.Cut(text.Text(), " ")
		port, bad := strconv.Atoi(number)
		if _, gone := os.Stat(dir); bad != nil || gone != nil {
			continue
		}
		taken[port] = true
		lines = append(lines, text.Text())
	}
	return taken, lines, err
}

// freePorts returns n ports that are not taken. They lie below the range from which the kernel takes
// the source ports of outgoing connections: in that range a client that keeps trying the port of a stopped server ends
// up, sooner or later, connected to itself, and the server cannot bind.
func freePorts(n int, taken map[int]bool) ([]int, error) {
	low, high := 10000, 32767
	var first int
	if data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if _, err := fmt.Sscan(string(data), &first); err == nil && first-low > 5000 {
			high = first - 1
		}
	}
	var ports []int
	for range 1000 {
		port := low + rand.IntN(high-low)
		if taken[port] {
			continue
		}
		taken[port] = true
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return nil, fmt.Errorf("free port %d again: %w", port, err)
		}
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports on 127.0.0.1 between %d and %d", n, low, high)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
