package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/musterhq/muster/activities"
	"github.com/musterhq/muster/internal/secret"
	"github.com/musterhq/muster/runbooks"
)

// How long a server may take to be connected to, and to answer.
const (
	connectTimeout = time.Second
	answerTimeout  = 1500 * time.Millisecond
)

// login is who connects where.
type login struct {
	address, user string
	password      runbooks.Secret
}

// client is a go-redis client that never retries by itself: what an act does twice is decided here.
type client = redis.Client

func options(l login, answer time.Duration) *redis.Options {
	return &redis.Options{
		Addr: l.address, Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
		DialTimeout: connectTimeout, ReadTimeout: answer, WriteTimeout: answer,
		PoolSize:                   50, // its pool stops dialling for a second after so many failures
		MaintNotificationsConfig:   &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		CredentialsProviderContext: credentials(l),
	}
}

// credentials reads the password when a connection is opened, so that nothing keeps it and no error can print it.
func credentials(l login) func(context.Context) (string, string, error) {
	if l.password == "" {
		return nil
	}
	return func(ctx context.Context) (string, string, error) {
		password, err := secret.Resolve(ctx, l.password)
		if err != nil {
			return "", "", &activities.Error{Type: activities.ErrConfig, Op: "connect to " + l.address, Err: err}
		}
		return l.user, password, nil
	}
}

// conns keeps one client per login, so that a look costs one round trip.
type conns struct {
	mu   sync.Mutex
	kept map[login]*client
}

func (cs *conns) client(l login) *client {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.kept[l]
	if c == nil {
		c = redis.NewClient(options(l, answerTimeout))
		cs.kept[l] = c
	}
	return c
}

// use runs do with a client, within answerTimeout. A kept connection may have died since: do is tried once more on a new one
// where safe says that it may be repeated.
func (cs *conns) use(ctx context.Context, l login, safe bool, do func(context.Context, *client) error) error {
	if _, _, err := net.SplitHostPort(l.address); err != nil {
		return &activities.Error{Type: activities.ErrConfig, Op: "connect to " + l.address, Err: err, Next: "write the address as host:port"}
	}
	for try := 1; ; try++ {
		c := cs.client(l)
		bounded, cancel := context.WithTimeout(ctx, answerTimeout)
		err := do(bounded, c)
		cancel()
		var said redis.Error
		if err == nil || errors.As(err, &said) {
			return err
		}
		cs.drop(l, c)
		var op *net.OpError
		dialled := errors.As(err, &op) && op.Op == "dial"
		if !safe || try == 2 || dialled || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

func (cs *conns) drop(l login, c *client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.kept[l] == c {
		delete(cs.kept, l)
	}
	_ = c.Close()
}

func (cs *conns) close() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for l, c := range cs.kept {
		_ = c.Close()
		delete(cs.kept, l)
	}
}

// do sends one command that changes something; it is never sent twice by itself.
func (d *Driver) do(ctx context.Context, n node, args ...any) error {
	err := d.conns.use(ctx, n.login(), false, func(ctx context.Context, c *client) error { return c.Do(ctx, args...).Err() })
	return mapError(n.op(fmt.Sprintf("%v %v", args[0], args[min(1, len(args)-1)])+" of"), err)
}

var quiet sync.Once

// silence keeps go-redis from writing to stderr: all that it would say comes back as an error.
func silence() { quiet.Do(func() { redis.SetLogger(nobody{}) }) }

type nobody struct{}

func (nobody) Printf(context.Context, string, ...any) {}
