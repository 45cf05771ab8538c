package starter

import (
	"encoding/json"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/internal/sshsig"
	"github.com/musterhq/muster/workflows/run"
)

// keygen makes a key with the real ssh-keygen.
func keygen(t *testing.T, passphrase string) (string, ssh.PublicKey) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "id_ed25519")
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path).CombinedOutput()
	require.NoError(t, err, string(out))
	text, err := os.ReadFile(path + ".pub")
	require.NoError(t, err)
	public, _, _, _, err := ssh.ParseAuthorizedKey(text)
	require.NoError(t, err)
	return path, public
}

// serveAgent is an ssh-agent that holds the keys of these files; it returns its socket.
func serveAgent(t *testing.T, paths ...string) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		key, err := ssh.ParseRawPrivateKey(text)
		require.NoError(t, err)
		require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: key}))
	}
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	return socket
}

func verifies(t *testing.T, signature string, text []byte, key ssh.PublicKey) {
	t.Helper()
	_, err := sshsig.Verify(signature, "muster", text, []ssh.PublicKey{key})
	require.NoError(t, err)
}

func TestApproveSigns(t *testing.T) {
	t.Parallel()
	path, public := keygen(t, "")
	other, _ := keygen(t, "")
	tests := []struct {
		name string
		args []string
		env  map[string]string
	}{
		{"key file", []string{"--key", path}, nil},
		{"MUSTER_KEY", nil, map[string]string{"MUSTER_KEY": path}},
		{"the agent's only key", nil, map[string]string{"SSH_AUTH_SOCK": serveAgent(t, path)}},
		{"one of the agent's keys", []string{"--key", path + ".pub"}, map[string]string{"SSH_AUTH_SOCK": serveAgent(t, other, path)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newFakeRun("failover:shop", "r-1").openGate("signed")
			c := newCLI(t, r)
			for k, v := range tt.env {
				c.env[k] = v
			}
			code, out, stderr := c.run(append([]string{"approve", "failover:shop", "--plan", hash[:8], "-m", "change 4711"}, tt.args...)...)
			require.Equal(t, codeDone, code, stderr)
			require.Equal(t, "accepted: approve: approve\n", out)
			d := r.decisions[0]
			require.Equal(t, hash, d.PlanHash, "the beginning of the gate's hash stands for it")
			require.Equal(t, "approve", d.Gate)
			require.Equal(t, "dana", d.Approver)
			require.Equal(t, "change 4711", d.Reason)
			require.Equal(t, "cli", d.Channel)
			require.NotEmpty(t, d.Nonce)
			verifies(t, d.Signature, d.SigningText("failover:shop", "r-1"), public)
		})
	}
}

func TestNoKeyToSignWith(t *testing.T) {
	t.Parallel()
	one, _ := keygen(t, "")
	two, _ := keygen(t, "")
	locked, _ := keygen(t, "secret passphrase")
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, []byte("PRIVATE nonsense"), fs.FileMode(0o600)))
	tests := []struct {
		name, want string
		args       []string
		env        map[string]string
	}{
		{"none", "no --key, no MUSTER_KEY, and no ssh-agent", nil, nil},
		{"agent is gone", "the ssh-agent does not answer", nil, map[string]string{"SSH_AUTH_SOCK": "/nowhere/agent"}},
		{"two", "holds 2 keys, say which one", nil, map[string]string{"SSH_AUTH_SOCK": serveAgent(t, one, two)}},
		{"not in the agent", "does not hold SHA256:", []string{"--key", one + ".pub"}, map[string]string{"SSH_AUTH_SOCK": serveAgent(t, two)}},
		{"missing", "read the key: open", []string{"--key", "/nowhere/key"}, nil},
		{"passphrase without terminal", "it has a passphrase", []string{"--key", locked}, nil},
		{"nonsense", "read the private key", []string{"--key", empty}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newFakeRun("failover:shop", "r-1").openGate("signed")
			c := newCLI(t, r)
			for k, v := range tt.env {
				c.env[k] = v
			}
			code, _, stderr := c.run(append([]string{"approve", "--plan", hash}, tt.args...)...)
			require.Equal(t, codeError, code)
			require.Contains(t, stderr, tt.want)
			require.Contains(t, stderr, "next: ")
			require.NotContains(t, stderr, "nonsense\x00PRIVATE")
			require.Empty(t, r.decisions, "nothing was sent")
		})
	}
}

func TestUnsignedDecision(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--unsigned"}, {}} {
		r := newFakeRun("failover:shop", "r-1").openGate("unsigned")
		code, out, _ := newCLI(t, r).run(append([]string{"reject", "--as", "kim"}, args...)...)
		require.Equal(t, codeDone, code)
		require.Equal(t, "accepted: reject: approve (unsigned: evidence calls you \"claimed\")\n", out)
		require.Empty(t, r.decisions[0].Signature)
		require.Equal(t, "kim", r.decisions[0].Approver)
	}
}

func TestApproveShowsThePlanFirst(t *testing.T) {
	t.Parallel()
	r := newFakeRun("failover:shop", "r-1").openGate("unsigned")
	c := newCLI(t, r)
	code, out, stderr := c.run("approve")
	require.Equal(t, codeUsage, code)
	require.Contains(t, out, "Plan "+hash[:12])
	require.Contains(t, stderr, "name the plan with --plan "+hash[:12]+", or take it as shown with --yes")
	require.Empty(t, r.decisions)

	code, out, stderr = c.run("approve", "--yes", "-o", "json")
	require.Equal(t, codeDone, code)
	require.Contains(t, stderr, "Plan "+hash[:12], "with JSON on stdout, people read stderr")
	var got answered
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.True(t, got.Accepted)
}

func TestPlanThatChangedWhileItWasShown(t *testing.T) {
	t.Parallel()
	r := newFakeRun("failover:shop", "r-1").openGate("unsigned")
	r.plan.Hash = strings.Repeat("0", 64)
	code, _, stderr := newCLI(t, r).run("approve", "--yes")
	require.Equal(t, codeError, code)
	require.Contains(t, stderr, "the plan changed while it was shown")
	require.Empty(t, r.decisions)
}

func TestRefusedDecision(t *testing.T) {
	t.Parallel()
	r := newFakeRun("failover:shop", "r-1").openGate("unsigned")
	code, out, _ := newCLI(t, r).run("approve", "--plan", "deadbeefdeadbeef")
	require.Equal(t, codeError, code)
	require.Equal(t, "refused: the plan is another one\n", out)
	require.Equal(t, "deadbeefdeadbeef", r.decisions[0].PlanHash, "a wrong hash is sent as it is, so that the refusal is recorded")
}

func TestChoosingTheGate(t *testing.T) {
	t.Parallel()
	r := newFakeRun("failover:shop", "r-1")
	c := newCLI(t, r)
	code, _, stderr := c.run("approve", "--yes")
	require.Equal(t, codeError, code)
	require.Contains(t, stderr, "no gate of run failover:shop is open: it is running, phase observe")

	r.openGate("unsigned")
	r.status.Gates = append(r.status.Gates, run.GateStatus{Name: "data-loss/orders", PlanHash: hash, Trust: "unsigned"})
	code, _, stderr = c.run("approve", "--yes")
	require.Equal(t, codeUsage, code)
	require.Contains(t, stderr, "2 gates of run failover:shop are open, name one with --gate: approve, data-loss/orders")
	code, _, stderr = c.run("approve", "--gate", "nope")
	require.Equal(t, codeUsage, code)
	require.Contains(t, stderr, `no gate "nope"`)
	code, _, _ = c.run("reject", "--gate", "data-loss/orders")
	require.Equal(t, codeDone, code)
	require.Equal(t, "data-loss/orders", r.decisions[0].Gate)
}

func TestDecisionBySignal(t *testing.T) {
	t.Parallel()
	r := newFakeRun("failover:shop", "r-1").openGate("unsigned")
	r.silent = true
	c := newCLI(t, r)
	code, _, stderr := c.run("approve", "--plan", hash, "--unsigned")
	require.Equal(t, codeError, code)
	require.Contains(t, stderr, "no worker answered in time\nnext: start or check muster-worker")
	code, _, _ = c.run("approve", "failover:shop", "--signal", "--plan", hash, "--unsigned")
	require.Equal(t, codeUsage, code)
	code, out, _ := c.run("approve", "failover:shop", "--signal", "--gate", "approve", "--plan", hash, "--unsigned")
	require.Equal(t, codeDone, code)
	require.Contains(t, out, "sent by signal")
	require.Equal(t, hash, r.signals[0].(run.Decision).PlanHash)
}

func TestDecisionOnAnEndedRun(t *testing.T) {
	t.Parallel()
	code, _, stderr := newCLI(t, newFakeRun("failover:shop", "r-1").end(journal.Passed)).run("abort", "failover:shop")
	require.Equal(t, codeError, code)
	require.Contains(t, stderr, "run failover:shop has ended or is unknown")
}

func TestInterventions(t *testing.T) {
	t.Parallel()
	path, public := keygen(t, "")
	r := newFakeRun("failover:shop", "r-1")
	c := newCLI(t, r)
	for _, args := range [][]string{
		{"retry", "failover:shop", "fence/orders", "--set", "timeout=2m", "--set", "force=yes", "-m", "host is back", "--key", path},
		{"skip", "failover:shop", "follow/orders"}, {"pause"}, {"resume", "latest"}, {"abort", "--as", "kim"},
	} {
		code, out, stderr := c.run(args...)
		require.Equal(t, codeDone, code, stderr)
		require.Contains(t, out, "accepted: "+args[0])
		require.Equal(t, args[0], r.acts[len(r.acts)-1].Action)
	}
	retry := r.acts[0]
	require.Equal(t, map[string]string{"timeout": "2m", "force": "yes"}, retry.Set)
	require.Equal(t, "fence/orders", retry.Step)
	require.Equal(t, "host is back", retry.Reason)
	verifies(t, retry.Signature, retry.SigningText("failover:shop", "r-1"), public)
	require.Equal(t, "follow/orders", r.acts[1].Step)
	require.Empty(t, r.acts[1].Signature, "without a key it is sent bare, and the run answers")
	require.Equal(t, "kim", r.acts[4].Author)
	nonces := map[string]bool{}
	for _, act := range r.acts {
		nonces[act.Nonce] = true
	}
	require.Len(t, nonces, 5)
}
