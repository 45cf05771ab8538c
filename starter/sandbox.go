package starter

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/internal/local"
	"github.com/musterhq/muster/runbooks"
)

type sandboxOptions struct {
	sandbox.Options
	install bool
	purge   bool
}

func newSandbox(a *app) *cobra.Command {
	var o sandboxOptions
	up := &cobra.Command{
		Use:   "up",
		Short: "Build and start a sandbox",
		Args:  args(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.runSandboxUp(cmd.Context(), o) },
	}
	up.Flags().StringSliceVar(&o.Systems, "system", nil, "systems of the estate (default: orders)")
	up.Flags().StringVar(&o.Redis, "redis", runbooks.RedisReplication, "how the Redis system sessions is managed: "+redisShapes)
	up.Flags().StringVar(&o.RedisBin, "redis-bin", "", "folder of Valkey's programs, or of another Redis (default: Debian's Redis)")
	up.Flags().BoolVar(&o.SSH, "ssh", false, "reach the hosts through a real sshd, one for each site")
	up.Flags().StringVar(&o.Trust, "trust", "unsigned", "signed or unsigned: what decisions need")
	up.Flags().BoolVar(&o.install, "install", false, "install the Debian packages that are missing")

	down := &cobra.Command{
		Use:   "down",
		Short: "Stop all that runs in it",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inSandbox(o, func(s *sandbox.Sandbox) error {
				if err := s.Down(cmd.Context(), o.purge); err != nil {
					return err
				}
				return a.print(map[string]any{"dir": s.Dir(), "purged": o.purge}, func(w io.Writer) { fmt.Fprintf(w, "stopped %s\n", s.Dir()) })
			})
		},
	}
	down.Flags().BoolVar(&o.purge, "purge", false, "remove its folder too")

	status := &cobra.Command{
		Use:   "status",
		Short: "Show what runs in it",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.inSandbox(o, func(s *sandbox.Sandbox) error {
				st, err := s.Status(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(st, func(w io.Writer) { fmt.Fprint(w, printableLines(st.String())+"\n") })
			})
		},
	}
	broken := &cobra.Command{
		Use:   "break WHAT",
		Short: "Kill a part with SIGKILL: primary, standby, route or host",
		Long:  "Kill a part with SIGKILL: primary, standby, route or host; primary:orders, standby:sessions or host:west for one of them.",
		Args:  args(cobra.ExactArgs(1)), ValidArgs: parts,
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.inSandbox(o, func(s *sandbox.Sandbox) error {
				killed, err := s.Break(cmd.Context(), given[0])
				if err != nil {
					return err
				}
				return a.print(map[string]any{"killed": killed}, func(w io.Writer) {
					for _, b := range killed {
						fmt.Fprintf(w, "killed %s, process %d, at %s\n", b.Name, b.PID, b.At.Local().Format("15:04:05.000"))
					}
				})
			})
		},
	}
	mend := &cobra.Command{
		Use:   "mend WHAT",
		Short: "Start again what break killed",
		Args:  args(cobra.ExactArgs(1)), ValidArgs: parts,
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.inSandbox(o, func(s *sandbox.Sandbox) error {
				if err := s.Mend(cmd.Context(), given[0]); err != nil {
					return err
				}
				return a.print(map[string]string{"mended": given[0]}, func(w io.Writer) { fmt.Fprintf(w, "mended %s\n", given[0]) })
			})
		},
	}
	c := group("sandbox", "A real two-site estate on this machine, PostgreSQL and Redis, to try things on", up, down, status, broken, mend)
	c.PersistentFlags().StringVar(&o.Dir, "dir", "", "its folder (default: sandbox in the state folder)")
	return c
}

const redisShapes = "replication, sentinel, cluster or none"

var parts = []cobra.Completion{"primary", "standby", "route", "host"}

func (o *sandboxOptions) folder() (string, error) {
	if o.Dir != "" {
		return filepath.Abs(o.Dir)
	}
	state, err := local.StateDir()
	return filepath.Join(state, "sandbox"), err
}

func (a *app) runSandboxUp(ctx context.Context, o sandboxOptions) error {
	dir, err := o.folder()
	if err != nil {
		return err
	}
	if o.Trust != "signed" && o.Trust != "unsigned" {
		return usagef("--trust is signed or unsigned, not %q", o.Trust)
	}
	switch o.Redis {
	case runbooks.RedisReplication, runbooks.RedisSentinel, runbooks.RedisCluster:
	case "none":
		o.Redis = ""
	default:
		return usagef("--redis is %s, not %q", redisShapes, o.Redis)
	}
	o.Dir = dir
	if o.install {
		if err := sandbox.Install(ctx, a.people(), sandbox.Missing(o.Options)); err != nil {
			return err
		}
	}
	s, err := sandbox.Up(ctx, o.Options)
	if err != nil {
		return err
	}
	return a.print(map[string]any{"dir": s.Dir(), "runbooks": s.Runbooks(), "took_ms": s.Took().Milliseconds()}, func(w io.Writer) {
		fmt.Fprintf(w, "the sandbox is up after %s in %s\nnext: muster-worker --runbooks %s\n      muster run failover-shop\n", s.Took().Round(10*time.Millisecond), s.Dir(), s.Runbooks())
	})
}

func (a *app) inSandbox(o sandboxOptions, f func(*sandbox.Sandbox) error) error {
	dir, err := o.folder()
	if err != nil {
		return err
	}
	s, err := sandbox.Open(dir)
	if err != nil {
		return err
	}
	return f(s)
}
