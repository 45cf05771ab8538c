package e2e

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/internal/journal"
)

// onThePage approves as people do who follow a notice's link: they sign in at the issuer, look at the plan, say why, and press Approve.
func onThePage(t *testing.T, g *gated) {
	here, there := g.sites(t)
	x := g.begin(t, runbook(here, ""))
	gate := g.gate(t, x, "approve")
	ctx := browser(t)
	page := g.engine.Gateway + "/runs/" + x.WorkflowID + "/" + x.RunID
	css := func(text string) chromedp.CSS { return chromedp.CSS(text) }
	within(t, ctx, "open the run's page", chromedp.Navigate(page))
	within(t, ctx, "be asked to sign in", chromedp.Click(css(`a.button.main`)))
	within(t, ctx, "say who one is", chromedp.SendKeys(css(`#subject`), "kim-1"))
	within(t, ctx, "sign in", chromedp.Click(css(`#go`)))
	within(t, ctx, "come back to the run", chromedp.WaitVisible(css(`button[value="approve"]`)))
	at, err := chromedp.Run(ctx, chromedp.Location())
	require.NoError(t, err)
	require.Equal(t, page, at)
	shown, err := chromedp.Run(ctx, chromedp.Text(css(`#plan`)))
	require.NoError(t, err)
	require.Contains(t, shown, gate.PlanHash)
	require.Contains(t, shown, "promote "+system+" at "+there)
	within(t, ctx, "say why", chromedp.SendKeys(css(`#reason-gate0`), "change 4711"))
	within(t, ctx, "approve", chromedp.Click(css(`button[value="approve"]`)))
	within(t, ctx, "be told that it counts", chromedp.WaitVisible(css(`.notice.good`)))

	_, entries := g.ended(t, x, journal.Passed)
	require.Len(t, decided(entries), 1)
	d := decided(entries)[0]
	require.Equal(t, []string{"approve", "kim", "page", "change 4711", "vouched:oidc:" + g.issuer.URL + "#kim-1 by main"}, []string{d.Action, d.Author, d.Channel, d.Reason, d.Identity})
	within(t, ctx, "look again", chromedp.Navigate(page))
	verdict, err := chromedp.Run(ctx, chromedp.Text(css(`main`)))
	require.NoError(t, err)
	require.Contains(t, verdict, "passed")
	g.requireSettled(t, there)
}
