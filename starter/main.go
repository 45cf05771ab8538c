// Package starter is the command line `muster`: each command is an options struct, a factory and a run function.
package starter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Main runs the command line args (without the program's name) and returns the exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return newApp(stdin, stdout, stderr).execute(ctx, args)
}

// app is what all commands share: streams, environment, global options.
type app struct {
	in      io.Reader
	out     io.Writer
	err     io.Writer
	getenv  func(string) string
	dial    func(ctx context.Context, a *app) (*engine, error)
	lines   chan string // stdin, once something was asked
	options struct {
		output, address, namespace, profile, runbooks string
	}
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{in: stdin, out: stdout, err: stderr, getenv: os.Getenv, dial: dial}
}

func (a *app) execute(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return codeDone
	}
	var code *exit
	if errors.As(err, &code) {
		return code.code // what happened is printed already
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return codeInterrupted
	}
	var usage *usageError
	if errors.As(err, &usage) || cobraUsage(err) {
		text := strings.TrimSuffix(printable(err.Error()), ` for "muster"`)
		fmt.Fprintf(a.err, "muster: %s\nnext: muster help%s\n", text, helpFor(root, args))
		return codeUsage
	}
	fmt.Fprintf(a.err, "muster: %s\n", printableLines(err.Error()))
	var f *failure
	if errors.As(err, &f) && f.next != "" {
		fmt.Fprintf(a.err, "next: %s\n", printableLines(f.next))
	}
	return codeError
}

// cobraUsage tells usage errors that cobra makes itself by their text: it has no type for them.
func cobraUsage(err error) bool {
	for _, begin := range []string{"unknown command", "if any flags in the group", "required flag"} {
		if strings.HasPrefix(err.Error(), begin) {
			return true
		}
	}
	return false
}

// helpFor returns the path of the command that args name, with a space before it, or nothing for the root.
func helpFor(root *cobra.Command, args []string) string {
	cmd, _, err := root.Find(args)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(cmd.CommandPath(), "muster")
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "muster",
		Short: "Run the operations that people dread as durable runbooks",
		Long: `muster runs failovers, drills and their like as durable Temporal workflows: people approve at gates, a crash of
anything resumes where it stood, and every run ends in evidence.

muster talks to the worker's Temporal: --address, --profile and the TEMPORAL_* variables say which; without them it is
the engine of the muster-worker on this machine, as its engine.json in $MUSTER_STATE (~/.local/state/muster) says.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		// Args stays unset: cobra then says which command was probably meant.
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	f := root.PersistentFlags()
	f.StringVarP(&a.options.output, "output", "o", "text", "text or json")
	f.StringVar(&a.options.address, "address", "", "Temporal's gRPC address, host:port (TEMPORAL_ADDRESS)")
	f.StringVar(&a.options.namespace, "namespace", "", "Temporal namespace (TEMPORAL_NAMESPACE)")
	f.StringVar(&a.options.profile, "profile", "", "profile of Temporal's configuration file (TEMPORAL_PROFILE)")
	f.StringVar(&a.options.runbooks, "runbooks", "", "folder of estates and runbooks (MUSTER_RUNBOOKS; default: the local worker's, else ./runbooks)")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if a.options.output != "text" && a.options.output != "json" {
			return usagef("--output is text or json, not %q", a.options.output)
		}
		return nil
	}
	must(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)))
	groups := []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"write", "Write runbooks", []*cobra.Command{newValidate(a), newSchema(a)}},
		{"run", "Run them", []*cobra.Command{newPlan(a), newRun(a), newSchedule(a)}},
		{"see", "See what they do", []*cobra.Command{newList(a), newInbox(a), newShow(a), newWatch(a), newReport(a), newAudit(a)}},
		{"decide", "Decide and intervene", append(newDecisions(a), newInterventions(a)...)},
		{"try", "Try it", []*cobra.Command{newDemo(a), newSandbox(a)}},
	}
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title + ":"})
		for _, c := range g.commands {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	root.AddCommand(newVersion(a), exitCodesTopic(), signingTopic())
	return root
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.Args = func(cmd *cobra.Command, given []string) error {
		if len(given) == 0 {
			return usagef("%s needs a command: %s", cmd.CommandPath(), names(cmd))
		}
		return usagef("unknown command %q of %s: %s", given[0], cmd.CommandPath(), names(cmd))
	}
	c.RunE = func(*cobra.Command, []string) error { return nil }
	c.AddCommand(commands...)
	return c
}

func names(cmd *cobra.Command) string {
	var all []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			all = append(all, c.Name())
		}
	}
	return strings.Join(all, ", ")
}

func must(err error) {
	if err != nil {
		panic(err) // a flag that does not exist: a defect
	}
}
