package engine

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// errPortTaken is what boot reports when a port was free a moment ago.
var errPortTaken = errors.New("port taken")

// ports of the four services. All but the frontend's are always free ones: nobody dials them.
type ports struct{ frontend, history, matching, worker int }

// choosePorts holds all four before it frees any, so that they differ. Between this and the
// server's own listen another process may take one; the caller then chooses again.
func choosePorts(host string, frontend int) (ports, error) {
	var chosen [4]int
	for i, wanted := range [4]int{frontend} {
		l, err := listen(host, wanted, "Temporal")
		if err != nil {
			return ports{}, err
		}
		defer func() { _ = l.Close() }()
		chosen[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports{frontend: chosen[0], history: chosen[1], matching: chosen[2], worker: chosen[3]}, nil
}

func listen(host string, port int, whose string) (net.Listener, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, listenError(address, whose, err)
	}
	return l, nil
}

func listenError(address, whose string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s cannot listen on %s: another process has that port: stop it, or give another port (0 takes a free one)", whose, address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s cannot listen on %s: not permitted: give a port above 1023", whose, address)
	default:
		return fmt.Errorf("%s cannot listen on %s: %w", whose, address, err)
	}
}
