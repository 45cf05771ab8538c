package starter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/activities/evidence"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/workflows/run"
)

type reportOptions struct {
	run    string
	dir    string
	verify bool
	open   bool
}

// reported is the JSON output of report.
type reported struct {
	execution
	run.Result
	Verified *evidence.Report `json:"verified,omitempty"`
}

func newReport(a *app) *cobra.Command {
	var o reportOptions
	c := &cobra.Command{
		Use:   "report [RUN]",
		Short: "Show a run's evidence: verdict, outage, loss, and where the report is",
		Long: `Show a run's evidence: verdict, outage, loss, and where the report is.

--verify recomputes the evidence from its journal, and the journal's chain of hashes, and compares the digest with the one that
Temporal keeps: one changed byte is exit code 1. RUN may be an evidence file too: then the file alone is verified, without Temporal.
--dir makes the evidence anew from the run's journal, for a worker whose files are elsewhere.

` + runArgument + "\n\n" + exitCodes,
		Args: args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: func(cmd *cobra.Command, given []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if strings.ContainsAny(word, "/.") {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return completeRuns(a, false)(cmd, given, word)
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			o.run = optional(given)
			if ending := filepath.Ext(o.run); ending == ".json" || ending == ".html" {
				return a.runReportFile(o)
			}
			return a.with(cmd.Context(), func(e *engine) error { return a.runReport(cmd.Context(), e, o) })
		},
	}
	c.Flags().BoolVar(&o.verify, "verify", false, "recompute it and fail on one changed byte")
	c.Flags().BoolVar(&o.open, "open", false, "open the page with xdg-open")
	c.Flags().StringVar(&o.dir, "dir", "", "make the evidence anew from the journal, into this folder")
	return c
}

// runReportFile verifies a file by itself. What a file says of itself proves no more than that it is whole.
func (a *app) runReportFile(o reportOptions) error {
	if o.dir != "" {
		return usagef("--dir needs a run, not a file")
	}
	proven, err := evidence.VerifyFile(o.run)
	if errors.Is(err, fs.ErrNotExist) {
		return fail("name an evidence file, or a run: muster list", "%w", err)
	}
	if err != nil {
		return fail("compare it with muster report RUN --dir FOLDER, which makes it anew from the run's journal", "%w", err)
	}
	out := reported{
		execution: execution{proven.Run.WorkflowID, proven.Run.RunID}, Verified: &proven,
		Result: run.Result{Verdict: proven.Verdict, Entries: proven.Entries, Digest: proven.Digest, JSON: proven.JSON, HTML: proven.HTML},
	}
	if err := a.printReport(out, "the file alone; muster report RUN --verify compares its digest with Temporal's too"); err != nil {
		return err
	}
	return openPage(o, proven.HTML)
}

func (a *app) runReport(ctx context.Context, e *engine, o reportOptions) error {
	x, err := e.find(ctx, o.run)
	if err != nil {
		return err
	}
	s, err := e.status(ctx, x)
	if err != nil {
		return err
	}
	if s.State != run.StateEnded {
		return fail("muster watch "+x.WorkflowID, "run %s has not ended: it is %s, phase %s", x.WorkflowID, s.State, s.Phase)
	}
	out := reported{execution: x, Result: resultOf(s)}
	if o.dir != "" {
		if out.JSON, out.HTML, err = e.writeEvidence(ctx, x, o.dir); err != nil {
			return err
		}
	}
	if o.verify {
		proven, err := verifyRun(out)
		if err != nil {
			return err
		}
		out.Verified = &proven
	}
	if err := a.printReport(out, "its digest is the one that Temporal keeps"); err != nil {
		return err
	}
	return openPage(o, out.HTML)
}

// writeEvidence makes the evidence from the run's journal.
func (e *engine) writeEvidence(ctx context.Context, x execution, dir string) (string, string, error) {
	entries, err := e.journal(ctx, x, 0)
	if err != nil {
		return "", "", err
	}
	if _, err := journal.Verify(entries); err != nil {
		return "", "", fmt.Errorf("the journal of run %s: %w", x.WorkflowID, err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	written, err := evidence.Write(dir, entries)
	return written.JSON, written.HTML, err
}

func verifyRun(out reported) (evidence.Report, error) {
	if out.JSON == "" {
		return evidence.Report{}, fail("muster report "+out.WorkflowID+" --verify --dir FOLDER", "the worker could not write the evidence of run %s", out.WorkflowID)
	}
	proven, err := evidence.VerifyFile(out.JSON)
	if errors.Is(err, fs.ErrNotExist) {
		return proven, fail("fetch it from the worker and verify the file, or make it anew here with --dir FOLDER", "the evidence of run %s is not on this machine: %w", out.WorkflowID, err)
	}
	if err != nil {
		return proven, fail("make it anew from the journal with --dir FOLDER, and compare", "%w", err)
	}
	if proven.Digest != out.Digest || proven.Run.RunID != out.RunID {
		return proven, fail("make it anew from the journal with --dir FOLDER, and compare",
			"%s was replaced: it is whole, of run %s with digest %s, but Temporal keeps run %s with digest %s", out.JSON, proven.Run.RunID, short(proven.Digest), out.RunID, short(out.Digest))
	}
	return proven, nil
}

func (a *app) printReport(out reported, proof string) error {
	return a.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "%s, run ID %s\n", printable(out.WorkflowID), printable(out.RunID))
		a.showResult(w, out.Result)
		fmt.Fprintf(w, "  digest   %s (%d journal entries)\n", out.Digest, out.Entries)
		if out.Verified != nil {
			fmt.Fprintf(w, "%s: every byte follows from the journal, and the chain is whole; %s\n", a.paint(green, "verified"), proof)
		}
	})
}

func openPage(o reportOptions, page string) error {
	if !o.open {
		return nil
	}
	if _, err := os.Stat(page); err != nil {
		return fail("make it here with --dir FOLDER", "there is no page to open on this machine: %w", err)
	}
	if err := exec.Command("xdg-open", page).Run(); err != nil {
		return fail("open it yourself: "+page, "open the page: %w", err)
	}
	return nil
}
