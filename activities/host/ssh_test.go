package host_test

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/activities/host"
	"github.com/musterhq/muster/runbooks"
)

// unprivileged is who the tests log in as where they run as root.
const unprivileged = "postgres"

// sshd is a real one, on loopback, as an unprivileged user.
type sshd struct {
	dir, address, login string
	cmd                 *exec.Cmd
}

func startSSHD(t *testing.T) *sshd {
	t.Helper()
	s := &sshd{dir: filepath.Dir(scratch(t, "x"))}
	me, err := user.Current()
	require.NoError(t, err)
	s.login = me.Username
	attributes := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if me.Uid == "0" {
		s.login = unprivileged
		u, err := user.Lookup(unprivileged)
		require.NoError(t, err)
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.address = listener.Addr().String()
	require.NoError(t, listener.Close())

	hostKey := s.newKey(t, "host_key", 0o600)
	loginKey := s.newKey(t, "login_key", 0o600)
	s.write(t, "known_hosts", knownhosts.Line([]string{s.address}, hostKey)+"\n")
	s.write(t, "authorized_keys", string(ssh.MarshalAuthorizedKey(loginKey)))
	s.write(t, "sshd_config", fmt.Sprintf(
		"ListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n",
		s.address, s.path("host_key"), s.path("authorized_keys")))
	if attributes.Credential != nil {
		require.NoError(t, os.Chown(s.path("host_key"), int(attributes.Credential.Uid), -1))
	}

	s.cmd = exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", s.path("sshd_config"))
	s.cmd.SysProcAttr = attributes
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	require.NoError(t, s.cmd.Start(), "openssh-server is needed: apt-get install openssh-server")
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", s.address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	return s
}

func (s *sshd) path(name string) string { return filepath.Join(s.dir, name) }

func (s *sshd) write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(s.path(name), []byte(text), 0o644))
}

func (s *sshd) newKey(t *testing.T, name string, mode os.FileMode) ssh.PublicKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.path(name), pem.EncodeToMemory(block), mode))
	key, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	return key
}

func (s *sshd) host() runbooks.Host {
	return runbooks.Host{
		Kind: "ssh", Address: s.address, User: s.login, Key: runbooks.Secret("file:" + s.path("login_key")), KnownHosts: s.path("known_hosts"),
		Timeout: runbooks.Duration(5 * time.Second),
	}
}

func TestSSHRefusals(t *testing.T) {
	s := startSSHD(t)
	other := s.newKey(t, "other_key", 0o600)
	tests := map[string]struct {
		change func(h *runbooks.Host)
		kind   string
		says   []string
	}{
		"wrong login key": {
			func(h *runbooks.Host) { h.Key = runbooks.Secret("file:" + s.path("other_key")) },
			activities.ErrAuth, []string{"login as " + s.login, "authorized_keys"},
		},
		"no such key": {
			func(h *runbooks.Host) { h.Key = "file:/nonexistent/key" },
			activities.ErrConfig, []string{"/nonexistent/key"},
		},
		"a key that is none": {
			func(h *runbooks.Host) { h.Key = runbooks.Secret("file:" + s.path("known_hosts")) },
			activities.ErrConfig, []string{"no private key"},
		},
		"unknown host key": {
			func(h *runbooks.Host) {
				s.write(t, "empty", "# nothing\n")
				h.KnownHosts = s.path("empty")
			},
			activities.ErrConfig, []string{s.path("empty"), s.address, "not known"},
		},
		"changed host key": {
			func(h *runbooks.Host) {
				s.write(t, "changed", "# line 1\n"+knownhosts.Line([]string{s.address}, other)+"\n")
				h.KnownHosts = s.path("changed")
			},
			activities.ErrAuth, []string{s.path("changed") + ":2", "changed", ssh.FingerprintSHA256(other)},
		},
		"revoked host key": {
			func(h *runbooks.Host) {
				text, err := os.ReadFile(s.path("known_hosts"))
				require.NoError(t, err)
				_, key, _ := strings.Cut(string(text), " ")
				s.write(t, "revoked", "@revoked * "+key)
				h.KnownHosts = s.path("revoked")
			},
			activities.ErrAuth, []string{s.path("revoked") + ":1", "revoked"},
		},
		"no known_hosts":      {func(h *runbooks.Host) { h.KnownHosts = "" }, activities.ErrConfig, []string{"known_hosts"}},
		"missing known_hosts": {func(h *runbooks.Host) { h.KnownHosts = s.path("none") }, activities.ErrConfig, []string{s.path("none")}},
		"nobody listens": {
			func(h *runbooks.Host) { h.Address = "127.0.0.1:1" }, activities.ErrUnreachable, []string{"127.0.0.1:1"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := s.host()
			test.change(&h)
			hosts := host.New()
			t.Cleanup(hosts.Close)
			_, err := hosts.Open(t.Context(), "east-host", h)
			require.Error(t, err)
			require.Equal(t, test.kind, activities.TypeOf(err), "%v", err)
			for _, words := range append(test.says, "east-host") {
				require.ErrorContains(t, err, words)
			}
			require.NotContains(t, err.Error(), "PRIVATE KEY")
		})
	}
}

// A host that accepts connections and says nothing is given up within its timeout.
func TestSSHSilentHandshake(t *testing.T) {
	s := startSSHD(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	h := s.host()
	h.Address, h.Timeout = listener.Addr().String(), runbooks.Duration(200*time.Millisecond)
	began := time.Now()
	_, err = host.New().Open(t.Context(), "silent", h)
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err), "%v", err)
	require.Less(t, time.Since(began), 5*time.Second)

	h.Timeout = runbooks.Duration(time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = host.New().Open(ctx, "silent", h)
	require.Error(t, err)
	require.Less(t, time.Since(began), 10*time.Second)
}

// A connection that breaks while a command runs fails it as unreachable, and the next Open connects anew.
func TestSSHDroppedConnection(t *testing.T) {
	s := startSSHD(t)
	p := startPipe(t, s.address)
	h := s.host()
	h.Address = p.address
	s.alias(t, p.address)
	hosts := host.New()
	t.Cleanup(hosts.Close)
	opened, err := hosts.Open(t.Context(), "dropped", h)
	require.NoError(t, err)
	started := scratch(t, "started")
	go func() {
		awaitFile(t, started)
		p.cut()
	}()
	_, err = opened.Run(t.Context(), activities.Command{Args: []string{"sh", "-c", "echo x >" + started + "; exec sleep 20"}})
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err), "%v", err)

	again, err := hosts.Open(t.Context(), "dropped", h)
	require.NoError(t, err)
	_, err = again.Run(t.Context(), activities.Command{Args: []string{"true"}})
	require.NoError(t, err)
}

// A host that hangs without closing anything is noticed by keepalives.
func TestSSHHungHost(t *testing.T) {
	s := startSSHD(t)
	p := startPipe(t, s.address)
	h := s.host()
	h.Address = p.address
	s.alias(t, p.address)
	hosts := host.New()
	hosts.KeepAlive = 100 * time.Millisecond
	t.Cleanup(hosts.Close)
	opened, err := hosts.Open(t.Context(), "hung", h)
	require.NoError(t, err)
	started := scratch(t, "started")
	go func() {
		awaitFile(t, started)
		p.freeze()
	}()
	began := time.Now()
	_, err = opened.Run(t.Context(), activities.Command{Args: []string{"sh", "-c", "echo x >" + started + "; exec sleep 20"}})
	require.Equal(t, activities.ErrUnreachable, activities.TypeOf(err), "%v", err)
	require.Less(t, time.Since(began), 10*time.Second)
}

func TestSSHConnectionsAreShared(t *testing.T) {
	s := startSSHD(t)
	p := startPipe(t, s.address)
	h := s.host()
	h.Address = p.address
	s.alias(t, p.address)
	hosts := host.New()
	t.Cleanup(hosts.Close)
	done := make(chan error, 30)
	first, err := hosts.Open(t.Context(), "shared", h)
	require.NoError(t, err)
	require.NoError(t, first.Close())
	for range cap(done) { // more than sshd's MaxSessions at once
		go func() {
			opened, err := hosts.Open(t.Context(), "shared", h)
			if err == nil {
				_, err = opened.Run(t.Context(), activities.Command{Args: []string{"sleep", "0.05"}})
			}
			done <- err
		}()
	}
	for range cap(done) {
		require.NoError(t, <-done)
	}
	require.Equal(t, 1, p.count())
}

// alias makes the host key known under another address.
func (s *sshd) alias(t *testing.T, address string) {
	t.Helper()
	text, err := os.ReadFile(s.path("known_hosts"))
	require.NoError(t, err)
	_, key, _ := strings.Cut(string(text), " ")
	s.write(t, "known_hosts", string(text)+knownhosts.Normalize(address)+" "+key)
}
