package gateway

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/workflows/run"
)

// chromium starts a headless browser that asks the network for nothing but the page. It runs no script of a page.
func chromium(t *testing.T) context.Context {
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
		chromedp.WindowSize(1280, 900), chromedp.Env("HOME="+dir))
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	ctx, stop := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		stop()
		cancel()
		// Its helpers write to the folder until they have ended, too.
		require.Eventually(t, func() bool { return len(processes(t, dir)) == 0 }, 10*time.Second, 20*time.Millisecond)
	})
	require.NoError(t, chromedp.Do(ctx), "start %s", program) // it ends with the context of its first action
	within(t, ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	}))
	return ctx
}

// processes lists those whose command line has text in it.
func processes(t *testing.T, text string) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var found []string
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(line), text) { // it may have ended meanwhile
			found = append(found, path)
		}
	}
	return found
}

func within(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := chromedp.Do(limited, steps...)
	if err == nil {
		return
	}
	shown := filepath.Join(os.TempDir(), "muster-gateway-ui.png")
	shot, shotErr := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if shotErr == nil {
		shotErr = os.WriteFile(shown, shot, 0o600)
	}
	require.NoError(t, err, "the page: %s, %v", shown, shotErr)
}

// css is a selector and nothing else: a plain text is looked for in the style sheet too.
type css = chromedp.CSS

// picture keeps what the browser shows, where MUSTER_SHOTS names a folder for people to look at.
func picture(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("MUSTER_SHOTS")
	if dir == "" {
		return
	}
	shot, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o644))
}

func TestApproveInABrowser(t *testing.T) {
	t.Parallel()
	w := started(t, nil)
	ctx := chromium(t)
	page := w.URL() + run.PagePath(shopID, shopIn)
	within(t, ctx, chromedp.Navigate(page), chromedp.WaitVisible(css(`a.button.main`)))
	picture(t, ctx, "sign-in")
	within(t, ctx, chromedp.Click(css(`a.button.main`)), chromedp.WaitVisible(css(`#subject`)), chromedp.SendKeys(css(`#subject`), "ada-1"), chromedp.Click(css(`#go`)),
		chromedp.WaitVisible(css(`button[value="approve"]`)))
	at, err := chromedp.Run(ctx, chromedp.Location())
	require.NoError(t, err)
	require.Equal(t, page, at, "the sign-in comes back to the page that was asked for")
	look := func(name string) {
		for _, scheme := range []string{"light", "dark"} {
			within(t, ctx, emulate(scheme, 1280))
			picture(t, ctx, name+"-"+scheme)
			within(t, ctx, emulate(scheme, 390))
			narrow(t, ctx)
			picture(t, ctx, name+"-phone-"+scheme)
		}
		within(t, ctx, emulate("light", 1280))
	}
	look("run")
	within(t, ctx, chromedp.Navigate(w.URL()+"/runs/failover:stock"), chromedp.WaitVisible(css(`button[value="retry"]`)))
	look("held")
	within(t, ctx, chromedp.Navigate(w.URL()), chromedp.WaitVisible(css(`a.subject`)))
	look("list")

	within(t, ctx, chromedp.Click(css(`a.subject`)), chromedp.WaitVisible(css(`button[value="approve"]`)))
	within(t, ctx, chromedp.Click(css(`button[value="reject"]`)))
	within(t, ctx, chromedp.WaitVisible(css(`.notice.bad`)))
	require.Empty(t, w.runs.decided, "a rejection without a reason is not sent")
	picture(t, ctx, "no-reason")
	within(t, ctx, chromedp.SendKeys(css(`#reason-gate0`), "change 4711"), chromedp.Click(css(`button[value="approve"]`)), chromedp.WaitVisible(css(`.notice.good`)))
	picture(t, ctx, "approved")
	require.Len(t, w.runs.decided, 1)
	d := w.runs.decided[0]
	require.Equal(t, []string{"approve", "ada", "change 4711", planHash}, []string{d.Decision, d.Approver, d.Reason, d.PlanHash})

	within(t, ctx, chromedp.Click(css(`form.who button`)), chromedp.WaitVisible(css(`a.button.main`)))
	within(t, ctx, chromedp.Navigate(page), chromedp.WaitVisible(css(`a.button.main`)))
}

// emulate sets the colours that the person wants and the width of the window.
func emulate(scheme string, width int64) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	}))
}

// narrow fails where the page is wider than the window: people would have to scroll to and fro to read.
func narrow(t *testing.T, ctx context.Context) {
	t.Helper()
	width, err := chromedp.Run(ctx, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`))
	require.NoError(t, err)
	require.LessOrEqual(t, width, int64(390))
}
