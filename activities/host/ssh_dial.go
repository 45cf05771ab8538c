package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/secret"
	"github.com/musterhq/muster/runbooks"
)

// dial connects, checks the host's key and logs in, all within the host's timeout.
func dial(ctx context.Context, name string, h runbooks.Host) (*ssh.Client, error) {
	op := fmt.Sprintf("connect to host %s at %s", name, h.Address)
	if _, _, err := net.SplitHostPort(h.Address); err != nil {
		return nil, &activities.Error{Type: activities.ErrConfig, Op: op, Err: fmt.Errorf("address: %w", err), Next: "write host:port"}
	}
	signer, err := signer(ctx, h.Key)
	if err != nil {
		return nil, &activities.Error{Type: activities.ErrConfig, Op: op, Err: err}
	}
	if h.KnownHosts == "" {
		return nil, &activities.Error{
			Type: activities.ErrConfig, Op: op, Err: errors.New("the estate names no known_hosts file"),
			Next: "host keys are always checked: set known_hosts",
		}
	}
	known, err := knownhosts.New(h.KnownHosts)
	if err != nil {
		return nil, &activities.Error{Type: activities.ErrConfig, Op: op, Err: fmt.Errorf("known_hosts: %w", err)}
	}

	timeout := h.Timeout.Or(5 * time.Second)
	deadline := time.Now().Add(timeout)
	dialer := net.Dialer{Timeout: timeout}
	raw, err := dialer.DialContext(ctx, "tcp", h.Address)
	if err != nil {
		return nil, unreachable(op, err)
	}
	// The handshake knows no context: the deadline bounds it, and the context closes it.
	_ = raw.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()

	var refused error
	config := &ssh.ClientConfig{
		User:              h.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyAlgorithms: knownAlgorithms(known, h.Address, raw.RemoteAddr()),
		HostKeyCallback: func(address string, remote net.Addr, key ssh.PublicKey) error {
			refused = hostKeyError(op, h, known(address, remote, key), key)
			return refused
		},
	}
	conn, chans, requests, err := ssh.NewClientConn(raw, h.Address, config)
	switch {
	case err == nil:
		_ = raw.SetDeadline(time.Time{})
		return ssh.NewClient(conn, chans, requests), nil
	case refused != nil:
		_ = raw.Close()
		return nil, refused
	case strings.Contains(err.Error(), "unable to authenticate"):
		_ = raw.Close()
		return nil, &activities.Error{
			Type: activities.ErrAuth, Op: op, Err: fmt.Errorf("login as %s with key %s: %w", h.User, h.Key, err),
			Next: "add the public key to the user's authorized_keys on the host",
		}
	default:
		_ = raw.Close()
		return nil, unreachable(op, err)
	}
}

func signer(ctx context.Context, reference runbooks.Secret) (ssh.Signer, error) {
	if reference == "" {
		return nil, errors.New("the estate names no key for the login")
	}
	text, err := secret.Resolve(ctx, reference)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err) // a reference that is none may be the key itself: never printed
	}
	key, err := ssh.ParsePrivateKey([]byte(text))
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("key %s is protected by a passphrase, which a worker cannot type", reference)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s is no private key: %w", reference, err)
	}
	return key, nil
}

// hostKeyError says which file and line speak against the key that the host showed.
func hostKeyError(op string, h runbooks.Host, err error, key ssh.PublicKey) error {
	if err == nil {
		return nil
	}
	shown := key.Type() + " " + ssh.FingerprintSHA256(key)
	var unknown *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &revoked):
		return &activities.Error{
			Type: activities.ErrAuth, Op: op,
			Err:  fmt.Errorf("host key %s is revoked at %s:%d", shown, revoked.Revoked.Filename, revoked.Revoked.Line),
			Next: "do not connect before it is known why",
		}
	case errors.As(err, &unknown) && len(unknown.Want) > 0:
		want := unknown.Want[0]
		return &activities.Error{
			Type: activities.ErrAuth, Op: op,
			Err:  fmt.Errorf("host key changed: it shows %s, %s:%d expects %s", shown, want.Filename, want.Line, ssh.FingerprintSHA256(want.Key)),
			Next: "find out why the key changed; if the machine was rebuilt, replace that line",
		}
	case errors.As(err, &unknown):
		return &activities.Error{
			Type: activities.ErrConfig, Op: op,
			Err:  fmt.Errorf("host key %s is not known: no line of %s names %s", shown, h.KnownHosts, h.Address),
			Next: "compare the fingerprint on the host's console, then add the key with ssh-keyscan",
		}
	default:
		return &activities.Error{Type: activities.ErrAuth, Op: op, Err: fmt.Errorf("check the host key: %w", err)}
	}
}

// knownAlgorithms returns the kinds of keys that the file holds for the host. Without them the two sides might agree on a kind
// of which the file has no key, which would look like a changed one.
func knownAlgorithms(known ssh.HostKeyCallback, address string, remote net.Addr) []string {
	var asked *knownhosts.KeyError
	if !errors.As(known(address, remote, noKey{}), &asked) {
		return nil
	}
	var algorithms []string
	for _, want := range asked.Want {
		if want.Key.Type() == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		algorithms = append(algorithms, want.Key.Type())
	}
	return algorithms
}

// noKey is a key that no file holds.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }
