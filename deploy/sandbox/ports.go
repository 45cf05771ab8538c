package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"syscall"
)

// freePorts returns n ports of loopback that nobody has, and holds them until the caller closes the sockets (or ends). They lie below
// the range from which the kernel takes the source ports of outgoing connections: in that range a client that keeps trying the port of
// a stopped server ends up, sooner or later, connected to itself, and the server cannot bind.
func freePorts(n int) (ports, sockets []int, err error) {
	low, high := 10000, 32767
	var first int
	if data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if _, err := fmt.Sscan(string(data), &first); err == nil && first-low > 5000 {
			high = first - 1
		}
	}
	for range 1000 {
		port := low + rand.IntN(high-low)
		socket, err := holdPort(port)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			closeSockets(sockets)
			return nil, nil, fmt.Errorf("hold port %d: %w", port, err)
		}
		sockets = append(sockets, socket)
		if ports = append(ports, port); len(ports) == n {
			return ports, sockets, nil
		}
	}
	closeSockets(sockets)
	return nil, nil, fmt.Errorf("no %d free ports on 127.0.0.1 between %d and %d", n, low, high)
}

// holdPort keeps a port from others, also while its server is down: a socket that is bound and does not listen leaves the port to who
// binds with SO_REUSEADDR, as servers do. Another sandbox that looks for free ports comes here, and binds without it.
func holdPort(port int) (socket int, err error) {
	socket, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	err = syscall.Bind(socket, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	if err == nil {
		err = syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	}
	if err != nil {
		return 0, errors.Join(err, syscall.Close(socket))
	}
	return socket, nil
}

func closeSockets(sockets []int) {
	for _, socket := range sockets {
		_ = syscall.Close(socket)
	}
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
