package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	"github.com/musterhq/muster/internal/journal"
)

// browser starts a headless Chromium that asks the network for nothing but the page.
func browser(t *testing.T) context.Context {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil && program == "" {
			program = path
		}
	}
	require.NotEmpty(t, program, "this test needs a Chromium (next: deploy/install-packages chromium)")
	dir := t.TempDir()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(dir), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.WindowSize(1400, 1400), chromedp.Env("HOME="+dir))
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	ctx, stop := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		stop()
		cancel()
		awaited(t, "the browser to end", 10*time.Second, func() ([]process, bool) {
			left := processes(dir)
			return left, len(left) == 0
		})
	})
	require.NoError(t, chromedp.Do(ctx), "start %s", program) // it ends with the context of its first action
	return ctx
}

// startedInUI fills in the Temporal UI's form and presses its button, as people do.
func startedInUI(t *testing.T, s *shop) {
	here, there := s.sites(t)
	ctx := browser(t)
	const button = `[data-testid="start-workflow-button"]`
	steps := []chromedp.Action[chromedp.Void]{
		chromedp.Navigate(s.engine.UI + "/namespaces/default/workflows"),
		chromedp.Click(`a[href*="start-workflow"]`, chromedp.NodeVisible),
	}
	for _, f := range []struct{ field, text string }{{"#workflowId", "failover:shop"}, {"#taskQueue", "muster"}, {"#workflowType", "Failover"}} {
		steps = append(steps, chromedp.Click(f.field, chromedp.NodeVisible), chromedp.SendKeys(f.field, f.text+kb.Tab))
	}
	input := fmt.Sprintf(`{"runbook": %q, "mode": "execute"}`, runbook(here, ""))
	steps = append(steps,
		// The last tab led to the editor. It closes braces and quotes by itself, so the text goes in as a paste does.
		chromedp.WaitReady(".cm-content.cm-lineWrapping, .cm-focused .cm-content"),
		chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`document.querySelector('.cm-content').focus(); document.execCommand('insertText', false, %q); document.activeElement.blur(); undefined`, input)),
		// Left, it formats the text, and the button below moves: a click before that would miss it.
		chromedp.WaitVisible(".cm-line:nth-child(4)"),
		chromedp.WaitEnabled(button), chromedp.Click(button), chromedp.WaitVisible(`//*[contains(text(), "Workflow started successfully")]`))
	for i, step := range steps {
		within(t, ctx, fmt.Sprintf("step %d of the form", i+1), step)
	}
	x := awaited(t, "the run that the UI started", 20*time.Second, func() (execution, bool) {
		d, err := s.temporal.DescribeWorkflowExecution(t.Context(), "failover:shop", "")
		found := d.GetWorkflowExecutionInfo()
		return execution{found.GetExecution().GetWorkflowId(), found.GetExecution().GetRunId()},
			err == nil && found.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING
	})
	s.follow(t, x)
	s.approve(t, x, "approve")
	s.ended(t, x, journal.Passed)
	s.requireSettled(t, there)

	// The UI shows the run's steps live.
	within(t, ctx, "open the run's page", chromedp.Navigate(fmt.Sprintf("%s/namespaces/default/workflows/%s/%s/history", s.engine.UI, x.WorkflowID, x.RunID)))
	within(t, ctx, "see the promotion", chromedp.WaitVisible(fmt.Sprintf(`//*[contains(text(), "promote orders at %s")]`, there)))
}

// within does one thing in the browser; where it takes too long, a picture tells what the page showed.
func within(t *testing.T, ctx context.Context, what string, step chromedp.Action[chromedp.Void]) {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := chromedp.Do(limited, step)
	if err == nil {
		return
	}
	picture := filepath.Join(os.TempDir(), "muster-e2e-ui.png")
	shot, shotErr := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if shotErr == nil {
		shotErr = os.WriteFile(picture, shot, 0o600)
	}
	require.NoError(t, err, "%s (the page: %s, %v)", what, picture, shotErr)
}
