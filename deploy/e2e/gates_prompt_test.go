package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/musterhq/muster/internal/journal"
)

// terminal runs the CLI on a terminal of its own, as somebody with their key.
type terminal struct {
	*os.File
	cmd   *exec.Cmd
	shown *lockedBuffer
	ended chan struct{}
}

func (g *gated) terminal(t *testing.T, user string, args ...string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	c := &terminal{File: master, cmd: exec.Command(filepath.Join(bin, "muster"), args...), shown: &lockedBuffer{}, ended: make(chan struct{})}
	c.cmd.Env, c.cmd.Dir = append(environment(g.worker, user), "MUSTER_KEY="+g.keys[user], "TERM=dumb"), g.state
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = slave, slave, slave
	require.NoError(t, c.cmd.Start())
	require.NoError(t, slave.Close())
	go func() { // the terminal ends with an error, as terminals do
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			_, _ = c.shown.Write(b[:n])
			if err != nil {
				break
			}
		}
		_ = c.cmd.Wait() // the exit code tells
		close(c.ended)
	}()
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); <-c.ended })
	return c
}

// answers waits for a question, types an answer, and returns what was shown and the exit code.
func (c *terminal) answers(t *testing.T, question, answer string) (string, int) {
	t.Helper()
	awaited(t, "to be asked", 20*time.Second, func() (string, bool) { return c.shown.String(), strings.Contains(c.shown.String(), question) })
	_, err := c.WriteString(answer + "\n")
	require.NoError(t, err)
	select {
	case <-c.ended:
	case <-time.After(40 * time.Second):
		require.FailNow(t, "it did not end", c.shown.String())
	}
	return c.shown.String(), c.cmd.ProcessState.ExitCode()
}

// byPrompt decides in a terminal: the plan is shown, and only the word yes approves it.
func byPrompt(t *testing.T, g *gated) {
	here, there := g.sites(t)
	x := g.begin(t, runbook(here, ""))
	gate := g.gate(t, x, "approve")
	inbox := g.as(t, "kim", "inbox")
	require.Contains(t, inbox.out, "next: muster approve "+x.WorkflowID+" --gate approve", inbox.String())
	question := fmt.Sprintf("Type yes to approve plan %.12s:", gate.PlanHash)
	shown, code := g.terminal(t, "kim", "approve", x.WorkflowID).answers(t, question, "y")
	require.Equal(t, 1, code, shown)
	require.Contains(t, shown, "not approved: nothing was sent")
	require.Empty(t, g.gate(t, x, "approve").Have)

	shown, code = g.terminal(t, "kim", "approve", x.WorkflowID, "--reason", "read it").answers(t, question, "yes")
	require.Zero(t, code, shown)
	require.Contains(t, shown, "promote "+system+" at "+there)
	require.Contains(t, shown, "accepted: approved: approve")
	_, entries := g.ended(t, x, journal.Passed)
	d := decided(entries)[0]
	require.Equal(t, []string{"kim", "cli", "read it"}, []string{d.Author, d.Channel, d.Reason})
	require.Contains(t, d.Identity, "signed:SHA256:")
	g.requireSettled(t, there)

	// A rejection asks nothing: it moves nothing.
	x = g.begin(t, runbook(there, ""))
	g.gate(t, x, "approve")
	reject := g.signedBy(t, "lou", "reject", x.WorkflowID, "--reason", "not twice a day")
	require.Zero(t, reject.code, reject.String())
	g.ended(t, x, journal.RejectedVerdict)
	g.requireSettled(t, there)
}
