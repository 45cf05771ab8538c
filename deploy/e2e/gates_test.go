package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/musterhq/muster/activities/slack/slacktest"
	"github.com/musterhq/muster/deploy/sandbox"
	"github.com/musterhq/muster/internal/journal"
	"github.com/musterhq/muster/runbooks"
	"github.com/musterhq/muster/worker/gateway/gatewaytest"
)

const chat = "C0GENERAL" // the channel of the emulated Slack where gates are shown

// gated is a shop whose decisions must be proven, and whose worker serves a gateway. Slack is package slacktest, an emulator that
// is as strict as Slack's documentation; no test here has seen Slack itself. The OIDC issuer is a real one, for these tests.
type gated struct {
	*shop
	slack  *slacktest.Server
	issuer *gatewaytest.Issuer
	keys   map[string]string // files of the people's SSH private keys
	dir    string            // for secrets
}

// openGated starts the shop with gateway main, and with what else the test adds to its estate.
func openGated(t *testing.T, add func(*gated, *runbooks.Estate)) *gated {
	t.Helper()
	g := &gated{slack: slacktest.New(t), dir: t.TempDir(), keys: map[string]string{}}
	g.issuer = gatewaytest.New(t, time.Now, map[string]map[string]any{"kim-1": {"name": "Kim Okafor", "email": "kim@shop.example", "email_verified": true}})
	person := func(name, team string, roles ...string) runbooks.Person {
		return runbooks.Person{Name: name, Roles: roles, Slack: team + "/U000000" + strings.ToUpper(name), Keys: []string{g.keygen(t, name)}}
	}
	people := map[string]runbooks.Person{
		"dana": person("dana", g.slack.Team, "operator", "approver"),
		"kim":  person("kim", g.slack.Team, "approver"),
		"lou":  person("lou", g.slack.Team, "approver"),
		"vic":  person("vic", g.slack.Team, "viewer"),
		"gus":  person("gus", g.slack.Team, "approver"), // whom Slack calls a guest
		"fay":  person("fay", "T000OTHER", "approver"),  // of a workspace whose clicks do not count
	}
	kim := people["kim"]
	kim.OIDC = g.issuer.URL + "#kim-1"
	people["kim"] = kim
	for name, p := range people {
		team, user, _ := strings.Cut(p.Slack, "/")
		g.slack.AddUser(slacktest.User{ID: user, Team: team, Name: name, Restricted: name == "gus"})
	}
	g.slack.AddUser(slacktest.User{ID: "U000000NEW", Name: "new"}) // of the workspace, and nobody of the estate
	box := sandbox.ForTest(t, sandbox.Options{People: people, Trust: "signed"})

	address := freeAddress(t)
	url := "http://" + address
	g.issuer.Allow(url + "/oidc/callback")
	estate := runbooks.Estate{Gateways: map[string]runbooks.Gateway{"main": {Key: g.keygen(t, "gateway"), URL: url, Serve: &runbooks.GatewayServer{
		Listen: address, SignWith: g.keys["gateway"],
		OIDC: &runbooks.GatewayOIDC{Issuer: g.issuer.URL, ClientID: g.issuer.Client, ClientSecret: g.secret(t, g.issuer.Secret)},
		Slack: &runbooks.GatewaySlack{Token: g.secret(t, g.slack.BotToken), SigningSecret: g.secret(t, g.slack.SigningSecret),
			AppToken: g.secret(t, g.slack.AppToken), Teams: []string{g.slack.Team}, API: g.slack.API},
	}}}, Notifiers: map[string]runbooks.Notifier{"chat": {Kind: "slack", Slack: &runbooks.SlackNotifier{
		Token: g.secret(t, g.slack.BotToken), Channel: chat, API: g.slack.API}}},
		Notices: []runbooks.NoticeRule{{To: []string{"chat"}}}}
	if add != nil {
		add(g, &estate)
	}
	g.shop = &shop{worker: newWorker(t, box.Runbooks()), sandbox: box}
	g.flags = []string{"--gateway", "main"}
	text, err := yaml.Marshal(struct {
		Gateways  map[string]runbooks.Gateway  `yaml:"gateways"`
		Notifiers map[string]runbooks.Notifier `yaml:"notifiers"`
		Notices   []runbooks.NoticeRule        `yaml:"notices"`
	}{estate.Gateways, estate.Notifiers, estate.Notices})
	require.NoError(t, err)
	g.addToEstate(t, string(text))
	g.start(t)
	require.Equal(t, url, g.engine.Gateway)
	return g
}

// freeAddress is one of loopback where nobody listens: people are sent to a URL that the estate holds before there is a gateway.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// secret returns a reference to value.
func (g *gated) secret(t *testing.T, value string) runbooks.Secret {
	t.Helper()
	file, err := os.CreateTemp(g.dir, "secret-")
	require.NoError(t, err)
	_, err = file.WriteString(value + "\n")
	require.NoError(t, err)
	require.NoError(t, file.Close())
	return runbooks.Secret("file:" + file.Name())
}

// keygen makes somebody a key, with the real ssh-keygen, and returns its public half.
func (g *gated) keygen(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(g.dir, "key-"+name)
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path).CombinedOutput()
	require.NoError(t, err, "%s", out)
	public, err := os.ReadFile(path + ".pub")
	require.NoError(t, err)
	g.keys[name] = path
	return strings.TrimSpace(string(public))
}

// book writes a runbook that moves the shop from where it is, with these gates and whatever more; its gate is approve.
func (g *gated) book(t *testing.T, name, gate, more string) string {
	t.Helper()
	here, there := g.sites(t)
	text := fmt.Sprintf("runbook: %s\noperation: failover\nestate: shop\nfailover: {from: %s, to: %s, kind: planned, order: [[orders]]}\ngates:\n  approve: %s\n%s",
		name, here, there, gate, more)
	require.NoError(t, os.WriteFile(filepath.Join(g.sandbox.Runbooks(), name+".yaml"), []byte(text), 0o644))
	g.ok(t, "validate", g.sandbox.Runbooks())
	return name
}

// signedBy runs the CLI as somebody, with their key.
func (g *gated) signedBy(t *testing.T, name string, args ...string) said {
	t.Helper()
	return g.as(t, name, append(args, "--key", g.keys[name])...)
}

// over is gateway's Slack door and Slack's Socket Mode: how the emulator hands an interaction to the app.
func (g *gated) overHTTP(i slacktest.Interaction) (slacktest.Ack, error) {
	return g.slack.Deliver(g.engine.Gateway+"/slack", i)
}

type carry func(slacktest.Interaction) (slacktest.Ack, error)

// message waits for the message of a run about something: "gate/approve", "run".
func (g *gated) message(t *testing.T, x execution, about string) slacktest.Message {
	t.Helper()
	var found []slacktest.Message
	require.True(t, g.slack.Await(time.Minute, func() bool {
		found = g.messages(x, about)
		return len(found) > 0
	}), "no message about %s of %s", about, x.RunID)
	for _, more := range found[1:] {
		require.Equal(t, found[0].TS, more.Thread, "%s is told once in the channel, and more of it in its thread: %s", about, more.Text)
	}
	return found[0]
}

func (g *gated) messages(x execution, about string) []slacktest.Message {
	return slices.DeleteFunc(g.slack.Messages(chat), func(m slacktest.Message) bool {
		var data struct {
			Payload struct{ Subject string } `json:"event_payload"`
		}
		return json.Unmarshal(m.Metadata, &data) != nil || data.Payload.Subject != x.RunID+"/"+about
	})
}

// told is what was shown to somebody alone.
func (g *gated) told(user string) []string {
	var texts []string
	for _, e := range g.slack.Ephemerals() {
		if e.User == user {
			texts = append(texts, e.Text)
		}
	}
	return texts
}

// form presses a button and returns the form that opens, or what its person was told instead.
func (g *gated) form(t *testing.T, to carry, user string, m slacktest.Message, decision string) (form slacktest.View, answer string) {
	t.Helper()
	for range 5 {
		before := len(g.told(user))
		click := g.slack.Click(user, chat, m.TS, "muster_"+decision)
		if ack, err := to(click); err != nil || ack.Status != 200 {
			continue // Slack shows that it was not heard, and people press again
		}
		opened := false
		require.True(t, g.slack.Await(20*time.Second, func() bool {
			form, opened = g.slack.Opened(click)
			return opened || len(g.told(user)) > before
		}), "%s pressed %s, and nothing happened", user, decision)
		if opened {
			return form, ""
		}
		if answer = g.told(user)[before]; !strings.Contains(answer, "press the button again") {
			return form, answer
		}
	}
	require.FailNow(t, "no form", "%s: %q", user, answer)
	return form, answer
}

// submit sends a form, and returns what its person was told.
func (g *gated) submit(t *testing.T, to carry, user string, form slacktest.View, reason string) string {
	t.Helper()
	before := len(g.told(user))
	submission := g.slack.Submit(user, form.ID, map[string]string{"reason": reason})
	awaited(t, "the form to be acknowledged", 20*time.Second, func() (any, bool) {
		ack, err := to(submission)
		return err, err == nil && ack.Status == 200
	})
	require.True(t, g.slack.Await(30*time.Second, func() bool { return len(g.told(user)) > before }), "%s was not answered", user)
	return g.told(user)[before]
}

// click decides in Slack, and returns what its person was told.
func (g *gated) click(t *testing.T, to carry, user string, m slacktest.Message, decision, reason string) string {
	t.Helper()
	form, answer := g.form(t, to, user, m, decision)
	if answer != "" {
		return answer
	}
	return g.submit(t, to, user, form, reason)
}

// decided returns the decisions of a journal that counted.
func decided(entries []journal.Entry) []journal.Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e journal.Entry) bool { return e.Kind != journal.Decided })
}
