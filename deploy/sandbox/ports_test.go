package sandbox

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPortsAreHeldWhileTheirServersAreDown(t *testing.T) {
	t.Parallel()
	ports, sockets, err := freePorts(3)
	require.NoError(t, err)
	for range 2 { // a server starts, stops, and starts again
		_, err = holdPort(ports[0])
		require.ErrorIs(t, err, syscall.EADDRINUSE, "no other sandbox gets it")
		server, err := net.Listen("tcp", loopback(ports[0]))
		require.NoError(t, err, "its server does")
		_, err = holdPort(ports[0])
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		require.NoError(t, server.Close())
	}
	_, err = net.Dial("tcp", loopback(ports[0]))
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "clients see that nobody is there")
	closeSockets(sockets)
	require.Eventually(t, func() bool { // a process that is just being started somewhere in this package has a copy until it is
		socket, err := holdPort(ports[0])
		if err == nil {
			closeSockets([]int{socket})
		}
		return err == nil
	}, 10*time.Second, time.Millisecond)
}
