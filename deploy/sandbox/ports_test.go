package sandbox

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPortsAreHeldWhileTheirServersAreDown(t *testing.T) {
	t.Parallel()
	ports, sockets, err := freePorts(3)
	require.NoError(t, err)
	// What closes here is gone a moment later only if something in this package is just then starting a process: that has a copy of each
	// socket until it runs. So whatever waits for a close is awaited.
	const soon, tick = 10 * time.Second, time.Millisecond
	for range 2 { // a server starts, stops, and starts again
		_, err = holdPort(ports[0])
		require.ErrorIs(t, err, syscall.EADDRINUSE, "no other sandbox gets it")
		var server net.Listener
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			server, err = net.Listen("tcp", loopback(ports[0]))
			require.NoError(c, err)
		}, soon, tick, "its server does")
		_, err = holdPort(ports[0])
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		require.NoError(t, server.Close())
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		conn, err := net.Dial("tcp", loopback(ports[0]))
		if err == nil {
			_ = conn.Close()
		}
		require.ErrorIs(c, err, syscall.ECONNREFUSED)
	}, soon, tick, "clients see that nobody is there")
	closeSockets(sockets)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		socket, err := holdPort(ports[0])
		require.NoError(c, err)
		closeSockets([]int{socket})
	}, soon, tick, "the next sandbox gets it")
}
