// Command muster-worker runs muster's workflows and activities, and Temporal itself where no cluster is configured.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/internal/local"
	"github.com/musterhq/muster/worker"
)

// version is set by the linker.
var version = "devel"

// softLimit is where Go's collector begins to work harder, in bytes: a thousand runs that wait stay below 400 MiB with the program
// itself. GOMEMLIMIT says otherwise.
const softLimit = 288 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softLimit)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "muster-worker:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var c worker.Config
	cmd := &cobra.Command{
		Use:   "muster-worker",
		Short: "Runs muster's workflows; starts Temporal itself where no cluster is configured",
		Long: `muster-worker runs muster's workflows and activities.

Without a Temporal address it starts Temporal in this process, with its Web UI, on loopback, in the state folder.
With TEMPORAL_ADDRESS, a profile (TEMPORAL_PROFILE), TLS or an API key it uses that cluster and starts nothing.

It writes where its engine is to engine.json in the state folder: that is how the CLI finds it.`,
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
			return worker.Run(cmd.Context(), c, log, func(at local.Engine) {
				fmt.Printf("ready: Temporal %s, UI %s, runbooks %s\n", at.Address, orNone(at.UI), at.Runbooks)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.State, "state", "", "state `folder` (default $MUSTER_STATE or ~/.local/state/muster)")
	flags.StringVar(&c.Runbooks, "runbooks", "", "`folder` of estates and runbooks (default $MUSTER_RUNBOOKS or ./runbooks)")
	flags.StringVar(&c.Evidence, "evidence", "", "`folder` for evidence (default: evidence in the state folder)")
	flags.IntVar(&c.Port, "port", worker.DefaultPort, "the engine's gRPC `port` on loopback; 0 takes a free one")
	flags.IntVar(&c.UIPort, "ui-port", worker.DefaultUIPort, "the engine's Web UI `port` on loopback; 0 takes a free one, -1 runs none")
	flags.StringVar(&c.Address, "address", "", "`host:port` of a Temporal cluster (default $TEMPORAL_ADDRESS)")
	flags.StringVar(&c.Profile, "profile", "", "profile of Temporal's client configuration file")
	flags.StringVar(&c.Gateway, "gateway", "", "serve the gateway of this `name`, as an estate says (gateways.NAME.serve)")
	cmd.AddCommand(writerCommand())
	return cmd
}

func writerCommand() *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:    "writer --config FILE",
		Short:  "The numbered writer of one system; the worker starts it",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return worker.RunWriter(cmd.Context(), config) },
	}
	cmd.Flags().StringVar(&config, "config", "", "what to write, as the worker wrote it down")
	_ = cmd.MarkFlagRequired("config")
	return cmd
}

func orNone(text string) string {
	if text == "" {
		return "(none)"
	}
	return text
}
