package sandbox

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

// freePorts returns n ports of loopback on which nobody listens. They lie below the range from which the kernel takes
// the source ports of outgoing connections: in that range a client that keeps trying the port of a stopped server ends
// up, sooner or later, connected to itself, and the server cannot bind.
func freePorts(n int) ([]int, error) {
	low, high := 10000, 32767
	var first int
	if data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if _, err := fmt.Sscan(string(data), &first); err == nil && first-low > 5000 {
			high = first - 1
		}
	}
	var ports []int
	taken := map[int]bool{}
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
