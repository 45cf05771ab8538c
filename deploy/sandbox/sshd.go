package sandbox

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

const sshdConfig = `# muster sandbox
ListenAddress %s
HostKey %s
AuthorizedKeysFile %s
PidFile %s
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PubkeyAuthentication yes
PermitRootLogin no
AllowTcpForwarding no
X11Forwarding no
PrintMotd no
MaxStartups 200:30:400
MaxSessions 100
LogLevel VERBOSE
`

func (s *Sandbox) sshDir() string { return filepath.Join(s.state.Dir, "ssh") }

// SSHKey returns the private key that logs in at the hosts; the servers' user is who logs in.
func (s *Sandbox) SSHKey() string { return filepath.Join(s.sshDir(), "id_ed25519") }

// KnownHosts returns the file with the hosts' public keys.
func (s *Sandbox) KnownHosts() string { return filepath.Join(s.sshDir(), "known_hosts") }

// newKey writes a private key, and its public half beside it; it returns the public half.
func (s *Sandbox) newKey(path string) (ssh.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "muster sandbox")
	if err != nil {
		return nil, err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	return key, errors.Join(
		s.state.Owner.write(path, string(pem.EncodeToMemory(block)), 0o600),
		s.state.Owner.write(path+".pub", string(ssh.MarshalAuthorizedKey(key)), 0o644))
}

// writeSSH writes keys and configuration of all hosts before the first of them starts.
func (s *Sandbox) writeSSH() error {
	own := s.state.Owner
	if err := own.mkdir(s.sshDir(), 0o755); err != nil {
		return err
	}
	login, err := s.newKey(s.SSHKey())
	if err != nil {
		return fmt.Errorf("make the key for the hosts: %w", err)
	}
	if err := own.write(filepath.Join(s.sshDir(), "authorized_keys"), string(ssh.MarshalAuthorizedKey(login)), 0o644); err != nil {
		return err
	}
	var known strings.Builder
	for _, site := range sites {
		host, dir := hostName(site), s.sshDir()
		key, err := s.newKey(filepath.Join(dir, host+".key"))
		if err != nil {
			return fmt.Errorf("make the key of %s: %w", host, err)
		}
		fmt.Fprintln(&known, knownhosts.Line([]string{loopback(s.Port(host))}, key))
		config := fmt.Sprintf(sshdConfig, loopback(s.Port(host)), filepath.Join(dir, host+".key"), filepath.Join(dir, "authorized_keys"), filepath.Join(s.runDir(), host+".pid"))
		if err := own.write(filepath.Join(dir, host+".conf"), config, 0o644); err != nil {
			return err
		}
	}
	return own.write(s.KnownHosts(), known.String(), 0o644)
}

// startSSHD starts the sshd of a site. It runs unprivileged, so only its own user can log in: the one that the servers run as.
func (s *Sandbox) startSSHD(ctx context.Context, site string) error {
	host := hostName(site)
	if s.proc(host).alive() {
		return nil
	}
	log := filepath.Join(s.sshDir(), host+".log")
	if err := s.daemon(host, log, sshdProgram, "-D", "-e", "-f", filepath.Join(s.sshDir(), host+".conf")); err != nil {
		return err
	}
	return s.awaitDaemon(ctx, host, log, func() error {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", loopback(s.Port(host)))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}
